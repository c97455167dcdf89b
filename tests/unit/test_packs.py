"""Packs without a pool: what a manifest comes to, what a plan says, what each export looks like to its reader."""

from __future__ import annotations

import ast
import configparser
import csv
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from tests.support.audio_signals import pink, tone

from audio_pool.audio import codec
from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.packs.exports import TARGETS, BuiltPack, built_pack, export
from audio_pool.packs.pack_check import check, out_of_line
from audio_pool.packs.pack_lock import Lock, LockedFile, read_lock, write_lock
from audio_pool.packs.pack_manifest import Manifest, read_manifest, wanted_files
from audio_pool.packs.pack_plan import differences, plan_of, sha256_of
from audio_pool.packs.pack_template import EXAMPLE, manifest_of_lines
from audio_pool.packs.prompt_list import prompt_lines

RATE = 44_100
TEXT = """
[pack]
name = "level"
seed = 5
[defaults]
format = "wav"
words = "in a cave"
[classes.step]
duration_s = 0.5
target_lufs = -24
mono = true
[[items]]
name = "stone"
class = "step"
family = "steps"
prompt = "footstep on stone"
variants = 2
[[items]]
name = "mud"
class = "step"
family = "steps"
prompt = "footstep in mud"
variants = 2
[[items]]
name = "drip"
class = "step"
prompt = "water drip"
duration_s = 1.0
[[items]]
name = "wind"
prompt = "wind"
loop = true
"""


def manifest(folder: Path, text: str = TEXT) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack.toml").write_text(text)
    return read_manifest(folder)


