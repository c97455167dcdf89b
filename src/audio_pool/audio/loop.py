"""Endless loops: crossfaded from material longer than one turn, and scored at their seam.

Owns: where and how a sound's end is crossfaded into its start, and ``seam_score``.
Must not know: engines, files; numpy only.

One turn is made of material ``x`` as

    y[t] = fade_out[t] * x[s + L + t] + fade_in[t] * x[s + t]    for t < crossfade
    y[t] = x[s + t]                                              for crossfade <= t < L

so the turn ends with x[s + L - 1] and starts with x[s + L]: continuous by construction. Free parameters are
the start ``s``, the turn's length ``L``, the crossfade and its curves:

- Sounds of separate events (footsteps) are joined in a gap: a long crossfade would double the events.
- Pitched sounds need both parts in phase. ``L`` is chosen where their correlation is highest, at most half a
  per cent from the requested length, and the turn is then resampled to exactly that length: a pitch change of
  under nine cents is inaudible, cancellation is not.
- All others get the longest crossfade possible, which also hides slow changes of level and timbre.

The curves keep the power constant for any correlation of the two parts: equal power for noise, equal gain
for tones in phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.runs import runs

__all__ = ["Loop", "make_loop", "resample_periodic", "rotate_to_quiet_start", "seam_score"]

_MOST_STRETCH = 0.005
"""Share of the length by which a pitched turn may differ before it is resampled: 8.6 cents."""
_IN_PHASE = 0.3
"""Least correlation of two parts of the same tone, as against two noises."""
_SURE = 0.7
"""Least correlation at which a shorter crossfade is preferred to the longest."""
_SHORTEST_FADE_S = 0.01
_ENVELOPE_S = 0.01
_GAP_DB = -18.0
"""Level of a gap between events, relative to the loud frames."""
_SHORTEST_GAP_S = 0.03
_SOFT_EDGE = 0.96
"""Share of the narrower band above which ``resample_periodic`` rolls off: rings less than a brick wall."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One turn, float32 [C, frames], whose crossfade is its first ``crossfade_frames``."""

    audio: Audio
    crossfade_frames: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Splice:
    start: int
    length: int
    fade: int


