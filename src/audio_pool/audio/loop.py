"""Endless loops: crossfaded from material longer than one turn.

Owns: where and how a sound's end is crossfaded into its start.
Must not know: engines, files.

One turn is made of material ``x`` as

    y[t] = fade_out[t] * x[s + L + t] + fade_in[t] * x[s + t]    for t < crossfade
    y[t] = x[s + t]                                              for crossfade <= t < L

so the turn ends with x[s + L - 1] and starts with x[s + L]: continuous by construction. Free parameters are
the start ``s``, the turn's length ``L``, the crossfade and its curves:

- Sounds of separate events (footsteps) are joined in a pause: a long crossfade would double the events. Where
  they keep a beat, the turn is a whole number of periods (rhythm.py).
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
from audio_pool.audio.crossfade import Splice, aligned, blend, correlations, spliced
from audio_pool.audio.kernels import irfft, rfft_of_sound
from audio_pool.audio.onsets import find_onsets
from audio_pool.audio.rhythm import BEFORE_S, MOST_MOVED, fit_pauses, stroke_splice
from audio_pool.audio.runs import runs

__all__ = ["Loop", "make_loop", "resample_periodic"]

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
_FLOOR_DB = 6.0
"""Level of a gap at the most, relative to the quietest fifth of the frames."""
_SHORTEST_GAP_S = 0.03
_SOFT_EDGE = 0.96
"""Share of the narrower band above which ``resample_periodic`` rolls off: rings less than a brick wall."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One turn, float32 [C, frames], whose crossfade is its first ``crossfade_frames``."""

    audio: Audio
    crossfade_frames: int
    warnings: tuple[str, ...] = ()


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
    audio = audio[:, :needed]
    onsets = find_onsets(audio, sample_rate)
    if audio.shape[1] < needed:
        missing_s = (needed - audio.shape[1]) / sample_rate
        warnings = (f"loop_extended: material for {missing_s:.2f} s of the loop was stitched from the rest",)
        strokes = _strokes_repeated(audio, onsets, needed, shortest, sample_rate)
        audio = _extended(audio, needed, sample_rate) if strokes is None else strokes
        onsets = find_onsets(audio, sample_rate)
    splice = stroke_splice(audio, onsets, frames, audio.shape[1] - frames, shortest, sample_rate)
    if splice is not None:
        turn = _turn_of_strokes(audio, onsets, splice, frames, sample_rate)
    else:
        splice = _gap_splice(audio, frames, tail, sample_rate) or _phase_splice(audio, frames, tail, shortest)
        turn = spliced(audio, splice)
    fade = max(1, round(splice.fade * frames / splice.length))
    return Loop(audio=resample_periodic(turn, frames), crossfade_frames=min(fade, frames), warnings=warnings)


def _turn_of_strokes(
    audio: Audio, onsets: npt.NDArray[np.int64], splice: Splice, frames: int, sample_rate: int
) -> Audio:
    """Cut the turn out and bring its pauses, not its pitch, to length: float32 [C, about frames]."""
    turn = spliced(audio, splice)
    if abs(splice.length - frames) <= _MOST_STRETCH * frames:
        return turn
    inside = onsets[(onsets >= splice.start) & (onsets < splice.start + splice.length)] - splice.start
    if not inside.size:
        return turn
    # the pause across the joint changes like all others: it comes last in a turn that begins with a stroke
    lead = max(0, int(inside[0]) - round(BEFORE_S * sample_rate))
    strokes = np.append(inside, inside[0] + turn.shape[1]) - lead
    return np.roll(fit_pauses(np.roll(turn, -lead, axis=1), strokes, frames, sample_rate), lead, axis=1)


def _strokes_repeated(
    audio: Audio, onsets: npt.NDArray[np.int64], needed: int, shortest: int, sample_rate: int
) -> Audio | None:
    """Lengthen strokes by whole turns of themselves, and a pause more; None where they cannot be joined."""
    length = audio.shape[1]
    reserve = min(length // 3, max(4 * shortest, sample_rate // 2))
    frames = math.floor((length - reserve) / (1 + MOST_MOVED))
    splice = stroke_splice(audio, onsets, frames, reserve, shortest, sample_rate) if frames > 0 else None
    if splice is None:
        return None
    turn = spliced(audio, splice)
    # a turn more than is needed: a place for the joint has to be found in it
    repeated = np.concatenate([turn] * (needed // splice.length + 2), axis=1)
    return repeated[:, : max(needed, math.ceil(needed * (1 + MOST_MOVED)) + 2 * int(np.diff(onsets).max()))]


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
    spectra = rfft_of_sound(audio)[:, :bins] * edge
    if frames > length and length % 2 == 0:
        spectra[:, -1] *= np.float32(0.5)  # the bin at half the rate stood for both its signs
    out = irfft(spectra, frames)
    out *= np.float32(frames / length)
    return out


def _phase_splice(audio: Audio, frames: int, tail: int, shortest: int) -> Splice:
    """Choose the splice of a sound without gaps: in phase where it has a pitch, else as long as possible."""
    reach = min(int(frames * _MOST_STRETCH), tail // 2)
    longest = max(1, min(tail - reach, frames // 2))
    best, best_rho = aligned(audio, frames, reach, 0, longest)
    if best_rho < _SURE:
        for fade in (longest // 4, longest // 16):
            if fade < shortest:
                break
            for start in range(0, tail - reach - fade + 1, max(1, (tail - reach - fade) // 7)):
                splice, rho = aligned(audio, frames, reach, start, fade)
                if rho >= max(_SURE, best_rho + 0.1):
                    best, best_rho = splice, rho
    if best_rho < _IN_PHASE:
        return Splice(start=0, length=frames, fade=max(1, min(tail, frames // 2)))
    return best


def _gap_splice(audio: Audio, frames: int, tail: int, sample_rate: int) -> Splice | None:
    """Choose a splice inside a gap between events that both parts share, or None where there is none.

    Of all such gaps, take the one where the pause across the seam is nearest to the sound's usual pause, so
    that no step comes too early or is missing.
    """
    hop = max(1, round(_ENVELOPE_S * sample_rate))
    count = audio.shape[1] // hop
    if count < 4 or frames < hop:
        return None
    power = np.square(audio[:, : count * hop]).sum(axis=0).reshape(count, hop).mean(axis=1)
    # where events are sparse, the 90th percentile is the floor: the loudest frames and the quiet fifth tell them apart
    loud, floor = np.percentile(power, [99.5, 20])
    quiet = power <= min(loud * 10 ** (_GAP_DB / 10), max(floor * 10 ** (_FLOOR_DB / 10), loud * 1e-3))
    if floor > loud * 10 ** (_GAP_DB / 10) or quiet.all():
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
    return Splice(start=start, length=frames, fade=fade) if fade > 0 else None


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
    source, total = audio, audio.shape[1]
    length = total
    overlap = max(2, min(length // 4, round(0.5 * sample_rate)))
    out = np.empty((len(audio), needed + length), audio.dtype)  # at once: a short sound has many parts
    out[:, :length] = source
    while total < needed:
        end = out[:, total - overlap : total]
        rho = correlations(end, source[:, : max(length // 2, overlap) + overlap])
        # early places give the longest addition; a better match must be worth it
        at = int(np.argmax(rho - 0.05 * np.arange(len(rho)) / len(rho)))
        out[:, total - overlap : total] = blend(end, source[:, at : at + overlap])
        rest = source[:, at + overlap :]
        out[:, total : total + rest.shape[1]] = rest
        total += rest.shape[1]
    return out[:, :needed]
