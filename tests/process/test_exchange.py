"""Sounds taken in from elsewhere answer a real pool's requests; what is exported comes back as it was."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from tests.support.cache_sounds import recipe, sound
from tests.support.engines.listener_engine import Listener
from tests.support.engines.reader_engine import Reader
from tests.support.sound_library import RATE, first_system, tone

from audio_pool import AudioPool
from audio_pool.audio import codec
from audio_pool.cache.calibration import Measured
from audio_pool.cache.entry import Entry
from audio_pool.cache.eviction import held_in
from audio_pool.cache.judgements import Given
from audio_pool.cache.limits import Bounds, Limits
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.backup import backup, restore
from audio_pool.cache.sqlite.rebuild import rebuild
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.uses import Counted
from audio_pool.cli.cache import group
from audio_pool.cli.moving import _rules
from audio_pool.config import load_config
from audio_pool.errors import InvalidRequest
from audio_pool.exchange.exporting import export
from audio_pool.exchange.importing import Imported, as_json, import_sounds
from audio_pool.exchange.meaning import Meaning
from audio_pool.exchange.preparing import Rules
from audio_pool.types import Query

PROMPTS = ("a bell", "rain on a tin roof", "a dog barks", "wind")
Take = Callable[..., Any]


def rules(**changes: Any) -> Rules:
    given: dict[str, Any] = {"engine": None, "namespace": "default", "keep_level": False, "licence": "", "loop": None}
    given |= {"commercial": False, "min_quality": 0.0, "tags": ()}
    return _rules(load_config(None), **(given | changes))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with contextlib.closing(SqliteStore(tmp_path / "cache")) as opened:
        yield opened


def entries(store: SqliteStore) -> list[Entry]:
    found = [store.entries.entry(kept.entry_id) for kept in store.checks.masters()]
    return sorted((one for one in found if one is not None), key=lambda one: one.recipe.prompt)


def files_of(place: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in place.rglob("*") if path.is_file()}


def is_sound(place: Path) -> None:
    with AudioSemanticCache(place) as manager:
        assert manager.verify()["ok"]


# -- the first system


def test_a_directory_of_the_first_system_is_taken_over_with_all_its_damage(tmp_path: Path, store: SqliteStore) -> None:
    place = tmp_path / "first"
    lines = first_system(place, PROMPTS)
    with (place / "meta.jsonl").open("a") as file:
        file.write(json.dumps({**lines[0], "path": "/srv/elsewhere/gone.wav"}) + "\n")
        file.write("not json\n" + json.dumps(lines[1])[:30])
    (place / "renders" / "3.wav").write_bytes(b"RIFF")
    np.save(place / "bge_text.npy", Reader().embed(PROMPTS)[:2])  # a crash lost two rows
    (place / "clap_audio.npy").write_bytes(b"\x93NUMPY")
    listener = Listener()
    report = import_sounds(place, store, rules(), Meaning(("reader", Reader), ("listener", lambda: listener)))
    assert (report.found, report.made, report.known) == (7, 3, 0)
    assert dict(report.reasons) == {
        "cannot be decoded": 1, "its file is missing": 1, "the line is no JSON": 1, "the line is torn": 1
    }  # fmt: skip
    assert report.arrays["bge_text.npy"] == "taken over as far as it goes; 2 made anew"
    assert "cannot be read" in report.arrays["clap_audio.npy"]
    assert report.vectors_taken_over == 2
    found = entries(store)
    assert [one.recipe.prompt for one in found] == ["a bell", "a dog barks", "rain on a tin roof"]
    assert [one.created_at for one in found] == [1.7e9, 1.7e9 + 2, 1.7e9 + 1]
    assert {one.metadata.engine for one in found} == {"imported"}
    ids = [one.id or 0 for one in found]
    vectors = store.vectors.of("reader", ids)
    for one in found:
        assert vectors[one.id or 0] == pytest.approx(Reader().embed([one.recipe.prompt])[0])
    assert set(store.vectors.of("sound:listener", ids)) == set(store.vectors.of("sound:descriptors", ids)) == set(ids)
    again = import_sounds(place, store, rules(), Meaning(("reader", Reader)))
    assert (again.made, again.known) == (0, 3)
    is_sound(tmp_path / "cache")


def test_arrays_out_of_order_or_of_another_model_are_made_anew(tmp_path: Path, store: SqliteStore) -> None:
    first_system(tmp_path / "first", PROMPTS)
    right = Reader().embed(PROMPTS)
    np.save(tmp_path / "first" / "bge_text.npy", right[[0, 2, 1, 3]])
    report = import_sounds(tmp_path / "first", store, rules(), Meaning(("reader", Reader)))
    assert "not in the order" in report.arrays["bge_text.npy"]
    assert (report.made, report.vectors_taken_over) == (4, 0)
    for one in entries(store):
        (vector,) = store.vectors.of("reader", [one.id or 0]).values()
        assert vector == pytest.approx(Reader().embed([one.recipe.prompt])[0])
    np.save(tmp_path / "first" / "bge_text.npy", right[:, :5])
    report = import_sounds(tmp_path / "first", store, rules(), Meaning(("reader", Reader)))
    assert "of another model (5 dimensions, not 26)" in report.arrays["bge_text.npy"]


# -- a sound library


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Sounds with sidecars, a table, tags, and some that cannot be taken."""
    place = tmp_path / "library"
    (place / "deep").mkdir(parents=True)
    turn = tone(440, steady=True)
    codec.write(place / "turn.wav", np.ascontiguousarray(turn.T), RATE, "wav", 24, "", True)
    (place / "turn.json").write_text(json.dumps({"prompt": "a humming machine", "license": "CC0", "tags": ["hum"]}))
    soundfile.write(place / "deep" / "low.ogg", tone(300, rate=22_050, channels=1), 22_050)
    soundfile.write(place / "deep" / "plain.flac", tone(500), RATE)
    soundfile.write(place / "deep" / "silent.wav", np.zeros((RATE, 1)), RATE)
    soundfile.write(place / "deep" / "many.wav", np.repeat(tone(400), 2, axis=1), RATE)
    soundfile.write(place / "WoodenDoor_02.wav", tone(150), RATE)
    (place / "torn.flac").write_bytes((place / "deep" / "plain.flac").read_bytes()[:9_000])
    with (place / "sounds.csv").open("w", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["Filename", "Description", "Licence", "Seed"])
        table.writerow(["deep/low.ogg", "a low note", "CC BY-NC 4.0", "x"])
        table.writerow(["plain.flac", "a plain note", "", ""])
        for name in ("silent", "many", "gone"):
            table.writerow([f"deep/{name}.wav", name, "", ""])
        table.writerow(["torn.flac", "torn", "", ""])
    return place


