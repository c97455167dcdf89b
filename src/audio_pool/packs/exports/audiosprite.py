"""One long file with all sounds, and where each lies: an audio sprite, in the words of audiosprite's default format.

Owns: how sounds are laid out (each on a whole second, a second of silence at least between), both formats of the map.
Must not know: other targets.

MP3 adds silence to what it encodes, so a sprite with loops is written as OGG and WAV alone.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from audio_pool.audio import codec, filter
from audio_pool.errors import InvalidRequest
from audio_pool.packs.exports import BuiltPack
from audio_pool.packs.exports.plain import written_manifest
from audio_pool.packs.pack_lock import LockedFile

__all__ = ["Laid", "export", "laid_out", "written_sprite"]

_GAP_S = 1.0
_MOST_S = 600.0
Json = dict[str, Any]  # opaque: as it is written


class Laid:
    """One sound's place in the sprite, in seconds."""

    def __init__(self, one: LockedFile, start: float, end: float) -> None:
        self.name = Path(one.file).stem
        self.loop = one.is_loop
        self.start, self.end = start, end


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write the sprite and ``NAME.json``. Raises InvalidRequest: it would be too long, or two names are alike."""
    laid, files = written_sprite(pack, out)
    told = {
        "resources": [path.name for path in files],
        "spritemap": {one.name: {"start": one.start, "end": one.end, "loop": one.loop} for one in laid},
    }
    return [*files, _told(out / f"{pack.name}.json", told), written_manifest(pack, out)]


def written_sprite(pack: BuiltPack, out: Path) -> tuple[list[Laid], list[Path]]:
    """Write the sprite's files; return where each sound lies."""
    laid, audio, rate = laid_out(pack)
    formats = ["ogg", "wav"] if any(one.loop for one in laid) else ["ogg", "mp3"]
    files = []
    for format_ in formats:
        path = out / f"{pack.name}.{format_}"
        codec.write(path, audio, rate, format_, 16, "", False)
        files.append(path)
    return laid, files


def laid_out(pack: BuiltPack) -> tuple[list[Laid], np.ndarray[Any, np.dtype[np.float32]], int]:
    """Return each sound's place, and the whole: float32 [C, T] at a rate in Hz."""
    names = [Path(one.file).stem for one in pack.files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidRequest(f"two files are named {twice!r}: a sprite has one of each name; change 'names'")
    rate = max(one.sample_rate for one in pack.files)
    channels = max(one.channels for one in pack.files)
    laid: list[Laid] = []
    pieces = []
    at = 0.0
    for one in pack.files:
        audio, own = codec.read(pack.sounds / one.file)
        audio = filter.resample(audio, own, rate, circular=one.is_loop)
        if len(audio) < channels:
            audio = np.repeat(audio, channels, axis=0)
        seconds = audio.shape[1] / rate
        laid.append(Laid(one, at, at + seconds))
        following = math.ceil(at + seconds + _GAP_S)
        silence = np.zeros((channels, round((following - at) * rate) - audio.shape[1]), np.float32)
        pieces += [audio, silence]
        at = float(following)
        if at > _MOST_S:
            raise InvalidRequest(f"a sprite of over {_MOST_S:g} s: {len(pack.files)} files are too many for one")
    return laid, np.concatenate(pieces, axis=1), rate


def _told(path: Path, told: Json) -> Path:
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return path
