"""Endless loops: made from material that is longer than one turn, and judged at their joint.

Owns: where and how a sound's end is blended into its start, and ``seam_score``.
Must not know: engines, files; numpy only.

One turn is made of material ``x`` as

    y[t] = fade_out[t] * x[s + L + t] + fade_in[t] * x[s + t]    for t < crossfade
    y[t] = x[s + t]                                              for crossfade <= t < L

so the turn ends with x[s + L - 1] and starts with x[s + L]: continuous by construction. What is left to
choose is the start ``s``, the turn's length ``L``, the crossfade and its curves:

- Sounds of separate events (footsteps) are joined in a gap: a long crossfade would double the events.
- Sounds with a pitch need both parts in phase. ``L`` is taken where they agree best, at most half a per
  cent from the length asked for, and the turn is then fitted to exactly that length: a pitch change of
  under nine cents, heard by nobody, where cancellation is heard by all.
- Everything else gets the longest crossfade there is, which also hides slow changes of level and timbre.

The curves keep the power constant for whatever correlation the two parts have: equal power for noise,
equal gain for tones in phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio

__all__ = ["Loop", "fit_turn", "make_loop", "seam_score", "start_calmly"]

_MOST_STRETCH = 0.005
"""Share of the length by which a pitched turn may differ before it is fitted: 8.6 cents."""
_IN_PHASE = 0.3
"""Correlation from which two parts count as the same tone rather than two noises."""
_SURE = 0.7
"""Correlation that a shorter crossfade must reach to be preferred to the longest."""
_SHORTEST_FADE_S = 0.01
_ENVELOPE_S = 0.01
_GAP_DB = -18.0
"""Under the loud frames' level by this much is a gap between events."""
_SHORTEST_GAP_S = 0.03
_SOFT_EDGE = 0.96
"""Share of the narrower band above which ``fit_turn`` fades out, to ring less than a brick wall would."""


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
    """One turn of exactly ``frames`` that repeats without a seam.

    Args:
        audio: float32 [C, T]; T should be ``frames + tail_frames``. Where it is less, the material is
            first extended by a stitched repetition of itself, and ``warnings`` say so.
        frames: length of the turn, at least 1.
        tail_frames: the crossfade's most; 0 still gets the shortest that does not click.
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
    return Loop(audio=fit_turn(turn, frames), crossfade_frames=min(fade, frames), warnings=warnings)


def fit_turn(audio: Audio, frames: int) -> Audio:
    """One turn of a loop at another length, interpolated in the frequency domain: exactly periodic.

    Args:
        audio: float32 [C, T], taken as endlessly repeating.

    Returns:
        float32 [C, frames]: every frequency's cycles a turn are kept.
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


def start_calmly(audio: Audio, sample_rate: int) -> tuple[Audio, float]:
    """A loop that needs no joint, begun where nothing happens, and its seam score there.

    A turn that starts on the stroke of a bell is seamless, yet every player that gaps, fades or seeks at the
    joint does it on the stroke, and no measure can tell the stroke from a fault. So it is begun a little
    earlier, or elsewhere where there is no calm just before.

    Args:
        audio: float32 [C, T], one turn.

    Returns:
        float32 [C, T], the same turn rotated; unchanged where its start is calm already.
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
    """float32 [C, splice.length]: the formula in the module's docstring."""
    start, length, fade = splice.start, splice.length, splice.fade
    turn = audio[:, start : start + length].copy()
    turn[:, :fade] = _blend(audio[:, start + length : start + length + fade], turn[:, :fade])
    return turn


def _blend(leaving: Audio, coming: Audio) -> Audio:
    """A crossfade of two float32 [C, T] that keeps the power their own levels ask for."""
    steps = (np.arange(leaving.shape[1], dtype=np.float64) + 0.5) / max(1, leaving.shape[1])
    angle = np.pi / 2 * steps * steps * (3 - 2 * steps)
    fade_in, fade_out = np.sin(angle), np.cos(angle)
    # below zero the parts cancel; lifting them fully would pump, so the lift is bounded
    rho = float(np.clip(_correlation(leaving, coming), -0.25, 1.0))
    lift = 1 / np.sqrt(1 + 2 * rho * fade_in * fade_out)
    return (leaving * (fade_out * lift) + coming * (fade_in * lift)).astype(np.float32)  # type: ignore[no-any-return]


def _correlation(a: Audio, b: Audio) -> float:
    """Normalised correlation of two float32 [C, T], -1..1; 0 where one is silent."""
    energy = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / energy if energy > 1e-12 else 0.0


def _product(a: Audio, b: Audio) -> float:
    """The inner product, without a library's threads: the same bits everywhere, and nobody to wait for."""
    return float(np.einsum("ct,ct->", a, b, dtype=np.float64))


def _correlations(part: Audio, material: Audio) -> npt.NDArray[np.float64]:
    """Normalised correlation of ``part`` [C, n] with each stretch of ``material`` [C, m]: [m - n + 1]."""
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
    """The splice for sounds without gaps: in phase where they have a pitch, as long as can be otherwise."""
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
    """The length within ``reach`` of ``frames`` at which both parts agree best, and how well."""
    head = audio[:, start : start + fade]
    first = start + frames - reach
    rho = _correlations(head, audio[:, first : first + 2 * reach + fade])
    # a hair of preference for the length asked for: it needs no fitting
    away = np.abs(np.arange(len(rho)) - reach) / max(1, reach)
    at = int(np.argmax(rho - 1e-3 * away))
    return _Splice(start=start, length=frames - reach + at, fade=fade), float(rho[at])


