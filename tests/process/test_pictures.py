"""Pictures of kept sounds: drawn once by a worker or by the manager, kept beside the sound, gone with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from audio_pool import AudioClient, AudioPool
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.verify import verify
from audio_pool.cli.cache import group
from audio_pool.config import load_config
from audio_pool.errors import InvalidRequest, NotFound

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    place = tmp_path_factory.mktemp("pictures")
    cache = {"dir": str(place / "cache"), "encoder": "off", "delivered_grace_s": 0.0}
    server = {"bind": f"ipc://{place}/s"}
    config = load_config(None, overrides={"cache": cache, "server": server, "defaults": {"duration_s": 0.5}})
    with AudioPool(config, serve=True) as running:
        yield running


@pytest.fixture
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint) as connected:
        yield connected


def kept(pool: AudioPool, prompt: str, **fields: str) -> int:
    """Has a sound made; returns its entry."""
    pool.generate(prompt, **fields)
    hit = pool.generate(prompt, **fields).metadata.hit
    assert hit is not None and hit.entry_id is not None
    return hit.entry_id


def manager(pool: AudioPool) -> AudioSemanticCache:
    return AudioSemanticCache(pool.config.cache_dir)


def test_a_picture_is_drawn_once_and_kept_beside_the_sound(pool: AudioPool, client: AudioClient) -> None:
    entry = kept(pool, "a bell rings")
    first = client.spectrogram(entry, timeout_s=60)
    assert first.path is not None and first.path.startswith(f"{pool.config.cache_dir}/renditions/")
    assert Path(first.path).read_bytes().startswith(PNG)
    assert client.spectrogram(entry).path == first.path
    other = client.spectrogram(entry, mel_bands=64, highest_hz=8000.0, dark=True, timeout_s=60)
    assert other.path != first.path
    for api in (client, pool):
        inline = api.spectrogram(entry, delivery="inline")
        assert (inline.path, inline.data) == (None, Path(first.path).read_bytes())
    assert pool.spectrogram(entry) == first
    assert pool.spectrogram(entry, mel_bands=64, highest_hz=8000.0, dark=True) == other
    tile = client.library.tile(entry)
    assert tile.path not in (None, first.path) and Path(str(tile.path)).read_bytes().startswith(PNG)
    for library in (client.library, pool.library):
        assert library.tile(entry) == tile, "drawn once, kept"
        assert library.tile(entry, delivery="inline").data == Path(str(tile.path)).read_bytes()
    with manager(pool) as cache:
        assert cache.verify()["ok"]
        assert cache.get_cache_stats().renditions >= 3


def test_the_command_finds_what_the_server_drew_and_the_other_way_round(
    pool: AudioPool, client: AudioClient, tmp_path: Path
) -> None:
    entry = kept(pool, "a dog barks")
    common = [str(entry), "--cache-dir", str(pool.config.cache_dir), "--json"]

    def told(*options: str) -> dict[str, object]:
        done = CliRunner().invoke(group, ["spectrogram", *common, *options])
        assert done.exit_code == 0, done.output
        found: dict[str, object] = json.loads(done.stdout)
        return found

    drawn = told("--mel-bands", "32", "--fmax", "4000", "--dark", "--output", str(tmp_path / "x.png"))
    assert drawn["drawn"] is True
    assert (tmp_path / "x.png").read_bytes() == Path(str(drawn["path"])).read_bytes()
    by_server = client.spectrogram(entry, mel_bands=32, highest_hz=4000.0, dark=True)
    assert by_server.path == drawn["path"]
    again = told("--mel-bands", "32", "--fmax", "4000", "--dark")
    assert (again["drawn"], again["path"]) == (False, drawn["path"])
    assert CliRunner().invoke(group, ["spectrogram", *common[1:], "999"]).exit_code == 2


def test_a_picture_goes_with_its_sound_and_a_lost_one_is_drawn_anew(pool: AudioPool, client: AudioClient) -> None:
    entry = kept(pool, "wind in the trees")
    path = client.spectrogram(entry, timeout_s=60).path
    assert path is not None
    Path(path).unlink()
    anew = client.spectrogram(entry, timeout_s=60).path
    assert anew is not None and Path(anew).is_file()
    with manager(pool) as cache:
        cache.delete([entry], now=True)
        assert not Path(anew).exists()
        assert verify(cache._store).problems == []
    with pytest.raises(NotFound, match="no entry"):
        client.spectrogram(entry)


def test_a_sound_that_is_removed_while_it_is_drawn_is_not_there(pool: AudioPool, client: AudioClient) -> None:
    entries = [kept(pool, f"thunder, number {number}") for number in range(6)]
    with ThreadPoolExecutor(len(entries)) as threads:
        asked = [threads.submit(pool.spectrogram, entry, dark=True, timeout_s=60.0) for entry in entries]
        for entry in reversed(entries):
            client.library.remove(entry)
        errors = [one.exception() for one in asked]
    assert {type(error) for error in errors} <= {NotFound, type(None)}, "nothing is wrong with what keeps them"


def test_another_namespaces_entries_and_nonsense_are_refused(pool: AudioPool, client: AudioClient) -> None:
    entry = kept(pool, "a door slams", namespace="harbour")
    for api in (client, pool):
        with pytest.raises(NotFound, match="'default' has no entry"):
            api.spectrogram(entry)
        assert api.spectrogram(entry, namespace="harbour", timeout_s=60).path
        with pytest.raises(InvalidRequest, match="mel_bands"):
            api.spectrogram(entry, mel_bands=1000)
