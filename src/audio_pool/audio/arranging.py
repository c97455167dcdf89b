"""Several sounds made one: at once, or one after the other; as a one-shot or as an endless loop.

Owns: where each sound lies in the whole, and how neighbours are joined.
Must not know: files, levels of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio_pool.audio import Audio
from audio_pool.audio.crossfade import blend
from audio_pool.audio.loop import make_loop, resample_periodic

__all__ = ["Part", "in_sequence", "mixed"]

_MOST_STRETCH = 0.001
"""Share by which a turn that nearly fits a whole number of times is resampled: 1.7 cents."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One sound of a mix: float32 [C, T]."""

    audio: Audio
    gain_db: float = 0.0
    start: int = 0
    """Frames from the beginning."""
    loop: bool = False
    """It is one turn of a loop."""


def mixed(parts: Sequence[Part], frames: int, sample_rate: int, *, loop: bool, tail_frames: int = 0) -> Audio:
    """Add sounds up: float32 [C, frames], C the most channels of any.

    A one-shot that is longer than the whole is cut at its end. In a loop it comes round: what hangs over the end goes
    on at the beginning. A loop in a loop is repeated, a whole number of times where it nearly fits, else its end is
    crossfaded; in a one-shot it goes on from its start to the end.

    Args:
        tail_frames: the longest crossfade of a loop that does not fit.
    """
    out = np.zeros((max(len(part.audio) for part in parts), frames), np.float32)
    for part in parts:
        audio = part.audio * np.float32(10 ** (part.gain_db / 20))
        if part.loop and audio.shape[1]:
            if loop:
                turn = _turn_of(audio, frames, tail_frames, sample_rate)
                out += np.roll(turn, part.start, axis=1)
                continue
            audio = _repeated(audio, max(0, frames - part.start))
        if not loop:
            cut = audio[:, : max(0, frames - part.start)]
            out[:, part.start : part.start + cut.shape[1]] += cut
            continue
        at, left = part.start % frames, audio
        while left.shape[1]:
            here = left[:, : frames - at]
            out[:, at : at + here.shape[1]] += here
            left, at = left[:, here.shape[1] :], 0
    return out


def in_sequence(sounds: Sequence[Audio], crossfade: int, gap: int, *, loop: bool) -> Audio:
    """Put sounds, float32 [C, T] each, one after the other: float32 [C, T], C the most channels of any.

    Args:
        crossfade: frames that neighbours share at the most; ignored where there is a gap.
        gap: frames of silence between neighbours.
        loop: the last leads into the first in the same way.
    """
    channels = max(map(len, sounds))
    wide = [np.broadcast_to(one, (channels, one.shape[1])) if len(one) == 1 else one for one in sounds]
    if gap:
        silence = np.zeros((channels, gap), np.float32)
        joined = [piece for one in wide for piece in (one, silence)]
        return np.concatenate(joined if loop else joined[:-1], axis=1)
    neighbours = list(zip(wide, [*wide[1:], wide[0]], strict=True))
    shared = [min(crossfade, left.shape[1] // 2, right.shape[1] // 2) for left, right in neighbours]
    if not loop:
        shared[-1] = 0
    pieces = []
    for place, one in enumerate(wide):
        before, after = shared[place - 1], shared[place]
        pieces.append(one[:, before : one.shape[1] - after])
        if after:
            coming = neighbours[place][1]
            pieces.append(blend(one[:, one.shape[1] - after :], coming[:, :after]))
    return np.concatenate(pieces, axis=1)


def _turn_of(audio: Audio, frames: int, tail: int, sample_rate: int) -> Audio:
    """Return a turn of ``frames`` made of whole turns of a loop."""
    length = audio.shape[1]
    times = max(1, round(frames / length))
    if abs(times * length - frames) <= _MOST_STRETCH * frames:
        fitted = resample_periodic(np.tile(audio, times), frames) if times * length != frames else np.tile(audio, times)
        return np.asarray(fitted, np.float32)
    return make_loop(_repeated(audio, frames + max(tail, 1)), frames, tail, sample_rate).audio


def _repeated(audio: Audio, frames: int) -> Audio:
    """Return a loop from its start on, float32 [C, frames]."""
    out: Audio = np.take(audio, np.arange(frames) % audio.shape[1], axis=1)
    return out
