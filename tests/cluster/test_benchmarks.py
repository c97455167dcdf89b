"""The benchmarks of several machines run, small; what they measure is not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import cluster_store, heads, ray_dispatch, recovery
from benchmarks._absent import Absent, postgres_folder


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    try:
        postgres_folder()
    except Absent as missing:
        pytest.skip(str(missing))


def test_a_recipe_asked_of_two_heads_at_once_is_made_once() -> None:
    found = heads.rows(rounds=1, seconds=0.2, recipes=4, most=2)
    assert [row["of"] for row in found if row["what"] == "hits"] == [
        heads.ONE, heads.LESS, "1 head, PostgreSQL", "2 heads, PostgreSQL",
    ]  # fmt: skip
    assert all(row["a second"] > 0 for row in found)
    assert [(row["asked"], row["made"]) for row in found if row["what"] == "joins"] == [(4, 4), (8, 4)]


def test_what_was_lost_is_timed_until_all_is_well() -> None:
    found = recovery.rows(runs=1, what=("head", "database"))
    assert [row["what"].split(":")[0] for row in found] == [
        "head killed", "head killed", "head started again",
        "database killed", "database back", "database back",
    ]  # fmt: skip
    assert all(row["runs"] == 1 and row["longest s"] > 0 for row in found)


def test_both_stores_keep_and_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_store, "OWN", 100)
    found = {row["what"]: row for row in cluster_store.rows(entries=400, rounds=1)}
    assert found["entries"][cluster_store.SQLITE] == found["entries"][cluster_store.POSTGRES] == "400"
    for what in ("keep", "look up, any of all", "hit, of the newest"):
        assert found[what][cluster_store.SQLITE] and found[what][cluster_store.POSTGRES]
    assert found["kept on one head until offered on another"][cluster_store.POSTGRES]


def test_a_task_goes_to_an_actor_and_comes_back_every_way() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: make test-cluster")
    found = {row["way"]: row["p50 ms"] for row in ray_dispatch.rows(rounds=1, each=4, beside_serve=False)}
    assert {"zmq alone, the two hops", "our head, from our client", "Ray's own call"} <= found.keys()
    assert all(took > 0 for took in found.values())


def test_without_postgresql_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUDIO_POOL_POSTGRES", str(tmp_path))
    for rows in (heads.rows, cluster_store.rows):
        with pytest.raises(Absent, match="apt-get install postgresql"):
            rows()
    assert [row["what"] for row in recovery.rows(runs=1, what=("head", "worker"))] == [
        "head, worker: skipped, there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER"
    ]