def test_a_sound_library_becomes_entries_that_are_measured_gated_and_fingerprinted(
    library: Path, store: SqliteStore
) -> None:
    before = files_of(library)
    # two processes decode: what they hand back must cross to this one
    report = import_sounds(library, store, rules(tags=("library",)), Meaning(), jobs=2)
    assert dict(report.reasons) == {
        "cannot be decoded": 1, "channels": 1, "its file is missing": 1, "no prompt": 1, "quality": 1
    }  # fmt: skip
    assert (report.made, report.upsampled, report.non_commercial) == (3, 1, 2)
    hum, low, plain = entries(store)
    assert (hum.recipe.prompt, low.recipe.prompt, plain.recipe.prompt) == (
        "a humming machine", "a low note", "a plain note"
    )  # fmt: skip
    assert hum.metadata.is_loop and hum.metadata.loop is not None and hum.metadata.loop.seam_score > 90
    assert (hum.metadata.licence, hum.metadata.commercial_use) == ("CC0", True)
    assert (low.metadata.licence, low.metadata.commercial_use) == ("CC BY-NC 4.0", False)
    assert (plain.metadata.licence, plain.metadata.commercial_use) == ("unknown", False)
    assert hum.metadata.tags == ("hum", "library")
    assert (low.metadata.sample_rate, low.metadata.channels) == (RATE, 1)
    assert [warning.partition(":")[0] for warning in low.metadata.warnings] == ["upsampled", "not_understood"]
    for one in (hum, low, plain):
        told = codec.inspect(Path(one.path))
        assert (told["format"], told["bit_depth"], told["sample_rate"]) == ("flac", 24, RATE)
        assert told["recipe"]["prompt"] == one.recipe.prompt
        assert (one.metadata.loudness_lufs or 0) <= -22.9 and (one.metadata.true_peak_dbfs or 0) <= -2.0
        assert store.vectors.of("sound:descriptors", [one.id or 0])[one.id or 0].shape == (70,)
    assert files_of(library) == before
    named = import_sounds(library, store, rules(), Meaning(), from_names=True)
    assert (named.made, named.known) == (1, 3)
    assert entries(store)[-1].recipe.prompt == "wooden door"
    is_sound(Path(store.location))


