"""Given sounds worked on: what each craft does to a file, and what it says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import soundfile
from tests.support.audio_signals import RATE, pink, steps, tone

from audio_pool.audio import Audio, codec
from audio_pool.audio.seam import seam_score
from audio_pool.craft import Check, Convert, Craft, CraftForm, CraftReport, Loop, Master, Mix, Sequence
from audio_pool.errors import InvalidAudio, InvalidRequest, NotFound
from audio_pool.tasks import CraftTask
from audio_pool.worker.crafting import crafted


def given(place: Path, audio: Audio, *, name: str = "given.wav", rate: int = RATE, loop: bool = False) -> Path:
    path = place / name
    codec.write(path, audio, rate, path.suffix[1:], 24, '{"made_by":"somebody"}', loop)
    return path


def craft(place: Path, what: Craft, *paths: Path, **form: Any) -> CraftReport:
    task = CraftTask(
        craft=what, form=CraftForm(**form), paths=tuple(map(str, paths)), out=str(place / "made"), highpass_hz=80.0
    )
    return crafted(task, 600.0)


def heard(report: CraftReport) -> tuple[Audio, int]:
    assert report.path is not None
    return codec.read(Path(report.path))


def test_a_recording_becomes_a_loop_without_its_silence_and_fades(tmp_path: Path) -> None:
    audio = pink(6 * RATE)
    audio[:, : RATE // 2] *= np.linspace(0, 1, RATE // 2)
    audio[:, -RATE // 2 :] *= np.linspace(1, 0, RATE // 2)
    silence = np.zeros((2, RATE // 4), np.float32)
    path = given(tmp_path, np.concatenate([silence, audio, silence], axis=1))
    report = craft(tmp_path, Loop(crossfade_s=1.0), path)
    made, rate = heard(report)
    assert rate == RATE and report.is_loop and codec.inspect(Path(report.path or ""))["loop"]["start"] == 0
    assert 4.0 < report.duration_s < 5.2
    assert report.loop is not None and report.loop.method == "crossfade" and report.loop.seam_score > 95
    assert abs(seam_score(made, RATE, 0) - 100) < 5
    # as loud at its ends as in its middle: no fade comes round
    levels = np.sqrt(np.square(made[:, : RATE * 4]).reshape(2, 16, -1).mean(axis=(0, 2)))
    assert 0.7 < levels[0] / levels[8] < 1.4 and 0.7 < levels[-1] / levels[8] < 1.4
    assert any(warning.startswith("ends_left_out:") for warning in report.warnings)


def test_what_repeats_by_itself_stays_as_it_is_unless_it_is_to_be_crossfaded(tmp_path: Path) -> None:
    turn = tone(RATE)  # 440 periods
    path = given(tmp_path, turn, loop=True)
    report = craft(tmp_path, Loop(), path)
    assert report.loop is not None and report.loop.method == "native" and report.duration_s == 1.0
    assert np.abs(heard(report)[0] - turn).max() < 1e-6
    assert craft(tmp_path, Loop(method="crossfade"), path).duration_s < 1.0
    assert craft(tmp_path, Loop(duration_s=3.0), path).duration_s == 3.0
    fading = given(tmp_path, pink(2 * RATE) * np.linspace(1, 0.001, 2 * RATE, dtype=np.float32), name="fading.wav")
    with pytest.raises(InvalidRequest, match=r"method: given 'native'"):
        craft(tmp_path, Loop(method="native"), fading)


def test_mastering_reaches_the_loudness_that_another_meter_reads(tmp_path: Path) -> None:
    path = given(tmp_path, pink(4 * RATE, 0.02))
    report = craft(tmp_path, Master(), path, target_lufs=-18.0, true_peak_dbfs=-2.0)
    made, rate = heard(report)
    assert abs(pyloudnorm.Meter(rate).integrated_loudness(made.T) + 18.0) < 0.2
    assert report.loudness_lufs is not None and abs(report.loudness_lufs + 18.0) < 0.1
    assert report.highpass != 0 and report.to_dict()["highpass"] == {"hz": 80.0, "why": "configured"}
    low = given(tmp_path, tone(2 * RATE, 50.0), name="low.wav")
    assert craft(tmp_path, Master(), low).to_dict()["highpass"] == {"hz": 25.0, "why": "spectrum"}
    assert craft(tmp_path, Master(highpass_hz=0.0), low).to_dict()["highpass"]["why"] == "off"
    loud = craft(tmp_path, Master(), given(tmp_path, steps(2 * RATE)), target_lufs=-8.0, true_peak_dbfs=-2.0)
    assert any(warning.startswith("loudness_limited:") for warning in loud.warnings)
    path = given(tmp_path, steps(2 * RATE))
    held = craft(tmp_path, Master(), path, target_lufs=-14.0, true_peak_dbfs=-2.0, limiter=True)
    assert held.true_peak_dbfs is not None and held.true_peak_dbfs <= -1.95


def test_converting_keeps_level_loop_and_what_the_file_says(tmp_path: Path) -> None:
    turn = pink(RATE, 0.05)
    path = given(tmp_path, turn, loop=True)
    report = craft(tmp_path, Convert(), path, format="flac")
    assert np.abs(heard(report)[0] - turn).max() < 1e-6
    told = codec.inspect(Path(report.path or ""))
    assert told["loop"] == {"start": 0, "end": RATE - 1} and told["comment"] == '{"made_by":"somebody"}'
    assert report.sample_rate == RATE and report.bit_depth == 24 and report.loop is not None
    down = craft(tmp_path, Convert(), path, format="opus")
    assert down.sample_rate == 48_000 and any(one.startswith("rate_changed:") for one in down.warnings)
    mono = craft(tmp_path, Convert(), path, mono=True, sample_rate=22_050)
    assert (mono.channels, mono.sample_rate, mono.format) == (1, 22_050, "wav")
    assert seam_score(heard(mono)[0], 22_050, 0) > 95  # resampled as a loop
    soundfile.write(tmp_path / "over.wav", 5.0 * tone(RATE).T, RATE, subtype="FLOAT")
    over = craft(tmp_path, Convert(), tmp_path / "over.wav", format="flac")
    assert any(one.startswith("turned_down:") for one in over.warnings)
    assert np.abs(heard(over)[0]).max() <= 1.0
    part = given(tmp_path, turn, name="part.flac")
    data = part.read_bytes()
    assert craft(tmp_path, Convert(), part).path is not None and part.read_bytes() == data


def test_a_mix_has_levels_times_and_room_for_all(tmp_path: Path) -> None:
    a = given(tmp_path, tone(RATE, 440.0, 0.5, channels=1), name="a.wav")
    b = given(tmp_path, tone(48_000, 880.0, 0.5, rate=48_000), name="b.flac", rate=48_000)
    report = craft(tmp_path, Mix(levels_db=(0.0, -6.0), offsets_s=(0.0, 2.0)), a, b)
    made, rate = heard(report)
    assert (rate, report.channels, report.duration_s) == (48_000, 2, 3.0)
    assert not np.abs(made[:, 48_200 : 2 * 48_000 - 200]).max() > 1e-4
    assert abs(np.abs(made[:, 2 * 48_000 + 1_000 : -1_000]).max() - 0.25) < 0.01
    assert [one.name for one in report.given] == [str(a), str(b)]
    with pytest.raises(InvalidRequest, match=r"levels_db: given 1, allowed is one for each of the 2 sounds"):
        craft(tmp_path, Mix(levels_db=(1.0,)), a, b)
    with pytest.raises(InvalidRequest, match=r"the whole would have 6\d\d s, allowed are 600 s"):
        craft(tmp_path, Mix(offsets_s=(0.0, 600.0)), a, b)
    turn = given(tmp_path, pink(2 * RATE), name="turn.wav", loop=True)
    looped = craft(tmp_path, Mix(loop=True, offsets_s=(0.0, 0.5)), turn, a)
    assert looped.is_loop and looped.loop is not None and looped.loop.seam_score > 90
    assert looped.duration_s == 2.0


def test_a_sequence_is_one_after_the_other(tmp_path: Path) -> None:
    paths = [given(tmp_path, pink(RATE, seed=seed), name=f"{seed}.wav") for seed in range(3)]
    assert craft(tmp_path, Sequence(crossfade_s=0.25), *paths).duration_s == pytest.approx(2.5)
    assert craft(tmp_path, Sequence(gap_s=0.5), *paths).duration_s == pytest.approx(4.0)
    turn = craft(tmp_path, Sequence(crossfade_s=0.25, loop=True), *paths)
    assert turn.duration_s == pytest.approx(2.25) and turn.loop is not None and turn.loop.seam_score > 95


def test_a_check_judges_and_writes_nothing(tmp_path: Path) -> None:
    clipped = np.clip(tone(RATE, amplitude=3.0), -0.9, 0.9)
    report = craft(tmp_path, Check(), given(tmp_path, clipped))
    assert report.path is None and "clipping" in report.quality.issues and report.quality.score < 50
    assert report.given[0].loudness_lufs == report.loudness_lufs
    broken = pink(RATE) * np.linspace(0.1, 1, RATE, dtype=np.float32)
    worse = craft(tmp_path, Check(loop=True), given(tmp_path, broken))
    assert worse.loop is not None and worse.loop.seam_score < 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.wav"]


def test_what_is_no_sound_or_not_alike_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(InvalidAudio, match=r"text\.wav: not a sound file"):
        craft(tmp_path, Check(), tmp_path / "text.wav")
    with pytest.raises(NotFound, match=r"missing\.wav"):
        craft(tmp_path, Check(), tmp_path / "missing.wav")
    with pytest.raises(InvalidAudio, match=r"given 0\.01 s, allowed is 0\.05 s or more"):
        craft(tmp_path, Check(), given(tmp_path, tone(441)))
    soundfile.write(tmp_path / "six.wav", np.zeros((RATE, 6)) + 0.1, RATE)
    with pytest.raises(InvalidAudio, match=r"given sounds with 2, 6 channels"):
        craft(tmp_path, Mix(), tmp_path / "six.wav", given(tmp_path, pink(RATE)))
    with pytest.raises(InvalidRequest, match=r"format: given mp3 for 6 channels, allowed are 2"):
        craft(tmp_path, Convert(), tmp_path / "six.wav", format="mp3")
    assert craft(tmp_path, Convert(), tmp_path / "six.wav", format="mp3", mono=True).channels == 1
    soundfile.write(tmp_path / "nan.wav", np.full((RATE, 1), np.nan), RATE, subtype="FLOAT")
    with pytest.raises(InvalidAudio, match=r"nan\.wav: given a sound with"):
        craft(tmp_path, Check(), tmp_path / "nan.wav")
