"""A folder for a Unity project's Assets: sounds with their ``.meta`` files.

Owns: those files (AudioImporter, serializedVersion 8), their stable guids.
Must not know: other targets.

Looping is a property of Unity's AudioSource, not of a clip: ``pack.json`` beside says which are loops, and so does
``userData`` of each.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from audio_pool.errors import InvalidRequest
from audio_pool.packs.exports import BuiltPack, copied
from audio_pool.packs.exports.plain import written_manifest
from audio_pool.packs.pack_lock import LockedFile

__all__ = ["export"]

_FORMATS = ("wav", "ogg", "mp3")
_LONG_S = 10.0
"""From here on a clip is streamed; below 3 s it is decompressed when it is loaded."""
_SHORT_S = 3.0
_DECOMPRESS, _COMPRESSED, _STREAMING = 0, 1, 2
_PCM, _VORBIS = 0, 1


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write the sounds and their settings. Raises InvalidRequest: a file that Unity cannot import."""
    written: list[Path] = []
    folders: set[Path] = set()
    for one in pack.files:
        if one.format not in _FORMATS:
            raise InvalidRequest(f"{one.file}: Unity imports {', '.join(_FORMATS)}; build the pack in one of them")
        path = copied(pack, one, out)
        beside = path.with_name(f"{path.name}.meta")
        beside.write_text(_meta(pack, one), encoding="utf-8")
        written += [path, beside]
        folders |= {folder for folder in path.parents if out in folder.parents}
    for folder in sorted(folders):
        beside = folder.with_name(f"{folder.name}.meta")
        guid = _guid(pack, folder.relative_to(out).as_posix())
        beside.write_text(
            f"fileFormatVersion: 2\nguid: {guid}\nfolderAsset: yes\nDefaultImporter:\n  externalObjects: {{}}\n"
            "  userData:\n  assetBundleName:\n  assetBundleVariant:\n",
            encoding="utf-8",
        )
        written.append(beside)
    return [*written, written_manifest(pack, out)]


def _guid(pack: BuiltPack, name: str) -> str:
    """Return an asset's guid: the same for every export of this pack, so that scenes keep what they refer to."""
    return hashlib.md5(f"{pack.name}/{name}".encode(), usedforsecurity=False).hexdigest()


def _meta(pack: BuiltPack, one: LockedFile) -> str:
    seconds = one.frames / one.sample_rate
    load = _STREAMING if seconds >= _LONG_S else _DECOMPRESS if seconds < _SHORT_S else _COMPRESSED
    # Vorbis pads what it encodes anew: a loop that is exact stays so as PCM
    form = _PCM if one.is_loop and one.format == "wav" else _VORBIS
    spatial = 1 if one.channels == 1 else 0
    return f"""fileFormatVersion: 2
guid: {_guid(pack, one.file)}
AudioImporter:
  externalObjects: {{}}
  serializedVersion: 8
  defaultSettings:
    serializedVersion: 2
    loadType: {load}
    sampleRateSetting: 0
    sampleRateOverride: 44100
    compressionFormat: {form}
    quality: 1
    conversionMode: 0
    preloadAudioData: 1
  platformSettingOverrides: {{}}
  forceToMono: 0
  normalize: 0
  loadInBackground: {int(load == _STREAMING)}
  ambisonic: 0
  3D: {spatial}
  userData: 'audio_pool recipe={one.recipe} loop={str(one.is_loop).lower()}'
  assetBundleName:
  assetBundleVariant:
"""
