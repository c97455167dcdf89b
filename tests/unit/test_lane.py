"""What a thread of tasks says of itself, on a fake clock."""

from __future__ import annotations

from audio_pool.tasks import LaneReport
from audio_pool.worker.lane import Lane

RESTART_S = 5.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lane() -> tuple[Lane, Clock]:
    clock = Clock()
    return Lane("generate", RESTART_S, clock), clock


def test_an_idle_lane_has_no_task() -> None:
    one, _ = lane()
    assert one.report() == LaneReport(thread="generate")
    one.got_on()  # nothing to get on with
    assert one.report().task == 0


def test_a_report_says_since_when_and_how_long_without_a_sign() -> None:
    one, clock = lane()
    with one.at(7, 2, "generate tone"):
        clock.now += 3.0
        one.got_on()
        clock.now += 0.5
        report = one.report()
        assert (report.task, report.attempt, report.busy_s, report.quiet_s) == (7, 2, 3.5, 0.5)
    assert one.report().task == 0


def test_an_exception_ends_the_task_too() -> None:
    one, _ = lane()
    try:
        with one.at(7, 1, "generate tone"):
            raise SystemExit
    except SystemExit:
        pass
    assert one.report().task == 0


def test_of_what_nothing_is_known_a_restarts_time_is_waited() -> None:
    one, _ = lane()
    with one.at(1, 1, "generate tone"):
        assert one.report().grace_s == RESTART_S


def test_the_grace_is_twice_the_longest_step_of_its_kind() -> None:
    one, clock = lane()
    with one.at(1, 1, "generate slow"):
        clock.now += 4.0
        one.got_on()
        assert one.report().grace_s == 8.0, "known from the first step on"
        clock.now += 6.0  # the decoder's
    with one.at(2, 1, "generate slow"):
        assert one.report().grace_s == 12.0
    with one.at(3, 1, "generate other"):
        assert one.report().grace_s == RESTART_S


def test_what_gives_no_sign_is_waited_for_no_longer_than_a_restart() -> None:
    one, clock = lane()
    with one.at(1, 1, "render"):
        clock.now += 0.2
    with one.at(2, 1, "render"):
        assert abs(one.report().grace_s - 0.4) < 1e-9
        clock.now += 60.0
    with one.at(3, 1, "render"):
        assert one.report().grace_s == RESTART_S
