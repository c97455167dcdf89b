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


@pytest.mark.parametrize("section", LIVE)
def test_what_is_called_live_exists(section: str) -> None:
    keys = {field.name for field in msgspec.structs.fields(type(getattr(Config(), section)))}
    assert set(LIVE[section]) <= keys


def test_every_limit_is_live_but_those_that_are_built_into_workers_and_readers() -> None:
    keys = {field.name for field in msgspec.structs.fields(type(Config().limits))}
    assert keys - set(LIVE["limits"]) == {"heartbeat_s", "max_input_s", "max_input_bytes"}
