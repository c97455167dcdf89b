"""Candidates that were not chosen: kept for a while, heard in any format, chosen after all; in this process, by both
clients."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from tests.support.command_line import command

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.client import AudioClient
from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.pool.pool import AudioPool
from audio_pool.results import AudioResult

RAIN = {"duration_s": 1.0, "loop": True, "candidates": 3, "keep_candidates": True, "format": "wav"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    place = tmp_path_factory.mktemp("candidates")
    tree = {
        "cache": {"dir": str(place / "cache"), "encoder": "off"},
        "server": {"bind": f"ipc://{place}/s"},
        "limits": {"heartbeat_s": 0.5},
    }
    with AudioPool.from_config(tree, serve=True) as made:
        yield made


@pytest.fixture(scope="module")
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint) as made:
        yield made


@pytest.fixture(scope="module")
def rain(client: AudioClient) -> AudioResult:
    """A loop of three candidates, two of which were not chosen."""
    return client.generate("rain on a tin roof", **RAIN)


def samples(path: str | Path) -> np.ndarray:
    return sf.read(path, dtype="float32", always_2d=True)[0]


def kept_of(result: AudioResult) -> dict[int, str]:
    return {one.number: str(one.path) for one in result.metadata.candidates_kept or ()}


def test_those_not_chosen_are_finished_as_the_one_that_was(rain: AudioResult) -> None:
    told = rain.metadata
    assert len(told.candidates) == 3 and not told.cached
    assert len(told.candidates_kept) == 2 and not any("candidates_not_kept" in one for one in told.warnings)
    winner = samples(rain.path)
    for one in told.candidates_kept:
        assert told.candidates[one.number - 1].seed == one.seed != told.seed
        assert one.verdict == "not_chosen" and one.quality == told.candidates[one.number - 1].quality
        assert one.format == "wav" and one.path is not None and one.size_bytes == os.stat(one.path).st_size
        heard = samples(one.path)
        assert heard.shape == winner.shape and not np.array_equal(heard, winner)
        assert one.loop is not None and one.duration_s == told.duration_s
        assert one.loudness_lufs == pytest.approx(told.loudness_lufs, abs=0.3)
        assert os.stat(one.path).st_nlink == 1 and one.path != rain.path
        assert one.expires_at > told.generation_timestamp + 800


def test_a_candidates_seed_makes_it_again(client: AudioClient, rain: AudioResult) -> None:
    one = rain.metadata.candidates_kept[0]
    again = client.generate("rain on a tin roof", **{**RAIN, "candidates": 1, "keep_candidates": False}, seed=one.seed)
    assert again.metadata.seed == one.seed and np.array_equal(samples(again.path), samples(str(one.path)))


def test_they_are_heard_by_their_path_or_inline_and_in_any_format(
    pool: AudioPool, client: AudioClient, rain: AudioResult, tmp_path: Path
) -> None:
    number, path = next(iter(kept_of(rain).items()))
    found = client.candidates.file(rain.request_id, number)
    assert found.path == path and found.format == "wav" and found.metadata.format == "wav"
    inline = client.candidates.file(rain.request_id, number, delivery="inline")
    assert inline.data == Path(path).read_bytes() and inline.path is None and inline.sha256 == found.sha256
    ogg = client.candidates.file(rain.request_id, number, format="ogg", delivery="inline")
    assert ogg.data.startswith(b"OggS") and ogg.metadata.format == "ogg"  # type: ignore[union-attr]
    flac = client.candidates.file(rain.request_id, number, format="flac")
    assert np.allclose(samples(str(flac.path)), samples(path), atol=1e-4)
    listed = client.candidates.of(rain.request_id)
    assert {one.number for one in listed.candidates} == set(kept_of(rain)) and listed.entry == rain.metadata.entry_id

    async def heard() -> str | None:
        async with AsyncAudioClient(pool.endpoint) as other:  # the same user: its own
            await other.candidates.of(rain.request_id)
            with pytest.raises(NotFound):
                await other.candidates.choose(rain.request_id, 9)
            return (await other.candidates.file(rain.request_id, number)).path

    assert asyncio.run(heard()) == path
    assert pool.candidates.file(rain.request_id, number).path == path  # an operator's may be anybody's
    assert pool.candidates.of(rain.request_id) == listed


def test_what_is_not_there_is_said_in_words(client: AudioClient, rain: AudioResult) -> None:
    with pytest.raises(NotFound, match=r"no candidate 9 .* there are \d, \d"):
        client.candidates.file(rain.request_id, 9)
    with pytest.raises(NotFound, match="no candidates that are kept"):
        client.candidates.of("nobody-asked-this")
    with pytest.raises(InvalidRequest, match="keep_candidates"):
        client.generate("rain", keep_candidates=True, stream=True)


def test_a_choice_takes_the_place_of_what_was_kept_and_can_be_taken_back(client: AudioClient) -> None:
    made = client.generate("a door creaks", **{**RAIN, "loop": False})
    told = made.metadata
    loser = told.candidates_kept[-1]
    heard = samples(str(loser.path))
    chosen = client.candidates.choose(made.request_id, loser.number, by="Ada")
    assert chosen.replaced == told.entry_id != chosen.entry
    assert np.array_equal(samples(str(chosen.path)), heard)
    again = client.generate("a door creaks", **{**RAIN, "loop": False, "keep_candidates": False})
    assert again.metadata.entry_id == chosen.entry and again.metadata.cache_type == "exact"
    assert np.array_equal(samples(again.path), heard)
    choice = again.metadata.chosen
    assert choice.by == "Ada" and choice.request_id == made.request_id and choice.instead_of == told.seed  # type: ignore[union-attr]
    assert again.metadata.accepted and again.metadata.seed == loser.seed
    assert [one.seed for one in again.metadata.candidates if one.verdict == "chosen"] == [loser.seed]
    # the sound that was kept is heard among the others now, and chosen again
    former = next(one for one in chosen.candidates_kept if one.seed == told.seed)
    assert len(chosen.candidates_kept) == 2 and np.array_equal(samples(str(former.path)), samples(made.path))
    with pytest.raises(NotFound, match=f"kept sound is entry {chosen.entry}"):
        client.candidates.choose(made.request_id, loser.number)
    back = client.candidates.choose(made.request_id, former.number)
    assert back.replaced == chosen.entry
    assert client.generate("a door creaks", **{**RAIN, "loop": False}).metadata.seed == told.seed
    assert client.feedback(made.request_id, "wrong").effect == "denied", "of the one that is kept now"
    anew = client.generate("a door creaks", **{**RAIN, "loop": False})
    assert not anew.metadata.cached and anew.metadata.entry_id != back.entry


def test_a_hit_says_that_it_has_none_or_gives_those_that_are_kept_still(client: AudioClient, rain: AudioResult) -> None:
    again = client.generate("rain on a tin roof", **RAIN)
    assert again.metadata.cached and kept_of(again) == kept_of(rain)
    number = next(iter(kept_of(rain)))
    assert client.candidates.file(again.request_id, number).path == kept_of(rain)[number]
    client.generate("a bell", **{**RAIN, "keep_candidates": False})
    hit = client.generate("a bell", **RAIN).metadata
    assert hit.cached and hit.candidates_kept == ()
    assert any("candidates_not_kept" in one and "force" in one for one in hit.warnings)
    assert len(client.generate("a bell", **RAIN, force=True).metadata.candidates_kept) == 2
    alone = client.generate("a gong", **{**RAIN, "candidates": 1}).metadata
    assert any("only one was made" in one for one in alone.warnings)


def test_who_joins_hears_them_only_where_he_asks(client: AudioClient) -> None:
    asked = {**RAIN, "duration_s": 2.0}
    first = client.submit("a slow river", **asked)
    second = client.submit("a slow river", **{**asked, "keep_candidates": False})
    third = client.submit("a slow river", **asked)
    results = [one.wait() for one in (first, second, third)]
    assert {one.path for one in results} == {results[0].path}
    assert len(kept_of(results[0])) == 2 and kept_of(results[2]) == kept_of(results[0])
    assert not results[1].metadata.candidates_kept and "candidates_kept" not in results[1].metadata
    with pytest.raises(NotFound):
        client.candidates.of(results[1].request_id)


def test_the_command_writes_them_beside_the_sound_and_keeps_one_instead(pool: AudioPool, tmp_path: Path) -> None:
    assert pool.endpoint is not None
    asked = ["generate", "a wooden wheel", "--duration", "0.5", "--candidates", "3", "--keep-candidates"]
    done = command(*asked, "--connect", pool.endpoint, "-o", str(tmp_path / "wheel.wav"))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "wheel.candidate-2.wav",
        "wheel.candidate-3.wav",
        "wheel.wav",
    ]
    told = re.search(r"audio-pool choose (\S+) NUMBER", done.stdout)
    assert told is not None and "candidate 2: seed " in done.stdout
    refused = command(*asked, "--connect", pool.endpoint, "-o", str(tmp_path / "wheel.wav"))
    assert refused.returncode == 2 and "already" in refused.stderr
    heard = samples(tmp_path / "wheel.candidate-3.wav")
    chosen = command("choose", told[1], "3", "--by", "Ada", "--connect", pool.endpoint, "--json")
    assert chosen.returncode == 0, chosen.stderr
    assert json.loads(chosen.stdout)["metadata"]["chosen"]["by"] == "Ada"
    again = pool.generate("a wooden wheel", duration_s=0.5, candidates=3)
    assert again.metadata.cached and np.array_equal(samples(again.path), heard)


def test_they_go_with_the_pool_and_nothing_else_does(tmp_path: Path) -> None:
    tree = {"cache": {"dir": str(tmp_path / "cache"), "encoder": "off"}}
    with AudioPool.from_config(tree) as pool:
        made = pool.generate("wind", **RAIN)
        assert len(kept_of(made)) == 2 and all(os.path.isfile(path) for path in kept_of(made).values())
    assert not any(os.path.exists(path) for path in kept_of(made).values()) and os.path.isfile(made.path)
