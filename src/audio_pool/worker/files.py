"""Files of a finished sound: its master, and the rendition beside it where that is what was asked for.

Owns: which files are written, how a lossy one is kept under its peak and at its loudness.
Must not know: candidates, the gate, recipes.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET, structs

from audio_pool.audio.file_rates import file_warnings, nearest_rate
from audio_pool.engines.base import Audio
from audio_pool.inscription import comment_of
from audio_pool.results import RenditionReport, SoundMetadata
from audio_pool.types import Recipe, Rendition, Shape
from audio_pool.worker.beside import Beside
from audio_pool.worker.levels import Level, levelled, measured, of_master
from audio_pool.worker.sealing import UNSEALED, Sealing

if TYPE_CHECKING:
    from audio_pool.audio.master_file import EncodedMaster

__all__ = ["Comments", "encoded", "written"]

_PEAK_TOLERANCE_DB = 0.05
_LOUDER_LU = 0.3
"""How much louder a lossy file may have become than what was written to it."""
_LOSSY_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Comments:
    """What is written into a sound's files."""

    master: str
    delivered: str

    @classmethod
    def of(cls, recipe: Recipe, metadata: SoundMetadata, shape: Shape, rendition: Rendition) -> Comments:
        """Return what stands in the master, which stays here, and in the file that is delivered."""
        master = comment_of(recipe, metadata, rendition.of_master(shape.sample_rate))
        told = structs.replace(metadata, format=rendition.format)
        return cls(master=master, delivered=comment_of(recipe, told, rendition, shared=True))


def written(
    audio: Audio,
    shape: Shape,
    rendition: Rendition,
    directory: Path,
    name: str,
    comments: Comments,
    level: Level,
    encoding: Beside[EncodedMaster],
    sealing: Sealing = UNSEALED,
) -> tuple[Path, Path | None, RenditionReport | None]:
    """Return the master and, where it is not what was asked for, the rendition beside it.

    Args:
        encoding: the master, which may still be under way: a rendition is made meanwhile.
        sealing: how the rendition is signed.
    """
    master = directory / f"{name}.flac"
    asked = (rendition.format, rendition.bit_depth, rendition.sample_rate)
    plain = structs.replace(rendition, signed="")
    as_master = asked == ("flac", 24, shape.sample_rate) and plain == of_master(rendition)
    if as_master and not rendition.signed and comments.master == comments.delivered:
        encoding.result().write(master, comments.master, shape.loop)
        sealing.keep(master)
        return master, None, None
    suffix = "rendition.flac" if rendition.format == "flac" else rendition.format
    beside = directory / f"{name}.{suffix}"
    changed: RenditionReport | None
    try:
        if as_master:
            changed = RenditionReport(format="flac", sample_rate=shape.sample_rate, bit_depth=24)
            encoding.result().write(beside, comments.delivered, shape.loop)
        else:
            changed = _beside(audio, shape, rendition, beside, comments.delivered, level)
        sealing.sign(beside, rendition, comments.delivered)
        encoding.result().write(master, comments.master, shape.loop)
        sealing.keep(master)
    except BaseException:
        with contextlib.suppress(OSError):  # a folder that takes no files has none to take away
            beside.unlink()
        raise
    return master, beside, changed


def _beside(
    audio: Audio, shape: Shape, rendition: Rendition, out: Path, comment: str, level: Level
) -> RenditionReport:
    """Write a rendition that sounds otherwise than its master."""
    from audio_pool.audio import filter

    # at the file's own rate: what a low one leaves out is not counted to the level
    rate = nearest_rate(rendition.format, rendition.sample_rate)
    if rate != shape.sample_rate:
        audio = filter.resample(audio, shape.sample_rate, rate, circular=shape.loop)
    if rate != shape.sample_rate or structs.replace(rendition, signed="") != of_master(rendition):
        audio, level = levelled(audio, rate, rendition, shape.loop)
    return encoded(audio, rate, rendition, out, shape.loop, comment, level)


def encoded(
    audio: Audio, sample_rate: int, rendition: Rendition, out: Path, loop: bool, comment: str, level: Level
) -> RenditionReport:
    """Write one file; a lossy one is decoded, measured and, where its peaks or loudness grew, written again.

    Args:
        sample_rate: of the sound, and one that the format has.
    """
    from audio_pool.audio import codec

    lossy = codec.bit_depth_for(rendition.format, rendition.bit_depth) is None

    def write(audio: Audio) -> codec.Written:
        format_, depth = rendition.format, rendition.bit_depth
        return codec.write(out, audio, sample_rate, format_, depth, comment, loop, rendition.bit_rate)

    wrote = write(audio)
    frames, meant, lower, deepest = wrote.frames, level.lufs, rendition, level.limited_db
    for left in reversed(range(_LOSSY_ROUNDS + 1) if lossy else ()):
        decoded, rate = codec.read_back(out, rendition.format, wrote.sample_rate, len(audio))
        lufs, peak = measured(decoded, rate, loop)
        level = Level(lufs=lufs, peak_dbfs=peak, limited_db=deepest)
        frames, excess = decoded.shape[1], peak - rendition.true_peak_dbfs
        # a codec fills what is nearly silent, and the standard's gates then leave other parts out
        louder = lufs - meant if np.isfinite(meant) and np.isfinite(lufs) else 0.0
        if (excess <= _PEAK_TOLERANCE_DB and louder <= _LOUDER_LU) or not left:
            break
        if rendition.limiter and excess > louder and left > 1:
            # held down further, not turned down: what a codec adds to single peaks is no loudness
            lower = structs.replace(rendition, true_peak_dbfs=lower.true_peak_dbfs - excess)
            audio, held = levelled(audio, sample_rate, lower, loop)
            deepest += held.limited_db
        else:
            audio = audio * np.float32(10 ** (-max(excess, louder) / 20))
        wrote = write(audio)
    return RenditionReport(
        format=rendition.format,
        sample_rate=wrote.sample_rate,
        duration_s=frames / wrote.sample_rate,
        loudness_lufs=level.rounded_lufs,
        true_peak_dbfs=level.rounded_peak_dbfs,
        bit_depth=UNSET if lossy else rendition.bit_depth,
        channels=len(audio) if rendition.mono else UNSET,
        limited_db=round(level.limited_db, 2) if rendition.limiter else UNSET,
        warnings=(
            *file_warnings(rendition.format, rendition.sample_rate, loop),
            *(rendition.shortfall(level.rounded_lufs) if rendition.limiter else ()),
        ),
    )
