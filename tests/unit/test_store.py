"""The store keeps what it was given, loses nothing, and says plainly when it cannot."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.support.cache_sounds import harm, ids_in, recipe, sound

from audio_pool.cache.opening import open_store
from audio_pool.cache.settings import filters_of
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.sqlite.migrations import SCHEMA_VERSION
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.errors import Cancelled, InvalidAudio, NotFound, StorageError
from audio_pool.prompts.parses import packed
from audio_pool.types import Query, Rendition

OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)
ANY = filters_of(recipe(), Query(same_settings="any"))


@pytest.fixture
def store(tmp_path: Path):
    opened = open_store(tmp_path / "cache")
    yield opened
    assert verify(opened).problems == []
    opened.close()


def test_put_keeps_file_recipe_metadata_and_vectors(store: SqliteStore) -> None:
    made = sound(store.blobs.incoming, metadata={"licence": "Apache-2.0", "clap_similarity": 0.51})
    content = Path(made.path).read_bytes()
    vector = np.arange(8, dtype=np.float32)
    entry = store.entries.put(made, {"text:a": vector})
    assert Path(entry.path).read_bytes() == content
    assert not os.path.exists(made.path)
    found = store.entries.entry(entry.id)
    assert found == entry
    assert found.recipe == made.recipe
    assert found.metadata == made.metadata
    assert np.array_equal(store.vectors.of("text:a", [entry.id])[entry.id], vector)
    assert store.vectors.counts() == {"text:a": 1}


def test_an_id_is_never_given_twice(store: SqliteStore) -> None:
    first = store.entries.put(sound(store.blobs.incoming, seed=1), {})
    store.entries.remove([first.id])
    second = store.entries.put(sound(store.blobs.incoming, seed=2), {})
    assert second.id > first.id


@pytest.mark.parametrize("kept_before", [False, True])
def test_what_is_written_with_a_sound_is_written_or_undone_with_it(store: SqliteStore, kept_before: bool) -> None:
    if kept_before:
        store.entries.put(sound(store.blobs.incoming), {})
    made, written, overtaken = sound(store.blobs.incoming), [], [True]

    def also(db: Any, entry_id: int) -> None:
        written.append(db.execute("SELECT count(*) FROM pins").fetchone()[0])
        db.execute(f"INSERT INTO pins VALUES ({entry_id}) ON CONFLICT DO NOTHING")
        if overtaken:
            raise Cancelled("another one has it")

    with pytest.raises(Cancelled, match="another one has it"):
        store.entries.put(made, {}, also=also)
    assert os.path.exists(made.path), "it is where it was"
    assert len(store.entries.with_recipe(made.recipe, ANY)) == kept_before
    assert verify(store).problems == []
    overtaken.clear()
    entry = store.entries.put(made, {}, also=also)
    assert not os.path.exists(made.path)
    assert store.entries.put(sound(store.blobs.incoming), {}, also=also) == entry
    assert written == [0, 0, 1], "undone, written, and there"


def test_the_same_recipe_is_kept_once(store: SqliteStore) -> None:
    first = store.entries.put(sound(store.blobs.incoming, seed=1), {})
    again = sound(store.blobs.incoming, seed=1)
    assert store.entries.put(again, {}).id == first.id
    assert not os.path.exists(again.path)
    assert len(ids_in(store)) == 1


def test_replace_puts_the_new_sound_in_the_old_ones_place(store: SqliteStore) -> None:
    first = store.entries.put(sound(store.blobs.incoming, seed=1), {})
    second = store.entries.put(sound(store.blobs.incoming, seed=1), {}, replace=True)
    assert second.id != first.id
    assert store.entries.entry(first.id) is None
    assert os.path.exists(first.path), "it may just have been delivered"
    store.leaving.unlink_due(at_once=True)
    assert not os.path.exists(first.path)
    assert os.path.exists(second.path)


@pytest.mark.sqlite
def test_a_sound_that_was_written_to_another_disk_is_kept(store: SqliteStore, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=memory) as place:
        made = sound(Path(place))
        content = Path(made.path).read_bytes()
        entry = store.entries.put(made, {})
        assert Path(entry.path).read_bytes() == content and not os.path.exists(made.path)
        refused = sound(Path(place), seed=2)
        harm(Path(store.location), "CREATE TRIGGER no BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StorageError):
            store.entries.put(refused, {})
        assert os.path.exists(refused.path), "it can still be delivered"
        harm(Path(store.location), "DROP TRIGGER no")


def test_a_kept_recipe_whose_file_vanished_is_kept_anew(store: SqliteStore) -> None:
    first = store.entries.put(sound(store.blobs.incoming, seed=1), {})
    os.unlink(first.path)
    second = store.entries.put(sound(store.blobs.incoming, seed=1), {})
    assert os.path.exists(second.path)
    assert len(ids_in(store)) == 1


def test_sounds_without_a_seed_are_variants(store: SqliteStore) -> None:
    for _ in range(2):
        made = sound(store.blobs.incoming)
        store.entries.put(msgspec.structs.replace(made, recipe=msgspec.structs.replace(made.recipe, seed=None)), {})
    assert len(ids_in(store)) == 2


def test_remove_takes_rows_vectors_renditions_and_files(store: SqliteStore, tmp_path: Path) -> None:
    entry = store.entries.put(sound(store.blobs.incoming), {"text:a": np.ones(4, np.float32)})
    other = store.blobs.incoming / "x.ogg"
    other.write_bytes(b"OggS")
    rendition = store.renditions.put(entry.id, OGG, other)
    size = os.path.getsize(entry.path) + 4
    files = list(store.blobs.files())
    removal = store.entries.remove([entry.id, 999])
    assert (removal.items, removal.files, removal.freed_bytes) == (1, 2, size)
    assert store.leaving.unlink_due(at_once=True).freed_bytes == size
    assert not os.path.exists(entry.path)
    assert not os.path.exists(rendition)
    assert store.vectors.counts() == {}
    assert store.renditions.all() == []
    assert not any(store.checks.knows(file) for file in files)


def test_a_rendition_is_found_by_its_settings_alone(store: SqliteStore) -> None:
    entry = store.entries.put(sound(store.blobs.incoming), {})
    source = store.blobs.incoming / "x.ogg"
    source.write_bytes(b"OggS")
    path = store.renditions.put(entry.id, OGG, source)
    found = store.renditions.find(entry.id, OGG)
    assert found is not None and store.blobs.path_of(found.file) == path
    assert store.renditions.find(entry.id, msgspec.structs.replace(OGG, target_lufs=-20.0)) is None
    os.unlink(path)
    assert store.renditions.find(entry.id, OGG) is None
    assert [problem.kind for problem in verify(store, fix=True).problems] == ["missing_rendition"]


def test_a_rendition_of_a_removed_entry_is_refused_and_its_file_left(store: SqliteStore) -> None:
    source = store.blobs.incoming / "x.ogg"
    source.write_bytes(b"OggS")
    with pytest.raises(StorageError, match="has been removed"):
        store.renditions.put(7, OGG, source)
    assert source.exists()


def test_changes_are_followed_across_connections(store: SqliteStore, tmp_path: Path) -> None:
    other = open_store(tmp_path / "cache", create=False)
    before, version = other.changes.last_seq(), other.changes.version()
    entry = store.entries.put(sound(store.blobs.incoming), {})
    store.entries.remove([entry.id])
    assert other.changes.version() != version
    assert [(c.entry_id, c.removed) for c in other.changes.since(before)] == [(entry.id, False), (entry.id, True)]
    assert other.changes.since(other.changes.last_seq()) == []
    other.close()


@pytest.mark.sqlite
def test_changes_that_are_no_longer_all_known_say_so(store: SqliteStore, tmp_path: Path) -> None:
    for seed in range(3):
        store.entries.put(sound(store.blobs.incoming, seed=seed), {})
    harm(tmp_path / "cache", "DELETE FROM changes WHERE seq < 3")
    assert store.changes.since(0) is None
    assert len(store.changes.since(2)) == 1
    harm(tmp_path / "cache", "DELETE FROM changes")
    assert store.changes.since(2) is None
    assert store.changes.since(3) == []


@pytest.mark.parametrize("vector", [np.zeros(4), np.array([1, np.nan, 0, 0]), np.ones((1, 4))], ids=str)
def test_a_vector_that_says_nothing_is_not_kept_and_costs_no_sound(store: SqliteStore, vector: np.ndarray) -> None:
    entry = store.entries.put(sound(store.blobs.incoming), {"text:a": vector, "text:b": np.ones(4)})
    assert os.path.exists(entry.path)
    assert store.vectors.counts() == {"text:b": 1}


@pytest.mark.parametrize("content", [b"", b"RIFFxxxx"])
def test_what_is_not_flac_is_refused(store: SqliteStore, content: bytes) -> None:
    made = sound(store.blobs.incoming)
    Path(made.path).write_bytes(content)
    with pytest.raises(InvalidAudio, match="not a FLAC file"):
        store.entries.put(made, {})


def test_a_directory_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        open_store(tmp_path / "typo", create=False)
    assert not (tmp_path / "typo").exists()
    with pytest.raises(NotFound, match="holds no sound cache"):
        open_store(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sqlite
def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "cache.sqlite3")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StorageError, match=f"schema version {SCHEMA_VERSION + 1}.*up to {SCHEMA_VERSION}"):
        open_store(tmp_path)
    db = sqlite3.connect(tmp_path / "cache.sqlite3")
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    db.close()


@pytest.mark.sqlite
def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    (tmp_path / "cache.sqlite3").write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StorageError, match="is damaged"):
        open_store(tmp_path)


@pytest.mark.sqlite
def test_a_failed_commit_leaves_the_file_where_it_was(store: SqliteStore, tmp_path: Path) -> None:
    made = sound(store.blobs.incoming)
    refusal = "CREATE TRIGGER no BEFORE INSERT ON provenance BEGIN SELECT raise(ABORT, 'no'); END"
    harm(tmp_path / "cache", refusal)
    with pytest.raises(StorageError):
        store.entries.put(made, {})
    assert os.path.exists(made.path)
    assert list(store.blobs.files()) == []
    harm(tmp_path / "cache", "DROP TRIGGER no")
    assert store.entries.put(made, {}).id is not None


def test_a_dead_owners_leftovers_are_swept_and_a_living_ones_are_not(store: SqliteStore, tmp_path: Path) -> None:
    kept = store.entries.put(sound(store.blobs.incoming), {})
    living = store.blobs.incoming / "being-written.flac"
    living.write_bytes(b"fLaC")
    dead = tmp_path / "cache" / "incoming" / "1-dead"
    dead.mkdir()
    (dead / "half.flac").write_bytes(b"fL")
    orphan = Path(kept.path).with_name("0" * 32 + ".flac")
    orphan.write_bytes(b"fLaC")
    root = tmp_path / "cache"
    (dead / f"{orphan.stem}.placing").write_text(str(orphan.relative_to(root)))
    (dead / f"{Path(kept.path).stem}.placing").write_text(str(Path(kept.path).relative_to(root)))
    open_store(root).close()
    assert not dead.exists()
    assert not orphan.exists()
    assert living.exists()
    assert os.path.exists(kept.path)


def test_a_move_that_a_power_cut_undid_is_made_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = sound(store.blobs.incoming)
    entry = store.entries.put(made, {})
    content = Path(entry.path).read_bytes()
    store.close()
    Path(made.path).parent.mkdir()
    os.replace(entry.path, made.path)
    os.rmdir(Path(entry.path).parent)
    again = open_store(tmp_path)
    assert Path(entry.path).read_bytes() == content
    assert not os.path.exists(made.path)
    assert verify(again).problems == []
    again.close()


def test_a_mark_cannot_point_out_of_the_cache(tmp_path: Path) -> None:
    open_store(tmp_path / "cache").close()
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    dead = tmp_path / "cache" / "incoming" / "1-dead"
    dead.mkdir()
    (dead / "a.placing").write_text("audio/../../precious.txt")
    open_store(tmp_path / "cache").close()
    assert precious.exists()


@pytest.mark.sqlite
def test_files_that_were_leaving_before_a_crash_are_unlinked_at_an_opening_when_they_are_due(tmp_path: Path) -> None:
    store = open_store(tmp_path, grace_s=0.0)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    file = str(Path(entry.path).relative_to(tmp_path))
    with store.database.writing("removing, and killed before the unlinking") as db, transaction(db):
        store.leaving.doom(db, "SELECT file FROM entries")
        db.execute("DELETE FROM entries")
    store.close()
    assert os.path.exists(entry.path)
    again = open_store(tmp_path)
    assert not os.path.exists(entry.path) and not again.checks.knows(file)
    again.close()


@pytest.mark.sqlite
def test_what_an_older_version_let_go_has_its_grace(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    entry = store.entries.put(sound(store.blobs.incoming), {})
    harm(tmp_path, "PRAGMA foreign_keys = ON", "INSERT INTO doomed SELECT file FROM entries", "DELETE FROM entries")
    store.close()
    again = open_store(tmp_path)
    assert os.path.exists(entry.path) and len(again.leaving.files()) == 1
    assert again.leaving.unlink_due(at_once=True).files == 1
    assert not os.path.exists(entry.path)
    again.close()


@pytest.mark.sqlite
def test_a_new_canonical_version_files_old_entries_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    store.entries.put(sound(store.blobs.incoming, "the sound of rain"), {})
    store.close()
    monkeypatch.setattr("audio_pool.cache.entry.CANONICAL_VERSION", 1_000)
    monkeypatch.setattr("audio_pool.cache.sqlite.keys.CANONICAL_VERSION", 1_000)
    again = open_store(tmp_path)
    assert len(again.entries.with_meaning("rain", ANY)) == 1
    again.close()


def test_many_entries_are_filed_anew_in_steps_and_whoever_opens_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    prompts = [f"the sound of {thing}" for thing in ("rain", "wind", "thunder", "waves", "a bell")]
    for seed, prompt in enumerate(prompts):
        store.entries.put(sound(store.blobs.incoming, prompt, seed=seed), {})
    store.close()
    monkeypatch.setattr("audio_pool.cache.entry.CANONICAL_VERSION", 1_000)
    monkeypatch.setattr("audio_pool.cache.sqlite.keys.CANONICAL_VERSION", 1_000)
    monkeypatch.setattr("audio_pool.cache.sqlite.keys._IN_A_STEP", 2)
    monkeypatch.setattr("audio_pool.cache.sqlite.store._KEYS_AT_ONCE", 0)

    def found(opened: SqliteStore) -> int:
        return sum(len(opened.entries.with_meaning(prompt, ANY)) for prompt in prompts)

    again = open_store(tmp_path)
    assert found(again) == 0 and len(again.entries.with_text(prompts[3], ANY)) == 1
    assert again.renew_keys(2) and found(again) == 2
    late = again.entries.put(sound(again.blobs.incoming, "the sound of a door", seed=9), {})
    again.close()
    third = open_store(tmp_path)
    assert third.renew_keys(2) and found(third) == 4
    assert not third.renew_keys(100) and found(third) == 5
    assert [third.entries.with_text(prompt, ANY)[0].parse for prompt in prompts] == list(map(packed, prompts))
    assert [row.id for row in third.entries.with_meaning("a door", ANY)] == [late.id]
    third.close()
    last = open_store(tmp_path)
    assert not last.renew_keys(2), "and it is done once"
    last.close()
