"""The quality gate: named faults of a sound, and one score.

Owns: the definition of each fault and its penalty.
Must not know: engines, prompts, what happens to a sound that fails; numpy only.

Faults are detected after filter, resampler and loop, in the signal to be played; only clipping is detected
in the raw candidate, because a filter tilts its flat tops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.runs import runs

__all__ = ["EXPECTABLE", "Quality", "assess"]

EXPECTABLE = frozenset({"noise", "silence", "decay", "mono", "clipping"})
"""Properties that a recipe or engine may declare; each disables the checks that would take it for a fault."""

_FRAME_S = 0.02
_SILENT = 1e-3
"""-60 dBFS: a sound whose loudest frame is below counts as silence."""
_QUIET_DB = -50.0
"""Level of a pause or a dead tail, relative to the loudest frame."""
_FLAT_RUN = 4
"""Equal samples in a row at the peak that count as clipped: a sine of 20 Hz has fewer at 192 kHz."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The result of the quality gate."""

    score: float
    """0..100, 100 without any fault."""
    issues: tuple[str, ...] = ()
    """Names of the faults, worst first."""
    failed: bool = False
    """The sound must not be used."""


@dataclass(frozen=True, kw_only=True)
class _Issue:
    name: str
    penalty: float
    """0..100, subtracted from the score."""
    severe: bool = False


def assess(
    audio: Audio,
    sample_rate: int,
    *,
    frames: int,
    loop: bool,
    expects: frozenset[str] = frozenset(),
    raw: Audio | None = None,
) -> Quality:
    """Detect the faults of one sound and score it.

    ========================  ==========================================================  ==============
    issue                     fault                                                       disabled by
    ========================  ==========================================================  ==============
    nan                       not a number, or infinite: always fails
    wrong_length              not ``frames`` long: always fails
    silence                   nothing above -60 dBFS: fails                               silence
    clipping                  flat tops; fails from 1 % of all samples                    clipping
    dc                        an offset over a tenth of the level; fails from its half
    hiss                      steady broadband noise; fails where white and nothing else  noise
    dead_tail                 ends in silence too early; fails from four fifths           decay, silence
    cut_off_start             starts in the middle of its loudest event                   decay, noise
    mono_in_stereo            both channels alike, or one of them empty                   mono
    ========================  ==========================================================  ==============

    Args:
        audio: float32 [C, T] at ``sample_rate``, before its final gain.
        frames: its required length.
        loop: it will be played endlessly.
        expects: properties that recipe or engine declare for this sound; see EXPECTABLE.
        raw: float32 [C, T'] of the candidate before filter and resampler, where there is one.

    Returns:
        score and faults; a severe fault makes ``failed`` true and the score at most 10.
    """
    issues = sorted(
        _issues(audio, sample_rate, frames, loop, expects, audio if raw is None else raw),
        key=lambda issue: (not issue.severe, -issue.penalty),
    )
    failed = any(issue.severe for issue in issues)
    score = max(0.0, 100.0 - sum(issue.penalty for issue in issues))
    return Quality(
        score=round(min(score, 10.0) if failed else score, 2),
        issues=tuple(issue.name for issue in issues),
        failed=failed,
    )


def _issues(
    audio: Audio, sample_rate: int, frames: int, loop: bool, expects: frozenset[str], raw: Audio
) -> Iterator[_Issue]:
    if not (np.isfinite(audio).all() and np.isfinite(raw).all()):
        yield _Issue(name="nan", penalty=100, severe=True)
        return
    if audio.shape[1] != frames:
        yield _Issue(name="wrong_length", penalty=100, severe=True)
    if audio.shape[1] == 0:
        return
    levels = _frame_levels(audio, sample_rate)
    if levels.max() < _SILENT:
        if "silence" not in expects:
            yield _Issue(name="silence", penalty=100, severe=True)
        return
    if "clipping" not in expects:
        yield from _clipping(raw)
    yield from _dc(audio)
    if "noise" not in expects:
        yield from _hiss(audio, sample_rate)
    if not expects & {"decay", "silence"}:
        yield from _dead_tail(levels, loop)
    if not loop and not expects & {"decay", "noise"}:
        yield from _cut_off_start(audio, sample_rate, levels)
    if "mono" not in expects:
        yield from _mono_in_stereo(audio)