def test_a_pool_answers_with_what_was_taken_in_and_its_own_masters_come_in_by_what_is_written_in_them(
    tmp_path: Path, store: SqliteStore
) -> None:
    place = tmp_path / "library"
    place.mkdir()
    for number, prompt in enumerate(("rain on a tin roof", "a dog barks")):
        soundfile.write(place / f"{number}.wav", tone(300 + 100 * number), RATE)
        (place / f"{number}.wav.json").write_text(json.dumps({"text": prompt}))
    cache = str(tmp_path / "served")
    command = ["import", str(place), "--cache-dir", cache, "--json", "--jobs", "1", "--encoder", "off"]
    done = CliRunner().invoke(group, command)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["made"], told["skipped"], told["without_vectors"]) == (2, 0, 2)
    config = load_config(None, overrides={"cache": {"dir": cache, "encoder": "off"}, "defaults": {"duration_s": 0.5}})
    with AudioPool(config) as pool:
        exact = pool.generate("rain on a tin roof", format="flac")
        assert (exact.metadata.cache_type, exact.metadata.engine) == ("exact", "imported")
        assert exact.path.startswith(f"{cache}/audio/"), "the master itself: it is at the pool's level"
        assert pool.generate("the sound of a dog barking").metadata.cache_type == "canonical"
        made = pool.generate("a bell rings", format="flac", tags=["church"])
    (tmp_path / "loose").mkdir()
    shutil.copyfile(made.path, tmp_path / "loose" / "x.flac")
    assert import_sounds(tmp_path / "loose", store, rules(), Meaning()).made == 1
    (one,) = entries(store)
    assert (one.metadata.engine, one.metadata.seed) == ("procedural", made.metadata.seed)
    assert one.metadata.tags == ("church",)
    assert Path(one.path).read_bytes() == Path(made.path).read_bytes()


def test_what_was_taken_in_is_found_by_meaning(library: Path, tmp_path: Path, store: SqliteStore) -> None:
    import_sounds(library, store, rules(), Meaning(("minilm", Reader)))
    cache = SoundCache(store.location)
    asked = recipe("a machine that hums", duration_s=0.5, loop=True)
    hit = cache.find_near(asked, Query(match="threshold"), {"minilm": Reader().embed(["a machine that hums"])[0]}).hit
    cache.close()
    assert hit is not None and hit.entry.recipe.prompt == "a humming machine"


def test_an_import_that_is_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    place = tmp_path / "library"
    place.mkdir()
    for number in range(40):
        soundfile.write(place / f"{number}.wav", tone(300 + 10 * number, duration_s=0.2), RATE)
        (place / f"{number}.json").write_text(json.dumps({"prompt": f"note {number}"}))
    os.mkfifo(place / "pipe.wav")
    os.mkfifo(place / "pipe.json")

    def interrupt(report: Imported) -> None:
        raise KeyboardInterrupt

    with contextlib.closing(SqliteStore(tmp_path / "cache")) as store, pytest.raises(KeyboardInterrupt):
        import_sounds(place, store, rules(), Meaning(), on_progress=interrupt)
    with contextlib.closing(SqliteStore(tmp_path / "cache")) as store:
        before = len(entries(store))
        report = import_sounds(place, store, rules(), Meaning())
        assert 0 < before == report.known < 40 and report.made == 40 - before
        assert dict(report.reasons) == {"cannot be read": 1}, "a pipe is not waited for"
        assert not [path for path in store.blobs.incoming.iterdir() if path.suffix == ".flac"]
    is_sound(tmp_path / "cache")


