"""The addresses of sounds in links: of a kept sound, or of a file on this machine; and the media types of formats.

Owns: ``audio-pool://sounds/ID.FORMAT``, MEDIA_TYPES.
Must not know: what is read there.
"""

from __future__ import annotations

import re

__all__ = ["MEDIA_TYPES", "SOUND_TEMPLATE", "sound_in", "sound_uri"]

MEDIA_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "mp3": "audio/mpeg",
}
SOUND_TEMPLATE = "audio-pool://sounds/{id}.{format}"
_SOUND = re.compile(r"audio-pool://sounds/([1-9][0-9]{0,18})\.([a-z0-9]{1,8})")


def sound_uri(entry: int, form: str) -> str:
    """Return the address of a kept sound in a format."""
    return f"audio-pool://sounds/{entry}.{form}"


def sound_in(uri: str) -> tuple[int, str] | None:
    """Return the id and the format that an address names; None: it is none of a kept sound."""
    found = _SOUND.fullmatch(uri)
    return (int(found[1]), found[2]) if found and found[2] in MEDIA_TYPES else None
