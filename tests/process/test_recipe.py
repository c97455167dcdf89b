"""Files tell other programs where their sound comes from, and the sound is made again from what they tell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from msgspec import structs
from tests.support.programs import needs_ffmpeg
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool, __version__
from audio_pool.audio import codec
from audio_pool.cli import main
from audio_pool.config import CacheConfig, Config, DefaultsConfig, ProvenanceConfig, WorkerConfig
from audio_pool.craft import Convert, Loop, Mix
from audio_pool.engines.procedural.info import INFO
from audio_pool.errors import Conflict, InvalidAudio, InvalidRequest, NotFound
from audio_pool.exchange.recipe_in_file import file_recipe
from audio_pool.exchange.remaking import Remade, remade

FORMATS = ["wav", "flac", "ogg", "opus", "mp3"]
RAIN = {"prompt": "rain on a tin roof", "duration_s": 0.5, "sample_rate": 22_050}
ALGORITHMIC = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    config = Config(
        cache=CacheConfig(dir=str(tmp_path_factory.mktemp("recipe") / "cache"), encoder="off"),
        defaults=DefaultsConfig(engine="procedural"),
        provenance=ProvenanceConfig(aigc=True, content_producer="Tin Roof Ltd", content_propagator="Tin Roof Ltd"),
        workers=[WorkerConfig(name="one", engines=["procedural", "mock"])],
    )
    with AudioPool(config) as pool:
        yield pool


def made(pool: AudioPool, out: Path, **fields: Any) -> Path:
    pool.generate({**RAIN, "format": out.suffix[1:], **fields}, output_path=str(out), timeout_s=PATIENCE_S)
    return out


def again(pool: AudioPool, file: Path, **how: Any) -> Remade:
    folder = file.parent / f"{file.name}.work"
    folder.mkdir(exist_ok=True)
    return remade(pool, file, *file_recipe(file), folder, timeout_s=PATIENCE_S, **how)


def shown_by_ffprobe(file: Path) -> dict[str, str]:
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", "-of", "json", str(file)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    tags = [*(one.get("tags", {}) for one in told["streams"]), told["format"].get("tags", {})]
    return {name.upper(): value for part in tags for name, value in part.items()}


@needs_ffmpeg
@pytest.mark.parametrize("format", FORMATS)
def test_another_program_sees_what_a_file_is(pool: AudioPool, tmp_path: Path, format: str) -> None:
    seen = shown_by_ffprobe(made(pool, tmp_path / f"a.{format}", loop=True))
    assert (seen.get("SOFTWARE") or seen["ENCODER"]).startswith(f"audio_pool {__version__}")
    assert (seen.get("DIGITALSOURCETYPE") or seen["IKEY"]) == ALGORITHMIC
    assert json.loads(seen["AIGC"])["ContentProducer"] == "Tin Roof Ltd"
    assert json.loads(seen["COMMENT"])["recipe"]["prompt"] == RAIN["prompt"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_made_again_byte_for_byte(pool: AudioPool, tmp_path: Path, format: str) -> None:
    """The first of them is made, the others are written from the master that it left in the cache."""
    file = made(pool, tmp_path / f"a.{format}", loop=True)
    found = again(pool, file, output=tmp_path / f"b.{format}")
    assert (found.equal, found.same_bytes, found.differs) == (True, True, ())
    assert (tmp_path / f"b.{format}").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": "mock", "candidates": 3, "prompt": "any"},
        {"engine": "procedural", "prompt": "wind in dry leaves", "highpass_hz": 120.0, "rendition_rate": 16_000,
         "target_lufs": -30.0, "limiter": True},
        {"engine": "procedural", "prompt": "a deep hum, bell and birds", "duration_s": 2.0, "bit_depth": 24},
    ],
    ids=["several candidates", "a rendition", "layers"],
)  # fmt: skip
def test_what_decided_the_sound_is_in_its_file(pool: AudioPool, tmp_path: Path, fields: dict[str, Any]) -> None:
    file = made(pool, tmp_path / "a.wav", **fields)
    found = again(pool, file)
    assert (found.equal, found.same_bytes) == (True, True), found


def test_a_candidate_that_was_not_chosen_is_made_again_and_not_the_chosen_one(pool: AudioPool, tmp_path: Path) -> None:
    """Its recipe is theirs all: only the seed tells which of them it is."""
    asked = {**RAIN, "engine": "mock", "candidates": 2, "keep_candidates": True, "prompt": "either"}
    result = pool.generate({**asked, "format": "wav"}, timeout_s=PATIENCE_S)
    assert result.metadata.candidates_kept
    for one in result.metadata.candidates_kept:
        file = tmp_path / f"{one.number}.wav"
        file.write_bytes(pool.candidates.file(result.request_id, one.number, delivery="inline").data)  # type: ignore[arg-type]
        assert again(pool, file).same_bytes


def test_what_was_kept_with_other_tags_is_written_anew_with_the_same_samples(pool: AudioPool, tmp_path: Path) -> None:
    """So are files of versions that wrote no tags: nothing is noted of theirs."""
    fields = {"prompt": "a bell", "seed": 5, "namespace": "former"}
    config = structs.replace(
        pool.config, provenance=ProvenanceConfig(), workers=[structs.replace(pool.config.workers[0], name="two")]
    )
    with AudioPool(config) as former:
        files = [made(former, tmp_path / f"a.{format}", **fields) for format in ("flac", "wav")]
    again = [made(pool, tmp_path / f"b.{format}", **fields) for format in ("flac", "wav")]
    result = pool.generate({**RAIN, **fields, "format": "flac"}, timeout_s=PATIENCE_S)
    assert result.metadata.cached and Path(result.path).read_bytes() == again[0].read_bytes()
    for was, now in zip(files, again, strict=True):
        assert "AIGC" not in codec.inspect(was)["tags"] and "AIGC" in codec.inspect(now)["tags"]
        assert np.array_equal(codec.read(was)[0], codec.read(now)[0])


@needs_ffmpeg
def test_a_recipe_outlives_another_programs_copy(pool: AudioPool, tmp_path: Path) -> None:
    file = made(pool, tmp_path / "a.wav", loop=True)
    for name in ("copied.wav", "copied.flac"):
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", file, *(("-c", "copy") if name.endswith("wav") else ()), tmp_path / name],
            check=True, timeout=60,
        )  # fmt: skip
        found = again(pool, tmp_path / name)
        assert found.equal, "ffmpeg decodes to the same samples"


def test_work_on_made_sounds_is_done_again(pool: AudioPool, tmp_path: Path) -> None:
    a, b = made(pool, tmp_path / "a.wav"), made(pool, tmp_path / "b.flac", prompt="wind in dry leaves")
    for name, craft, given in (
        ("loop.wav", Loop(crossfade_s=0.05), [a]),
        ("mix.ogg", Mix(levels_db=(-3.0, 0.0)), [a, b]),
        ("convert.flac", Convert(), [a]),
    ):
        out = tmp_path / name
        pool.craft(craft, given, output_path=out, format=out.suffix[1:], timeout_s=PATIENCE_S)
        tags = codec.inspect(out)["tags"]
        assert tags["DIGITALSOURCETYPE"] == ALGORITHMIC and "Tin Roof" in tags["AIGC"]
        found = again(pool, out)
        assert (found.equal, found.same_bytes) == (True, True), name
    pool.craft(Convert(), [tmp_path / "mix.ogg"], output_path=tmp_path / "twice.wav", format="wav")
    assert again(pool, tmp_path / "twice.wav").equal


def test_what_is_other_than_it_was_is_refused_and_measured_when_it_is_made_anyway(
    pool: AudioPool, tmp_path: Path
) -> None:
    file = made(pool, tmp_path / "a.wav")
    facts = codec.inspect(file)["recipe"]
    facts["software"] = "audio_pool 0.0.1"
    facts["recipe"]["seed"] = facts["recipe"]["seed"] ^ 1
    audio, rate = codec.read(file)
    codec.write(file, audio, rate, "wav", 16, json.dumps(facts), False)
    with pytest.raises(Conflict, match="version"):
        again(pool, file)
    found = again(pool, file, anyway=True)
    assert not found.equal and found.differs and found.max_difference > 0.01 and found.spectral_distance_db > 0
    facts["engine"] = facts["recipe"]["engine"] = "nobody"
    codec.write(file, audio, rate, "wav", 16, json.dumps({**facts, "software": f"audio_pool {__version__}"}), False)
    with pytest.raises(NotFound, match="nobody"):
        again(pool, file)


def test_a_sound_that_was_started_from_is_given_by_hand_and_must_be_the_very_one(
    pool: AudioPool, tmp_path: Path
) -> None:
    start, other = tmp_path / "start.wav", tmp_path / "other.wav"
    for number, path in enumerate((start, other)):
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(22_050), 22_050)
    file = made(pool, tmp_path / "a.wav", prompt="rain", init_audio=str(start), extend_s=0.5, duration_s=None)
    assert codec.inspect(file)["tags"]["DIGITALSOURCETYPE"].endswith("/compositeSynthetic")
    assert str(tmp_path) not in codec.inspect(file)["comment"]
    with pytest.raises((NotFound, Conflict), match="not in"):
        again(pool, file)
    with pytest.raises(Conflict, match="SHA-256"):
        again(pool, file, init_audio=other)
    assert again(pool, file, init_audio=start).equal


# -- what anybody may have written


def forged(tmp_path: Path, **changes: Any) -> Path:
    facts: dict[str, Any] = {
        "made_by": "audio_pool", "prompt": "rain", "engine": "procedural", "software": f"audio_pool {__version__}",
    }  # fmt: skip
    recipe = {
        "prompt": "rain", "negative_prompt": "", "engine": "procedural", "model": "procedural", "frames": 11_025,
        "sample_rate": 22_050, "loop": False, "seed": 1, "steps": None, "guidance_scale": None, "candidates": 1,
        "voice": None, "init_audio_sha256": None, "init_strength": None, "namespace": "default",
        "model_revision": INFO.model_revision,
    }  # fmt: skip
    facts["rendition"] = {
        "format": "wav", "sample_rate": 22_050, "bit_depth": 16, "target_lufs": -23.0, "true_peak_dbfs": -2.0
    }  # fmt: skip
    path = tmp_path / "forged.wav"
    comment = json.dumps({**facts, "recipe": {**recipe, **changes.pop("recipe", {})}, **changes})
    codec.write(path, np.zeros((1, 400), np.float32), 22_050, "wav", 16, comment, False)
    return path


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"recipe": {"frames": 10**12}}, InvalidRequest),
        ({"recipe": {"engine": "../../etc/passwd"}}, NotFound),
        ({"recipe": {"options": [["x" * 999, 1]]}}, InvalidRequest),
        ({"recipe": {"init_audio": "/etc/passwd"}}, NotFound),
        ({"recipe": {"model": "/etc"}}, Conflict),
        ({"work": [{"craft": {"kind": "convert"}, "form": {"output_path": "/etc/x"}}]}, InvalidRequest),
        ({"work": [{"craft": {"kind": "convert"}, "of": [{"path": "/etc/passwd"}]}]}, NotFound),
        ({"work": [{"craft": {"kind": "convert"}}] * 40}, InvalidRequest),
        ({"work": [{"craft": {"kind": "rm"}}]}, InvalidRequest),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else value.__name__,
)
def test_a_forged_recipe_reads_no_file_and_asks_for_nothing_that_is_not_allowed(
    pool: AudioPool, tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        again(pool, forged(tmp_path, **changes))


def test_a_recipe_is_shown_so_that_it_cannot_move_the_cursor(tmp_path: Path) -> None:
    path = forged(tmp_path, recipe={"prompt": "\x1b[2J\u202erain\nmade by me"}, AIGC={"Label": "\x1b[31m"})
    shown = CliRunner().invoke(main, ["recipe", str(path)], catch_exceptions=False)
    assert shown.exit_code == 0 and not {"\x1b", "\u202e"} & set(shown.output)
    asked = CliRunner().invoke(main, ["recipe", str(path), "--json"], catch_exceptions=False)
    assert json.loads(asked.output)["prompt"] == "\x1b[2J\u202erain\nmade by me" and "\x1b" not in asked.output


def test_what_is_no_file_of_ours_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    plain = tmp_path / "plain.wav"
    soundfile.write(plain, np.zeros(100), 8_000)
    huge = tmp_path / "huge.wav"
    shutil.copy(plain, huge)
    os.truncate(huge, 9 << 30)
    for path, error in (
        (tmp_path / "pipe", InvalidAudio), (tmp_path, InvalidAudio), (huge, InvalidAudio),
        (tmp_path / "none.wav", NotFound), (plain, NotFound),
    ):  # fmt: skip
        with pytest.raises(error):
            file_recipe(path)


def test_the_command_makes_a_sound_again(pool: AudioPool, tmp_path: Path) -> None:
    file = made(pool, tmp_path / "a.flac")
    common = ["--cache-dir", str(tmp_path / "cache")]
    run = CliRunner()
    shown = run.invoke(main, ["recipe", str(file)], catch_exceptions=False)
    assert RAIN["prompt"] in shown.output and "AIGC" in shown.output
    asked = json.loads(run.invoke(main, ["recipe", str(file), "--json"], catch_exceptions=False).output)
    assert asked["duration_s"] == 0.5 and asked["format"] == "flac"
    out = tmp_path / "b.flac"
    for arguments in (["--remake"], ["-o", str(out)]):
        assert run.invoke(main, ["recipe", str(file), *arguments]).exit_code != 0
    done = run.invoke(main, ["recipe", str(file), "--remake", "-o", str(out), *common], catch_exceptions=False)
    assert done.exit_code == 0 and "byte for byte" in done.output and out.read_bytes() == file.read_bytes()