def _frame_levels(audio: Audio, sample_rate: int) -> npt.NDArray[np.float64]:
    """Compute the root mean square, linear, of each 20 ms of the louder channel; at least one frame."""
    hop = max(1, min(round(_FRAME_S * sample_rate), audio.shape[1]))
    whole = audio[:, : audio.shape[1] // hop * hop].reshape(len(audio), -1, hop)
    power: npt.NDArray[np.float64] = np.einsum("cnt,cnt->cn", whole, whole).max(axis=0).astype(np.float64) / hop
    return np.sqrt(power)


def _clipping(raw: Audio) -> Iterator[_Issue]:
    share = max(_flat_share(channel) for channel in raw)
    if share > 2e-4:
        yield _Issue(name="clipping", penalty=min(60.0, 15 + 4000 * share), severe=share >= 0.01)


def _flat_share(channel: Audio) -> float:
    """Compute the share of samples in runs at the very top or bottom of the wave."""
    peak = float(np.abs(channel).max(initial=0.0))
    if peak < _SILENT or len(channel) < _FLAT_RUN:
        return 0.0
    flat = 0
    for side in (channel, -channel):
        top = side >= side.max() * np.float32(0.995) if side.max() > 0.5 * peak else np.zeros(len(side), bool)
        alike = top[1:] & top[:-1] & (np.abs(np.diff(side)) <= 1e-6 * peak)
        samples = np.diff(runs(alike))[:, 0] + 1  # a run of n equal pairs has n + 1 samples
        flat += int(samples[samples >= _FLAT_RUN].sum())
    return flat / len(channel)


def _dc(audio: Audio) -> Iterator[_Issue]:
    offset = np.abs(audio.mean(axis=1, dtype=np.float64))
    swing = audio.std(axis=1, dtype=np.float64)
    share = float((offset / np.maximum(swing, 1e-9))[offset > 0.003].max(initial=0.0))
    if share > 0.1:
        yield _Issue(name="dc", penalty=min(60.0, 15 + 50 * share), severe=share > 0.5)


_SPECTRUM_S = 0.186
"""Long enough to resolve the harmonics of an engine at 25 revolutions per second."""
_SPECTRA = 48
_FLAT = 0.4
"""Geometric over arithmetic mean of a noise's power spectrum is exp(-0.577) = 0.56; partials are far less flat."""
_WHITE_DB = 1.5
_BANDS_HZ = np.geomspace(300, 16_000, 17)


def _hiss(audio: Audio, sample_rate: int) -> Iterator[_Issue]:
    """Detect steady broadband noise: bands that are never quiet and have no partials."""
    size = 1 << max(6, round(_SPECTRUM_S * sample_rate).bit_length() - 1)
    if audio.shape[1] < 2 * size or _upper_band_pauses(audio, sample_rate, size // 16):
        return
    power, hz = _spectra(audio, sample_rate, size, _SPECTRA)
    heard = float(power[:, :, hz < _BANDS_HZ[-1]].sum(axis=2).mean())
    upper_hz = _upper_hz(sample_rate)
    noise, noisy, upper, density = 0.0, 0, 0, []
    for low, high in pairwise(_BANDS_HZ):
        band = power[:, :, (hz >= low) & (hz < high)]
        level = band.sum(axis=2)
        if high > 0.47 * sample_rate or level.mean() < 1e-7 * heard:
            continue
        steady = np.percentile(level, 15) > 0.3 * level.mean()
        flatness = np.exp(np.log(band).mean(axis=2)) / band.mean(axis=2)
        upper += low >= upper_hz
        density.append(10 * np.log10(level.mean() / band.shape[2]))
        if steady and np.median(flatness) > _FLAT:
            noise += float(level.mean())
            noisy += low >= upper_hz
    share = noise / heard
    if upper < 2 or noisy < 0.7 * upper or share < 2e-3:
        return
    # the last band may be half empty where the sound once had a lower rate
    white = noisy >= upper - 1 and np.percentile(np.abs(density - np.median(density)), 80) < _WHITE_DB
    penalty = min(70.0, 10 + 2.2 * (27 + 10 * np.log10(share)))
    yield _Issue(name="hiss", penalty=float(penalty), severe=bool(white and share > 0.5))


def _upper_hz(sample_rate: int) -> float:
    """Return the frequency above which hiss fills the bands and most tones do not."""
    return min(2000.0, sample_rate / 8)


def _upper_band_pauses(audio: Audio, sample_rate: int, size: int) -> bool:
    """Return whether the upper bands are empty at times: regular clicks look like noise in a long spectrum."""
    power, hz = _spectra(audio, sample_rate, size, 8 * _SPECTRA)
    level = power[:, :, hz >= _upper_hz(sample_rate)].sum(axis=(0, 2))
    return bool(np.percentile(level, 15) < 0.15 * level.mean())


def _spectra(
    audio: Audio, sample_rate: int, size: int, count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute power spectra of windows spread over the sound.

    Returns:
        power [C, count, size // 2 + 1], and the bins' frequencies in Hz.
    """
    places = np.linspace(0, audio.shape[1] - size, count).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(audio, size, axis=1)[:, places]
    spectrum = np.fft.rfft(windows * np.hanning(size).astype(np.float32))
    power = np.square(spectrum.real, dtype=np.float64) + np.square(spectrum.imag, dtype=np.float64)
    return power + 1e-12, np.fft.rfftfreq(size, 1 / sample_rate).astype(np.float64)


def _dead_tail(levels: npt.NDArray[np.float64], loop: bool) -> Iterator[_Issue]:
    quiet = levels < levels.max() * 10 ** (_QUIET_DB / 20)
    total = len(quiet)
    if loop:
        pauses = sorted(_pauses_of_loop(quiet), reverse=True)
        # one long hole among regular pauses, or in a sound that otherwise never pauses; but a single short
        # event per turn is a rhythm, not a fault
        hole = len(pauses) == 1 and pauses[0] < 0.5 * total
        if not hole and (len(pauses) < 3 or pauses[0] < 2.5 * pauses[1]):
            return
        tail = pauses[0]
    else:
        tail = total - 1 - int(np.flatnonzero(~quiet)[-1])
    if tail * _FRAME_S > 0.5 and tail > 0.15 * total:
        yield _Issue(name="dead_tail", penalty=min(60.0, 70 * tail / total), severe=tail > 0.8 * total)


def _pauses_of_loop(quiet: npt.NDArray[np.bool_]) -> list[int]:
    """Measure the quiet stretches of an endless loop, in frames."""
    rotated = np.roll(quiet, -int(np.argmin(quiet)))
    return [int(end - start) for start, end in runs(rotated)]


def _cut_off_start(audio: Audio, sample_rate: int, levels: npt.NDArray[np.float64]) -> Iterator[_Issue]:
    """Detect a first sample far from zero in a first moment that is among the loudest of an event."""
    peak = float(np.abs(audio).max())
    first = audio[:, : max(1, round(0.002 * sample_rate))].astype(np.float64)
    start = float(np.sqrt(np.square(first).mean(axis=1)).max())
    jump = float(np.abs(audio[:, 0]).max())
    event = float(levels[:3].max()) > 2 * float(np.median(levels))
    if len(levels) >= 5 and event and jump > 0.1 * peak and start > 0.25 * float(levels.max()):
        yield _Issue(name="cut_off_start", penalty=25)


def _mono_in_stereo(audio: Audio) -> Iterator[_Issue]:
    if len(audio) < 2:
        return
    levels = np.sqrt(np.square(audio.astype(np.float64)).mean(axis=1))
    if float(levels.min()) < 1e-3 * float(levels.max()):
        yield _Issue(name="mono_in_stereo", penalty=30)
        return
    difference = np.sqrt(np.square((audio[1:] - audio[:1]).astype(np.float64)).mean(axis=1))
    if float(difference.max()) < 1e-3 * float(levels.max()):
        yield _Issue(name="mono_in_stereo", penalty=10)
