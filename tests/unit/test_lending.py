"""Who may order leases and workers, and what each is told: the pool's half, without sockets and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.support.routed import Caller, Routed

from audio_pool.errors import Refused
from audio_pool.pool.caller import HOST
from audio_pool.scheduler import events
from audio_pool.staffing import LeaseReport, WorkersOrdered

STRANGER = structs.replace(HOST, operator=False, owner="key-x")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    workers = [{"name": name, "engines": ["tone"], "gpu": gpu} for name, gpu in (("a", "0"), ("b", "1,2"))]
    made = Routed(tmp_path, workers=workers).start()
    yield made
    made.close()


def take(pool: Routed, caller: Caller, device: str = "1", **more: object) -> None:
    terms = {"within_s": 1.0, "for_s": 60.0, "holder": None, "caller": HOST, **more}
    pool.lending.take(device, caller.sink, **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "order",
    [
        lambda pool, sink: pool.lending.take(
            "1", sink, within_s=1.0, for_s=None, holder=None, caller=STRANGER
        ),
        lambda pool, sink: pool.lending.give_back("1", caller=STRANGER),
        lambda pool, sink: pool.staff.add({"name": "c"}, caller=STRANGER),
        lambda pool, sink: pool.staff.drain("a", sink, caller=STRANGER),
        lambda pool, sink: pool.staff.remove("a", sink, caller=STRANGER),
    ],
    ids=["lease", "return", "add", "drain", "remove"],
)
def test_only_operators_order(pool: Routed, order: Callable[[Routed, object], object]) -> None:
    with pytest.raises(Refused, match="only an operator"):
        order(pool, Caller().sink)
    assert {worker.condition for worker in pool.scheduler.workers.workers.values()} == {"ready"}
    assert not pool.requests


def test_a_lease_is_answered_when_its_device_is_free(pool: Routed) -> None:
    caller = Caller()
    take(pool, caller, holder="image server")
    assert caller.replies == [] and pool.view.status().leases[0].state == "leaving"
    pool.feed(events.WorkerExited(worker="b", incarnation=1, reason="exit code 0"))
    report = caller.reply.body
    assert isinstance(report, LeaseReport)
    assert (report.device, report.holder, report.workers) == ("1", "image server", ("b",))
    assert report.state == "free" and report.left_s is not None and 59.0 < report.left_s <= 60.0
    assert pool.view.status(discreet=True).leases == ()
    assert pool.view.health().engines["tone"] == "ready" and "'image server'" in pool.view.health().reasons[0]
    assert pool.view.health(discreet=True).reasons == ("worker 'b': lent",)
    assert pool.lending.give_back("1", caller=HOST).returned
    assert not pool.lending.give_back("1", caller=HOST).returned


def test_who_names_nobody_holds_it_under_his_own_name(pool: Routed) -> None:
    take(pool, Caller())
    assert pool.lending.reports()[0].holder == "host"


def test_a_lease_ends_with_the_connection_that_it_was_asked_through(pool: Routed) -> None:
    connected = [True]
    take(pool, Caller(), gone=lambda: not connected[0])
    pool.router._call_timers()
    assert pool.lending.reports()
    connected[0] = False
    pool.router._timers = [(0.0, number, call) for _, number, call in pool.router._timers]
    pool.router._call_timers()
    assert not pool.lending.reports()


def test_a_pool_that_stops_keeps_nobody_waiting(pool: Routed) -> None:
    lease, drain, remove = Caller(), Caller(), Caller()
    for worker in "ab":
        pool.service.echo(b"x", Caller().sink, worker=worker)
    take(pool, lease, "2")
    pool.staff.remove("b", remove.sink)
    pool.staff.drain("a", drain.sink)
    pool.feed(events.Drain(deadline=0.0))
    for caller in (lease, drain, remove):
        assert caller.reply.failure is not None and caller.reply.failure.code == "closed"


def test_who_waits_for_a_drained_worker_is_told_that_it_was_resumed(pool: Routed) -> None:
    drain, resume = Caller(), Caller()
    pool.service.echo(b"x", Caller().sink, worker="a")
    pool.staff.drain("a", drain.sink)
    assert drain.replies == []
    pool.staff.drain("a", resume.sink, drained=False)
    for caller in (drain, resume):
        assert caller.reply.body == WorkersOrdered(workers=("a",), state="resumed")


def test_a_worker_like_another_has_what_was_set_of_it(tmp_path: Path) -> None:
    workers = [{"name": "a", "engines": ["procedural"], "gpu": "0", "credit": 1}]
    pool = Routed(tmp_path, workers=workers, defaults={"engine": "procedural"})
    try:
        assert pool.staff.add({"name": "b", "gpu": "1"}, like="a").workers == ("b",)
        assert pool.staff.settings["b"] == structs.replace(pool.staff.settings["a"], name="b", gpu="1")
        assert pool.scheduler.workers.workers["b"].plan.devices == ("1",)
    finally:
        pool.close()
