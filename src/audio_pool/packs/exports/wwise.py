"""A folder for Wwise: WAVs and the tab-delimited file that its Tab Delimited Import reads.

Owns: that file, and that its WAVs are what Wwise takes (16 or 24 bits, up to 96 kHz).
Must not know: other targets.

Paths are relative to the destination that is chosen at the import: the name of the hierarchy above it changed between
versions. Wwise's conversion takes out a DC offset by default, with a filter that opens a loop's joint: there is none
in these files, and it should be switched off for loops.
"""

from __future__ import annotations

from pathlib import Path

from audio_pool.audio import codec, filter
from audio_pool.packs.exports import BuiltPack, wav_names
from audio_pool.packs.exports.plain import written_manifest

__all__ = ["export"]

TABLE = "wwise_import.txt"
_HEAD = ("Audio File", "Object Path", "Object Type", "Property[IsLoopingEnabled]", "Notes", "OriginalsSubFolder")
_HIGHEST_HZ = 96_000


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write every sound as a 24-bit WAV, and the table; variants are within a random container."""
    written: list[Path] = []
    rows = ["\t".join(_HEAD)]
    names = wav_names(pack)
    for item, files in pack.variants():
        for one in files:
            source = pack.sounds / one.file
            audio, rate = codec.read(source)
            if rate > _HIGHEST_HZ:
                audio, rate = filter.resample(audio, rate, _HIGHEST_HZ, circular=one.is_loop), _HIGHEST_HZ
            name = Path(names[one.file])
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            codec.write(target, audio, rate, "wav", 24, codec.inspect(source)["comment"], one.is_loop)
            written.append(target)
            container = f"<Random Container>{item}\\" if len(files) > 1 else ""
            place = f"<Virtual Folder>{pack.name}\\<Virtual Folder>{one.class_}\\{container}<Sound SFX>{name.stem}"
            windows = str(name).replace("/", "\\")
            rows.append(
                "\t".join((windows, place, "Sound SFX", str(one.is_loop), f"recipe {one.recipe}", pack.name))
            )
    table = out / TABLE
    table.write_text("\r\n".join([*rows, ""]), encoding="utf-8")
    return [*written, table, written_manifest(pack, out)]
