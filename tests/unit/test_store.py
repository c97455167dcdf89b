"""The store keeps what it was given, loses nothing, and says plainly when it cannot."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.support.cache_sounds import sound

from audio_pool.cache.entry import Filters
from audio_pool.cache.sqlite.migrations import SCHEMA_VERSION
from audio_pool.cache.sqlite.renditions import all_renditions, find_rendition, put_rendition
from audio_pool.cache.sqlite.store import Store
from audio_pool.cache.verify import audit
from audio_pool.errors import InvalidAudio, NotFound, StorageError
from audio_pool.types import Rendition

OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)
ANY = Filters("default", None, False, "", "", 0.0, 600.0, 0, False)


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "cache")
    yield opened
    assert audit(opened).problems == []
    opened.close()


def test_put_keeps_file_recipe_metadata_and_vectors(store: Store) -> None:
    made = sound(store.folder.incoming, metadata={"licence": "Apache-2.0", "clap_similarity": 0.51})
    content = Path(made.path).read_bytes()
    vector = np.arange(8, dtype=np.float32)
    entry = store.put(made, {"text:a": vector})
    assert Path(entry.path).read_bytes() == content
    assert not os.path.exists(made.path)
    found = store.entry(entry.id)
    assert found == entry
    assert found.recipe == made.recipe
    assert found.metadata == made.metadata
    assert np.array_equal(store.vectors_of("text:a", [entry.id])[entry.id], vector)
    assert store.encoders() == {"text:a": 1}


def test_an_id_is_never_given_twice(store: Store) -> None:
    first = store.put(sound(store.folder.incoming, seed=1), {})
    store.remove([first.id])
    second = store.put(sound(store.folder.incoming, seed=2), {})
    assert second.id > first.id


def test_the_same_recipe_is_kept_once(store: Store) -> None:
    first = store.put(sound(store.folder.incoming, seed=1), {})
    again = sound(store.folder.incoming, seed=1)
    assert store.put(again, {}).id == first.id
    assert not os.path.exists(again.path)
    assert store.query("SELECT count(*) FROM entries") == [(1,)]


def test_replace_puts_the_new_sound_in_the_old_ones_place(store: Store) -> None:
    first = store.put(sound(store.folder.incoming, seed=1), {})
    second = store.put(sound(store.folder.incoming, seed=1), {}, replace=True)
    assert second.id != first.id
    assert store.entry(first.id) is None
    assert not os.path.exists(first.path)
    assert os.path.exists(second.path)


def test_a_kept_recipe_whose_file_vanished_is_kept_anew(store: Store) -> None:
    first = store.put(sound(store.folder.incoming, seed=1), {})
    os.unlink(first.path)
    second = store.put(sound(store.folder.incoming, seed=1), {})
    assert os.path.exists(second.path)
    assert store.query("SELECT count(*) FROM entries") == [(1,)]


def test_sounds_without_a_seed_are_variants(store: Store) -> None:
    for _ in range(2):
        made = sound(store.folder.incoming)
        store.put(msgspec.structs.replace(made, recipe=msgspec.structs.replace(made.recipe, seed=None)), {})
    assert store.query("SELECT count(*) FROM entries") == [(2,)]


def test_remove_takes_rows_vectors_renditions_and_files(store: Store, tmp_path: Path) -> None:
    entry = store.put(sound(store.folder.incoming), {"text:a": np.ones(4, np.float32)})
    other = store.folder.incoming / "x.ogg"
    other.write_bytes(b"OggS")
    rendition = put_rendition(store, entry.id, OGG, other)
    size = os.path.getsize(entry.path) + 4
    removal = store.remove([entry.id, 999])
    assert (removal.items, removal.files, removal.freed_bytes) == (1, 2, size)
    assert not os.path.exists(entry.path)
    assert not os.path.exists(rendition)
    assert store.encoders() == {}
    assert all_renditions(store) == []
    assert store.doomed() == set()


def test_a_rendition_is_found_by_its_settings_alone(store: Store) -> None:
    entry = store.put(sound(store.folder.incoming), {})
    source = store.folder.incoming / "x.ogg"
    source.write_bytes(b"OggS")
    path = put_rendition(store, entry.id, OGG, source)
    assert find_rendition(store, entry.id, OGG) == path
    assert find_rendition(store, entry.id, msgspec.structs.replace(OGG, target_lufs=-20.0)) is None
    os.unlink(path)
    assert find_rendition(store, entry.id, OGG) is None
    assert [problem.kind for problem in audit(store, fix=True).problems] == ["missing_rendition"]


def test_a_rendition_of_a_removed_entry_is_refused_and_its_file_left(store: Store) -> None:
    source = store.folder.incoming / "x.ogg"
    source.write_bytes(b"OggS")
    with pytest.raises(StorageError, match="has been removed"):
        put_rendition(store, 7, OGG, source)
    assert source.exists()


def test_changes_are_followed_across_connections(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "cache", create=False)
    before, version = other.last_seq(), other.data_version()
    entry = store.put(sound(store.folder.incoming), {})
    store.remove([entry.id])
    assert other.data_version() != version
    assert [(c.entry_id, c.removed) for c in other.changes_since(before)] == [(entry.id, False), (entry.id, True)]
    assert other.changes_since(other.last_seq()) == []
    other.close()


def test_changes_that_are_no_longer_all_known_say_so(store: Store) -> None:
    for seed in range(3):
        store.put(sound(store.folder.incoming, seed=seed), {})
    store._writer.execute("DELETE FROM changes WHERE seq < 3")
    assert store.changes_since(0) is None
    assert len(store.changes_since(2)) == 1
    store._writer.execute("DELETE FROM changes")
    assert store.changes_since(2) is None
    assert store.changes_since(3) == []


@pytest.mark.parametrize("vector", [np.zeros(4), np.array([1, np.nan, 0, 0]), np.ones((1, 4))], ids=str)
def test_a_vector_that_says_nothing_is_not_kept_and_costs_no_sound(store: Store, vector: np.ndarray) -> None:
    entry = store.put(sound(store.folder.incoming), {"text:a": vector, "text:b": np.ones(4)})
    assert os.path.exists(entry.path)
    assert store.encoders() == {"text:b": 1}


@pytest.mark.parametrize("content", [b"", b"RIFFxxxx"])
def test_what_is_not_flac_is_refused(store: Store, content: bytes) -> None:
    made = sound(store.folder.incoming)
    Path(made.path).write_bytes(content)
    with pytest.raises(InvalidAudio, match="not a FLAC file"):
        store.put(made, {})


def test_a_directory_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        Store(tmp_path / "typo", create=False)
    assert not (tmp_path / "typo").exists()
    with pytest.raises(NotFound, match="holds no sound cache"):
        Store(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "cache.sqlite3")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StorageError, match=f"schema version {SCHEMA_VERSION + 1}.*up to {SCHEMA_VERSION}"):
        Store(tmp_path)
    db = sqlite3.connect(tmp_path / "cache.sqlite3")
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    db.close()


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    Store(tmp_path).close()
    (tmp_path / "cache.sqlite3").write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StorageError, match="is damaged"):
        Store(tmp_path)


def test_a_failed_commit_leaves_the_file_where_it_was(store: Store) -> None:
    made = sound(store.folder.incoming)
    store._writer.execute("CREATE TRIGGER no BEFORE INSERT ON provenance BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(StorageError):
        store.put(made, {})
    assert os.path.exists(made.path)
    assert list(store.folder.audio.glob("*/*")) == []
    store._writer.execute("DROP TRIGGER no")
    assert store.put(made, {}).id is not None


def test_a_dead_owners_leftovers_are_swept_and_a_living_ones_are_not(store: Store, tmp_path: Path) -> None:
    kept = store.put(sound(store.folder.incoming), {})
    living = store.folder.incoming / "being-written.flac"
    living.write_bytes(b"fLaC")
    dead = tmp_path / "cache" / "incoming" / "1-dead"
    dead.mkdir()
    (dead / "half.flac").write_bytes(b"fL")
    orphan = Path(kept.path).with_name("0" * 32 + ".flac")
    orphan.write_bytes(b"fLaC")
    root = tmp_path / "cache"
    (dead / f"{orphan.stem}.placing").write_text(str(orphan.relative_to(root)))
    (dead / f"{Path(kept.path).stem}.placing").write_text(str(Path(kept.path).relative_to(root)))
    Store(root).close()
    assert not dead.exists()
    assert not orphan.exists()
    assert living.exists()
    assert os.path.exists(kept.path)


def test_a_move_that_a_power_cut_undid_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = sound(store.folder.incoming)
    entry = store.put(made, {})
    content = Path(entry.path).read_bytes()
    store.close()
    Path(made.path).parent.mkdir()
    os.replace(entry.path, made.path)
    os.rmdir(Path(entry.path).parent)
    again = Store(tmp_path)
    assert Path(entry.path).read_bytes() == content
    assert not os.path.exists(made.path)
    assert audit(again).problems == []
    again.close()


def test_a_mark_cannot_point_out_of_the_cache(tmp_path: Path) -> None:
    Store(tmp_path / "cache").close()
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    dead = tmp_path / "cache" / "incoming" / "1-dead"
    dead.mkdir()
    (dead / "a.placing").write_text("audio/../../precious.txt")
    Store(tmp_path / "cache").close()
    assert precious.exists()


def test_files_doomed_before_a_crash_are_unlinked_at_the_next_opening(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.put(sound(store.folder.incoming), {})
    store._delete(store._writer, [entry.id])  # what a kill between commit and unlink leaves
    store.close()
    assert os.path.exists(entry.path)
    Store(tmp_path).close()
    assert not os.path.exists(entry.path)


def test_filters_are_held_inside_the_search(store: Store) -> None:
    entry = store.put(sound(store.folder.incoming, voice="amy"), {})
    fits = {
        "namespace": "default", "engine": "procedural", "loop": False, "voice": "amy", "negative": "",
        "shortest_s": 1.9, "longest_s": 2.1, "sample_rate": 44_100, "commercial_only": False, "by_meaning": False,
    }  # fmt: skip
    assert [row.id for row in store.with_text("Rain on a tin roof", Filters(**fits))] == [entry.id]
    misfits = {
        "namespace": "other", "engine": "mock", "loop": True, "voice": "", "negative": "wind", "shortest_s": 2.05,
        "longest_s": 1.95, "sample_rate": 48_000, "commercial_only": True, "by_meaning": True,
    }  # fmt: skip
    for name, value in misfits.items():
        assert store.with_text("rain on a tin roof", Filters(**{**fits, name: value})) == [], name
        assert store.with_ids([entry.id], Filters(**{**fits, name: value})) == [], name
    assert [row.id for row in store.with_ids([entry.id, 5], Filters(**fits))] == [entry.id]


def test_a_new_canonical_version_files_old_entries_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.put(sound(store.folder.incoming, "the sound of rain"), {})
    store.close()
    monkeypatch.setattr("audio_pool.cache.entry.CANONICAL_VERSION", 1_000)
    monkeypatch.setattr("audio_pool.cache.sqlite.store.CANONICAL_VERSION", 1_000)
    again = Store(tmp_path)
    assert len(again.with_meaning("rain", ANY)) == 1
    again.close()
