"""``audio-pool verify``: files edited by other programs, and what it says of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from tests.support.programs import needs_ffmpeg
from tests.support.registered import bursts, keep, write
from tests.support.waiting import PATIENCE_S

from audio_pool import AsyncAudioClient, AudioClient, AudioPool
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cli.verify import verify
from audio_pool.config import CacheConfig, Config, ServerConfig, WorkerConfig
from audio_pool.errors import Busy, InvalidAudio, InvalidRequest, NotFound, PathNotAllowed


class Kept(NamedTuple):
    """A cache directory, files that were delivered from it, and a folder to work in."""

    cache: Path
    rain: Path
    gong: Path
    folder: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("verify")
    cache = SoundCache(folder / "cache")
    rain = keep(cache, bursts(50, 3.0, channels=2), "rain", loop=True)
    gong = keep(cache, bursts(51, 2.5), "a gong", seed=2)
    keep(cache, bursts(52, 1.0), "something else", seed=3)
    cache.close()
    return Kept(folder / "cache", Path(rain.path), Path(gong.path), folder)


def edited(kept: Kept, source: Path, name: str, *how: str, before: tuple[str, ...] = ()) -> Path:
    out = kept.folder / name
    command = ["ffmpeg", "-v", "error", "-y", *before, "-i", str(source), "-map_metadata", "-1", *how, str(out)]
    subprocess.run(command, check=True, timeout=60)
    return out


def asked(kept: Kept, *files: Path) -> tuple[int, list[dict[str, Any]]]:
    given = [*map(str, files), "--cache-dir", str(kept.cache), "--json"]
    done = CliRunner().invoke(verify, given)
    return done.exit_code, msgspec.json.decode(done.stdout)


@needs_ffmpeg
def test_files_that_ffmpeg_has_edited_are_known_and_the_changes_named(kept: Kept) -> None:
    quiet = edited(kept, kept.gong, "quiet.flac", "-af", "volume=-9dB")
    mp3 = edited(kept, kept.gong, "gong.mp3", "-b:a", "64k")
    cut = edited(kept, kept.gong, "cut.wav", "-t", "1", before=("-ss", "0.75"))
    opus = edited(kept, kept.rain, "rain.opus", "-c:a", "libopus", "-b:a", "48k")
    mono = edited(kept, kept.rain, "mono.wav", "-ac", "1", "-ar", "22050")
    turns = edited(kept, kept.rain, "turns.mp3", "-af", "aloop=loop=3:size=132300,atrim=1:8", "-b:a", "64k")
    code, told = asked(kept, kept.gong, quiet, mp3, cut, opus, mono, turns)
    assert code == 0
    assert {one["verdict"] for one in told} == {"made_here"}
    assert [one["origin"]["prompt"] for one in told] == ["a gong"] * 4 + ["rain"] * 3
    assert (told[0]["by"], told[0]["changed"]) == ("file", [])
    assert told[1]["changed"] == ["loudness (-9.0 dB)", "tags stripped"]
    assert told[2]["changes"]["encoding"] == "mp3"
    assert (told[3]["changes"]["from_s"], told[3]["changes"]["to_s"]) == (
        pytest.approx(0.75, abs=0.05), pytest.approx(1.75, abs=0.05),
    )  # fmt: skip
    assert (told[4]["changes"]["encoding"], told[4]["changes"]["sample_rate"]) == ("opus", 48_000)
    assert (told[5]["changes"]["channels"], told[5]["changes"]["sample_rate"]) == (1, 22_050)
    assert told[6]["changes"]["turns"] == pytest.approx(7 / 3, abs=0.05)
    assert told[6]["changes"]["rotated_s"] == pytest.approx(1.0, abs=0.05)


def test_one_that_is_not_known_gives_1_and_one_that_cannot_be_read_2(kept: Kept) -> None:
    foreign = write(kept.folder / "foreign.wav", bursts(60))
    code, told = asked(kept, kept.gong, foreign)
    assert (code, [one["verdict"] for one in told]) == (1, ["made_here", "unknown"])
    pipe = kept.folder / "pipe.wav"
    os.mkfifo(pipe)
    code, told = asked(kept, foreign, pipe, kept.gong)
    assert (code, "not a regular file" in told[1]["error"], told[2]["verdict"]) == (2, True, "made_here")


def test_a_file_that_decodes_to_more_than_ten_minutes_is_refused_before_it_is_decoded(kept: Kept) -> None:
    long = kept.folder / "long.flac"
    soundfile.write(long, np.zeros(660 * 8000, np.int16), 8000)
    assert long.stat().st_size < 1_000_000
    code, told = asked(kept, long)
    assert (code, "600" in told[0]["error"]) == (2, True)


def test_a_folder_is_gone_through_and_said_in_words(kept: Kept) -> None:
    folder = kept.folder / "sent"
    folder.mkdir()
    write(folder / "a.wav", bursts(51, 2.5) * 0.5)
    write(folder / "b.wav", bursts(61))
    said = CliRunner().invoke(verify, [str(folder), "--cache-dir", str(kept.cache)])
    assert said.exit_code == 1
    assert "a.wav: made here on 20" in said.stdout and "by procedural, seed 2" in said.stdout
    assert "changed since: loudness (-6.0 dB), tags stripped" in said.stdout
    assert "b.wav: not known here" in said.stdout


def test_bytes_after_the_sound_are_told_of(kept: Kept) -> None:
    longer = kept.folder / f"longer{kept.gong.suffix}"
    longer.write_bytes(kept.gong.read_bytes() + b"x")
    for path, told in ((kept.gong, "changed since: nothing\n"), (longer, "its bytes are those of no file")):
        said = CliRunner().invoke(verify, [str(path), "--cache-dir", str(kept.cache)])
        assert told in said.stdout


@pytest.fixture(scope="module")
def pool(kept: Kept) -> Iterator[AudioPool]:
    allowed = kept.folder / "allowed"
    allowed.mkdir()
    config = Config(
        cache=CacheConfig(dir=str(kept.cache), encoder="off"),
        server=ServerConfig(bind=f"ipc://{kept.folder}/s.sock", input_roots=[str(allowed)]),
        workers=[WorkerConfig(name="reader", roles=["master"])],
    )
    with AudioPool(config, serve=True) as pool:
        yield pool


def test_a_server_is_asked_by_path_and_by_what_is_sent_and_by_every_door(pool: AudioPool, kept: Kept) -> None:
    quiet = write(kept.folder / "allowed" / "quiet.wav", bursts(51, 2.5) * 0.5)
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        named = client.verify(quiet)
        sent = client.verify(sound=quiet)
        assert (named.name, sent.name) == (str(quiet), "quiet.wav")
        assert client.verify(sound=quiet.read_bytes()).name == "the sound that was sent"
        for told in (named, sent, pool.verify(quiet), pool.verify(sound=quiet.read_bytes())):
            assert (told.verdict, told.by, told.sha256) == ("made_here", "fingerprint", named.sha256)
            assert told.origin is not None and told.origin.prompt == "a gong"
            assert told.changes.told() == ["loudness (-6.0 dB)", "tags stripped"]
        whole = client.verify(sound=kept.gong)
        assert (whole.by, whole.certain) == ("file", True)
        other = client.verify(sound=kept.gong, namespace="somebody else's")
        assert other.origin is not None and (other.verdict, other.origin.seed) == ("made_here", None)
        assert "a gong" not in repr(other)
    code = CliRunner().invoke(verify, [str(quiet), "--connect", pool.endpoint, "--json"])
    assert (code.exit_code, msgspec.json.decode(code.stdout)[0]["changed"][0]) == (0, "loudness (-6.0 dB)")


def test_a_server_says_what_is_wrong_with_a_file_and_goes_on(pool: AudioPool, kept: Kept, tmp_path: Path) -> None:
    foreign = write(kept.folder / "allowed" / "foreign.wav", bursts(62))
    (kept.folder / "allowed" / "link.wav").symlink_to(kept.gong)
    os.mkfifo(kept.folder / "allowed" / "pipe.wav")
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        for path, error in (
            (kept.gong, PathNotAllowed),
            (kept.folder / "allowed" / "link.wav", PathNotAllowed),
            (kept.folder / "allowed" / "pipe.wav", InvalidAudio),
            (kept.folder / "allowed" / "nothing.wav", NotFound),
        ):
            with pytest.raises(error):
                client.verify(path)
        with pytest.raises(InvalidRequest):
            client.verify()
        with pytest.raises(InvalidAudio):
            client.verify(sound=b"no sound at all")
        assert client.verify(foreign).verdict == "unknown"


def test_one_client_has_so_many_files_verified_at_a_time_and_another_is_served(pool: AudioPool) -> None:
    data = Path(write(Path(pool.config.cache.dir).parent / "long.wav", bursts(63, 4.0))).read_bytes()

    async def flood() -> list[object]:
        async with AsyncAudioClient(pool.endpoint, timeout_s=PATIENCE_S) as one, AsyncAudioClient(
            pool.endpoint, timeout_s=PATIENCE_S
        ) as other:
            many = [one.verify(sound=data) for _ in range(12)]
            told = await asyncio.gather(*many, other.verify(sound=data), return_exceptions=True)
            assert (await one.verify(sound=data)).verdict == "unknown"  # what was refused takes no place
            return list(told)

    told = asyncio.run(flood())
    assert not isinstance(told[-1], Exception)
    refused = [one for one in told[:-1] if isinstance(one, Exception)]
    assert all(isinstance(one, Busy) for one in refused)
    assert len(refused) <= 8
