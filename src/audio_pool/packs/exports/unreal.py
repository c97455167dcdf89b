"""A folder for Unreal: 16-bit WAVs and a script that imports them from within the editor.

Owns: that script, and that the editor gets what it would make itself, dithered.
Must not know: other targets.
"""

from __future__ import annotations

import json
from pathlib import Path

from audio_pool.audio import codec
from audio_pool.packs.exports import BuiltPack, wav_names
from audio_pool.packs.exports.plain import written_manifest

__all__ = ["export"]

SCRIPT = "import_unreal.py"
_SCRIPT = '''\
"""Import this folder's sounds: run it in Unreal's editor (Tools > Execute Python Script)."""

import os

import unreal

FOLDER = os.path.dirname(os.path.abspath(__file__))
DESTINATION = "/Game/{name}"
SOUNDS = {sounds}


def main():
    tools = unreal.AssetToolsHelpers.get_asset_tools()
    tasks = []
    for sound in SOUNDS:
        task = unreal.AssetImportTask()
        task.set_editor_property("filename", os.path.join(FOLDER, *sound["file"].split("/")))
        task.set_editor_property("destination_path", "/".join([DESTINATION, *sound["file"].split("/")[:-1]]))
        task.set_editor_property("automated", True)
        task.set_editor_property("replace_existing", True)
        task.set_editor_property("save", True)
        task.set_editor_property("factory", unreal.SoundFactory())
        tasks.append(task)
    tools.import_asset_tasks(tasks)
    for sound, task in zip(SOUNDS, tasks):
        for path in task.get_editor_property("imported_object_paths"):
            wave = unreal.load_asset(path)
            wave.set_editor_property("looping", sound["loop"])
            unreal.EditorAssetLibrary.save_loaded_asset(wave)


main()
'''


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write every sound as a 16-bit WAV, which is what Unreal makes of whatever it is given, and the script."""
    written: list[Path] = []
    sounds = []
    names = wav_names(pack)
    for one in pack.files:
        source = pack.sounds / one.file
        audio, rate = codec.read(source)
        name = names[one.file]
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        codec.write(target, audio, rate, "wav", 16, codec.inspect(source)["comment"], one.is_loop)
        written.append(target)
        sounds.append({"file": name, "loop": one.is_loop})
    script = out / SCRIPT
    # JSON's words for truth are not Python's
    listed = json.dumps(sounds, indent=4).replace(": true", ": True").replace(": false", ": False")
    script.write_text(_SCRIPT.replace("{name}", pack.name).replace("{sounds}", listed), encoding="utf-8")
    return [*written, script, written_manifest(pack, out)]
