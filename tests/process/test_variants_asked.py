"""N different sounds of a prompt, in this process and over the wire; further ones made ahead; turns for each client."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.waiting import eventually

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.client import AudioClient
from audio_pool.errors import InvalidRequest
from audio_pool.packs.variants import make_variants
from audio_pool.pool.pool import AudioPool
from audio_pool.types import AudioRequest

SHORT = {"duration_s": 0.3, "format": "flac"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    place = tmp_path_factory.mktemp("variants")
    tree = {
        "defaults": {"engine": "mock"},
        "cache": {"dir": str(place / "cache"), "encoder": "off", "max_new_when_prefetch": 3},
        "server": {"bind": f"ipc://{place}/s"},
        "limits": {"heartbeat_s": 0.5},
    }
    with AudioPool.from_config(tree, serve=True) as made:
        yield made


@pytest.fixture
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint) as made:
        yield made


def contents(paths: list[str]) -> set[bytes]:
    return {Path(path).read_bytes() for path in paths}


def test_a_client_gets_so_many_different_sounds_and_the_same_ones_again(pool: AudioPool, client: AudioClient) -> None:
    first = client.variants("a door creaks", 3, **SHORT)
    assert len(contents([one.path for one in first])) == 3
    again = client.variants("a door creaks", 4, **SHORT)
    assert {one.path for one in first} < {one.path for one in again} and len({one.path for one in again}) == 4
    assert [one.metadata.cached for one in again] == [True, True, True, False]
    here = pool.variants("a door creaks", 4, **SHORT)
    assert [one.path for one in here] == [one.path for one in client.variants("a door creaks", 4, **SHORT)]
    assert all(one.metadata.cached for one in here)


def test_asyncio_gets_them_too(pool: AudioPool) -> None:
    async def ask() -> list[str]:
        async with AsyncAudioClient(pool.endpoint) as client:
            return [one.path for one in await client.variants("a gate creaks", 2, **SHORT)]

    assert len(set(asyncio.run(ask()))) == 2


@pytest.mark.parametrize("delivery", ["path", "inline"])
def test_takes_that_differ_audibly_come_from_a_server_too(client: AudioClient, tmp_path: Path, delivery: str) -> None:
    asked = AudioRequest(prompt="tone", seed=7, delivery=delivery, **SHORT)  # type: ignore[arg-type]
    made = make_variants(client, asked, [tmp_path / f"{number}.flac" for number in range(3)])
    assert [take.seed for take in made.takes] == [7, 8, 9]
    assert made.least_distance is not None and made.least_distance >= 0.1
    assert len(contents([take.path for take in made.takes])) == 3


def test_the_command_asks_a_server(pool: AudioPool, tmp_path: Path) -> None:
    assert pool.endpoint is not None
    options = ["tone", "-n", "2", "--connect", pool.endpoint, "--duration", "0.3", "-o", str(tmp_path), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "audio_pool.cli", "variants", *options], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tone_01.wav", "tone_02.wav"]


def test_what_is_wrong_is_said_and_nothing_is_left_over(pool: AudioPool, client: AudioClient) -> None:
    for count in (0, 101, "2"):
        with pytest.raises(InvalidRequest, match="count"):
            client.variants("rain", count)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="variant: given with seed"):
        client.variants("rain", 2, seed=5)
    eventually(lambda: pool.status().requests == 0, "it settles")


def test_turns_are_each_clients_own(pool: AudioPool, client: AudioClient) -> None:
    paths = {one.path for one in client.variants("a step", 3, **SHORT)}
    with AudioClient(pool.endpoint) as other:
        for asker in (client, other):
            given = [asker.generate("a step", shuffle=True, **SHORT).path for _ in range(6)]
            assert set(given[:3]) == set(given[3:]) == paths


def test_what_lacks_is_made_after_the_answer_up_to_the_cap(pool: AudioPool, client: AudioClient) -> None:
    client.generate("a bell rings", prefetch=3, **SHORT)
    eventually(lambda: kept(pool, "a bell rings") == 3, "it settles")
    client.generate("a bell rings", prefetch=100, **SHORT)  # 5 is cache.max_per_prompt
    eventually(lambda: kept(pool, "a bell rings") == 5, "it settles")
    eventually(lambda: pool.status().requests == 0, "it settles")
    client.generate("a bell rings", prefetch=100, **SHORT)
    assert kept(pool, "a bell rings") == 5
    client.generate("a bell tolls", **SHORT)
    eventually(lambda: pool.status().requests == 0, "it settles")
    assert kept(pool, "a bell tolls") == 1, "nobody asked for more"


def kept(pool: AudioPool, prompt: str) -> int:
    return pool.count_variants(AudioRequest(prompt=prompt, **SHORT))  # type: ignore[arg-type]
