"""Groups of entries of which one is enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.cache_sounds import sound, write_flac

from audio_pool.cache.duplicates import Group, duplicate_groups, groups_around
from audio_pool.cache.opening import open_store
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.errors import InvalidRequest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "cache")
    yield opened
    opened.close()


def keep(store: SqliteStore, prompt: str = "rain", vectors: dict[str, Any] | None = None, **changes: Any) -> int:
    found = {space: np.array(vector, np.float32) for space, vector in (vectors or {}).items()}
    entry_id = store.entries.put(sound(store.blobs.incoming, prompt, **changes), found).id
    assert entry_id is not None
    return entry_id


def test_a_group_forms_around_its_best_and_chains_of_likeness_do_not() -> None:
    alike = {1: [2], 2: [1, 3], 3: [2, 4], 4: [3]}
    assert list(groups_around([1, 2, 3, 4], alike, "r")) == [Group("r", [1, 2]), Group("r", [3, 4])]
    assert list(groups_around([2, 1, 3, 4], alike, "r")) == [Group("r", [2, 1, 3])]
    assert list(groups_around([1], {}, "r")) == []
    assert list(groups_around([1, 2], {1: [1]}, "r")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "another"}, {"model_revision": "bbb"}, {"steps": 20}, {"guidance_scale": 4.0}, {"engine": "mock"},
        {"options": (("k", 1),)}, {"voice": "amy"}, {"negative_prompt": "wind"}, {"namespace": "other"},
        {"loop": True}, {"duration_s": 2.5}, {"sample_rate": 48_000},
    ],
    ids=str,
)  # fmt: skip
def test_words_alone_are_not_enough_where_a_setting_differs(store: SqliteStore, changes: dict[str, Any]) -> None:
    keep(store, seed=1)
    keep(store, seed=2, **changes)
    assert duplicate_groups(store, "prompt") == []


def test_the_best_of_the_same_words_leads_and_the_newest_of_equals(store: SqliteStore) -> None:
    worst = keep(store, seed=1, metadata={"clap_similarity": 0.1})
    older = keep(store, "RAIN", seed=2, metadata={"clap_similarity": 0.9})
    newer = keep(store, seed=3, metadata={"clap_similarity": 0.9, "commercial_use": True, "warnings": ["not_heard: x"]})
    assert duplicate_groups(store, "prompt") == [Group("the same words and settings", [newer, older, worst])]
    assert duplicate_groups(store, "sound") == []


def test_the_same_bytes_are_found_whatever_the_words_but_not_across_namespaces(store: SqliteStore) -> None:
    ids = []
    for number, namespace in enumerate(("default", "default", "other")):
        made = sound(store.blobs.incoming, f"sound {number}", seed=number, namespace=namespace)
        write_flac(Path(made.path), seed=42)
        ids.append(store.entries.put(made, {}).id)
    (group,) = duplicate_groups(store, "any")
    assert (group.reason, set(group.ids)) == ("the same bytes", set(ids[:2]))


@pytest.mark.parametrize(
    ("space", "near", "far"),
    [("sound:clap", (1.0, 0.05), (1.0, 0.5)), ("sound:descriptors", (1.3, 0.0), (1.6, 0.0))],
    ids=["by direction", "by distance"],
)
def test_vectors_are_compared_as_their_space_asks(
    store: SqliteStore, space: str, near: tuple[float, float], far: tuple[float, float]
) -> None:
    first = keep(store, "a", {space: (1.0, 0.0)}, seed=1, metadata={"clap_similarity": 0.99})
    alike = keep(store, "b", {space: near}, seed=2)
    keep(store, "c", {space: far}, seed=3)
    keep(store, "d", {space: (1.0, 0.0)}, seed=4, loop=True)
    keep(store, "e", {space: (1.0, 0.0)}, seed=5, duration_s=2.2)
    assert duplicate_groups(store, "sound") == [Group(f"the same sound ({space})", [first, alike])]


def test_vectors_of_prompts_say_nothing_about_sounds(store: SqliteStore) -> None:
    for seed, prompt in enumerate(("a", "b")):
        keep(store, prompt, {"minilm": (1.0, 0.0)}, seed=seed)
    assert duplicate_groups(store) == []


def test_an_unknown_method_names_those_there_are(store: SqliteStore) -> None:
    with pytest.raises(InvalidRequest, match="any, prompt, sound"):
        duplicate_groups(store, "colour")  # type: ignore[arg-type]
