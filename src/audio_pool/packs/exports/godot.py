"""A Godot 4 project's folder: sounds with their ``.import`` files, and an AudioStreamRandomizer for variants.

Owns: those files (scene/resources of Godot 4: resource_importer_wav.cpp, resource_importer_ogg_vorbis.cpp,
AudioStreamRandomizer's properties), the guard frame.
Must not know: other targets.

Godot's mixer of WAVs takes the end of a loop as inclusive when it decodes and as exclusive when it wraps, so every
turn loses its first frame. A loop of N frames is therefore written with N + 1, the last a copy of the first: it plays
0 to N - 1, then that copy, and goes on at 1. It matters to WAV alone; OGG loops are right as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audio_pool.audio import codec
from audio_pool.errors import InvalidRequest
from audio_pool.packs.exports import BuiltPack, copied
from audio_pool.packs.pack_lock import LockedFile

__all__ = ["export"]

_IMPORTERS = {
    "wav": ("wav", "AudioStreamWAV"),
    "ogg": ("oggvorbisstr", "AudioStreamOggVorbis"),
    "mp3": ("mp3", "AudioStreamMP3"),
}
_WAV_FORWARD, _WAV_NONE = 2, 1
"""``edit/loop_mode``: 0 reads the file's own loop, 1 none, 2 forward."""


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write the sounds beneath ``out``, which is a folder of the project, as ``res://NAME``.

    Raises:
        InvalidRequest: a file that Godot cannot import.
    """
    written: list[Path] = []
    base = f"res://{pack.name}"
    for one in pack.files:
        if one.format not in _IMPORTERS:
            raise InvalidRequest(f"{one.file}: Godot imports {', '.join(_IMPORTERS)}; build the pack in one of them")
        guarded = guard and one.is_loop and one.format == "wav"
        path = _guarded(pack, one, out) if guarded else copied(pack, one, out)
        beside = path.with_name(f"{path.name}.import")
        beside.write_text(_import_of(one, f"{base}/{one.file}"), encoding="utf-8")
        written += [path, beside]
    for item, files in pack.variants():
        if len(files) > 1:
            path = out / files[0].class_ / f"{item}.tres"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_randomizer([f"{base}/{one.file}" for one in files]), encoding="utf-8")
            written.append(path)
    return written


def _guarded(pack: BuiltPack, one: LockedFile, out: Path) -> Path:
    """Write a loop with its first frame once more at its end."""
    source = pack.sounds / one.file
    audio, rate = codec.read(source)
    told = codec.inspect(source)
    target = out / one.file
    target.parent.mkdir(parents=True, exist_ok=True)
    longer = np.concatenate([audio, audio[:, :1]], axis=1)
    codec.write(target, longer, rate, "wav", told["bit_depth"] or 24, told["comment"], True)
    return target


def _import_of(one: LockedFile, source: str) -> str:
    importer, kind = _IMPORTERS[one.format]
    if one.format == "wav":
        mode = _WAV_FORWARD if one.is_loop else _WAV_NONE
        params = [
            "force/8_bit=false", "force/mono=false", "force/max_rate=false", "force/max_rate_hz=44100",
            "edit/trim=false", "edit/normalize=false", f"edit/loop_mode={mode}", "edit/loop_begin=0",
            "edit/loop_end=-1", "compress/mode=0",
        ]  # fmt: skip
    else:
        loop = str(one.is_loop).lower()
        params = [f"loop={loop}", "loop_offset=0", "bpm=0", "beat_count=0", "bar_beats=4"]
    lines = [
        "[remap]", "", f'importer="{importer}"', f'type="{kind}"', "", "[deps]", "", f'source_file="{source}"', "",
        "[params]", "", *params, "",
    ]  # fmt: skip
    return "\n".join(lines)


def _randomizer(paths: list[str]) -> str:
    """Return an AudioStreamRandomizer that plays the variants without repeating one."""
    lines = [f'[gd_resource type="AudioStreamRandomizer" load_steps={len(paths) + 1} format=3]', ""]
    lines += [f'[ext_resource type="AudioStream" path="{path}" id="{n}"]' for n, path in enumerate(paths, 1)]
    lines += ["", "[resource]", "playback_mode = 0", f"streams_count = {len(paths)}"]
    for place in range(len(paths)):
        lines += [f'stream_{place}/stream = ExtResource("{place + 1}")', f"stream_{place}/weight = 1.0"]
    return "\n".join([*lines, ""])
