"""A finished sound is what plain formulas give: scipy's filters, sums over every sample, an oversampling of all of it.

So a faster way cannot change a sound: gains within a hundredth of a decibel, samples within one step of 24 bits.
"""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import hatch_build
import numpy as np
import pytest
import scipy.signal
import soundfile
from tests.support.audio_signals import RATE, chord, decaying, pink, steps, tone, white

from audio_pool.audio import Audio, native
from audio_pool.engine_info import Notes
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe, Rendition, Shape
from audio_pool.worker.mastering import Finished, Mastering
from audio_pool.worker.shaping import RawCandidate

STEP = 2.0**23
ONE_SHOTS: dict[str, Audio] = {
    "noise": white(5 * RATE // 4),
    "pink, with an offset": pink(5 * RATE // 4) + np.float32(0.05),
    "a chord that ends in mid-swing": chord(5 * RATE // 4),
    "steps": steps(2 * RATE, 0.41),
    "a quiet low tone": tone(5 * RATE // 4, 91.0, 0.02),
    "a click": decaying(RATE // 4, 0.02),
}


@pytest.fixture(scope="module")
def mastering() -> Mastering:
    return Mastering()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL | None:
    """The library of the present source; None where there is no compiler either."""
    if native.library() is not None or shutil.which("cc") is None:
        return native.library()
    path = tmp_path_factory.mktemp("kernels") / native.NAME
    assert hatch_build.compile_kernels(path) == ""
    return native.loaded(path)


def finished(mastering: Mastering, folder: Path, audio: Audio, frames: int, loop: bool) -> tuple[Finished, Audio]:
    """Master one candidate; return what is told, and the file's samples, float64 [T, C], in steps of 24 bits."""
    shape = Shape(sample_rate=RATE, frames=frames, loop=loop, tail_s=0.5, highpass_hz=80.0, highpass_order=4)
    recipe = Recipe(
        prompt="a sound", negative_prompt="", engine="test", model="m", frames=frames, sample_rate=RATE, loop=loop,
        seed=1, steps=None, guidance_scale=None, candidates=1, voice=None, init_audio_sha256=None, init_strength=None,
        namespace="default", highpass_hz=80.0,
    )  # fmt: skip
    done = mastering.finish(
        [RawCandidate(audio=audio, sample_rate=RATE, seed=1, notes=Notes(expects=frozenset({"noise"})))],
        recipe=recipe,
        shape=shape,
        rendition=Rendition(format="flac", sample_rate=RATE, bit_depth=24, target_lufs=-23.0, true_peak_dbfs=-2.0),
        directory=folder,
        name="sound",
        metadata=SoundMetadata(prompt="a sound", engine="test"),
        gated=False,
    )
    samples = soundfile.read(folder / "sound.flac", dtype="int32", always_2d=True)[0] / 256
    return done, samples


def shaped_plainly(raw: Audio) -> Audio:
    """High-pass and fades."""
    out = np.empty_like(raw)
    for channel, source in zip(out, raw.astype(np.float64), strict=True):
        mean, start = source.mean(), source[: round(0.005 * RATE)].mean()
        sections = scipy.signal.butter(4, 80.0, "highpass", fs=RATE, output="sos")
        channel[:] = scipy.signal.sosfilt(sections, source - mean if abs(start - mean) < abs(start) else source)
    rest = 1e-3 * np.abs(out).max()
    for frames, edge in ((round(0.002 * RATE), 0), (round(0.01 * RATE), -1)):
        if np.abs(out[:, edge]).max() > rest:
            ramp = (0.5 - 0.5 * np.cos(np.pi * np.arange(frames) / frames)).astype(np.float32)
            part = slice(0, frames) if edge == 0 else slice(-frames, None)
            out[:, part] *= ramp if edge == 0 else ramp[::-1]
    return out


def loudness_plainly(audio: Audio) -> float:
    """BS.1770-4, block by block, with the filter as a ready-made one gives it at 48 kHz and its analogue at others."""
    from audio_pool.audio.loudness import k_weighting

    power = np.square(scipy.signal.sosfilt(k_weighting(RATE), audio.astype(np.float64), axis=1)).sum(axis=0)
    block, hop = round(0.4 * RATE), 0.1 * RATE
    starts = np.round(np.arange(0, len(power) - block + 0.5, hop)).astype(int)
    if not len(starts):
        return -np.inf
    energies = np.array([power[start : start + block].mean() for start in starts])
    lufs = -0.691 + 10 * np.log10(energies)
    kept = energies[lufs > -70]
    relative = -0.691 + 10 * np.log10(kept.mean()) - 10
    return float(-0.691 + 10 * np.log10(kept[-0.691 + 10 * np.log10(kept) > relative].mean()))


def true_peak_plainly(audio: Audio) -> float:
    padded = np.pad(audio.astype(np.float64), ((0, 0), (1024, 1024)))
    return float(20 * np.log10(np.abs(scipy.signal.resample(padded, 8 * padded.shape[1], axis=1)).max()))


@pytest.mark.parametrize("what", ONE_SHOTS)
def test_a_one_shot_is_what_plain_formulas_give(mastering: Mastering, tmp_path: Path, what: str) -> None:
    raw = ONE_SHOTS[what]
    done, samples = finished(mastering, tmp_path, raw, raw.shape[1], loop=False)
    plain = shaped_plainly(raw)
    lufs, peak = loudness_plainly(plain), true_peak_plainly(plain)
    room = -2.0 - peak
    expected_db = min(-23.0 - lufs, room) if lufs > -np.inf else room - 6.0
    gain = float((samples.T * plain).sum() / np.square(plain, dtype=np.float64).sum() / STEP)
    by_peak = expected_db != -23.0 - lufs
    assert 20 * np.log10(gain) == pytest.approx(expected_db, abs=0.07 if by_peak else 0.01)
    assert np.abs(samples.T - plain * gain * STEP).max() < 1.01
    told = done.sound.metadata
    assert told["true_peak_dbfs"] == pytest.approx(peak + 20 * np.log10(gain), abs=0.07)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("what", ["noise", "a chord that ends in mid-swing", "steps"])
def test_the_compiled_library_changes_no_sound(
    mastering: Mastering,
    compiled: ctypes.CDLL | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    loop: bool,
) -> None:
    if compiled is None:
        pytest.skip("there is no C compiler here: numpy does it all")
    raw = ONE_SHOTS[what]
    frames = raw.shape[1] - (RATE // 2 if loop else 0)
    made = []
    for way in (compiled, None):
        monkeypatch.setattr(native, "library", lambda way=way: way)
        made.append(finished(mastering, tmp_path, raw, frames, loop))
    (ours, samples), (theirs, others) = made
    assert np.abs(samples - others).max() <= 1
    for name in ("loudness_lufs", "true_peak_dbfs", "quality", "loop", "candidates"):
        assert ours.sound.metadata[name] == theirs.sound.metadata[name]
    np.testing.assert_allclose(ours.vectors["sound:descriptors"], theirs.vectors["sound:descriptors"], atol=1e-3)
