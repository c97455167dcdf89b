"""What an Accept header takes, of what there is.

Owns: how Accept is read.
Must not know: routes.
"""

from __future__ import annotations

import functools
from typing import get_args

from audio_pool.gateway.audio_response import MEDIA_TYPES
from audio_pool.types import Format

__all__ = ["JSON", "accepted"]

JSON = "application/json"
_OTHER_NAMES: dict[str, Format] = {"audio/x-wav": "wav", "audio/wave": "wav", "audio/mp3": "mp3", "audio/opus": "opus"}
_FORMATS: dict[str, Format] = {MEDIA_TYPES[format_]: format_ for format_ in get_args(Format)} | _OTHER_NAMES


@functools.lru_cache(256)
def accepted(header: str) -> tuple[tuple[str, Format | None], ...]:
    """Return what an Accept header takes, the best first: ``json``, ``audio`` with its format, or ``audio`` (any).

    Nothing: none of them is there. No header, and ``*/*``, take JSON.
    """
    found: list[tuple[float, int, tuple[str, Format | None]]] = []
    for place, part in enumerate((header or "*/*").lower().split(",")):
        name, *parameters = [text.strip() for text in part.split(";")]
        values = dict(text.partition("=")[::2] for text in parameters)
        try:
            weight = float(values.pop("q", "1"))
        except ValueError:
            weight = 1.0
        codec = values.get("codecs", "").strip('"')
        format_ = _FORMATS.get(f"{name}; codecs={codec}" if codec else name)
        kind = "json" if name in (JSON, "application/*", "*/*") else "audio" if format_ or name == "audio/*" else ""
        if kind and weight > 0:
            found.append((-weight, place, (kind, format_)))
    return tuple(choice for _, _, choice in sorted(found, key=lambda one: one[:2]))
