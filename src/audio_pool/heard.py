"""What is found in a file whose origin is asked for, and in a kept sound that it may be.

Owns: these findings as data, on their way from whoever reads files to whoever knows what was made here.
Must not know: how they are found, what follows from them.
"""

from __future__ import annotations

from msgspec import Struct

from audio_pool.origin import Declared

__all__ = ["Against", "Compared", "Heard"]


class Heard(Struct, frozen=True, kw_only=True):
    """A file, read once."""

    name: str
    """As it was given."""
    sha256: str
    """Of the file, in hex."""
    samples_md5: str = ""
    """Of its samples at 24 bits, in hex; "": it is lossy, or has more bits."""
    format: str
    sample_rate: int
    channels: int
    duration_s: float
    loudness_lufs: float | None = None
    bandwidth_hz: float | None = None
    rises: bytes = b""
    """uint32 each: a probe, as of audio/fingerprint.py."""
    falls: bytes = b""
    declares: Declared = Declared()
    ours: bool = False
    """Its manifest is valid and signed by us, and so is what it declares."""
    notes: tuple[str, ...] = ()


class Against(Struct, frozen=True, kw_only=True):
    """A kept sound that a file is compared with."""

    number: int
    master: str
    """Path of its master."""
    loop: bool
    offsets_s: tuple[float, ...] = ()
    """Where it may begin in the file; empty: anywhere."""


class Compared(Struct, frozen=True, kw_only=True):
    """How a kept sound agrees with a file, sample by sample."""

    number: int
    explained: float
    """Share of the file's power, where the two overlap, that is the kept sound: 0..1."""
    overlap_s: float
    offset_s: float
    """Where the kept sound begins in the file."""
    gain_db: float
    tone_db: float
    """Greatest difference between bands after the gain."""
    residual_db: float
    """What is not explained, bands allowed for."""
    chromaprint: float | None = None
    """Bit error rate by Chromaprint; None: its library is not installed, or one of them is too short for it."""
    kept_s: float
    kept_bandwidth_hz: float | None = None
