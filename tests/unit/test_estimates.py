"""What a task is expected to take: a mean that follows its like, with the engine and the role to stand in."""

from __future__ import annotations

import pytest

from audio_pool.config import LimitsConfig
from audio_pool.scheduler.estimates import Estimates, TaskKind

SHORT = TaskKind("generate", "tone", 8, 0)
LONG = TaskKind("generate", "tone", 8, 5)


def test_an_estimate_moves_towards_what_the_newest_took_and_arrives() -> None:
    estimates = Estimates(LimitsConfig())
    estimates.learn(SHORT, 4.0)
    assert estimates.expect(SHORT) == 4.0
    for seconds in (8.0, 1.0):
        before = estimates.expect(SHORT)
        estimates.learn(SHORT, seconds)
        low, high = sorted((before, seconds))
        assert low < estimates.expect(SHORT) < high
    for _ in range(100):
        estimates.learn(SHORT, 2.0)
    assert estimates.expect(SHORT) == pytest.approx(2.0, rel=0.01)


def test_where_nothing_like_it_was_done_the_engine_and_then_the_role_stand_in() -> None:
    estimates = Estimates(LimitsConfig())
    estimates.learn(SHORT, 4.0)
    assert estimates.expect(LONG) == 4.0
    assert estimates.expect(TaskKind("generate", "hum", 8, 0)) == 4.0


def test_a_hang_is_many_times_what_its_like_took_within_bounds() -> None:
    limits = LimitsConfig(hang_factor=10.0, hang_floor_s=10.0, hang_unknown_s=120.0, task_timeout_s=300.0)
    estimates = Estimates(limits)
    assert estimates.hang_s(SHORT) == 120.0
    estimates.learn(SHORT, 0.1)
    assert estimates.hang_s(SHORT) == 10.0 and estimates.hang_s(LONG) == 120.0
    for seconds, hang_s in ((5.0, 50.0), (60.0, 300.0)):
        kind = TaskKind("generate", f"of {seconds}", 8, 0)
        estimates.learn(kind, seconds)
        assert estimates.hang_s(kind) == hang_s
    craft = TaskKind("craft", "master")  # of a second, and then of ten minutes
    estimates.learn(craft, 0.1)
    assert estimates.hang_s(craft) == 120.0