def _gap_splice(audio: Audio, frames: int, tail: int, sample_rate: int) -> _Splice | None:
    """A splice inside a gap between events that both parts share, or None where there is none.

    Of all such places the one is taken where the pause across the joint comes nearest to the sound's
    usual pause, so that no step falls too early or is missed.
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
    runs = [(a, b) for a, b in _runs(shared) if (b - a) * hop >= _SHORTEST_GAP_S * sample_rate]
    if not runs:
        return None
    pauses = [b - a for a, b in _runs(quiet)]
    usual = float(np.median([pause for pause in pauses if pause * hop >= _SHORTEST_GAP_S * sample_rate]))

    def strangeness(run: tuple[int, int]) -> float:
        pause = since[turn + run[0]] + (run[1] - run[0]) + until[run[1] - 1]
        return abs(math.log(max(pause, 1) / usual))

    a, b = min(runs, key=strangeness)
    # one frame off each end: the shared gap was found on a grid that the turn's length need not fit
    start, fade = (a * hop, (b - a) * hop) if b - a < 3 else ((a + 1) * hop, (b - a - 2) * hop)
    fade = min(fade, frames // 2, audio.shape[1] - frames - start)
    return _Splice(start=start, length=frames, fade=fade) if fade > 0 else None


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The half-open ranges in which flags hold."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _distances(quiet: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each frame, how many quiet frames lie right before it, and right after it."""
    at = np.arange(len(quiet))
    last_loud = np.maximum.accumulate(np.where(quiet, -1, at))
    next_loud = np.minimum.accumulate(np.where(quiet, len(quiet), at)[::-1])[::-1]
    before = np.concatenate([[0], at[:-1] - last_loud[:-1]])
    after = np.concatenate([next_loud[1:] - at[1:], [0]])
    return before, after


def _extended(audio: Audio, needed: int, sample_rate: int) -> Audio:
    """The material, lengthened to ``needed`` by repeating parts of itself where they follow best."""
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


# ---------------------------------------------------------------------------------------------- the judge

_STEP_S = 0.005
_LEVEL_S = 0.1
_MEL_S = 0.047
_MEL_BANDS = 32
_FLOOR = 1e-4
"""-80 dBFS: what is below counts as silence."""
_EQUAL_DB = 0.1
_USUAL = 99.0
"""Percentile of the other places up to which a place is nothing special."""
_CALM = 97.0
"""Within three points of an ordinary place."""
_MOST_PLACES = 1_500
_MOST_SPECTRA = 250


def seam_score(audio: Audio, sample_rate: int, crossfade_frames: int, position: int = 0) -> float:
    """How unremarkable a loop's joint is among all other places of the same sound, 0..100.

    The loop is heard as endless. At the joint and at the crossfade's other end three things are measured:
    the largest step between samples within 10 ms, the jump of level between the 100 ms before and after,
    and the log-mel distance of the frames of about 46 ms before and after. Each is held against the same measure
    everywhere else: at or below the 99th percentile of those scores 100, twice that percentile 50, and so
    on; the worst is the score. Differences below 0.1 dB or -80 dBFS count as equal.

    Args:
        audio: float32 [C, T], one turn.
        crossfade_frames: the second place is this far behind ``position``; 0 where there is no crossfade.
        position: the frame taken for the joint: 0 is the real one, others are controls.
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
    """float32 [C, N, before + after] around each place of the endless loop."""
    length = audio.shape[1]
    ring = np.take(audio, np.arange(-before, length + after), axis=1, mode="wrap")
    return np.lib.stride_tricks.sliding_window_view(ring, before + after, axis=1)[:, places]


def _largest_steps(audio: Audio, places: npt.NDArray[np.int64], sample_rate: int) -> npt.NDArray[np.float64]:
    """Linear, the largest of all channels."""
    half = max(2, min(round(_STEP_S * sample_rate), audio.shape[1] // 8))
    # the step at index t leads from frame t - 1 to frame t
    steps = np.abs(np.diff(audio, axis=1, prepend=audio[:, -1:])).max(axis=0, keepdims=True)
    return _around(steps, places, half, half)[0].max(axis=1).astype(np.float64)  # type: ignore[no-any-return]


def _level_jumps(audio: Audio, places: npt.NDArray[np.int64], sample_rate: int) -> npt.NDArray[np.float64]:
    """dB between the 100 ms before and after; by running sums, as windows of that size are heavy."""
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
    """Root-mean-square difference, dB, of the log-mel spectra before and after each place."""
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
    """The last bin of each band, on the mel scale of Stevens and Volkmann, 2595 log10(1 + f / 700)."""
    highest = math.log10(1 + sample_rate / 1400)
    hz = 700 * (10 ** (highest * np.arange(1, _MEL_BANDS + 1) / _MEL_BANDS) - 1)
    return np.minimum(np.round(hz * size / sample_rate), size // 2).astype(np.int64)