def make_loop(audio: Audio, frames: int, tail_frames: int, sample_rate: int = 44_100) -> Loop:
    """Make one turn of exactly ``frames`` that repeats without a seam.

    Args:
        audio: float32 [C, T]; T should be ``frames + tail_frames``. Where it is less, the material is
            first extended by a stitched repetition of itself, with a warning.
        frames: length of the turn, at least 1.
        tail_frames: the longest crossfade; with 0 it is still the shortest that does not click.
    """
    shortest = max(1, min(round(_SHORTEST_FADE_S * sample_rate), frames // 4))
    tail = max(tail_frames, shortest)
    needed = frames + tail
    warnings: tuple[str, ...] = ()
    if audio.shape[1] < needed:
        missing_s = (needed - audio.shape[1]) / sample_rate
        warnings = (f"loop_extended: material for {missing_s:.2f} s of the loop was stitched from the rest",)
        audio = _extended(audio, needed, sample_rate)
    audio = audio[:, :needed]
    splice = _gap_splice(audio, frames, tail, sample_rate) or _phase_splice(audio, frames, tail, shortest)
    turn = _spliced(audio, splice)
    fade = max(1, round(splice.fade * frames / splice.length))
    return Loop(audio=resample_periodic(turn, frames), crossfade_frames=min(fade, frames), warnings=warnings)


def resample_periodic(audio: Audio, frames: int) -> Audio:
    """Resample one turn of a loop to another length in the frequency domain: exactly periodic.

    Args:
        audio: float32 [C, T], one period of an endless signal.

    Returns:
        float32 [C, frames], with the same number of cycles per turn at every frequency.
    """
    length = audio.shape[1]
    if length in (frames, 0):
        return audio
    bins = min(length, frames) // 2 + 1
    edge = np.ones(bins, np.float32)
    if frames < length:
        soft = int(bins * _SOFT_EDGE)
        edge[soft:] = np.cos(np.linspace(0, np.pi / 2, bins - soft, dtype=np.float32)) ** 2
    out = np.empty((audio.shape[0], frames), np.float32)
    for channel, source in zip(out, audio, strict=True):
        spectrum = np.fft.rfft(source)[:bins] * edge
        if frames > length and length % 2 == 0:
            spectrum[-1] *= 0.5  # the bin at half the rate stood for both its signs
        channel[:] = np.fft.irfft(spectrum, frames) * (frames / length)
    return out


def rotate_to_quiet_start(audio: Audio, sample_rate: int) -> tuple[Audio, float]:
    """Rotate a seamless loop so that it starts at a quiet place.

    A turn that starts on the stroke of a bell is seamless, yet every player that gaps, fades or seeks at the
    seam does it on the stroke, and no measure can distinguish the stroke from a fault. So the start is moved a
    little earlier, or elsewhere where no quiet place precedes it.

    Args:
        audio: float32 [C, T], one turn of a loop that needs no crossfade.

    Returns:
        float32 [C, T], the same turn rotated, unchanged where its start is quiet already; and its seam score.
    """
    length = audio.shape[1]
    best, best_score = 0, -1.0
    before = [-round(part * sample_rate) for part in (0.0, 0.15, 0.3, 0.5)]
    for start in [*before, *(round(part / 8 * length) for part in range(1, 8))]:
        if start < 0 and -start > length // 2:
            continue
        score = seam_score(audio, sample_rate, 0, position=start)
        if score > best_score:
            best, best_score = start, score
        if score >= _CALM:
            break
    return (np.roll(audio, -best, axis=1) if best else audio), best_score


def _spliced(audio: Audio, splice: _Splice) -> Audio:
    """Apply the formula of the module's docstring: float32 [C, splice.length]."""
    start, length, fade = splice.start, splice.length, splice.fade
    turn = audio[:, start : start + length].copy()
    turn[:, :fade] = _blend(audio[:, start + length : start + length + fade], turn[:, :fade])
    return turn


def _blend(leaving: Audio, coming: Audio) -> Audio:
    """Crossfade two float32 [C, T] at constant power, whatever their correlation."""
    steps = (np.arange(leaving.shape[1], dtype=np.float64) + 0.5) / max(1, leaving.shape[1])
    angle = np.pi / 2 * steps * steps * (3 - 2 * steps)
    fade_in, fade_out = np.sin(angle), np.cos(angle)
    # below zero the parts cancel; lifting them fully would pump, so the lift is bounded
    rho = float(np.clip(_correlation(leaving, coming), -0.25, 1.0))
    lift = 1 / np.sqrt(1 + 2 * rho * fade_in * fade_out)
    return (leaving * (fade_out * lift) + coming * (fade_in * lift)).astype(np.float32)  # type: ignore[no-any-return]


def _correlation(a: Audio, b: Audio) -> float:
    """Compute the normalised correlation of two float32 [C, T], -1..1; 0 where one is silent."""
    energy = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / energy if energy > 1e-12 else 0.0


def _product(a: Audio, b: Audio) -> float:
    """Compute the inner product without BLAS threads: bit-identical everywhere, and no thread pool."""
    return float(np.einsum("ct,ct->", a, b, dtype=np.float64))


def _correlations(part: Audio, material: Audio) -> npt.NDArray[np.float64]:
    """Correlate ``part`` [C, n] with each stretch of ``material`` [C, m], normalised: [m - n + 1]."""
    n, m = part.shape[1], material.shape[1]
    size = 1 << (m - 1).bit_length()  # no more: the lags kept are those that do not wrap
    product = np.zeros(size // 2 + 1, np.complex64)
    for a, b in zip(part, material, strict=True):
        product += np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size)
    dots = np.fft.irfft(product, size)[: m - n + 1]
    running = np.concatenate([[0.0], np.cumsum(np.einsum("ct,ct->t", material, material, dtype=np.float64))])
    energy = np.maximum(running[n:] - running[:-n], 0.0) * _product(part, part)
    found: npt.NDArray[np.float64] = np.where(energy > 1e-12, dots / np.sqrt(np.maximum(energy, 1e-12)), 0.0)
    return found


def _phase_splice(audio: Audio, frames: int, tail: int, shortest: int) -> _Splice:
    """Choose the splice of a sound without gaps: in phase where it has a pitch, else as long as possible."""
    reach = min(int(frames * _MOST_STRETCH), tail // 2)
    longest = max(1, min(tail - reach, frames // 2))
    best, best_rho = _aligned(audio, frames, reach, 0, longest)
    if best_rho < _SURE:
        for fade in (longest // 4, longest // 16):
            if fade < shortest:
                break
            for start in range(0, tail - reach - fade + 1, max(1, (tail - reach - fade) // 7)):
                splice, rho = _aligned(audio, frames, reach, start, fade)
                if rho >= max(_SURE, best_rho + 0.1):
                    best, best_rho = splice, rho
    if best_rho < _IN_PHASE:
        return _Splice(start=0, length=frames, fade=max(1, min(tail, frames // 2)))
    return best


def _aligned(audio: Audio, frames: int, reach: int, start: int, fade: int) -> tuple[_Splice, float]:
    """Find the length within ``reach`` of ``frames`` of highest correlation; return splice and correlation."""
    head = audio[:, start : start + fade]
    first = start + frames - reach
    rho = _correlations(head, audio[:, first : first + 2 * reach + fade])
    # slightly prefer the requested length: it needs no resampling
    away = np.abs(np.arange(len(rho)) - reach) / max(1, reach)
    at = int(np.argmax(rho - 1e-3 * away))
    return _Splice(start=start, length=frames - reach + at, fade=fade), float(rho[at])


def _gap_splice(audio: Audio, frames: int, tail: int, sample_rate: int) -> _Splice | None:
    """Choose a splice inside a gap between events that both parts share, or None where there is none.

    Of all such gaps, take the one where the pause across the seam is nearest to the sound's usual pause, so
    that no step comes too early or is missing.
    """
    hop = max(1, round(_ENVELOPE_S * sample_rate))
    count = audio.shape[1] // hop
    if count < 4 or frames < hop:
        return None
    power = np.square(audio[:, : count * hop]).sum(axis=0).reshape(count, hop).mean(axis=1)
    quiet = power <= np.percentile(power, 90) * 10 ** (_GAP_DB / 10)
    if not quiet.any() or quiet.all():
        return None
    since, until = _distances(quiet)
    turn, places = frames // hop, tail // hop
    shared = quiet[:places] & quiet[turn : turn + places][: len(quiet[:places])]
    gaps = [(int(a), int(b)) for a, b in runs(shared) if (b - a) * hop >= _SHORTEST_GAP_S * sample_rate]
    if not gaps:
        return None
    pauses = [int(b - a) for a, b in runs(quiet)]
    usual = float(np.median([pause for pause in pauses if pause * hop >= _SHORTEST_GAP_S * sample_rate]))

    def strangeness(gap: tuple[int, int]) -> float:
        pause = since[turn + gap[0]] + (gap[1] - gap[0]) + until[gap[1] - 1]
        return abs(math.log(max(pause, 1) / usual))

    a, b = min(gaps, key=strangeness)
    # one frame off each end: the shared gap was found on a grid that the turn's length need not fit
    start, fade = (a * hop, (b - a) * hop) if b - a < 3 else ((a + 1) * hop, (b - a - 2) * hop)
    fade = min(fade, frames // 2, audio.shape[1] - frames - start)
    return _Splice(start=start, length=frames, fade=fade) if fade > 0 else None


def _distances(quiet: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count, for each frame, the quiet frames right before it and right after it."""
    at = np.arange(len(quiet))
    last_loud = np.maximum.accumulate(np.where(quiet, -1, at))
    next_loud = np.minimum.accumulate(np.where(quiet, len(quiet), at)[::-1])[::-1]
    before = np.concatenate([[0], at[:-1] - last_loud[:-1]])
    after = np.concatenate([next_loud[1:] - at[1:], [0]])
    return before, after


def _extended(audio: Audio, needed: int, sample_rate: int) -> Audio:
    """Lengthen the material to ``needed`` by repeating parts of itself where they continue it best."""
    if audio.shape[1] < 8:
        return np.pad(audio, ((0, 0), (0, needed - audio.shape[1])), mode="edge" if audio.size else "constant")
    source, length = audio, audio.shape[1]
    overlap = max(2, min(length // 4, round(0.5 * sample_rate)))
    while audio.shape[1] < needed:
        end = audio[:, -overlap:]
        rho = _correlations(end, source[:, : max(length // 2, overlap) + overlap])
        # early places give the longest addition; a better match must be worth it
        at = int(np.argmax(rho - 0.05 * np.arange(len(rho)) / len(rho)))
        joint = _blend(end, source[:, at : at + overlap])
        audio = np.concatenate([audio[:, :-overlap], joint, source[:, at + overlap :]], axis=1)
    return audio[:, :needed]


# -- seam score -------------------------------------------------------------------------------------------

_STEP_S = 0.005
_LEVEL_S = 0.1
_MEL_S = 0.047
_MEL_BANDS = 32
_FLOOR = 1e-4
"""-80 dBFS: below counts as silence."""
_EQUAL_DB = 0.1
_USUAL = 99.0
"""Percentile of the other places up to which a place is ordinary."""
_CALM = 97.0
"""Within three points of an ordinary place."""
_MOST_PLACES = 1_500
_MOST_SPECTRA = 250


def seam_score(audio: Audio, sample_rate: int, crossfade_frames: int, position: int = 0) -> float:
    """Score how ordinary a loop's seam is among all other places of the same sound, 0..100.

    The loop is taken as endless. At the seam and at the crossfade's other end three measures are taken: the
    largest step between samples within 10 ms, the level change between the 100 ms before and after, and the
    log-mel distance of the frames of about 46 ms before and after. Each is compared with the same measure at
    all other places: at or below their 99th percentile scores 100, twice that percentile 50, and so on; the
    worst of them is the score. Differences below 0.1 dB or -80 dBFS count as equal.

    Args:
        audio: float32 [C, T], one turn.
        crossfade_frames: distance from ``position`` to the second place; 0 where there is no crossfade.
        position: the frame taken as the seam: 0 is the real one, others are controls.
    """
    length = audio.shape[1]
    if length < 8 or not np.isfinite(audio).all():
        return 0.0
    judged = sorted({position % length, (position + crossfade_frames) % length})
    hop = max(1, length // _MOST_PLACES, round(_STEP_S * sample_rate))
    away = round(min(_LEVEL_S * sample_rate, length / 8))
    places = np.arange(0, length, hop)
    nearest = np.min([np.minimum((places - j) % length, (j - places) % length) for j in judged], axis=0)
    places = places[nearest > away]
    if not places.size:
        return 100.0
    worst = 1.0
    for measure, equal, most in (
        (_largest_steps, _FLOOR, _MOST_PLACES),
        (_level_jumps, _EQUAL_DB, _MOST_PLACES),
        (_mel_distances, _EQUAL_DB, _MOST_SPECTRA),
    ):
        others = places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(np.int64)]
        found = measure(audio, np.concatenate([judged, others]), sample_rate)
        at_joint, usual = found[: len(judged)].max(), np.percentile(found[len(judged) :], _USUAL)
        worst = min(worst, float((usual + equal) / max(at_joint, usual + equal)))
    return 100.0 * worst


def _around(audio: Audio, places: npt.NDArray[np.int64], before: int, after: int) -> Audio:
    """Cut windows around places of the endless loop: float32 [C, N, before + after]."""
    length = audio.shape[1]
    ring = np.take(audio, np.arange(-before, length + after), axis=1, mode="wrap")
    return np.lib.stride_tricks.sliding_window_view(ring, before + after, axis=1)[:, places]


def _largest_steps(audio: Audio, places: npt.NDArray[np.int64], sample_rate: int) -> npt.NDArray[np.float64]:
    """Measure the largest step between samples around each place, linear, the largest of all channels."""
    half = max(2, min(round(_STEP_S * sample_rate), audio.shape[1] // 8))
    # the step at index t leads from frame t - 1 to frame t
    steps = np.abs(np.diff(audio, axis=1, prepend=audio[:, -1:])).max(axis=0, keepdims=True)
    return _around(steps, places, half, half)[0].max(axis=1).astype(np.float64)  # type: ignore[no-any-return]


def _level_jumps(audio: Audio, places: npt.NDArray[np.int64], sample_rate: int) -> npt.NDArray[np.float64]:
    """Measure the level change, dB, between the 100 ms before and after; by running sums, which are cheap."""
    length = audio.shape[1]
    half = max(2, min(round(_LEVEL_S * sample_rate), length // 4))
    power = np.einsum("ct,ct->t", audio, audio, dtype=np.float64)
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([power[length - half :], power, power[:half]]))])
    middle = running[places + half]
    before = (middle - running[places]) / half
    after = (running[places + 2 * half] - middle) / half
    jumps: npt.NDArray[np.float64] = np.abs(10 * np.log10((after + _FLOOR**2) / (before + _FLOOR**2)))
    return jumps


def _mel_distances(audio: Audio, places: npt.NDArray[np.int64], sample_rate: int) -> npt.NDArray[np.float64]:
    """Measure the root-mean-square difference, dB, of the log-mel spectra before and after each place."""
    size = 1 << max(4, min(round(_MEL_S * sample_rate), audio.shape[1] // 4).bit_length() - 1)
    window = np.hanning(size).astype(np.float32)
    edges = _mel_edges(size, sample_rate)
    found = np.empty(len(places))
    for first in range(0, len(places), 256):
        around = _around(audio, places[first : first + 256], size, size)
        levels = []
        for part in (around[..., :size], around[..., size:]):
            spectrum = np.fft.rfft(part * window)
            power = (np.square(spectrum.real) + np.square(spectrum.imag)).sum(axis=0) * (4 / size**2)
            below = np.cumsum(power, axis=1, dtype=np.float64)
            levels.append(10 * np.log10(np.diff(below[:, edges], axis=1, prepend=0.0) + _FLOOR**2))
        found[first : first + 256] = np.sqrt(np.square(levels[0] - levels[1]).mean(axis=1))
    return found


def _mel_edges(size: int, sample_rate: int) -> npt.NDArray[np.int64]:
    """Compute the last bin of each band on the mel scale of Stevens and Volkmann, 2595 log10(1 + f / 700)."""
    highest = math.log10(1 + sample_rate / 1400)
    hz = 700 * (10 ** (highest * np.arange(1, _MEL_BANDS + 1) / _MEL_BANDS) - 1)
    return np.minimum(np.round(hz * size / sample_rate), size // 2).astype(np.int64)
