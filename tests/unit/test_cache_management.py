"""AudioSemanticCache: what it counts, lists and removes, and that it takes nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import harm, recipe, sound, write_flac

import audio_pool
from audio_pool.cache import duplicates
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.types import Query, Rendition

DAY = 86_400.0
OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)


@pytest.fixture
def cache(tmp_path: Path):
    opened = SoundCache(tmp_path / "cache", max_per_prompt=100)
    yield opened
    opened.close()


@pytest.fixture
def manager(cache: SoundCache, tmp_path: Path):
    opened = AudioSemanticCache(tmp_path / "cache")
    yield opened
    assert opened.verify()["problems"] == []
    opened.close()


def keep(cache: SoundCache, prompt: str, seed: int = 1, vectors=None, **changes) -> int:
    return cache.put(sound(cache.incoming, prompt, seed=seed, **changes), vectors or {}).id


def aged(cache: SoundCache, entry_id: int, days: float) -> None:
    then = time.time() - days * DAY
    harm(Path(cache.store.location), f"UPDATE entries SET created_at = {then!r} WHERE id = {entry_id}")


def ids(items: list[dict]) -> list[int]:
    return [item["id"] for item in items]


def files_under(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*") if path.is_file() and path.suffix in (".flac", ".ogg")}


def test_the_public_name_is_this_class() -> None:
    assert audio_pool.AudioSemanticCache is AudioSemanticCache


def test_stats_of_an_empty_cache(cache: SoundCache, manager: AudioSemanticCache) -> None:
    found = manager.get_cache_stats()
    assert {key: found[key] for key in ("total_items", "total_size_mb", "unique_prompts", "missing_files")} == {
        "total_items": 0, "total_size_mb": 0.0, "unique_prompts": 0, "missing_files": 0,
    }  # fmt: skip
    for key in ("oldest_item", "newest_item", "average_duration", "average_clap_similarity"):
        assert found[key] is None


def test_stats_count_what_is_there(cache: SoundCache, manager: AudioSemanticCache) -> None:
    first = keep(cache, "rain", 1, duration_s=2.0, metadata={"clap_similarity": 0.4})
    keep(cache, "Rain ", 2, duration_s=4.0)
    third = keep(cache, "wind", 3, duration_s=6.0, metadata={"clap_similarity": 0.6})
    aged(cache, first, 3)
    gone = cache.store.entries.entry(third).path
    os.rename(gone, gone + ".away")
    found = manager.get_cache_stats()
    os.rename(gone + ".away", gone)
    assert (found["total_items"], found["unique_prompts"], found["missing_files"]) == (3, 2, 1)
    assert found["average_duration"] == pytest.approx(4.0)
    assert found["average_clap_similarity"] == pytest.approx(0.5)
    assert found["newest_item"] - found["oldest_item"] == pytest.approx(3 * DAY, abs=60)
    size = sum(os.path.getsize(cache.store.entries.entry(n).path) for n in (1, 2, 3))
    assert found["total_size_mb"] == pytest.approx(size / 2**20)


def test_items_have_the_documented_keys(cache: SoundCache, manager: AudioSemanticCache) -> None:
    entry_id = keep(cache, "rain", metadata={"clap_similarity": 0.4})
    aged(cache, entry_id, 2)
    (item,) = manager.list_cache_items()
    path = cache.store.entries.entry(entry_id).path
    assert item["path"] == path
    assert (item["prompt"], item["duration_s"], item["clap_similarity"]) == ("rain", 2.0, 0.4)
    assert item["age_days"] == pytest.approx(2, abs=0.01)
    assert item["timestamp"] == pytest.approx(time.time() - 2 * DAY, abs=60)
    assert item["file_exists"] is True
    assert item["file_size_kb"] == os.path.getsize(path) / 1024


def test_items_are_sorted_by_each_key_both_ways_and_none_comes_last(
    cache: SoundCache, manager: AudioSemanticCache
) -> None:
    b = keep(cache, "b", 1, duration_s=3.0, metadata={"clap_similarity": 0.1})
    c = keep(cache, "C", 2, duration_s=1.0)
    a = keep(cache, "a", 3, duration_s=2.0, metadata={"clap_similarity": 0.9})
    for days, entry_id in ((1, b), (3, c), (2, a)):
        aged(cache, entry_id, days)
    assert ids(manager.list_cache_items()) == [b, a, c]
    assert ids(manager.list_cache_items(reverse=False)) == [c, a, b]
    assert ids(manager.list_cache_items(sort_by="clap_similarity")) == [a, b, c]
    assert ids(manager.list_cache_items(sort_by="clap_similarity", reverse=False)) == [b, a, c]
    assert ids(manager.list_cache_items(sort_by="duration")) == [b, a, c]
    assert ids(manager.list_cache_items(sort_by="duration_s", reverse=False)) == [c, a, b]
    assert ids(manager.list_cache_items(sort_by="prompt", reverse=False)) == [a, b, c]
    assert ids(manager.list_cache_items(limit=2)) == [b, a]
    with pytest.raises(InvalidRequest, match="duration_s") as caught:
        manager.list_cache_items(sort_by="duraton")
    assert "duration" in caught.value.hint
    with pytest.raises(InvalidRequest, match="limit"):
        manager.list_cache_items(limit=0)


def test_prompts_are_grouped_with_most_variants_first(cache: SoundCache, manager: AudioSemanticCache) -> None:
    one = keep(cache, "wind", 1)
    two, three = keep(cache, "rain", 2), keep(cache, "RAIN", 3)
    found = manager.group_by_prompt()
    assert [group["count"] for group in found] == [2, 1]
    assert {*ids(found[0]["items"])} == {two, three}
    assert ids(found[1]["items"]) == [one]
    assert len(manager.group_by_prompt(limit=1)) == 1


def test_old_items_go_with_their_files_and_renditions(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    old, young = keep(cache, "old", 1), keep(cache, "young", 2)
    source = cache.incoming / "x.ogg"
    source.write_bytes(b"OggS" * 50)
    rendition = cache.put_rendition(old, OGG, source)
    aged(cache, old, 8)
    path = cache.store.entries.entry(old).path
    render = Path(cache.put(sound(cache.incoming, "no", accepted=False), {}).path)
    os.utime(render, (time.time() - 9 * DAY,) * 2)
    freed = os.path.getsize(path) + os.path.getsize(rendition) + render.stat().st_size
    done = manager.remove_old_items(7, now=True)
    assert (done["removed_items"], done["removed_files"]) == (1, 3)
    assert done["freed_space_mb"] == pytest.approx(freed / 2**20)
    assert files_under(tmp_path) == {cache.store.entries.entry(young).path}
    with pytest.raises(InvalidRequest, match="days"):
        manager.remove_old_items(-1)
    with pytest.raises(InvalidRequest, match="days"):
        manager.remove_old_items(float("nan"))


def test_clearing_wants_confirmation_and_then_leaves_no_sound(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    for seed in range(3):
        keep(cache, f"rain {seed}", seed)
    cache.put(sound(cache.incoming, "no", accepted=False), {})
    assert "would remove 3 items" in manager.clear_cache()["error"]
    assert len(files_under(tmp_path)) == 4
    done = manager.clear_cache(confirm=True)
    assert (done["removed_items"], done["removed_files"], done["freed_after_s"]) == (3, 4, 600.0)
    assert len(files_under(tmp_path)) == 4, "their paths may just have been delivered"
    stats = manager.get_cache_stats()
    assert (stats.total_items, stats.renders) == (0, 0)
    assert manager.clear_cache(confirm=True, now=True)["removed_items"] == 0
    assert files_under(tmp_path) == set()


def test_a_sound_kept_after_the_selection_is_not_taken_along(
    cache: SoundCache, manager: AudioSemanticCache
) -> None:
    keep(cache, "rain", 1)
    selection = manager.select_all()
    later = keep(cache, "wind", 2)
    manager.remove(selection)
    assert ids(manager.list_cache_items()) == [later]


def test_duplicates_by_words_keep_the_best(cache: SoundCache, manager: AudioSemanticCache) -> None:
    worse = keep(cache, "rain", 1, metadata={"clap_similarity": 0.2})
    best = keep(cache, "Rain", 2, metadata={"clap_similarity": 0.9})
    keep(cache, "rain", 3, loop=True)
    keep(cache, "rain", 4, duration_s=3.0)
    (group,) = manager.find_duplicates(by="prompt")
    assert group["keep"]["id"] == best
    assert ids(group["duplicates"]) == [worse]
    path = cache.store.entries.entry(worse).path
    assert manager.remove_duplicates(by="prompt", confirm=True, now=True)["removed_items"] == 1
    assert not os.path.exists(path)
    assert manager.find_duplicates(by="prompt") == []


def test_operators_are_told_of_duplicates_so_many_at_a_time(
    cache: SoundCache, manager: AudioSemanticCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_TOLD", 2)
    rain = [keep(cache, "rain", seed) for seed in range(5)]
    hail = [keep(cache, "hail", seed, namespace="game") for seed in (7, 8)]
    told = duplicates.found_duplicates(cache.store, "prompt", 50)
    assert (told.found, told.duplicates) == (2, 5)
    first, second = told.groups
    assert first.keep.id == rain[-1] and [one.id for one in first.duplicates] == rain[3:1:-1] and first.more == 2
    assert (second.keep.namespace, second.keep.id, second.more) == ("game", hail[1], 0)
    sizes = {item["id"]: item["file_size_kb"] * 1024 for item in manager.list_cache_items(limit=None)}
    assert told.size_bytes == sum(sizes[entry] for entry in (*rain[:-1], hail[0]))
    assert duplicates.found_duplicates(cache.store, "prompt", 1).groups == (first,)
    with pytest.raises(InvalidRequest, match="by"):
        duplicates.found_duplicates(cache.store, "luck", 1)  # type: ignore[arg-type]


def test_duplicates_keep_a_sound_whose_file_is_there(cache: SoundCache, manager: AudioSemanticCache) -> None:
    other = keep(cache, "rain", 1, metadata={"clap_similarity": 0.2})
    best = keep(cache, "rain", 2, metadata={"clap_similarity": 0.9})
    os.unlink(cache.store.entries.entry(best).path)
    (group,) = manager.find_duplicates()
    assert group["keep"]["id"] == other
    manager.remove_duplicates(confirm=True)


def test_duplicates_by_sound_go_by_bytes_and_by_vectors(cache: SoundCache, manager: AudioSemanticCache) -> None:
    near = np.array([1, 0.05, 0], np.float32)  # cosine 0.9988 to the first axis
    far = np.array([1, 0.5, 0], np.float32)  # 0.894
    axis = np.array([1, 0, 0], np.float32)
    first = keep(cache, "rain", 1, {"sound:clap": axis}, metadata={"clap_similarity": 0.95})
    alike = keep(cache, "water", 2, {"sound:clap": near})
    keep(cache, "storm", 3, {"sound:clap": far})
    keep(cache, "long", 4, {"sound:clap": axis}, duration_s=3.0)
    keep(cache, "words", 5, {"text:bge": axis})
    keep(cache, "more words", 6, {"text:bge": axis})
    made = sound(cache.incoming, "copy", seed=7)
    write_flac(Path(made.path), seed=8)
    copy = cache.put(made, {}).id
    twin = keep(cache, "twin", 8)
    groups = manager.find_duplicates(by="sound")
    assert [sorted([group["keep"]["id"], *ids(group["duplicates"])]) for group in groups] == [
        [copy, twin],
        [first, alike],
    ]
    assert groups[0]["reason"] == "the same bytes"
    assert groups[1]["keep"]["id"] == first
    assert manager.find_duplicates(by="prompt") == []
    with pytest.raises(InvalidRequest, match="any, prompt, sound"):
        manager.find_duplicates(by="colour")


def test_an_entry_is_in_one_group_at_most(cache: SoundCache, manager: AudioSemanticCache) -> None:
    axis = np.array([1, 0], np.float32)
    for seed, prompt in enumerate(("rain", "rain", "water", "water", "sea")):
        keep(cache, prompt, seed, {"sound:clap": axis})
    groups = manager.find_duplicates()
    gone = [entry_id for group in groups for entry_id in ids(group["duplicates"])]
    assert len(gone) == len(set(gone)) == 4
    assert manager.remove_duplicates(confirm=True)["removed_items"] == 4
    assert manager.get_cache_stats()["total_items"] == 1


def test_delete_by_id_is_all_or_nothing(cache: SoundCache, manager: AudioSemanticCache) -> None:
    first, second = keep(cache, "rain", 1), keep(cache, "wind", 2)
    with pytest.raises(NotFound, match="no entry with id 99"):
        manager.delete([first, 99])
    assert manager.delete([first])["removed_items"] == 1
    assert ids(manager.list_cache_items()) == [second]


def test_a_server_never_offers_what_the_manager_removed(cache: SoundCache, manager: AudioSemanticCache) -> None:
    entry_id = keep(cache, "rain", 1)
    assert cache.find_exact(recipe("rain"), Query()).hit is not None
    manager.delete([entry_id])
    assert cache.find_exact(recipe("rain"), Query()).hit is None


def test_verify_names_each_kind_of_fault_and_mends_it(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    root = tmp_path / "cache"
    missing, truncated, swapped, header, fine = (keep(cache, f"sound {n}", n) for n in range(5))
    path = {n: Path(cache.store.entries.entry(n).path) for n in (missing, truncated, swapped, header, fine)}
    path[missing].unlink()
    path[truncated].write_bytes(path[truncated].read_bytes()[:-100])
    content = bytearray(path[swapped].read_bytes())
    content[len(content) // 2] ^= 1
    path[swapped].write_bytes(content)
    path[header].write_bytes(b"x" * path[header].stat().st_size)
    (root / "audio" / "00").mkdir(exist_ok=True)
    orphan = root / "audio" / "00" / "orphan.flac"
    orphan.write_bytes(b"fLaC")
    source = cache.incoming / "x.ogg"
    source.write_bytes(b"OggS")
    os.unlink(cache.put_rendition(fine, OGG, source))
    dead = root / "incoming" / "1-dead"
    dead.mkdir()
    (dead / "half.flac").write_bytes(b"fL")
    harm(root, "INSERT INTO vectors VALUES (999, 'text:a', x'00')")  # foreign keys are off by default

    quick = manager.verify(quick=True)
    assert "swapped" not in str(quick) and str(path[swapped].name) not in str(quick["problems"])
    found = manager.verify()
    assert found["ok"] is False and found["fixed"] == 0
    kinds = {(problem["kind"], Path(problem["what"]).name) for problem in found["problems"]}
    assert {kind for kind in kinds if kind[0] != "missing_rendition"} == {
        ("missing_file", path[missing].name),
        ("damaged_file", path[truncated].name),
        ("damaged_file", path[swapped].name),
        ("damaged_file", path[header].name),
        ("orphan_file", "orphan.flac"),
        ("stale_incoming", "half.flac"),
        ("orphan_rows", "vectors"),
    }
    assert len(kinds) == 8
    half = manager.verify(fix=True)
    assert (half["fixed"], half["unconfirmed"], half["refused"]) == (3, 5, [])  # a rendition, an orphan, a leftover
    assert {problem["kind"] for problem in manager.verify()["problems"]} == {
        "missing_file", "damaged_file", "orphan_rows"
    }  # fmt: skip
    mended = manager.verify(fix=True, confirm=True)
    assert mended["ok"] is True and mended["fixed"] == 5
    again = manager.verify()
    assert again["problems"] == [] and again["entries"] == 1
    assert cache.store.entries.entry(fine) is not None
    assert orphan.exists(), "it may have been delivered before its row went"
    cache.store.leaving.unlink_due(at_once=True)
    assert not orphan.exists()
    apart = {path.name.partition("-")[2] for path in (root / "quarantine").iterdir()}
    assert apart == {"orphan.flac", path[truncated].name, path[swapped].name, path[header].name}


def test_verify_names_vectors_of_odd_size(cache: SoundCache, manager: AudioSemanticCache) -> None:
    for seed in range(3):
        keep(cache, f"sound {seed}", seed, {"text:a": np.ones(4 if seed else 5, np.float32)})
    (problem,) = manager.verify()["problems"]
    assert problem["kind"] == "odd_vectors"
    manager.verify(fix=True, confirm=True)
    assert cache.store.vectors.counts() == {"text:a": 2}


def test_a_directory_without_a_cache_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for place in (tmp_path / "typo", tmp_path):
        with pytest.raises(NotFound):
            AudioSemanticCache(place)
    assert list(tmp_path.iterdir()) == []


def test_prompts_and_labels_may_be_any_text(cache: SoundCache, manager: AudioSemanticCache) -> None:
    entry_id = keep(cache, "ünïcode \U0001f327", metadata={"labels": {"größe": "\U0001f327"}})
    (item,) = manager.list_cache_items(label=("größe", "\U0001f327"))
    assert (item["id"], item["prompt"], item["clap_similarity"]) == (entry_id, "ünïcode \U0001f327", None)


def test_entries_are_found_by_tag_and_by_label(cache: SoundCache, manager: AudioSemanticCache) -> None:
    labels = {"game": "harbour", "level": 3, "draft": True}
    both = keep(cache, "rain", 1, metadata={"tags": ["weather", "wet", "wet"], "labels": labels})
    tagged = keep(cache, "wind", 2, metadata={"tags": ["weather"], "labels": {"level": "3"}})
    keep(cache, "a dog barks", 3)
    assert ids(manager.list_cache_items(tag="weather")) == [tagged, both]
    assert ids(manager.list_cache_items(tag="wet")) == [both]
    assert manager.list_cache_items(tag="weath") == []
    assert ids(manager.list_cache_items(label=("level", 3))) == [both]
    assert ids(manager.list_cache_items(label=("level", "3"))) == [tagged, both]  # as a terminal writes it
    assert ids(manager.list_cache_items(label=("draft", "true"), tag="weather")) == [both]
    assert manager.list_cache_items(label=("game", "3")) == []
    (item,) = manager.list_cache_items(tag="wet")
    assert (item["tags"], item["labels"]) == (["weather", "wet"], labels)
    hit = cache.find_exact(recipe("rain"), Query()).hit
    assert (hit.metadata.tags, hit.metadata.labels) == (("weather", "wet", "wet"), labels)
    manager.delete([both])
    assert manager.list_cache_items(tag="wet") == []


def test_an_entry_that_cannot_be_read_is_named_and_removed(cache: SoundCache, manager: AudioSemanticCache) -> None:
    torn, fine = keep(cache, "rain", 1), keep(cache, "wind", 2)
    harm(Path(cache.store.location), f"UPDATE provenance SET recipe = 'torn' WHERE entry_id = {torn}")
    assert cache.find_exact(recipe("rain"), Query()).hit is None
    assert [(found["kind"], found["what"]) for found in manager.verify()["problems"]] == [
        ("unreadable_entry", f"entry {torn}")
    ]
    manager.verify(fix=True, confirm=True)
    assert ids(manager.list_cache_items()) == [fine]


def test_a_selection_reads_its_entries_when_they_are_looked_at(
    cache: SoundCache, manager: AudioSemanticCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [keep(cache, f"sound {n}", n) for n in range(7)]
    monkeypatch.setattr("audio_pool.cache.chosen._AT_ONCE", 3)
    monkeypatch.setattr("audio_pool.cache.manage._PROMPTS_AT_ONCE", 3)
    read: list[int] = []
    real = manager._by_ids
    monkeypatch.setattr(manager, "_by_ids", lambda wanted: read.append(len(wanted)) or real(wanted))
    selection = manager.select_pattern("sound [0-5]")
    assert (len(selection.items), read, selection.size_bytes > 0) == (6, [], True)
    assert ids(selection.items) == kept[:6] and read == [3, 3]
    assert selection.items[2]["prompt"] == "sound 2" and ids(selection.items[4:]) == kept[4:6]
    manager.delete([kept[1]])
    assert ids(selection.items) == [kept[0], *kept[2:6]]
    assert manager.remove(selection)["removed_items"] == 5
    with pytest.raises(InvalidRequest):
        manager.select_pattern("(")
