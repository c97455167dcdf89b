"""Refuses an Item that never went through a request's checks.

Owns: ``check_item``: the type and the bounds of every field, the same for all engines.
Must not know: any engine, what one can do (each refuses that itself), torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import NoReturn

import numpy as np

from audio_pool.engines.base import Item
from audio_pool.errors import InvalidRequest

__all__ = ["check_item"]


def check_item(name: str, item: Item) -> None:
    """Look at every field of an item that a caller made by hand.

    Args:
        name: the engine's, for the message.

    Raises:
        InvalidRequest: naming the field, what was given and what is allowed.
    """

    def refuse(field: str, given: object, allowed: str) -> NoReturn:  # opaque: whatever a caller put there
        raise InvalidRequest(f"{name}: {field}: given {given!r}, allowed is {allowed}")

    for field in ("prompt", "negative_prompt"):
        if not isinstance(getattr(item, field), str):
            refuse(field, getattr(item, field), "text")
    if item.voice is not None and not isinstance(item.voice, str):
        refuse("voice", item.voice, "text")
    if not isinstance(item.loop, bool | np.bool_):
        refuse("loop", item.loop, "true or false")
    if not (_whole(item.seed) and 0 <= item.seed < 2**63):
        refuse("seed", item.seed, "0 to 2**63 - 1")
    if not (_number(item.duration_s) and item.duration_s > 0):
        refuse("duration_s", item.duration_s, "a number of seconds above 0")
    if item.steps is not None and not (_whole(item.steps) and 1 <= item.steps <= 1000):
        refuse("steps", item.steps, "1 to 1000")
    if item.sample_rate is not None and not (_whole(item.sample_rate) and item.sample_rate > 0):
        refuse("sample_rate", item.sample_rate, "a whole number of Hz above 0")
    if item.guidance_scale is not None and not (_number(item.guidance_scale) and 0 <= item.guidance_scale <= 100):
        refuse("guidance_scale", item.guidance_scale, "0 to 100")
    if item.init_strength is not None and not (_number(item.init_strength) and 0 <= item.init_strength <= 1):
        refuse("init_strength", item.init_strength, "0 to 1")
    if item.init_audio is not None and not _sound(item.init_audio):
        refuse("init_audio", getattr(item.init_audio, "shape", item.init_audio), "a finite float32 array [C, T]")
    if item.mask is not None and not _span(item.mask):
        refuse("mask", item.mask, "start and end in seconds, the end later than the start")
    if item.extend_s is not None and not (_number(item.extend_s) and item.extend_s > 0):
        refuse("extend_s", item.extend_s, "a number of seconds above 0")
    if not isinstance(item.options, Mapping) or not all(isinstance(key, str) for key in item.options):
        refuse("options", item.options, "values by the names of the engine's options")


def _whole(given: object) -> bool:  # opaque: whatever a caller put there
    return isinstance(given, Integral) and not isinstance(given, bool)


def _number(given: object) -> bool:  # opaque: as above
    return isinstance(given, Real) and not isinstance(given, bool) and math.isfinite(given)


def _sound(given: object) -> bool:  # opaque: as above
    if not isinstance(given, np.ndarray) or given.ndim != 2 or not given.size:
        return False
    return given.dtype.kind == "f" and bool(np.isfinite(given).all())


def _span(given: object) -> bool:  # opaque: as above
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(_number(one) for one in given):
        return False
    start, end = given
    return bool(0 <= start < end)
