"""The progress bar: what an event looks like, and that only a terminal is drawn on."""

from __future__ import annotations

import io

import pytest

from audio_pool.client.progress import ProgressBar
from audio_pool.results import Accepted, Event, Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def event(body: Accepted | Progress) -> Event:
    return Event(request_id="r", type="accepted" if isinstance(body, Accepted) else "progress", body=body)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (Accepted(), "[....]   0% queued"),
        (Accepted(queue_position=3), "[....]   0% queued, 3 before it"),
        (Accepted(joined=True), "[....]   0% queued, with an identical request"),
        (Progress(stage="generate", done=1, total=2, fraction=0.5), "[##..]  50% generate"),
        (Progress(stage="master", fraction=7.0), "[####] 100% master"),
    ],
)
def test_an_event_is_one_line(body: Accepted | Progress, line: str) -> None:
    terminal = _Terminal()
    with ProgressBar(terminal, width=4) as bar:
        bar(event(body))
    assert terminal.getvalue() == f"\r{line}\n"


def test_a_shorter_line_leaves_nothing_of_the_longer_one() -> None:
    terminal = _Terminal()
    bar = ProgressBar(terminal, width=2)
    bar(event(Accepted(queue_position=10)))
    bar(event(Progress(stage="embed")))
    first, second = terminal.getvalue().split("\r")[1:]
    assert len(second) == len(first)


def test_a_cleared_bar_leaves_an_empty_line() -> None:
    terminal = _Terminal()
    with ProgressBar(terminal, width=2) as bar:
        bar(event(Accepted()))
        bar.clear()
        drawn = terminal.getvalue()
    assert drawn.endswith("\r" + " " * len("[..]   0% queued") + "\r")
    assert terminal.getvalue() == drawn, "no line end for a bar that is gone"


def test_what_is_no_terminal_is_left_alone() -> None:
    stream = io.StringIO()
    with ProgressBar(stream) as bar:
        bar(event(Accepted()))
        bar.clear()
    assert stream.getvalue() == ""
