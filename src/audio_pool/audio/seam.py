"""How ordinary a loop's joint is, and where a loop that needs no crossfade best starts.

Owns: ``seam_score`` and its four measures.
Must not know: how loops are made, engines, files.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import add_band_powers, powers_between, rfft
from audio_pool.audio.onsets import find_onsets
from audio_pool.audio.trains import kinds_of, trains_of

__all__ = ["rotate_to_quiet_start", "seam_score"]

_STEP_S = 0.005
_LEVEL_S = 0.1
_MEL_S = 0.047
_MEL_BANDS = 32
_FLOOR = 1e-4
"""-80 dBFS: below counts as silence."""
_EQUAL_DB = 0.1
_EQUAL_OCTAVES = 0.26
"""Pauses between strokes that differ by a fifth count as equal."""
_LEAST_STROKES = 4
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
    worst of them is the score. Differences below 0.1 dB or -80 dBFS count as equal. A sound of separate
    strokes has a fourth: the pauses across the seam and in the crossfade, as ratios to the usual pause; a fifth
    more or less counts as equal.

    Args:
        audio: float32 [C, T], one turn.
        crossfade_frames: distance from ``position`` to the second place; 0 where there is no crossfade.
        position: the frame taken as the seam: 0 is the real one, others are controls.
    """
    if audio.shape[1] < 8 or not np.isfinite(audio).all():
        return 0.0
    return _scored(audio, sample_rate, crossfade_frames, position, find_onsets(audio, sample_rate, circular=True))


def _scored(
    audio: Audio, sample_rate: int, crossfade_frames: int, position: int, onsets: npt.NDArray[np.int64]
) -> float:
    length = audio.shape[1]
    judged = sorted({position % length, (position + crossfade_frames) % length})
    hop = max(1, length // _MOST_PLACES, round(_STEP_S * sample_rate))
    away = round(min(_LEVEL_S * sample_rate, length / 8))
    places = np.arange(0, length, hop)
    nearest = np.min([np.minimum((places - j) % length, (j - places) % length) for j in judged], axis=0)
    places = places[nearest > away]
    if not places.size:
        return 100.0
    worst = _regularity(audio, onsets, sample_rate, position % length, crossfade_frames)
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


def _regularity(
    audio: Audio, onsets: npt.NDArray[np.int64], sample_rate: int, position: int, crossfade_frames: int
) -> float:
    """Compare the pauses between strokes at the seam and in the crossfade with all others: 1 for ordinary ones.

    Those of all strokes together, and of each train: tick and tock may be even, and still two ticks meet at the seam.
    """
    if len(onsets) < _LEAST_STROKES:
        return 1.0
    length = audio.shape[1]
    order = np.argsort((onsets - position) % length)
    since = (onsets[order] - position) % length
    trains = trains_of(since, kinds_of(audio, onsets, sample_rate)[order])
    groups = [since, *(since[train] for train in trains if len(trains) > 1)]
    return min(_evenness(group, length, crossfade_frames) for group in groups)


def _evenness(since: npt.NDArray[np.int64], length: int, crossfade_frames: int) -> float:
    """Compare the pauses of strokes, whose times since the seam are given in order, as ``_regularity`` does."""
    pauses = np.diff(since, append=since[0] + length)
    # the last pause leads across the seam; a pause that begins in the crossfade may hold a doubled stroke
    at_seam = since <= crossfade_frames
    at_seam[-1] = True
    if at_seam.all() or len(pauses) - int(at_seam.sum()) < _LEAST_STROKES - 1:
        return 1.0
    octaves = np.abs(np.log2(pauses / np.median(pauses[~at_seam])))
    usual = float(np.percentile(octaves[~at_seam], _USUAL)) + _EQUAL_OCTAVES
    return usual / max(usual, float(octaves[at_seam].max()))


def _around(audio: Audio, places: npt.NDArray[np.int64], before: int, after: int) -> Audio:
    """Cut windows around places of the endless loop: float32 [C, N, before + after]."""
    found = np.empty((len(audio), len(places), before + after), audio.dtype)
    inside = (places >= before) & (places + after <= audio.shape[1])
    windows = np.lib.stride_tricks.sliding_window_view(audio, before + after, axis=1)
    found[:, inside] = windows[:, places[inside] - before]
    for number in np.flatnonzero(~inside):
        around = np.arange(places[number] - before, places[number] + after)
        found[:, number] = np.take(audio, around, axis=1, mode="wrap")
    return found


def _largest_steps(audio: Audio, places: npt.NDArray[np.int64], sample_rate: int) -> npt.NDArray[np.float64]:
    """Measure the largest step between samples around each place, linear, the largest of all channels."""
    half = max(2, min(round(_STEP_S * sample_rate), audio.shape[1] // 8))
    # the step at index t leads from frame t - 1 to frame t
    around = _around(audio, places, half + 1, half)
    steps = np.subtract(around[..., 1:], around[..., :-1])
    return np.abs(steps, out=steps).max(axis=(0, 2)).astype(np.float64)  # type: ignore[no-any-return]


def _level_jumps(audio: Audio, places: npt.NDArray[np.int64], sample_rate: int) -> npt.NDArray[np.float64]:
    """Measure the level change, dB, between the 100 ms before and after."""
    length = audio.shape[1]
    half = max(2, min(round(_LEVEL_S * sample_rate), length // 4))
    # what lies between all ends is summed once, not each sample
    ends = np.unique(np.concatenate([[0, length], *((places + more) % length for more in (-half, 0, half))]))
    running = np.concatenate([[0.0], np.cumsum(powers_between(audio, ends))])

    def until(more: int) -> npt.NDArray[np.float64]:
        turns, at = np.divmod(places + more, length)
        summed: npt.NDArray[np.float64] = running[np.searchsorted(ends, at)] + turns * running[-1]
        return summed

    before, after = (until(0) - until(-half)) / half, (until(half) - until(0)) / half
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
            power = np.zeros((part.shape[1], len(edges)))
            for channel in part:
                add_band_powers(rfft(channel * window), np.append(0, edges + 1), power)
            levels.append(10 * np.log10(power * (4 / size**2) + _FLOOR**2))
        found[first : first + 256] = np.sqrt(np.square(levels[0] - levels[1]).mean(axis=1))
    return found


def _mel_edges(size: int, sample_rate: int) -> npt.NDArray[np.int64]:
    """Compute the last bin of each band on the mel scale of Stevens and Volkmann, 2595 log10(1 + f / 700)."""
    highest = math.log10(1 + sample_rate / 1400)
    hz = 700 * (10 ** (highest * np.arange(1, _MEL_BANDS + 1) / _MEL_BANDS) - 1)
    return np.minimum(np.round(hz * size / sample_rate), size // 2).astype(np.int64)


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
    if length < 8 or not np.isfinite(audio).all():
        return audio, 0.0
    onsets = find_onsets(audio, sample_rate, circular=True)
    best, best_score = 0, -1.0
    before = [-round(part * sample_rate) for part in (0.0, 0.15, 0.3, 0.5)]
    for start in [*before, *(round(part / 8 * length) for part in range(1, 8))]:
        if start < 0 and -start > length // 2:
            continue
        score = _scored(audio, sample_rate, 0, start, onsets)
        if score > best_score:
            best, best_score = start, score
        if score >= _CALM:
            break
    return (np.roll(audio, -best, axis=1) if best else audio), best_score