def locked(folder: Path, made: Manifest) -> Lock:
    """As if every file had been built: noise of half a second, a second for what loops."""
    files = []
    for number, one in enumerate(wanted_files(made)):
        loop = bool(one.request.get("loop"))
        audio = tone(RATE) if loop else pink(RATE // 2, 0.05, number)[:1]
        path = folder / made.pack.out / one.file
        path.parent.mkdir(parents=True, exist_ok=True)
        codec.write(path, audio, RATE, one.form["format"], 16, '{"made_by":"audio_pool"}', loop)
        files.append(
            LockedFile(
                file=one.file, item=one.item, class_=one.class_, variant=one.variant, asked=one.asked, seed=one.seed,
                recipe="ab" * 32, engine="procedural", implementation="procedural", model="procedural",
                model_revision="2", licence="Apache-2.0", commercial_use=True, sha256=sha256_of(path) or "",
                format=one.form["format"], sample_rate=RATE, channels=len(audio), frames=audio.shape[1],
                is_loop=loop, seam_score=100.0 if loop else None, loudness_lufs=-24.0, true_peak_dbfs=-6.0,
                noise_floor_dbfs=-50.0, quality=100.0,
            )
        )  # fmt: skip
    lock = Lock(name=made.pack.name, pack_version=made.pack.version, files=tuple(files))
    write_lock(folder, lock)
    found = read_lock(folder)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> BuiltPack:
    folder = tmp_path_factory.mktemp("pack")
    made = manifest(folder)
    return built_pack(folder, made, locked(folder, made))


class TestManifest:
    def test_what_an_item_does_not_say_its_class_says_and_then_the_defaults(self, tmp_path: Path) -> None:
        files = {one.file: one for one in wanted_files(manifest(tmp_path))}
        assert list(files) == [
            "step/stone_01.wav", "step/stone_02.wav", "step/mud_01.wav", "step/mud_02.wav", "step/drip.wav",
            "sound/wind.wav",
        ]  # fmt: skip
        drip = files["step/drip.wav"]
        assert drip.request == {"prompt": "water drip, in a cave", "duration_s": 1.0}
        assert drip.form == {"format": "wav", "target_lufs": -24.0, "mono": True, "limiter": True}
        assert files["sound/wind.wav"].form == {"format": "wav"}

    def test_a_family_shares_its_seeds_and_another_seed_is_another_pack(self, tmp_path: Path) -> None:
        files = wanted_files(manifest(tmp_path))
        seeds = {one.file: one.seed for one in files}
        assert seeds["step/stone_01.wav"] == seeds["step/mud_01.wav"] != seeds["step/stone_02.wav"]
        assert len(set(seeds.values())) == 4
        others = wanted_files(manifest(tmp_path / "b", TEXT.replace("seed = 5", "seed = 6")))
        assert not {one.seed for one in others} & set(seeds.values())

    def test_a_class_that_there_is_not(self, tmp_path: Path) -> None:
        wrong = TEXT.replace('class = "step"\nprompt = "water', 'class = "stap"\nprompt = "water')
        with pytest.raises(InvalidRequest, match=r"class 'stap' that there is not; did you mean 'step'\?"):
            manifest(tmp_path, wrong)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (TEXT.replace("mono = true", "momo = true"), "momo"),
            (TEXT.replace('name = "mud"', 'name = "stone"'), "two are named 'stone'"),
            (TEXT.replace('name = "mud"', 'name = "Mud!"'), "name"),
            (TEXT.replace('prompt = "wind"', 'prompt = "wind"\nnames = "../{name}"'), "allowed are small letters"),
            (TEXT.replace('prompt = "wind"', 'prompt = "wind"\nnames = "{nam}"'), "with {nam}, allowed are"),
            (TEXT.replace("variants = 2", 'variants = 2\nnames = "{name}"'), "add {nn}"),
            (TEXT.replace("target_lufs = -24", "target_lufs = 24"), "target_lufs"),
            (TEXT.replace('format = "wav"', 'format = "pcm"'), "allowed are formats with a header"),
            ("[pack", "pack.toml"),
        ],
    )  # fmt: skip
    def test_bad_input_says_what_is_allowed(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(InvalidRequest, match=re.escape(said)):
            manifest(tmp_path, text)

    def test_the_example_and_a_list_are_manifests(self, tmp_path: Path) -> None:
        assert len(wanted_files(manifest(tmp_path / "a", EXAMPLE.replace("{name}", "x")))) == 4
        (tmp_path / "l.csv").write_text(
            'prompt,duration_s,loop,seed,crossfade_s\n"rain, ""heavy""",4,true,,\nrain heavy,2,,,\ndog \x7f,,,41,0.2\n'
        )
        text = manifest_of_lines("mine", prompt_lines(tmp_path / "l.csv", {}))
        files = wanted_files(manifest(tmp_path / "b", text))
        assert [one.file for one in files] == ["sound/rain_heavy.ogg", "sound/rain_heavy_2.ogg", "sound/dog.ogg"]
        assert files[0].request == {"prompt": 'rain, "heavy"', "duration_s": 4.0, "loop": True}
        assert (files[2].seed, files[2].request["crossfade_s"]) == (41, 0.2)
        (line, *_) = prompt_lines(tmp_path / "l.csv", {})
        with pytest.raises(InvalidRequest, match=r"over 10,000 lines"):
            manifest_of_lines("mine", [line] * 10_001)


class TestPlan:
    def test_each_file_has_its_step(self, tmp_path: Path) -> None:
        made = manifest(tmp_path)
        assert {step.kind for step in plan_of(made, None, tmp_path)} == {"make"}
        lock = locked(tmp_path, made)
        assert {step.kind for step in plan_of(made, lock, tmp_path)} == {"keep"}
        sounds = tmp_path / "sounds"
        (sounds / "step/drip.wav").unlink()
        (sounds / "step/mud_01.wav").write_bytes(b"mine")
        changed = manifest(
            tmp_path,
            TEXT.replace('name = "wind"', 'name = "storm"').replace("variants = 2", "variants = 1", 1)
            .replace('"footstep in mud"', '"footstep in deep mud"'),
        )  # fmt: skip
        steps = {step.file: step for step in plan_of(changed, lock, tmp_path)}
        assert {file: step.kind for file, step in steps.items()} == {
            "step/stone.wav": "rename",  # the first of two, which is now the only one
            "step/mud_01.wav": "remake", "step/mud_02.wav": "remake", "step/drip.wav": "restore",
            "sound/storm.wav": "make", "step/stone_02.wav": "remove", "sound/wind.wav": "remove",
        }  # fmt: skip
        assert steps["step/mud_01.wav"].why == (
            "prompt: 'footstep in mud, in a cave' -> 'footstep in deep mud, in a cave'",
            "somebody changed the file: without --overwrite it is left alone",
        )

    def test_another_name_alone_is_no_new_sound(self, tmp_path: Path) -> None:
        made = manifest(tmp_path)
        lock = locked(tmp_path, made)
        renamed = manifest(tmp_path, TEXT.replace('seed = 5', 'seed = 5\nnames = "all/{class}_{name}_{nn}"'))
        assert {step.kind for step in plan_of(renamed, lock, tmp_path)} == {"rename"}
        (tmp_path / "sounds/sound/wind.wav").write_bytes(b"mine")
        steps = plan_of(made, lock, tmp_path)
        assert [step.file for step in steps if step.kind == "edited"] == ["sound/wind.wav"]

    def test_a_check_tells_what_is_not_as_it_was_built(self, tmp_path: Path) -> None:
        made = manifest(tmp_path)
        lock = locked(tmp_path, made)
        assert not list(check(tmp_path, made, lock)) and not list(out_of_line(lock))
        sounds = tmp_path / "sounds"
        (sounds / "step/drip.wav").unlink()
        (sounds / "sound/wind.wav").write_bytes(b"mine")
        (sounds / "extra.wav").write_bytes(b"")
        found = "\n".join(check(tmp_path, manifest(tmp_path, TEXT.replace('"water drip"', '"drop"')), lock))
        for said in ("drip.wav: is gone", "wind.wav: is another file", "extra.wav: is not in the lock", "'water drip"):
            assert said in found
        drip = next(one for one in lock.files if one.item == "drip")
        loud = msgspec.structs.replace(drip, loudness_lufs=-18.0)
        odd = msgspec.structs.replace(lock, files=tuple(loud if one is drip else one for one in lock.files))
        assert list(out_of_line(odd)) == ["step/drip.wav: -18.0 LUFS, class step has -24.0"]
        assert list(differences(lock, odd)) == ["~ step/drip.wav: measured otherwise"]
        fewer = msgspec.structs.replace(lock, files=lock.files[1:])
        assert list(differences(fewer, lock)) == [f"+ {lock.files[0].file}"]

    def test_a_name_that_somebodys_file_has_is_not_taken(self, tmp_path: Path) -> None:
        made = manifest(tmp_path)
        lock = locked(tmp_path, made)
        (tmp_path / "sounds/sound/storm.wav").write_bytes(b"mine")
        storm = manifest(tmp_path, TEXT.replace('name = "wind"', 'name = "storm"\nseed = 3'))
        taken = next(one for one in wanted_files(storm) if one.item == "storm")
        wind = next(one for one in lock.files if one.item == "wind")
        same = msgspec.structs.replace(wind, asked=taken.asked)
        lock = msgspec.structs.replace(lock, files=(*(one for one in lock.files if one is not wind), same))
        assert {step.file: step.kind for step in plan_of(storm, lock, tmp_path)}["sound/storm.wav"] == "make"
        (tmp_path / "sounds/sound/storm.wav").unlink()
        assert {step.file: step.kind for step in plan_of(storm, lock, tmp_path)}["sound/storm.wav"] == "rename"

    def test_a_pack_that_becomes_commercial_has_nothing_left_that_may_not_be(self, tmp_path: Path) -> None:
        made = manifest(tmp_path)
        lock = locked(tmp_path, made)
        files = (msgspec.structs.replace(lock.files[0], commercial_use=False, format="mp3"), *lock.files[1:])
        write_lock(tmp_path, msgspec.structs.replace(lock, files=files))
        assert read_lock(tmp_path) is not None  # every format's name is one that a lock may have
        lock = msgspec.structs.replace(lock, files=files)
        assert {step.kind for step in plan_of(made, lock, tmp_path)} == {"keep"}
        sold = manifest(tmp_path, TEXT.replace("seed = 5", "seed = 5\ncommercial = true"))
        changed = [step for step in plan_of(sold, lock, tmp_path) if step.kind != "keep"]
        assert [(step.file, step.kind) for step in changed] == [(lock.files[0].file, "remake")]
        assert "commercial" in changed[0].why[0] and any("commercial" in line for line in check(tmp_path, sold, lock))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("file", "../../run.sh"), ("file", "/etc/passwd"), ("file", "a/../../b.wav"), ("item", "../x"),
            ("class", 'x"\n'), ("recipe", "'\n  x: 1"), ("frames", 0),
        ],
    )  # fmt: skip
    def test_a_lock_names_nothing_outside_its_pack(
        self, tmp_path: Path, field: str, value: str | int
    ) -> None:
        locked(tmp_path, manifest(tmp_path))
        tree = json.loads((tmp_path / "pack.lock").read_text())
        tree["files"][0][field] = value
        (tmp_path / "pack.lock").write_text(json.dumps(tree))
        with pytest.raises(InvalidRequest, match=rf"pack\.lock: .*{field}"):
            read_lock(tmp_path)

    def test_a_lock_that_is_none_is_refused(self, tmp_path: Path) -> None:
        for text, said in (("{", "not JSON"), ('{"version": 9}', "given version 9"), ('{"version": 1}', "name")):
            (tmp_path / "pack.lock").write_text(text)
            with pytest.raises(InvalidRequest, match=said):
                read_lock(tmp_path)


