"""Given files worked on by real workers: over the wire, within a program, and by the commands."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AsyncAudioClient, AudioClient, AudioPool
from audio_pool.audio import codec
from audio_pool.cli import main
from audio_pool.cli.crafting import Job, done
from audio_pool.config import CacheConfig, Config, ServerConfig, WorkerConfig
from audio_pool.craft import Check, Convert, CraftReport, Loop, Master, Mix, Sequence
from audio_pool.errors import AudioPoolError, InvalidAudio, InvalidRequest, PathNotAllowed

RATE = 22_050


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("craft")
    (place / "in" / "deep").mkdir(parents=True)
    (place / "out").mkdir()
    for number, name in enumerate(("a.wav", "b.flac", "deep/c.wav")):
        noise = 0.1 * np.random.default_rng(number).standard_normal(RATE)
        soundfile.write(place / "in" / name, noise, RATE)
    (place / "in" / "broken.wav").write_bytes(b"RIFF nothing")
    return place


@pytest.fixture(scope="module")
def pool(place: Path) -> Iterator[AudioPool]:
    config = Config(
        cache=CacheConfig(enabled=False, dir=str(place / "cache"), render_dir=str(place / "renders")),
        server=ServerConfig(
            bind=f"ipc://{place}/s.sock", output_roots=[str(place / "out")], input_roots=[str(place / "in")],
            max_inline_bytes=100_000,
        ),
        workers=[WorkerConfig(name="craft", roles=["master"])],
    )  # fmt: skip
    with AudioPool(config, serve=True) as pool:
        yield pool


def leftovers(place: Path) -> list[str]:
    return [path.name for path in (place / "renders").glob("craft-*")]


def test_a_file_is_named_or_sent_and_its_result_put_or_sent(pool: AudioPool, place: Path) -> None:
    a, b, out = place / "in" / "a.wav", place / "in" / "b.flac", place / "out" / "loop.ogg"
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        put = client.craft(Loop(crossfade_s=0.2), [a], output_path=out, format="ogg")
        assert put.path == str(out) and codec.inspect(out)["loop"] is not None
        assert put.given[0].name == str(a) and put.loop is not None and put.loop.seam_score > 90
        sent = client.craft(Sequence(crossfade_s=0.1), [a], sounds=[b, b.read_bytes()], delivery="inline", format="mp3")
        assert isinstance(sent.data, bytes) and sent.path is None
        assert [one.name for one in sent.given] == [str(a), "sound 1", "sound 2"]
        assert sent.given[1].sha256 == sent.given[2].sha256
        assert not leftovers(place)  # what was delivered lies nowhere else
        assert len(client.craft(Mix(), sounds=[b] * 64, delivery="inline", format="mp3").given) == 64
        assert client.craft(Check(), sounds=[b]).path is None
        kept = client.craft(Convert(), [b], format="wav")  # no place was named: it stays where such results go
        assert kept.path is not None and Path(kept.path).parent == place / "renders"
        Path(kept.path).unlink()


def test_who_holds_the_pool_and_who_awaits_it_get_the_same(pool: AudioPool, place: Path) -> None:
    b = place / "in" / "b.flac"

    async def awaited() -> CraftReport:
        async with AsyncAudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
            return await client.craft(Check(loop=True), [b])

    own = pool.craft(Check(loop=True), [b])
    assert own == asyncio.run(awaited())
    assert isinstance(pool.craft(Convert(), sounds=[b], delivery="inline").data, bytes)


def test_what_cannot_be_is_told_and_nothing_is_left(pool: AudioPool, place: Path) -> None:
    a = place / "in" / "a.wav"
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        with pytest.raises(InvalidRequest, match=r"paths, sounds: given 2, allowed for this are 1"):
            client.craft(Loop(), [a, a])
        with pytest.raises(InvalidRequest, match=r"paths, sounds: given 0, allowed for this are 1 to 64"):
            client.craft(Mix())
        with pytest.raises(PathNotAllowed):
            client.craft(Check(), ["/etc/hostname"])
        with pytest.raises(PathNotAllowed):
            client.craft(Convert(), [a], output_path=place / "elsewhere.wav")
        with pytest.raises(InvalidRequest, match="output_path: given for a check"):
            client.craft(Check(), [a], output_path=place / "out" / "x.wav")
        with pytest.raises(InvalidRequest, match="bit_rate: is for the formats"):
            client.craft(Convert(), [a], format="wav", bit_rate=64)
        with pytest.raises(InvalidAudio, match="not a sound file"):
            client.craft(Check(), [place / "in" / "broken.wav"])
        with pytest.raises(InvalidAudio, match=r"delivered inline are at most 100,000"):
            client.craft(Sequence(), [a] * 6, delivery="inline")
        with pytest.raises(AudioPoolError, match="duration"):
            client.craft(Loop(duration_s=0.0001), [a])
    eventually(lambda: not leftovers(place), "what was made for nobody is gone")


def test_the_commands_work_on_files_and_folders_and_list_what_failed(
    place: Path, pool: AudioPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runner = CliRunner()
    # workers of its own, a whole folder, one file of which is no sound
    done = runner.invoke(main, ["master", str(place / "in"), "-o", str(tmp_path / "out"), "--format", "flac", "-j2"])
    assert done.exit_code == 1 and "broken.wav: " in done.stderr
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.flac")) == [
        "a.flac", "b.flac", "deep/c.flac",
    ]  # fmt: skip
    # a recording's ending is not always that of a format: what comes of it is what its own ending says
    shutil.copy(tmp_path / "out/a.flac", tmp_path / "first.aif")
    soundfile.write(tmp_path / "second.oga", np.zeros(RATE) + 0.1, RATE, format="OGG")
    soundfile.write(tmp_path / "third.wav", np.zeros(RATE) + 0.1, RATE, format="FLAC")
    sources = [str(tmp_path / name) for name in ("first.aif", "second.oga", "third.wav")]
    named = runner.invoke(main, ["convert", *sources])
    assert named.exit_code == 0, named.output
    for name, format_ in (("first.convert.wav", "WAV"), ("second.convert.ogg", "OGG"), ("third.convert.wav", "WAV")):
        assert soundfile.info(tmp_path / name).format == format_, name
    # a server's workers
    connect = ["--connect", pool.endpoint or ""]
    mixed = runner.invoke(
        main, ["mix", str(place / "in/a.wav"), str(place / "in/b.flac"), "--level", "-3", "--at", "0", "--at", "0.5",
               "-o", str(place / "out/mix.wav"), "--json", *connect],
    )  # fmt: skip
    assert mixed.exit_code == 0, mixed.output
    (told,) = json.loads(mixed.stdout)
    assert told["duration_s"] == pytest.approx(1.5) and codec.inspect(place / "out/mix.wav")["frames"] == RATE * 3 // 2
    judged = runner.invoke(main, ["check", str(place / "out/mix.wav"), str(place / "in/a.wav"), "--min-quality", "101"])
    assert judged.exit_code == 2 and "101" in judged.output
    again = runner.invoke(main, ["mix", str(place / "in/a.wav"), "-o", str(place / "out/mix.wav"), *connect])
    assert again.exit_code == 2 and "exists already" in again.output
    for wrong, said in (
        (["loop", str(place / "in")], "--output: missing; for a folder's files"),
        (["convert", str(place / "in/a.wav"), "-o", "x.txt"], "allowed endings are"),
        (["sequence", str(place / "in/a.wav")], "--output: missing"),
        (["check", str(place / "nothing")], "no such file or folder"),
    ):
        refused = runner.invoke(main, wrong)
        assert refused.exit_code == 2 and said in refused.output, wrong


def test_who_interrupts_does_not_wait_for_what_is_in_hand(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).standard_normal(60 * 48_000) / 10, 48_000)
    long, short = Job(Master(), (tmp_path / "long.wav",), tmp_path / "out.wav"), Job(Check(), (place / "in/a.wav",))
    options = {"connect": None, "config_path": None, "jobs": 1, "timeout_s": PATIENCE_S}
    told = done([short, long], {}, options, quiet=True)
    assert next(told).job is short
    told.close()  # as an interrupt does
    assert not (tmp_path / "out.wav").exists()
