"""What people judged decides look-ups at every stage, in every opening of the directory."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.support.cache_sounds import recipe, sound

from audio_pool.cache.calibration import Measured
from audio_pool.cache.encoders import calibration_of
from audio_pool.cache.explain import explain
from audio_pool.cache.judgements import Given
from audio_pool.cache.opening import open_store
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.backup import backup, restore
from audio_pool.cache.sqlite.rebuild import rebuild
from audio_pool.cache.verify import verify
from audio_pool.cli.cache import group
from audio_pool.errors import NotFound
from audio_pool.types import Query

TOLERANT = Query(match="tolerant", temperature=0.0)
STRICT = Query(match="strict", temperature=0.0)
PROMPT, SAME_KEY, OTHER_WAY = "rain on a tin roof", "the sound of rain on a tin roof", "a tin roof in the rain"
UNLIKE = "hail on a car"
X = np.eye(4, dtype=np.float32)[0]


@pytest.fixture
def caches(tmp_path: Path):
    """Two openings of one directory, as two processes have them."""
    both = [SoundCache(tmp_path / "cache", rng=random.Random(1)) for _ in range(2)]
    yield both
    assert verify(both[0].store).problems == []
    for cache in both:
        cache.close()


def keep(cache: SoundCache, prompt: str = PROMPT, seed: int = 1, **changes) -> int:
    return cache.put(sound(cache.incoming, prompt, seed=seed, **changes), {"minilm": X}).id


def found(cache: SoundCache, prompt: str, query: Query = TOLERANT, **changes) -> tuple[int, str, str] | None:
    asked = recipe(prompt, **changes)
    hit = cache.find_exact(asked, query).hit or cache.find_near(asked, query, {"minilm": X}).hit
    if hit is None:
        return None
    report = hit.metadata.hit
    assert (report.entry_id, report.stage) == (hit.entry.id, hit.cache_type) == (hit.metadata.entry_id, report.stage)
    return report.entry_id, report.stage, report.rule


def judge(cache: SoundCache, query: str, prompt: str, verdict: str, entry_id: int | None = None, **more) -> None:
    cache.learn([Given(more.get("namespace", "default"), query, prompt, verdict, "manager", entry_id)])


@pytest.mark.parametrize(
    ("query", "stage"), [(SAME_KEY, "canonical"), (OTHER_WAY, "semantic")], ids=["by key", "by meaning"]
)
def test_a_denied_pair_is_no_hit_in_any_opening_from_either_side(caches, query: str, stage: str) -> None:
    here, there = caches
    kept = keep(here)
    assert found(there, query)[:2] == (kept, stage)
    judge(here, query, PROMPT, "wrong")
    assert found(here, query) is None and found(there, query) is None
    assert found(there, PROMPT) == (kept, "exact", "text")
    other = keep(here, query, seed=2)
    assert found(there, PROMPT) == (kept, "exact", "text") and found(there, query) == (other, "exact", "text")
    here.remove([kept])
    assert found(there, PROMPT) is None, "the same pair from the other side"
    judge(there, query, PROMPT, "none")
    assert found(here, PROMPT)[0] == other


@pytest.mark.parametrize("mode", ["threshold", "global"])
def test_a_denied_pair_is_no_hit_in_any_mode(caches, mode: str) -> None:
    here, there = caches
    keep(here)
    query = Query(match=mode, temperature=0.0)
    assert found(there, OTHER_WAY, query) is not None
    judge(here, OTHER_WAY, PROMPT, "wrong")
    assert found(there, OTHER_WAY, query) is None


def test_a_denied_sound_is_not_offered_for_these_words_and_others_are(caches) -> None:
    here, there = caches
    first, second = keep(here, seed=1), keep(here, seed=2)
    assert found(there, PROMPT)[0] == first
    judge(here, PROMPT, PROMPT, "wrong", first)
    assert found(here, PROMPT)[0] == found(there, PROMPT)[0] == second
    judge(here, PROMPT, PROMPT, "wrong", second)
    assert found(there, PROMPT) is None
    assert found(there, SAME_KEY)[0] == first, "for other words nobody judged it"
    assert there.count(recipe(PROMPT), TOLERANT) == 0
    judge(there, PROMPT, PROMPT, "right", first)
    assert found(here, PROMPT)[0] == first


def test_a_seed_asks_for_one_recipe_whatever_was_judged(caches) -> None:
    here, there = caches
    kept = keep(here, seed=7)
    judge(here, PROMPT, PROMPT, "wrong", kept)
    assert found(there, PROMPT, seed=7) == (kept, "exact", "recipe")


def test_a_confirmed_pair_is_a_hit_though_a_guard_objects(caches) -> None:
    here, there = caches
    kept = keep(here)
    assert found(there, UNLIKE) is None
    judge(here, UNLIKE, PROMPT, "right")
    assert found(here, UNLIKE) == found(there, UNLIKE) == (kept, "semantic", "confirmed")
    assert found(there, UNLIKE, STRICT) is None
    # never across settings
    assert found(there, UNLIKE, loop=True) is None
    assert found(there, UNLIKE, namespace="other") is None
    assert found(there, UNLIKE, engine="audioldm2") is None
    # the policy says the same as the look-up
    told = explain(there, recipe(UNLIKE), TOLERANT, {"minilm": X})
    assert (told.hit, told.entries[0].id) == (True, kept)
    judge(there, UNLIKE, PROMPT, "wrong")
    assert found(here, UNLIKE) is None
    told = explain(here, recipe(UNLIKE), TOLERANT, {"minilm": X})
    assert not told.hit and "judged it wrong" in told.entries[0].reason


def test_judgements_stay_within_their_namespace(caches) -> None:
    here, there = caches
    keep(here, namespace="a")
    kept = keep(here, seed=2, namespace="b")
    judge(here, OTHER_WAY, PROMPT, "wrong", namespace="a")
    assert found(there, OTHER_WAY, namespace="a") is None
    assert found(there, OTHER_WAY, namespace="b")[0] == kept


def test_they_outlive_every_opening_and_those_of_a_sound_go_with_it(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    kept = keep(cache)
    judge(cache, OTHER_WAY, PROMPT, "wrong")
    judge(cache, PROMPT, PROMPT, "wrong", kept)
    cache.close()
    cache = SoundCache(tmp_path / "cache")
    assert found(cache, OTHER_WAY) is None and found(cache, PROMPT) is None
    cache.remove([kept])
    assert [one.given.entry_id for one in cache.store.judgements.newest(9)] == [None]
    with pytest.raises(NotFound, match=f"{kept}"):
        judge(cache, PROMPT, PROMPT, "wrong", kept)
    cache.close()


def test_a_later_judgement_takes_the_place_of_its_like(caches) -> None:
    here, _ = caches
    for verdict in ("wrong", "right", "wrong", "none"):
        judge(here, OTHER_WAY, PROMPT, verdict)
        judge(here, PROMPT, OTHER_WAY, verdict)
    assert [one.given.verdict for one in here.store.judgements.newest(9)] == ["none"]


def test_many_judgements_of_another_process_are_taken_over_at_once_by_the_writer(caches) -> None:
    here, there = caches
    keep(here)
    judge(there, "first", "second", "wrong")
    here.learn([Given("default", f"words {n}", PROMPT, "wrong", "calibration") for n in range(300)])
    judge(here, OTHER_WAY, PROMPT, "wrong")
    there.follow()
    assert found(there, OTHER_WAY) is None


def test_a_hit_names_the_nearest_that_was_refused(caches) -> None:
    here, _ = caches
    near = here.put(sound(here.incoming, UNLIKE, seed=3), {"minilm": X}).id
    kept = keep(here)
    metadata = here.find_near(recipe(OTHER_WAY), TOLERANT, {"minilm": X}).hit.metadata
    assert (metadata.hit.entry_id, metadata.hit.rule) == (kept, "words")
    assert metadata.hit.cosine == pytest.approx(1.0) and metadata.hit.clap is None
    refused = metadata.hit.nearest_refused
    assert (refused.entry_id, refused.prompt, refused.cosine) == (near, UNLIKE, pytest.approx(1.0))
    assert "guard" in refused.reason
    assert here.find_exact(recipe(PROMPT), TOLERANT).hit.metadata.hit.nearest_refused is None


def test_the_commands_show_deny_confirm_and_take_back(caches, tmp_path: Path) -> None:
    here, there = caches
    kept = keep(here)

    def run(*arguments: str, code: int = 0) -> dict:
        done = CliRunner().invoke(group, [*arguments, "--json", "--cache-dir", str(tmp_path / "cache")])
        assert done.exit_code == code, done.output
        return json.loads(done.output.splitlines()[0]) if code else json.loads(done.output)

    assert run("deny", OTHER_WAY, "--prompt", PROMPT)["verdict"] == "wrong"
    assert found(there, OTHER_WAY) is None
    run("deny", OTHER_WAY, "--prompt", PROMPT, "--undo")
    assert found(there, OTHER_WAY)[0] == kept
    run("confirm", UNLIKE, "--prompt", PROMPT)
    assert found(there, UNLIKE) == (kept, "semantic", "confirmed")
    run("deny", PROMPT, "--id", str(kept))
    assert found(there, PROMPT) is None
    verdicts = [(one["verdict"], one["query"]) for one in run("judged")["judgements"]]
    assert verdicts == [("wrong", PROMPT), ("right", UNLIKE), ("none", OTHER_WAY)]
    told = run("show", str(kept))
    assert (told["recipe"]["seed"], told["vectors"], told["pinned"]) == (1, {"minilm": 4}, False)
    assert len(told["sha256"]) == 64 and told["metadata"]["prompt"] == PROMPT
    assert [(one["verdict"], one["query"]) for one in told["judgements"]] == verdicts
    shown = CliRunner().invoke(group, ["show", str(kept), "--cache-dir", str(tmp_path / "cache")])
    assert f"judged      wrong for '{PROMPT}'" in shown.output and "vectors     minilm 4" in shown.output
    for wrong in (["deny", "x"], ["deny", "x", "--prompt", "y", "--id", "1"], ["deny", PROMPT, "--prompt", PROMPT]):
        run(*wrong, code=2)
    run("show", "99", code=2)
    run("deny", "x", "--id", "99", code=2)
    run("deny", PROMPT, "--id", str(kept), "--namespace", "other", code=2)


def taught(place: Path) -> int:
    cache = SoundCache(place)
    kept = keep(cache)
    judge(cache, OTHER_WAY, PROMPT, "wrong")
    judge(cache, PROMPT, PROMPT, "wrong", kept)
    cache.store.calibrations.keep(measured("minilm"))
    cache.close()
    return kept


def measured(space: str) -> Measured:
    shares = {"accepted_same": 1.0, "accepted_different": 0.0, "error_at_most": 0.1, "accepted_same_plain": 0.5}
    counts = {"same_pairs": 10, "different_pairs": 10, "unrelated_pairs": 0}
    return Measured(space=space, error=0.01, at_070=0.875, plain=0.9, **shares, **counts)


@pytest.mark.sqlite
def test_what_was_taught_is_read_of_a_damaged_database(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    kept = taught(place)
    with contextlib.closing(sqlite3.connect(place / "cache.sqlite3")) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries_text'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with (place / "cache.sqlite3").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    assert rebuild(place).way == "from_damaged"
    cache = SoundCache(place)
    assert found(cache, OTHER_WAY) is None and found(cache, PROMPT) is None
    assert {one.given.entry_id for one in cache.store.judgements.newest(9)} == {None, kept}
    assert cache.store.calibrations.at_070("minilm") == 0.875
    cache.close()


@pytest.mark.sqlite
def test_a_backup_brings_what_the_cache_does_not_know(tmp_path: Path) -> None:
    taught(tmp_path / "cache")
    backup(tmp_path / "cache", tmp_path / "it.tar")
    other = SoundCache(tmp_path / "other")
    judge(other, PROMPT, OTHER_WAY, "right")
    other.close()
    for place, verdict in (("other", "right"), ("new", "wrong")):
        restore(tmp_path / "it.tar", tmp_path / place)
        cache = SoundCache(tmp_path / place)
        assert [one.given.verdict for one in cache.store.judgements.newest(9)] == [verdict], place
        assert cache.store.calibrations.at_070("minilm") == 0.875
        cache.close()


def test_what_is_known_of_an_encoder_is_not_taken_for_true_of_another_model(tmp_path: Path) -> None:
    known = {
        "minilm": 0.80, "minilm@int8": 0.80, "bge@/models/bge-base-en-v1.5@int8": 0.90,
        "bge@/hub/models--BAAI--bge-small-en-v1.5/snapshots/5c38": 0.90, "bge@/models/multilingual-e5-small": None,
        "bge@intfloat/multilingual-e5-small@int8": None, "bge@BAAI/bge-m3": None, "multi@/models/bge-m3": None,
    }  # fmt: skip
    with contextlib.closing(open_store(tmp_path)) as store:
        found = {space: calibration_of(store, space) for space in known}
    assert {space: one and one.at_070 for space, one in found.items()} == known