def test_the_gates_least_score_the_level_and_whose_requests_are_answered_are_options(
    library: Path, store: SqliteStore
) -> None:
    report = import_sounds(library, store, rules(keep_level=True, engine="any", min_quality=101.0), Meaning())
    assert report.reasons["quality"] == 4 and report.made == 0
    report = import_sounds(library, store, rules(keep_level=True, engine="any"), Meaning())
    plain = entries(store)[2]
    assert plain.recipe.engine == plain.recipe.implementation == "imported"
    assert plain.metadata.target_lufs is None
    audio, _ = codec.read(Path(plain.path))
    assert np.abs(audio).max() == pytest.approx(np.abs(tone(500)).max(), abs=1e-3)


def test_a_backup_and_a_rebuilding_keep_in_mind_what_was_taken_over(
    library: Path, tmp_path: Path, store: SqliteStore
) -> None:
    import_sounds(library, store, rules(), Meaning())
    one = entries(store)[1].id or 0
    store.uses.record(Counted({one: 7}, {}, {}), 2e9)
    backup(store.location, tmp_path / "all.tar")
    restore(tmp_path / "all.tar", tmp_path / "other")
    with contextlib.closing(SqliteStore(tmp_path / "other")) as other:
        assert other.uses.of([entries(other)[1].id or 0]) == {entries(other)[1].id: store.uses.of([one])[one]}
    assert restore(tmp_path / "all.tar", tmp_path / "other").entries == 0
    (tmp_path / "other" / "cache.sqlite3").unlink()
    assert rebuild(tmp_path / "other").made == 3
    with contextlib.closing(SqliteStore(tmp_path / "other")) as other:
        again = import_sounds(library, other, rules(), Meaning())
    assert (again.made, again.known) == (0, 3)


def test_what_a_scorer_says_is_in_the_master_too(library: Path, store: SqliteStore) -> None:
    import_sounds(library, store, rules(), Meaning(None, ("listener", Listener)))
    told = [(one.metadata, codec.read(Path(one.path))[0].tobytes()) for one in entries(store)]
    assert all(one.clap_similarity is not None for one, _ in told)
    store.close()
    (Path(store.location) / "cache.sqlite3").unlink()
    assert rebuild(store.location).made == 3
    with contextlib.closing(SqliteStore(store.location)) as again:
        assert [(one.metadata, codec.read(Path(one.path))[0].tobytes()) for one in entries(again)] == told


def test_names_and_tables_of_other_systems_are_understood(tmp_path: Path, store: SqliteStore) -> None:
    place = tmp_path / "library"
    place.mkdir()
    undecodable = os.fsdecode(b"caf\xe9.wav")
    for number, name in enumerate((undecodable, "Cafe\u0301 Bell.wav", "straße.wav")):
        with (place / name).open("wb") as file:
            soundfile.write(file, tone(300 + 50 * number, duration_s=0.2), RATE, format="WAV")
    (place / os.fsdecode(b"caf\xe9.json")).write_bytes('{"prompt": "a café"}'.encode("cp1252"))
    table = "file;prompt\nCAFÉ BELL.WAV;a bell in a café\nstraße.wav;a street\n"
    (place / "list.csv").write_bytes(table.encode("cp1252"))
    (place / "more.csv").write_bytes("file;prompt\nstraße.wav;a road\n".encode("utf-16"))
    (place / "meta.jsonl").write_bytes(b'{"path": "stra\xdfe.wav", "prompt": "half \\ud800"}\n')
    report = import_sounds(place, store, rules(), Meaning())
    assert [one.recipe.prompt for one in entries(store)] == ["a bell in a café", "a café", "a road", "a street"]
    assert (report.reasons, report.made) == ({"no prompt": 1}, 4)
    json.dumps(as_json(import_sounds(place, store, rules(), Meaning()))).encode()


