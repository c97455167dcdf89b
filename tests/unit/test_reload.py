"""A changed configuration: what takes effect at once, and what is said of the rest."""

from __future__ import annotations

import msgspec
import pytest

from audio_pool.config import Config, load_config
from audio_pool.pool.reload import LIVE, reload_plan


def test_nothing_changed_is_nothing_done() -> None:
    plan = reload_plan(load_config({}), load_config({}))
    assert not plan.applied and not plan.restart and plan.config == load_config({})


def test_live_keys_are_taken_over_and_the_others_named() -> None:
    old = load_config({"queue": {"max_requests": 5}})
    new = load_config(
        {
            "queue": {"max_requests": 9, "max_batch": 2},
            "limits": {"task_timeout_s": 7.0, "heartbeat_s": 0.5},
            "logs": {"format": "json"},
            "workers": [{"name": "w", "engines": ["procedural"]}],
            "engines": {"mock": {}},
        }
    )
    plan = reload_plan(old, new)
    assert set(plan.applied) == {"queue.max_requests", "limits.task_timeout_s", "logs.format"}
    assert set(plan.restart) == {"queue.max_batch", "limits.heartbeat_s", "workers", "engines"}
    assert plan.config.queue.max_requests == 9 and plan.config.queue.max_batch == old.queue.max_batch
    assert plan.config.limits.heartbeat_s == old.limits.heartbeat_s and plan.config.workers == []


def _workers(*names: str, **engines: dict[str, object]) -> Config:
    hosted, counts = ["procedural", *engines], {"many": 2}
    workers = [{"name": name, "engines": hosted, "count": counts.get(name, 1)} for name in names]
    return load_config({"workers": workers, "engines": engines})


def test_workers_come_and_go_at_once() -> None:
    plan = reload_plan(_workers("a", "b"), _workers("b", "many"))
    assert [one.name for one in plan.added] == ["many-1", "many-2"] and plan.removed == ("a",)
    assert plan.applied == ("workers.many-1", "workers.many-2", "workers.a") and not plan.restart
    assert [one.name for one in plan.config.workers] == ["b", "many-1", "many-2"]
    assert reload_plan(plan.config, _workers("b", "many")).applied == ()


def test_a_worker_that_has_changed_and_one_whose_engine_is_new_need_a_restart() -> None:
    old = load_config({"workers": [{"name": "a", "engines": ["procedural"]}]})
    new = load_config({"workers": [{"name": "a", "engines": ["procedural"], "credit": 1}]})
    plan = reload_plan(old, new)
    assert plan.restart == ("workers",) and not plan.added and not plan.removed
    assert plan.config.workers == old.workers
    plan = reload_plan(old, _workers("a", "b", mock={"seed": 1}))
    assert set(plan.restart) == {"workers", "engines"} and not plan.added


def test_an_engines_bound_is_changed_at_once_and_nothing_else_of_it() -> None:
    old, new = (_workers("a", mock={"concurrency": most, "seed": most}) for most in (1, 2))
    plan = reload_plan(old, new)
    assert plan.applied == ("engines.mock.concurrency",) and plan.restart == ("engines",)
    assert plan.config.engines["mock"].concurrency == 2 and plan.config.engines["mock"].settings == {"seed": 1}


@pytest.mark.parametrize("section", LIVE)
def test_what_is_called_live_exists(section: str) -> None:
    keys = {field.name for field in msgspec.structs.fields(type(getattr(Config(), section)))}
    assert set(LIVE[section]) <= keys


def test_every_limit_is_live_but_those_that_are_built_into_workers_and_readers() -> None:
    keys = {field.name for field in msgspec.structs.fields(type(Config().limits))}
    assert keys - set(LIVE["limits"]) == {"heartbeat_s", "max_input_s", "max_input_bytes"}
