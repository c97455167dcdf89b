"""ElevenLabs' names of output formats, such as ``mp3_44100_128``.

Owns: which there are, and what each asks of the pool.
Must not know: routes.
"""

from __future__ import annotations

from typing import Any

from audio_pool.gateway.dialects.fields import BadFields, Fault

__all__ = ["EFFECT_FORMATS", "MUSIC_FORMATS", "rendition_of"]

_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_BIT_RATES = (32, 64, 96, 128, 192)
EFFECT_FORMATS = (
    "mp3_22050_32",
    "mp3_24000_48",
    *(f"mp3_44100_{bit_rate}" for bit_rate in _BIT_RATES),
    *(f"opus_48000_{bit_rate}" for bit_rate in _BIT_RATES),
    *(f"pcm_{rate}" for rate in _RATES),
    *(f"wav_{rate}" for rate in _RATES),
    "ulaw_8000",
    "alaw_8000",
)
MUSIC_FORMATS = (*EFFECT_FORMATS, *(f"mp3_48000_{bit_rate}" for bit_rate in (128, 192, 240, 320)))
_AUTO = "auto"
_DEFAULT = "mp3_44100_128"


def rendition_of(name: str | None, allowed: tuple[str, ...] = EFFECT_FORMATS) -> dict[str, Any]:
    """Return the fields of a request that ask for a format: of the file alone, so that one kept sound serves all.

    Raises:
        BadFields: there is no such format.
    """
    name = _DEFAULT if name in (None, "", _AUTO) else name
    if name not in allowed:
        raise BadFields(Fault("output_format", f"given {name!r:.60}, allowed is one of {', '.join(allowed)}"))
    format_, rate, *bit_rate = name.split("_")
    return {
        "format": format_,
        "rendition_rate": int(rate),
        "bit_rate": int(bit_rate[0]) if bit_rate else None,
        "bit_depth": 16 if format_ == "wav" else None,
    }
