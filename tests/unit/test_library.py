"""Kept sounds as a library: searched by words, meaning and marks a page at a time; marks that go along and away."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests.support.cache_sounds import harm, sound

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.search import search
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite import words as words_file
from audio_pool.cache.sqlite.rebuild import rebuild
from audio_pool.cache.sqlite.words import SqliteWords
from audio_pool.cache.verify import verify
from audio_pool.cli.cache import group
from audio_pool.errors import InvalidRequest, NotFound, NotSupported
from audio_pool.exchange.exporting import export
from audio_pool.exchange.sidecar import kept_in
from audio_pool.library import KeptSounds, SoundMarks, SoundSearch
from audio_pool.validation import parse

SPACE = "minilm"
UNIT = np.eye(4, dtype=np.float32)


def near(angle: float) -> np.ndarray:
    """A direction so far from the first axis towards the second."""
    return np.array([np.cos(angle), np.sin(angle), 0, 0], np.float32)


PROMPTS = (
    ("a dog barks", 0.0, {}),
    ("two dogs barking at night", 0.2, {"loop": True}),
    ("rain on a tin roof", 0.5, {"loop": True, "duration_s": 8.0}),
    ("thunder and heavy rain", 0.7, {"duration_s": 4.0}),
    ("a train passes", 1.1, {"engine": "second"}),
    ("a hotdog stand", 1.3, {}),
    ("a dog barks elsewhere", 0.05, {"namespace": "harbour"}),
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SoundCache, list[int]]]:
    """A cache of these prompts, and their ids."""
    cache = SoundCache(tmp_path_factory.mktemp("library") / "cache")
    ids = []
    for seed, (prompt, angle, changes) in enumerate(PROMPTS):
        made = sound(cache.incoming, prompt, seed=seed, metadata={"tags": ["first"] if seed < 2 else []}, **changes)
        entry = cache.put(made, {SPACE: near(angle)})
        assert entry.id is not None
        ids.append(entry.id)
    yield cache, ids
    assert verify(cache.store).problems == []
    cache.close()


def found(cache: SoundCache, namespace: str = "default", vectors: Any = None, **fields: Any) -> KeptSounds:
    return search(cache.store, parse(SoundSearch, fields), namespace, cache.spaces, vectors)


def places(cache: SoundCache, ids: list[int], **fields: Any) -> list[int]:
    """Which of the prompts are found, in order."""
    return [ids.index(one.id) for one in found(cache, **fields).sounds]


def test_words_are_whole_but_for_their_endings_and_all_must_be_there(kept: tuple[SoundCache, list[int]]) -> None:
    assert places(*kept, words="dog") == [1, 0]
    assert places(*kept, words="barking dogs") == [1, 0]
    assert places(*kept, words="Rain") == [3, 2]
    assert places(*kept, words="ra") == []
    assert places(*kept, words="thun*") == [3]
    assert places(*kept, words='rain " OR dog NEAR(') == []
    assert places(*kept, words="!?") == []
    assert places(*kept, namespace="harbour", words="dog") == [6]


def scores(cache: SoundCache, ids: list[int], vectors: Any = None, **fields: Any) -> dict[int, float]:
    """Which of the prompts are found, in order, and how well each fits."""
    return {ids.index(one.id): float(one.score or 0) for one in found(cache, vectors=vectors, **fields).sounds}


def test_a_text_as_one_types_it_finds_words_and_their_beginnings_the_best_first(
    kept: tuple[SoundCache, list[int]],
) -> None:
    assert scores(*kept, text="dog") == {0: 0.3333, 1: 0.2}, "of three words and of five"
    assert list(scores(*kept, text="heavy ra")) == [3]
    assert scores(*kept, text="heavy ra ") == {}, "a word that has been ended is whole"
    assert scores(*kept, text="a dog barks") == {0: 1.0}
    assert list(scores(*kept, text="dog", loop=True)) == [1]
    assert scores(*kept, text="?!") == {}
    assert found(kept[0], text="dog").by_meaning is False


def test_a_text_finds_words_and_what_is_near_to_its_meaning_together(kept: tuple[SoundCache, list[int]]) -> None:
    cache, ids = kept
    page = found(cache, text="dog", vectors={SPACE: near(0.5)})
    assert page.by_meaning is True
    told = {ids.index(one.id): one.score for one in page.sounds}
    assert set(told) == {0, 1, 2, 3, 4, 5}
    assert told[1] == pytest.approx((0.2 + np.cos(0.3)) / 2, abs=1e-3)
    assert told[2] == pytest.approx(0.5, abs=1e-3), "without the words it is worth half at most"
    assert list(told)[:2] == [0, 1], "what has the words and the meaning comes first"
    first = found(cache, text="dog", vectors={SPACE: near(0.5)}, limit=4)
    rest = found(cache, text="dog", vectors={SPACE: near(0.5)}, limit=4, after=first.next)
    assert [ids.index(one.id) for one in (*first.sounds, *rest.sounds)] == list(told)
    for other in ({"words": "dog"}, {"meaning": "dog"}, {"sort": "newest"}):
        with pytest.raises(InvalidRequest, match=next(iter(other))):
            found(cache, text="dog", **other)


def test_sounds_are_looked_for_among_those_that_are_named(kept: tuple[SoundCache, list[int]]) -> None:
    cache, ids = kept
    named = [ids[0], ids[2], ids[6], 10**9]
    assert [one.id for one in found(cache, ids=named).sounds] == [ids[2], ids[0]]
    assert [one.id for one in found(cache, ids=named, words="dog").sounds] == [ids[0]]
    assert [one.id for one in found(cache, ids=named, text="ra").sounds] == [ids[2]]
    vectors = {SPACE: near(0.5)}
    assert {one.id for one in found(cache, ids=named, text="ra", vectors=vectors).sounds} == {ids[0], ids[2]}


def test_what_is_known_of_sounds_narrows_the_search(kept: tuple[SoundCache, list[int]]) -> None:
    assert places(*kept) == [5, 4, 3, 2, 1, 0]
    assert places(*kept, loop=True) == [2, 1]
    assert places(*kept, engine="second") == [4]
    assert places(*kept, engines=["second", "third"]) == places(*kept, engines=["second"]) == [4]
    assert list(scores(*kept, text="dog", vectors={SPACE: near(0.0)}, engines=["second"])) == [4]
    assert places(*kept, tags=["first"]) == [1, 0]
    assert places(*kept, tags=["first", "second"]) == []
    assert places(*kept, shortest_s=3.0, longest_s=5.0) == [3]
    assert places(*kept, words="rain", loop=False) == [3]
    assert places(*kept, sort="longest", limit=2) == [2, 3]
    assert places(*kept, min_quality=1.0) == []


def test_pages_follow_each_other_without_a_gap_though_sounds_come_and_go(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")

    def put(seed: int) -> int:
        entry = cache.put(sound(cache.incoming, f"sound number {seed}", seed=seed, duration_s=1.0 + seed % 3), {})
        assert entry.id is not None
        return entry.id

    for entry_id in [put(seed) for seed in range(8)][::2]:
        cache.store.marks.mark(entry_id, SoundMarks(rating=1 + entry_id % 5))
    for seed, sort in enumerate(("newest", "oldest", "rating", "quality", "longest", "shortest", "last_used"), 10):
        whole = [one.id for one in found(cache, sort=sort).sounds]
        assert len(whole) == 8
        page = found(cache, sort=sort, limit=3)
        seen = [one.id for one in page.sounds]
        cache.remove([whole[0]])  # of a page that was seen
        put(seed)
        while page.next:
            page = found(cache, sort=sort, limit=3, after=page.next)
            seen += [one.id for one in page.sounds]
        assert len(seen) == len(set(seen)), sort
        assert [one for one in seen if one in whole] == whole, sort
    cache.close()


def test_a_page_of_another_search_is_no_place_in_this_one(kept: tuple[SoundCache, list[int]]) -> None:
    page = found(kept[0], limit=1)
    assert page.next
    for after in ("nonsense", "////", "W10", page.next + "x"):
        with pytest.raises(InvalidRequest, match="after"):
            found(kept[0], after=after)
    with pytest.raises(InvalidRequest, match=r"'newest'.*'rating'"):
        found(kept[0], sort="rating", after=page.next)


def test_the_nearest_in_meaning_come_first_with_their_scores(kept: tuple[SoundCache, list[int]]) -> None:
    cache, ids = kept
    asked = {SPACE: UNIT[0]}
    page = found(cache, vectors=asked, meaning="a hound")
    assert [ids.index(one.id) for one in page.sounds] == [0, 1, 2, 3, 4, 5]
    assert [one.score for one in page.sounds[:2]] == [pytest.approx(1.0), pytest.approx(np.cos(0.2), abs=1e-3)]
    assert places(cache, ids, vectors=asked, meaning="a hound", loop=True) == [1, 2]
    assert places(cache, ids, vectors=asked, meaning="a hound", words="rain") == [2, 3]
    assert places(cache, ids, vectors=asked, meaning="a hound", engine="second") == [4]
    assert places(cache, ids, vectors=asked, meaning="a hound", namespace="harbour") == [6]
    seen, after = [], ""
    while True:
        page = found(cache, vectors=asked, meaning="a hound", limit=4, **({"after": after} if after else {}))
        seen += [ids.index(one.id) for one in page.sounds]
        if page.next is None:
            break
        after = page.next
    assert seen == [0, 1, 2, 3, 4, 5]
    with pytest.raises(NotSupported, match="encoder"):
        found(cache, meaning="a hound")
    with pytest.raises(InvalidRequest, match="sort"):
        found(cache, vectors=asked, meaning="a hound", sort="newest")


def test_the_words_of_another_process_are_found_and_those_of_removed_sounds_are_not(tmp_path: Path) -> None:
    first = SoundCache(tmp_path / "cache")
    gone = first.put(sound(first.incoming, "a gong", seed=1), {}).id
    with AudioSemanticCache(tmp_path / "cache") as second:
        assert [one.id for one in second.search(SoundSearch(words="gong")).sounds] == [gone]
        stays = first.put(sound(first.incoming, "another gong", seed=2), {}).id
        assert gone is not None
        first.remove([gone])
        assert [one.id for one in second.search(SoundSearch(words="gong")).sounds] == [stays]
        assert [one.id for one in found(first, words="gong").sounds] == [stays]
        index = first.store.index_dir / words_file.FILES
        index.write_bytes(b"this is no database" * 100)
    with AudioSemanticCache(tmp_path / "cache") as third:
        assert [one.id for one in third.search(SoundSearch(words="gong")).sounds] == [stays]
    first.close()


def test_without_fts_the_prompts_are_read_one_by_one(
    kept: tuple[SoundCache, list[int]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:  # fmt: skip
    cache, ids = kept
    monkeypatch.setattr(words_file, "_MAKE", ("CREATE VIRTUAL TABLE words USING no_such_module (prompt)",))
    plain = SqliteWords(tmp_path, cache.store.store_id, cache.store.changes, cache.store.library)
    assert [ids.index(one) for one in plain.find("default", "dog* bark")] == [0, 1]
    assert sorted(ids.index(one) for one in plain.find("default", "rain")) == [2, 3]
    assert "one by one" in caplog.text
    plain.close()


# -- marks


def test_marks_are_found_by_and_go_with_their_sound(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    made = sound(cache.incoming, "a gong", seed=1, metadata={"tags": ["metal"]})
    one, other = cache.put(made, {}).id, cache.put(sound(cache.incoming, "a bell", seed=2), {}).id
    assert one and other
    mark = cache.store.marks.mark
    mark(one, SoundMarks(rating=4, favourite=True, pinned=True, add_tags=["boss", "metal"]))
    (seen,) = found(cache, min_rating=4).sounds
    assert (seen.rating, seen.favourite, seen.pinned, seen.tags) == (4, True, True, ("boss", "metal"))
    assert [s.id for s in found(cache, favourite=True).sounds] == [one]
    assert [s.id for s in found(cache, favourite=False, pinned=False).sounds] == [other]
    assert [s.id for s in found(cache, tags=["boss"]).sounds] == [one]
    assert [s.id for s in found(cache, sort="rating").sounds] == [one, other]
    mark(one, SoundMarks(rating=0, favourite=False, pinned=False, remove_tags=["metal"]))
    (seen,) = found(cache, tags=["boss"]).sounds
    assert (seen.rating, seen.favourite, seen.pinned, seen.tags) == (None, False, False, ("boss",))
    mark(one, SoundMarks(tags=["b", "a"]))
    assert found(cache, words="gong").sounds[0].tags == ("a", "b")
    with pytest.raises(InvalidRequest, match="33"):
        mark(one, SoundMarks(add_tags=[f"t{n}" for n in range(31)]))
    with pytest.raises(NotFound, match="99"):
        mark(99, SoundMarks(rating=1))
    mark(one, SoundMarks(rating=5))
    replaced = cache.put(sound(cache.incoming, "a gong", seed=1), {}, replace=True).id
    assert replaced != one, "the same recipe, made anew"
    (seen,) = found(cache, min_rating=5).sounds
    assert (seen.id, seen.tags) == (replaced, ("a", "b"))
    assert replaced
    cache.remove([replaced])
    assert not cache.store.marks.of([one, replaced])
    assert verify(cache.store).problems == []
    cache.close()


def test_marks_come_along_with_an_export_and_survive_a_damaged_database(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    made = sound(cache.incoming, "a gong", seed=1, metadata={"tags": ["metal"]})
    plain = cache.put(sound(cache.incoming, "a bell", seed=2, metadata={"tags": ["high"]}), {}).id
    one = cache.put(made, {}).id
    assert one and plain
    cache.store.marks.mark(one, SoundMarks(rating=3, favourite=True, tags=["deep"]))
    cache.close()
    with AudioSemanticCache(tmp_path / "cache") as manager:
        export(manager._store, tmp_path / "out")
    told = {}
    for path in (tmp_path / "out" / "sounds").rglob("*.json"):
        sidecar = json.loads(path.read_text())
        known = kept_in(sidecar)
        assert known is not None
        told[sidecar["prompt"]] = known.marked
    assert told["a gong"] == (3, True, ("deep",))
    assert told["a bell"] == (None, False, None)
    torn = kept_in({**sidecar, "rating": 17, "tags": [3]})
    assert torn is not None and torn.marked == (None, False, None)
    rebuild(tmp_path / "cache")
    with AudioSemanticCache(tmp_path / "cache") as manager:
        (seen,) = manager.search(SoundSearch(favourite=True)).sounds
        assert (seen.prompt, seen.rating, seen.tags) == ("a gong", 3, ("deep",))


@pytest.mark.sqlite
def test_a_stray_mark_is_found_and_removed(tmp_path: Path) -> None:
    SoundCache(tmp_path / "cache").close()
    harm(tmp_path / "cache", "INSERT INTO marks VALUES (77, 3, 0, 0, 0.0)")
    with AudioSemanticCache(tmp_path / "cache") as manager:
        assert [one["kind"] for one in manager.verify()["problems"]] == ["orphan_rows"]
        assert manager.verify(fix=True, confirm=True)["fixed"]
        assert manager.verify()["ok"]


def test_the_commands_rate_tag_and_search(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    one = cache.put(sound(cache.incoming, "a gong", seed=1), {}).id
    cache.put(sound(cache.incoming, "a bell", seed=2), {})
    cache.close()

    def run(*arguments: str, code: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(group, [*arguments, "--json", "--cache-dir", str(tmp_path / "cache")])
        assert done.exit_code == code, done.output
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    assert run("rate", str(one), "4")["rating"] == 4
    assert run("favourite", str(one))["favourite"] is True
    assert run("tag", str(one), "--add", "boss", "--add", "deep")["tags"] == ["boss", "deep"]
    assert run("tag", str(one), "--remove", "deep")["tags"] == ["boss"]
    assert [item["id"] for item in run("list", "--min-rating", "4", "--favourite")["items"]] == [one]
    (seen,) = run("search", "gongs", "--min-rating", "3", "--tag", "boss")["sounds"]
    assert (seen["id"], seen["rating"], seen["tags"]) == (one, 4, ["boss"])
    first = run("search", "--limit", "1")
    assert len(first["sounds"]) == 1
    assert run("search", "--limit", "1", "--after", first["next"])["sounds"][0]["id"] == one
    assert run("favourite", str(one), "--undo")["favourite"] is False
    assert run("rate", "99", "4", code=2)["error"]["code"] == "not_found"
    assert run("tag", str(one), code=2)["error"]["code"]
    shown = CliRunner().invoke(group, ["show", str(one), "--cache-dir", str(tmp_path / "cache")])
    assert "4 of 5" in shown.output


def test_a_large_library_is_paged_by_key_and_not_by_counting(kept: tuple[SoundCache, list[int]]) -> None:
    cache, _ = kept
    database = cache.store.database_path
    plan = sqlite3.connect(database).execute(
        "EXPLAIN QUERY PLAN SELECT id FROM entries e WHERE e.namespace = 'default' AND (e.created_at, e.id) < (1e12, 5)"
        " ORDER BY e.created_at DESC, e.id DESC LIMIT 50"
    )
    told = " ".join(str(row[-1]) for row in plan)
    assert "entries_ages" in told and "TEMP B-TREE" not in told
