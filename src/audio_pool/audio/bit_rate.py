"""What a lossy encoder is told, so that it spends so many kilobits a second.

Owns: libsndfile's scales of compression, and the mode that keeps a file's length.
Must not know: sounds, files.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["BIT_RATE_FORMATS", "EncoderSettings", "settings_for"]

BIT_RATE_FORMATS = ("mp3", "opus")
_MOST_COMPRESSED = 0.999
"""libsndfile refuses 1 for MP3."""
_TAG_BYTES = 200
"""What the first frame of an MP3 holds where it says how long the sound is; a smaller frame has no room for it."""
_MP3_BIT_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
"""Of constant MP3 frames at 32 kHz and more."""


class EncoderSettings(NamedTuple):
    """As soundfile takes them."""

    compression_level: float
    bitrate_mode: Literal["CONSTANT", "AVERAGE"] | None = None


def settings_for(format: str, bit_rate: int, sample_rate: int, channels: int) -> EncoderSettings:
    """Return how ``format`` is to be written at ``bit_rate`` kbit/s.

    MP3 frames are of one size where one can hold the file's length, and so on the average elsewhere: without the
    length a player gets up to 0.1 s of padding. Opus varies around it.
    """
    if format == "opus":  # ogg_opus.c: 6 to 256 kbit/s for each channel
        return EncoderSettings(_level(bit_rate, 6 * channels, 256 * channels))
    # mpeg_l3_encode.c: by MPEG-1, 2 and 2.5
    least, most = (32, 320) if sample_rate >= 32_000 else (8, 160) if sample_rate >= 16_000 else (8, 64)
    frame_bytes = (144_000 if sample_rate >= 32_000 else 72_000) * bit_rate / sample_rate
    constant = frame_bytes >= _TAG_BYTES and (sample_rate < 32_000 or bit_rate in _MP3_BIT_RATES)
    return EncoderSettings(_level(bit_rate, least, most), "CONSTANT" if constant else "AVERAGE")


def _level(bit_rate: int, least: int, most: int) -> float:
    """Return the place of a bit rate between the most, 0, and the least, 1."""
    return min(_MOST_COMPRESSED, max(0.0, (most - bit_rate) / (most - least)))
