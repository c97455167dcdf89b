"""What a look at a Ray cluster means for the workers that are asked for; no Ray is needed for it."""

from __future__ import annotations

from typing import Any

from audio_pool import __version__
from audio_pool.finding import Finding
from audio_pool.pool.launchers.ray_diagnosis import Wanted, findings_of
from audio_pool.pool.launchers.ray_look import Engine, Looked, Node


def node(host: str = "one", **told: Any) -> Node:
    has = told.pop("has", {"CPU": 8.0, "GPU": 2.0})
    known = {"python": "3.11.7", "version": __version__, "cards": int(has.get("GPU", 0)), "free": has}
    return Node(host=host, has=has, **{**known, **told})


def told(
    *nodes: Node, wanted: tuple[Wanted, ...] = (), engines: tuple[Engine, ...] = (), **looked: Any
) -> list[Finding]:
    found = Looked(ray="2.60.0", python="3.11.7", endpoint="tcp://head:5580", nodes=list(nodes), **looked)
    return list(findings_of(found, "head:6379", engines, wanted, ships=True))


def worker(count: int = 1, engines: tuple[str, ...] = (), python: str = "", **asks: float) -> Wanted:
    return Wanted(name="w", count=count, asks=asks, engines=engines, python=python)


def placed(*nodes: Node, wanted: Wanted) -> Finding:
    (found,) = (one for one in told(*nodes, wanted=(wanted,)) if one.what == "worker w")
    return found


def test_whole_cards_and_parts_of_cards_are_counted_apart() -> None:
    assert placed(node(), node("two"), wanted=worker(4, GPU=1)).state == "ok"
    assert "4 of them fit" in placed(node(), wanted=worker(4, GPU=0.5)).told
    part = placed(node(), wanted=worker(3, GPU=0.6))
    assert part.state == "note" and "2 of them fit" in part.told, "two of 0.6 do not share a card"
    assert "count = 2" in part.mend
    none = placed(node(), node("two"), wanted=worker(1, GPU=4))
    assert none.state == "problem" and "one has 8 CPU, 2 GPU" in none.told, "cards of two machines are not one's"


def test_cores_memory_and_own_resources_are_counted() -> None:
    has = {"CPU": 8.0, "memory": 16.0 * 2**30, "studio": 2.0}
    assert "2 of them fit" in placed(node(has=has), wanted=worker(3, memory=7.0 * 2**30)).told
    assert "7.0 GB of memory" in placed(node(has=has), wanted=worker(3, memory=7.0 * 2**30)).told
    assert "2 of them fit" in placed(node(has=has), wanted=worker(3, studio=1)).told
    assert placed(node(has=has), wanted=worker(3, CPU=2)).state == "ok"
    assert placed(node(has=has), wanted=worker(1, far=1)).state == "problem"
    assert placed(node(has=has), wanted=worker(5)).state == "ok", "what asks for nothing fits anywhere"


def test_what_others_have_now_is_told_unless_it_is_this_head_that_has_it() -> None:
    half = node(free={"CPU": 8.0, "GPU": 1.0})
    found = placed(half, wanted=worker(2, GPU=1))
    assert found.state == "note" and "1 would wait now" in found.told and "count" in found.mend
    (found,) = (
        one for one in told(half, wanted=(worker(2, GPU=1),), taken="Address already in use") if one.what == "worker w"
    )
    assert found.state == "ok"


def test_a_node_without_this_version_is_told() -> None:
    absent = node(version="", trouble="audio_pool: No module named 'audio_pool'")
    (found,) = (one for one in told(absent) if one.what == "node one")
    assert found.state == "problem" and "No module named" in found.told and __version__ in found.mend
    (found,) = (one for one in told(node(version="0.0.1")) if one.what == "node one")
    assert found.state == "problem" and "has audio_pool 0.0.1" in found.told
    (found,) = (one for one in told(node(python="", version="", trouble="it did not answer")) if one.what == "node one")
    assert found.state == "problem" and "did not answer" in found.told


def test_what_an_engine_lacks_is_a_fault_where_it_may_be_placed_alone() -> None:
    lacks = {"missing": {"tangoflux": ["torch"]}, "unfetched": ["declare-lab/TangoFlux"]}
    engines = (Engine(name="tangoflux", requires=("torch",), model="declare-lab/TangoFlux"),)
    wanted = (worker(engines=("tangoflux",), GPU=1),)
    nodes = (node(**lacks), node("two", has={"CPU": 4.0}, **lacks), node("three"))
    found = told(*nodes, wanted=wanted, engines=engines)
    assert [one.state for one in found if one.what == "node one"] == ["problem", "problem"]
    assert [one.state for one in found if one.what in ("node two", "node three")] == ["ok", "ok"]
    assert any("needs torch" in one.told for one in found)
    assert any("neither there nor here" in one.told and "brought there" in one.mend for one in found)
    own = (worker(engines=("tangoflux",), python="/opt/env/bin/python", GPU=1),)
    assert all(one.state == "ok" for one in told(*nodes, wanted=own, engines=engines)), "that is another interpreter's"


def test_cards_that_the_driver_counts_otherwise_are_told() -> None:
    (found,) = (one for one in told(node(cards=4)) if one.what == "node one")
    assert found.state == "note" and "4 cards" in found.told


def test_a_head_that_is_not_reached_is_a_fault_and_one_that_runs_is_none() -> None:
    nodes = (node(), node("two", unreached="Connection refused"))
    (found,) = (one for one in told(*nodes) if one.what == "cluster.advertise")
    assert found.state == "problem" and "1 of 2 nodes" in found.told and "two" in found.told
    (found,) = (one for one in told(*nodes, taken="Cannot assign requested address") if one.what == "cluster.bind")
    assert found.state == "problem"
    (found,) = (one for one in told(node(), taken="Address already in use") if one.what == "cluster.advertise")
    assert found.state == "ok" and "by the server, if it runs" in found.told


def test_of_many_nodes_those_with_faults_are_told() -> None:
    nodes = [node(f"n{number}") for number in range(30)]
    nodes[20] = node("n20", version="0.0.1")
    found = told(*nodes)
    assert [one.what for one in found if one.state == "problem"] == ["node n20"]
    assert found[-1].what == "further nodes" and "21 of 22 more are well" in found[-1].told
    assert len(found) < 15


def test_a_cluster_of_another_python_is_told() -> None:
    trouble = "Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.11.9"
    (found,) = told(trouble=trouble)
    assert found.state == "problem" and "to its last number" in found.mend
    (found,) = told(trouble="Ray's library ended: ModuleNotFoundError: No module named 'ray'")
    assert "audio-pool[cluster]" in found.mend
