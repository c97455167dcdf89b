"""Media types of sounds, and which of them an Accept header wants.

Owns: the table by format, and how Accept is read.
Must not know: routes.
"""

from __future__ import annotations

from typing import get_args

from audio_pool.types import Format

__all__ = ["JSON", "MEDIA_TYPES", "accepted"]

JSON = "application/json"
MEDIA_TYPES: dict[Format, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
}
_OTHER_NAMES: dict[str, Format] = {"audio/x-wav": "wav", "audio/wave": "wav", "audio/mp3": "mp3", "audio/opus": "opus"}
_FORMATS: dict[str, Format] = {name: format_ for format_, name in MEDIA_TYPES.items()} | _OTHER_NAMES


def accepted(header: str) -> list[tuple[str, Format | None]]:
    """Return what an Accept header takes, the best first: ``json``, ``audio`` with its format, or ``audio`` (any).

    An empty list: nothing that there is. No header, and ``*/*``, take JSON.
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
    return [choice for _, _, choice in sorted(found, key=lambda one: one[:2])]


assert set(MEDIA_TYPES) == set(get_args(Format))
