"""A given sound of which a part is made anew, or that is continued: what of it a model is shown, and the joints.

Owns: Stretch (which frames are new, which the model makes with them), and pasting what it made into the given sound.
Must not know: any single engine, latents, the pool. All engines that change a part of a sound use it.

No model keeps the sound around the part that it makes anew: at best it gives back what its autoencoder makes of it.
So the given sound is put back around the new part, whose level is brought to that of the sound it belongs to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.crossfade import blend
from audio_pool.engines.base import Item
from audio_pool.errors import InvalidRequest, NotSupported
from audio_pool.types import frames_of

__all__ = ["FADE_S", "Stretch", "fades_of", "fitted", "pasted", "placed", "stretch_of"]

FADE_S = 0.03
"""Longest crossfade, outside the new part: there the model gives back something like what is given."""
_LEVEL_S = 0.5
"""How much beside the new part tells how much louder or quieter the model gives back what it is given."""
_MOST_GAIN = 4.0
_SILENT = 1e-4
"""-80 dBFS: no level to go by."""
_CONTEXT_S = 5.0
"""What a model is shown at least of the sound beside the new part, where it makes longer pieces than that."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Frames of the finished sound: ``start`` to ``end`` is new, ``first`` to ``last`` is what the model makes."""

    start: int
    end: int
    first: int
    last: int
    total: int


def stretch_of(item: Item, name: str, rate: int, window_s: float, longest_s: float) -> Stretch | None:
    """Return what is to be made of the item's given sound; None where it is no part and no continuation of one.

    Args:
        name: the engine's, for messages.
        rate: its sample rate.
        window_s: what its model makes in one go, ``longest_s`` what it can be asked for.

    Raises:
        InvalidRequest: a mask that does not lie inside the given sound. NotSupported: the model has no room for it.
    """
    if item.mask is None and item.extend_s is None:
        return None
    if item.init_audio is None:
        raise InvalidRequest(f"{name}: mask, extend_s: given without init_audio; give it, too")
    given = item.init_audio.shape[1]
    if item.extend_s is not None:
        if item.mask is not None:
            raise InvalidRequest(f"{name}: mask: given with extend_s; give either")
        total = given + frames_of(item.extend_s, rate)
        start, end = given, total
        if frames_of(item.duration_s, rate) != total:
            raise InvalidRequest(
                f"{name}: duration_s: given {item.duration_s:g}, allowed is that of init_audio and extend_s: "
                f"{total / rate:g} s"
            )
    else:
        assert item.mask is not None
        start, end = (round(second * rate) for second in item.mask)
        total = frames_of(item.duration_s, rate)
        if not 0 <= start < end <= min(given, total):
            raise InvalidRequest(
                f"{name}: mask: given {item.mask[0]:g} to {item.mask[1]:g} s, allowed are two moments one after the "
                f"other inside the sound, which has {min(given, total) / rate:g} s"
            )
    window, longest = int(window_s * rate), int(longest_s * rate)
    least = min(round(_CONTEXT_S * rate), window // 4)
    before, after = min(start, least), min(total - end, least)
    shown = min(total, max(window, end - start + before + after))
    if shown > longest:
        most = (longest - before - after) / rate
        raise NotSupported(
            f"{name} makes at most {most:g} s anew beside a given sound; {(end - start) / rate:g} s were asked for"
        )
    first = max(0, min((start + end - shown) // 2, total - shown))
    return Stretch(start=start, end=end, first=first, last=first + shown, total=total)


def fitted(sound: Audio, channels: int, frames: int) -> Audio:
    """Return a given sound with so many channels and frames, cut or followed by silence: float32 [C, frames]."""
    sound = np.asarray(sound, np.float32)[:, :frames]
    if len(sound) != channels:
        sound = np.broadcast_to(sound.mean(axis=0, keepdims=True), (channels, sound.shape[1]))
    if sound.shape[1] < frames:
        sound = np.pad(sound, ((0, 0), (0, frames - sound.shape[1])))
    return np.ascontiguousarray(sound)


def pasted(made: Audio, given: Audio, stretch: Stretch, rate: int) -> Audio:
    """Return the given sound with what was made in the place of the new part: float32 [C, total].

    Outside the new part and the crossfade at either of its ends, every sample is the given sound's.

    Args:
        made: float32 [C, last - first]: the piece with the new part in it, the rest as the model gives it back.
        given: float32 [C, total], as ``fitted`` returns it: silence where it does not reach.
    """
    left, right = fades_of(stretch, rate)
    kept = slice(stretch.start - left - stretch.first, stretch.end + right - stretch.first)
    gains = _gains(made, given, stretch, rate)[kept].astype(np.float32)
    return _joined(made[:, kept] * gains, given, stretch, left, right)


def placed(new: Audio, given: Audio, stretch: Stretch, rate: int) -> Audio:
    """Return as ``pasted`` does, for an engine that makes nothing but the new part, as loud as what is beside it.

    Args:
        new: float32 [C, T], longer than the new part by the frames that ``fades_of`` returns.
    """
    left, right = fades_of(stretch, rate)
    reach = round(_LEVEL_S * rate)
    beside = np.concatenate(
        [given[:, max(0, stretch.start - reach) : stretch.start], given[:, stretch.end : stretch.end + reach]], axis=1
    )
    return _joined(new * np.float32(_gain(beside, new) or 1.0), given, stretch, left, right)


def fades_of(stretch: Stretch, rate: int) -> tuple[int, int]:
    """Return the frames of the crossfades before and after the new part; 0 where the given sound has nothing there."""
    fade = max(1, round(FADE_S * rate))
    return min(fade, stretch.start - stretch.first), min(fade, stretch.last - stretch.end)


def _joined(new: Audio, given: Audio, stretch: Stretch, left: int, right: int) -> Audio:
    start, end = stretch.start, stretch.end
    out = given.copy()
    out[:, start:end] = new[:, left : left + end - start]
    if left:
        out[:, start - left : start] = blend(given[:, start - left : start], new[:, :left])
    if right:
        out[:, end : end + right] = blend(new[:, new.shape[1] - right :], given[:, end : end + right])
    return out


def _gains(made: Audio, given: Audio, stretch: Stretch, rate: int) -> npt.NDArray[np.float64]:
    """Return a factor for each frame that was made: what either side of the new part asks for, in dB between them."""
    first, start, end = stretch.first, stretch.start - stretch.first, stretch.end - stretch.first
    reach = round(_LEVEL_S * rate)
    sides = slice(max(0, start - reach), start), slice(end, min(made.shape[1], end + reach))
    before, after = (_gain(given[:, first + at.start : first + at.stop], made[:, at]) for at in sides)
    if before is None and after is None:
        return np.ones(made.shape[1])
    before, after = before or after or 1.0, after or before or 1.0
    return np.exp(np.interp(np.arange(made.shape[1]), [start, end], [math.log(before), math.log(after)]))


def _gain(given: Audio, made: Audio) -> float | None:
    """Return by how much the given sound is louder than what was made; None where either is silent."""
    if min(given.shape[1], made.shape[1]) < 2:
        return None
    loud, quiet = (math.sqrt(float(np.square(part, dtype=np.float64).mean())) for part in (given, made))
    if loud < _SILENT or quiet < _SILENT:
        return None
    return min(max(loud / quiet, 1 / _MOST_GAIN), _MOST_GAIN)