def godot_mixer(audio: np.ndarray[Any, Any], frames: int) -> np.ndarray[Any, Any]:
    """What Godot's mixer of WAVs plays of a loop: the end counts as inside when read, and as outside when wrapped."""
    loop_begin, loop_end = 0, audio.shape[1] - 1  # what the importer makes of edit/loop_end = -1
    out, at = [], 0
    while len(out) < frames:
        out.append(audio[:, at])
        at += 1
        if at > loop_end:
            at = loop_begin + (at - loop_end)
    return np.stack(out, axis=1)


@pytest.fixture(scope="module")
def out(pack: BuiltPack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports")
    for target in TARGETS:
        written = export(target, pack, out / target, guard=True)
        assert sorted(written) == sorted(path for path in (out / target).rglob("*") if path.is_file())
    return out


class TestExports:
    def test_plain(self, out: Path, pack: BuiltPack) -> None:
        told = json.loads((out / "plain/pack.json").read_text())
        files = [file for item in told["items"] for file in item["files"]]
        assert sorted(one["file"] for one in files) == sorted(one.file for one in pack.files)
        assert all(sha256_of(out / "plain" / one["file"]) == one["sha256"] for one in files)
        (wind,) = (one for one in files if one["file"] == "sound/wind.wav")
        assert wind["loop"] == {"start": 0, "end": RATE, "exact": True, "seam_score": 100.0}
        assert wind["provenance"]["digital_source_type"].endswith("/algorithmicMedia")

    def test_godot_plays_its_loops_without_losing_a_frame(self, out: Path, pack: BuiltPack) -> None:
        plain, _ = codec.read(pack.sounds / "sound/wind.wav")
        guarded, _ = codec.read(out / "godot/sound/wind.wav")
        turns = 3 * RATE
        assert np.abs(godot_mixer(guarded, turns) - np.tile(plain, 3)).max() < 2 / 32_768  # 16 bits, dithered anew
        assert np.abs(godot_mixer(plain, turns) - np.tile(plain, 3)).max() > 0.01  # what the frame is for
        settings = configparser.ConfigParser()
        settings.read_string((out / "godot/sound/wind.wav.import").read_text())
        assert settings["remap"] == {"importer": '"wav"', "type": '"AudioStreamWAV"'}
        assert settings["deps"]["source_file"] == '"res://level/sound/wind.wav"'
        assert (settings["params"]["edit/loop_mode"], settings["params"]["compress/mode"]) == ("2", "0")
        steps = configparser.ConfigParser()
        steps.read_string((out / "godot/step/drip.wav.import").read_text())
        assert steps["params"]["edit/loop_mode"] == "1"
        tres = (out / "godot/step/stone.tres").read_text()
        assert tres.startswith('[gd_resource type="AudioStreamRandomizer" load_steps=3 format=3]')
        for path in re.findall(r'path="res://level/(.*?)"', tres):
            assert (out / "godot" / path).is_file()
        assert tres.count("/stream = ExtResource(") == 2 and "streams_count = 2" in tres

    def test_unity(self, out: Path, pack: BuiltPack, tmp_path: Path) -> None:
        guids = set()
        for meta in (out / "unity").rglob("*.meta"):
            text = meta.read_text()
            assert meta.with_suffix("").exists() and text.startswith("fileFormatVersion: 2\nguid: ")
            (guid,) = re.findall(r"^guid: ([0-9a-f]{32})$", text, re.M)
            guids.add(guid)
        assert len(guids) == len(list((out / "unity").rglob("*.meta"))) == len(pack.files) + 2
        again = tmp_path / "again"
        export("unity", pack, again)
        one = (again / "step/drip.wav.meta").read_bytes()
        assert one == (out / "unity/step/drip.wav.meta").read_bytes()
        assert b"  normalize: 0" in one and b"recipe=abab" in one

    def test_unreal(self, out: Path) -> None:
        tree = ast.parse((out / "unreal/import_unreal.py").read_text())
        (sounds,) = (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SOUNDS"
        )
        assert {one["file"]: one["loop"] for one in sounds}["sound/wind.wav"] is True
        for one in sounds:
            assert soundfile.info(out / "unreal" / one["file"]).subtype == "PCM_16"

    def test_wwise(self, out: Path, pack: BuiltPack) -> None:
        with (out / "wwise/wwise_import.txt").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert len(rows) == len(pack.files)
        for row in rows:
            path = out / "wwise" / row["Audio File"].replace("\\", "/")
            info = soundfile.info(path)
            assert info.format == "WAV" and info.subtype == "PCM_24" and info.samplerate <= 96_000
            assert row["Object Type"] == "Sound SFX" and row["Object Path"].endswith(f"<Sound SFX>{path.stem}")
        loops = {row["Audio File"]: row["Property[IsLoopingEnabled]"] for row in rows}
        assert loops["sound\\wind.wav"] == "True" and loops["step\\drip.wav"] == "False"
        assert sum("<Random Container>stone\\" in row["Object Path"] for row in rows) == 2

    def test_fmod(self, out: Path) -> None:
        script = (out / "fmod/import_fmod.js").read_text()
        (listed,) = re.findall(r"var EVENTS = (\[.*?\n    \]);", script, re.S)
        events = json.loads(listed)
        assert [one["name"] for one in events] == ["drip", "mud", "stone", "wind"]
        assert all((out / "fmod" / file).is_file() for one in events for file in one["files"])

    def test_sprites_have_each_sound_where_they_say(self, out: Path, pack: BuiltPack) -> None:
        told = json.loads((out / "howler/level.json").read_text())
        assert told["src"] == ["level.ogg", "level.wav"]  # MP3 would open the loop
        sprite, rate = codec.read(out / "howler/level.wav")
        for one in pack.files:
            start, length, *loop = told["sprite"][Path(one.file).stem]
            assert bool(loop) == one.is_loop and start % 1000 == 0
            part = sprite[:, round(start * rate / 1000) : round((start + length) * rate / 1000)]
            audio, _ = codec.read(pack.sounds / one.file)
            assert part.shape[1] == one.frames and np.abs(part - audio).max() < 2 / 32_768
        default = json.loads((out / "audiosprite/level.json").read_text())
        assert default["resources"] == told["src"] and default["spritemap"]["wind"]["loop"] is True

    def test_what_cannot_be_exported_is_told(self, tmp_path: Path, pack: BuiltPack) -> None:
        with pytest.raises(InvalidRequest, match="target: given 'cryengine', allowed are plain"):
            export("cryengine", pack, tmp_path / "x")
        (tmp_path / "full").mkdir()
        (tmp_path / "full/file").write_text("")
        with pytest.raises(InvalidRequest, match="is not empty"):
            export("plain", pack, tmp_path / "full")
        made = manifest(tmp_path / "p", TEXT.replace('format = "wav"', 'format = "flac"'))
        flac = built_pack(tmp_path / "p", made, locked(tmp_path / "p", made))
        with pytest.raises(InvalidRequest, match="Godot imports wav, ogg, mp3"):
            export("godot", flac, tmp_path / "g")
        assert not any((tmp_path / "g").iterdir())  # nothing is in the way of the next
        two = (pack.files[0], msgspec.structs.replace(pack.files[0], file=pack.files[0].file.replace(".wav", ".ogg")))
        for target in ("unreal", "wwise"):
            with pytest.raises(InvalidRequest, match="would both be"):
                export(target, msgspec.structs.replace(pack, files=two), tmp_path / target)
        (tmp_path / "p/sounds/step/drip.flac").unlink()
        with pytest.raises(NotFound, match="is not as it was built"):
            built_pack(tmp_path / "p", made, read_lock(tmp_path / "p"))  # type: ignore[arg-type]
