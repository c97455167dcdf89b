"""A folder for FMOD Studio: sounds and a script that makes an event of each item.

Owns: that script, for FMOD Studio's Scripts folder.
Must not know: other targets.
"""

from __future__ import annotations

import json
from pathlib import Path

from audio_pool.errors import InvalidRequest
from audio_pool.packs.exports import BuiltPack, copied
from audio_pool.packs.exports.plain import written_manifest

__all__ = ["export"]

SCRIPT = "import_fmod.js"
_FORMATS = ("wav", "ogg", "flac", "mp3")
_SCRIPT = """\
// Copy this file into FMOD Studio's Scripts folder; then Scripts > Import {name}. It asks for the folder of the sounds.
(function () {
    "use strict";
    var EVENTS = {events};

    function folderNamed(name, parent) {
        var found = parent.items.filter(function (item) {
            return item.entity === "EventFolder" && item.name === name;
        });
        if (found.length) {
            return found[0];
        }
        var made = studio.project.create("EventFolder");
        made.name = name;
        made.folder = parent;
        return made;
    }

    function importEvent(told, base) {
        var files = told.files.map(function (file) {
            return studio.project.importAudioFile(base + "/" + file);
        });
        if (files.some(function (file) { return !file; })) {
            alert("Not imported: " + told.name);
            return;
        }
        var event = studio.project.create("Event");
        event.name = told.name;
        event.folder = folderNamed(told.folder, folderNamed("{name}", studio.project.workspace.masterEventFolder));
        var track = event.addGroupTrack();
        var length = Math.max.apply(null, files.map(function (file) { return file.length; }));
        var sound;
        if (files.length === 1) {
            sound = track.addSound(event.timeline, "SingleSound", 0, length);
            sound.audioFile = files[0];
        } else {
            sound = track.addSound(event.timeline, "MultiSound", 0, length);
            files.forEach(function (file) {
                var single = studio.project.create("SingleSound");
                single.audioFile = file;
                single.owner = sound;
            });
        }
        sound.looping = told.loop;
    }

    studio.menu.addMenuItem({
        name: "Import {name}",
        execute: function () {
            var base = studio.system.getText("Folder of the sounds of {name}", studio.project.filePath);
            if (base) {
                EVENTS.forEach(function (told) { importEvent(told, base); });
            }
        }
    });
}());
"""


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write the sounds and the script. Raises InvalidRequest: a file that FMOD Studio cannot import."""
    written: list[Path] = []
    for one in pack.files:
        if one.format not in _FORMATS:
            raise InvalidRequest(f"{one.file}: FMOD Studio imports {', '.join(_FORMATS)}; build the pack in one")
        written.append(copied(pack, one, out))
    events = [
        {"name": item, "folder": files[0].class_, "files": [one.file for one in files], "loop": files[0].is_loop}
        for item, files in pack.variants()
    ]
    script = out / SCRIPT
    listed = json.dumps(events, indent=4).replace("\n", "\n    ")
    script.write_text(_SCRIPT.replace("{events}", listed).replace("{name}", pack.name), encoding="utf-8")
    return [*written, script, written_manifest(pack, out)]