def test_what_would_be_evicted_at_once_is_not_taken_in(tmp_path: Path, store: SqliteStore) -> None:
    first_system(tmp_path / "first", PROMPTS)
    place, nobody = tmp_path / "first", Meaning()
    old = import_sounds(place, store, rules(), nobody, limits=Limits(ttl_s=86_400))
    assert (old.made, old.reasons) == (0, {"no room": 4})
    assert old.skipped[0] == ("meta.jsonl line 1", "no room", "older than ttl_days = 1")
    here = import_sounds(place, store, rules(), nobody, limits=Limits(namespaces={"default": Bounds(max_items=1)}))
    assert (here.made, here.skipped[0].detail) == (1, "max_items = 1 of namespace default")
    held = Bounds(max_bytes=held_in(store)[""].size_bytes * 5 // 2)
    full = import_sounds(place, store, rules(), nobody, limits=Limits(whole=held))
    assert (full.known, full.made, full.reasons) == (1, 1, {"no room": 2})
    assert full.skipped[0].detail.startswith("max_size_gb = ")
    assert not [path for path in store.blobs.incoming.iterdir() if path.suffix == ".flac"]
    entry = entries(store)[0]
    store.pins.pin([entry.id or 0])
    export(store, tmp_path / "out")
    with contextlib.closing(SqliteStore(tmp_path / "new")) as new:
        back = import_sounds(tmp_path / "out", new, rules(), nobody, limits=Limits(ttl_s=86_400))
        assert (back.made, back.reasons) == (1, {"no room": 1}), "pinned ones stay, whatever the bounds"


# -- out and in again


def whole(store: SqliteStore) -> list[tuple[Any, ...]]:
    """All of every entry but its number and its file's name."""
    found = []
    for one in entries(store):
        vectors = {
            space: vector.tobytes()
            for space in store.vectors.spaces()
            for vector in store.vectors.of(space, [one.id or 0]).values()
        }
        samples = codec.read(Path(one.path))[0].tobytes()
        life = (one.id in store.pins.pinned(), store.uses.of([one.id or 0])[one.id or 0])
        life = (*life, bool(store.entries.preferred_among([one.id or 0])))
        found.append((one.recipe, one.metadata, one.created_at, vectors, samples, life))
    return found


@pytest.fixture
def filled(tmp_path: Path, store: SqliteStore) -> SqliteStore:
    for number, prompt in enumerate(PROMPTS):
        told = {"tags": ["weather"], "labels": {"level": number, "game": "harbour"}, "licence": "Apache-2.0"}
        made = sound(store.blobs.incoming, prompt, seed=number, metadata=told, namespace="harbour")
        vectors = {"minilm": np.full(4, number + 1, np.float32), "sound:x": np.ones(3, np.float32)}
        entry = store.entries.put(made, vectors, preferred=number == 1)
        if number == 2:
            store.pins.pin([entry.id or 0])
            store.uses.record(Counted({entry.id or 0: 7}, {}, {}), 2e9)
            one = Given("harbour", prompt, prompt, "wrong", "feedback", entry.id)
            store.judgements.give([one, Given("harbour", "hail", "rain", "wrong", "manager")])
    shares = dict.fromkeys(("accepted_same", "accepted_different", "error_at_most", "accepted_same_plain"), 0.1)
    counts = dict.fromkeys(("same_pairs", "different_pairs", "unrelated_pairs"), 9)
    store.calibrations.keep(Measured(space="minilm", error=0.01, at_070=0.875, plain=0.9, **shares, **counts))
    return store


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_an_export_and_its_import_lose_nothing(filled: SqliteStore, tmp_path: Path, format: Any) -> None:
    report = export(filled, tmp_path / "out", format=format, jobs=2)
    assert (report.entries, report.written, report.skipped) == (4, 4, [])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["complete"], manifest["entries"], manifest["vectors"]) == (True, 4, {"minilm": 4, "sound:x": 4})
    with (tmp_path / "out" / "sounds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == list(PROMPTS)
    assert all((tmp_path / "out" / row["file"]).is_file() for row in rows)
    with contextlib.closing(SqliteStore(tmp_path / "new")) as new:
        # rules that hold for others' sounds change nothing of these
        report = import_sounds(tmp_path / "out", new, rules(namespace="x", tags=("y",)), Meaning(("reader", Reader)))
        assert (report.made, report.reasons.total()) == (4, 0)
        came = [(*one[:3], {k: v for k, v in one[3].items() if k != "reader"}, *one[4:]) for one in whole(new)]
        assert came == whole(filled)
        assert report.judgements == 2
        (old, pair), (other, same) = ([one.given for one in one.judgements.since(0)] for one in (filled, new))
        assert (other._replace(entry_id=None), same) == (old._replace(entry_id=None), pair)
        assert new.entries.entry(other.entry_id or 0).recipe.prompt == "a dog barks"  # type: ignore[union-attr]
        assert new.calibrations.all() == filled.calibrations.all()
        new.judgements.give([pair._replace(verdict="right")])
        again = import_sounds(tmp_path / "out", new, rules(), Meaning())
        assert (again.made, again.known, again.judgements) == (0, 4, 0)
        assert new.judgements.newest(1)[0].given.verdict == "right", "what was judged here stays"
    is_sound(tmp_path / "new")


def test_an_export_goes_on_adds_what_is_new_and_tells_what_is_damaged(filled: SqliteStore, tmp_path: Path) -> None:
    place = tmp_path / "out"
    export(filled, place)
    done = sorted(place.glob("sounds/*/*"))
    stamps = {path: path.stat().st_mtime_ns for path in done}
    lost, torn = done[0], done[3]
    torn.write_text(torn.read_text()[:100])
    lost.unlink()
    masters = filled.checks.masters()
    os.chmod(filled.blobs.path_of(masters[3].file), 0o600)
    Path(filled.blobs.path_of(masters[3].file)).write_bytes(b"fLaC nonsense")
    filled.entries.put(sound(filled.blobs.incoming, "thunder", seed=9), {})
    for path in done[6:]:
        path.unlink()
    report = export(filled, place)
    assert (report.entries, report.written) == (4, 3)
    assert [one.why for one in report.skipped] == ["its content is not what was stored"]
    assert not list(place.rglob("*.part"))
    assert lost.is_file() and json.loads(torn.read_text())
    assert all(path.stat().st_mtime_ns == stamps[path] for path in done[4:6]), "what was there is not written again"


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_files_of_sounds_that_were_removed_go_unless_somebody_changed_them(
    filled: SqliteStore, tmp_path: Path, format: Any
) -> None:
    place = tmp_path / "out"
    export(filled, place, format=format)
    (bell, rain, dog, wind) = (one.entry_id for one in filled.checks.masters())
    filled.entries.remove([bell, rain, dog])
    (mine,) = place.glob(f"sounds/*/*{rain}_*.json")
    mine.write_text(mine.read_text() + " ")
    (elsewhere,) = place.glob(f"sounds/*/*{dog}_*.{format}")
    elsewhere.rename(tmp_path / "elsewhere")
    elsewhere.symlink_to(tmp_path / "elsewhere")
    (place / "sounds" / "0000" / "notes.txt").write_text("mine")
    report = export(filled, place, format=format)
    assert (report.entries, report.written, report.removed) == (1, 0, 4)
    assert sorted(report.changed) == sorted(str(path.relative_to(place)) for path in (mine, elsewhere))
    left = {path.name for path in (place / "sounds" / "0000").iterdir()}
    assert left == {mine.name, elsewhere.name, "notes.txt", f"{wind:06d}_wind.{format}", f"{wind:06d}_wind.json"}
    assert (tmp_path / "elsewhere").is_file()
    listed = (place / "files.sha256").read_text().splitlines()
    assert sorted(listed) == sorted(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(place)}"
        for path in place.glob(f"sounds/*/*{wind}_wind.*")
    )
    again = export(filled, place, format=format)
    assert (again.removed, again.changed) == (0, []), "what somebody changed is theirs from then on"


def test_a_directory_that_holds_something_else_is_left_alone(filled: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InvalidRequest, match="not empty"):
        export(filled, tmp_path / "mine")
    with pytest.raises(InvalidRequest, match="cache itself"):
        export(filled, Path(filled.location) / "out")
    with pytest.raises(InvalidRequest, match="cache itself"):
        import_sounds(Path(filled.location), filled, rules(), Meaning())
    with contextlib.closing(SqliteStore(tmp_path / "empty")) as empty, pytest.raises(InvalidRequest, match="itself"):
        import_sounds(Path(filled.location), empty, rules(), Meaning())
    export(filled, tmp_path / "out")
    with pytest.raises(InvalidRequest, match="an export as flac"):
        export(filled, tmp_path / "out", format="wav")
    with (
        contextlib.closing(SqliteStore(tmp_path / "other")) as other,
        pytest.raises(InvalidRequest, match="something else than an export of this cache"),
    ):
        export(other, tmp_path / "out")
