"""What ``audio-pool top`` shows: a pool's numbers as lines of text, as wide and as many as there is room for. Pure.

Owns: the layout. Must not know: terminals' codes, clocks, how the numbers were got.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from audio_pool.api import Health, PoolStatus, WorkerStatus
from audio_pool.cli.terminal import Tone, one_line
from audio_pool.gpu import shown
from audio_pool.numbers import Histogram, PoolNumbers, TaskAtWork

__all__ = ["Line", "Look", "cut", "joined", "lines_of"]

_NARROW = 60
_BAR = 10
_LOOKUPS = (("exact", "the same words"), ("semantic", "the same meaning"), ("join", "joined"))
_CACHE_NAMES = {"new_generation": "new", "": "no sound"}


class Look(Struct, frozen=True, kw_only=True):
    """What a pool said at one time."""

    at: float
    """Seconds of any clock that only goes on."""
    status: PoolStatus
    health: Health

    @property
    def numbers(self) -> PoolNumbers:
        return self.status.numbers or PoolNumbers()


class Line(NamedTuple):
    """One line."""

    text: str
    tone: Tone = "plain"


def lines_of(now: Look, before: Look | None, *, width: int, height: int, epoch_s: float) -> list[Line]:
    """Return what is shown.

    Args:
        before: an earlier look at the same start of the pool: rates and times are of what has come since; None: of all.
        width, height: characters and lines there is room for; what is least wanted is left out.
        epoch_s: now, in seconds since 1970.
    """
    parts = [
        list(_head(now, before, epoch_s)),
        list(_workers(now, width)),
        list(_cards(now, width)),
        list(_queue(now)),
        list(_lookups(now, before)),
        list(_times(now, before, narrow=width < _NARROW)),
        list(_errors(now)),
    ]
    found = [line for part in parts if part for line in (*part, Line(""))][:-1]
    if len(found) > height:
        found = [line for line in found if line.text]
    return [Line(cut(line.text, width), line.tone) for line in found[:height]]


def _head(now: Look, before: Look | None, epoch_s: float) -> Iterator[Line]:
    status, health, numbers = now.status, now.health, now.numbers
    up = _span(epoch_s - numbers.started) if numbers.started else "?"
    yield Line(
        f"audio_pool {status.version}  {health.state}  up {up}", "good" if health.state == "ready" else "bad"
    )
    for reason in dict.fromkeys((*health.blockers, *health.reasons)):
        yield Line(f"  {one_line(reason)}", "bad")
    answered, seconds = _answered(now), epoch_s - numbers.started
    if before is not None:
        answered, seconds = answered - _answered(before), now.at - before.at
    rate = f"{answered / seconds:.1f} sounds/s" if seconds > 0 else ""
    clients = status.clients.get("connections", 0)
    yield Line(f"  {status.requests} open, {status.waiting} waiting, {clients} clients  {rate}".rstrip())
    disk = numbers.disk
    room = f"{shown(disk.free_bytes)} of {shown(disk.total_bytes)} free" if disk.total_bytes else "?"
    yield Line(f"  look-up by meaning: {one_line(status.semantic)}; disk: {room}")


def _workers(now: Look, width: int) -> Iterator[Line]:
    first, on = (9, 8) if width < _NARROW else (16, 9)
    yield Line(f"{'WORKERS':<{first}}{'STATE':<10}{'ON':<{on}}{'MEMORY':>8}  AT", "head")
    for name, worker in now.status.workers.items():
        size = now.numbers.worker_bytes.get(name, 0)
        left = f"{cut(one_line(name), first - 1):<{first}}{worker.state:<10}{cut(worker.device or '?', on - 1):<{on}}"
        left += f"{shown(size) if size else '':>8}  "
        tone: Tone = "plain" if worker.state == "ready" else "bad"
        tasks = [_task(task, width) for task in worker.at_work] or [_idle(worker)]
        if width < _NARROW:
            yield Line(left, tone)
            yield from (Line(f"    {task}") for task in tasks)
        else:
            yield Line(left + tasks[0], tone)
            yield from (Line(" " * len(left) + task) for task in tasks[1:])


def _idle(worker: WorkerStatus) -> str:
    if worker.error and worker.state != "ready":
        return one_line(worker.error)
    hosted = ", ".join(worker.engines)
    return f"idle, {worker.tasks_done} done; {hosted}"


def _task(task: TaskAtWork, width: int) -> str:
    sounds = f" x{task.sounds}" if task.sounds > 1 else ""
    words = f"{task.role} {one_line(task.engine)}{sounds} {_seconds(task.busy_s)}"
    if not task.stage:
        return words
    percent = f"{task.fraction:4.0%}"
    return f"{words} {_bar(task.fraction) + ' ' if width >= _NARROW else ''}{percent}"


def _bar(share: float) -> str:
    done = round(max(0.0, min(1.0, share)) * _BAR)
    return "#" * done + "-" * (_BAR - done)


def _cards(now: Look, width: int) -> Iterator[Line]:
    if now.numbers.gpus:
        yield Line("CARDS", "head")
    for card in now.numbers.gpus:
        total = card.used_bytes + card.free_bytes
        bar = _bar(card.used_bytes / total if total else 0.0) + "  " if width >= _NARROW else ""
        yield Line(f"{cut(one_line(card.name), 20):<21}{bar}{shown(card.used_bytes)} of {shown(total)}  {card.uuid}")


def _queue(now: Look) -> Iterator[Line]:
    yield Line(f"{'QUEUE':<24}{'RUNNING':>8}{'WAITING':>8}", "head")
    for load in now.numbers.load:
        name = cut(f"{one_line(load.engine)} {load.priority}", 23)
        yield Line(f"{name:<24}{load.running:>8}{load.waiting:>8}")
    if not now.numbers.load:
        yield Line("nothing is under way")


def _lookups(now: Look, before: Look | None) -> Iterator[Line]:
    yield Line(f"{'LOOK-UPS':<20}{'FOUND':>8}{'OF':>10}", "head")
    for kind, words in _LOOKUPS:
        asked, found = now.numbers.lookups.get(kind, 0), now.numbers.hits.get(kind, 0)
        if before is not None:
            asked -= before.numbers.lookups.get(kind, 0)
            found -= before.numbers.hits.get(kind, 0)
        share = f"{found / asked:.1%}" if asked else "-"
        yield Line(f"{words:<20}{share:>8}{asked:>10,}")


def _times(now: Look, before: Look | None, *, narrow: bool) -> Iterator[Line]:
    first, column = (14, 8) if narrow else (20, 10)
    count = "" if narrow else f"{'COUNT':>10}"
    yield Line(f"{'TIMES':<{first}}{'HALF':>{column}}{'95 %':>{column}}{'99 %':>{column}}{count}", "head")
    then, none = before.numbers if before is not None else PoolNumbers(), Histogram()
    groups: list[tuple[str, str, Histogram]] = [
        ("", _CACHE_NAMES.get(name, name), found.since(then.request_seconds.get(name, none)))
        for name, found in now.numbers.request_seconds.items()
    ]
    groups += [
        ("  ", name, found.since(then.stage_seconds.get(name, none)))
        for name, found in now.numbers.stage_seconds.items()
    ]
    shown_any = False
    for indent, name, histogram in groups:
        if histogram.count:
            shown_any = True
            quantiles = [_seconds(histogram.quantile(share)) for share in (0.5, 0.95, 0.99)]
            count = "" if narrow else f"{histogram.count:>10,}"
            yield Line(f"{indent + name:<{first}}" + "".join(f"{one:>{column}}" for one in quantiles) + count)
    if not shown_any:
        yield Line("nothing was answered")


def _errors(now: Look) -> Iterator[Line]:
    if now.numbers.errors:
        yield Line("LAST ERRORS", "head")
    for note in now.numbers.errors:
        clock = time.strftime("%H:%M:%S", time.localtime(note.at))
        yield Line(f"{clock} {note.code} {one_line(note.message)} {one_line(note.request_id)}".rstrip(), "bad")


def _answered(look: Look) -> int:
    return sum(one.count for one in look.numbers.requests if one.status == "result")


def _seconds(seconds: float | None) -> str:
    """Return a time for people."""
    if seconds is None:
        return "-"
    if seconds < 1.0:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else _span(seconds)


def _span(seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (int(seconds), "s"))
    told = [f"{count} {unit}" for count, unit in parts if count] or ["0 s"]
    return " ".join(told[:2])


def cut(text: str, width: int) -> str:
    """Return the beginning of a text that fits into so many columns."""
    if len(text) <= width and text.isascii():
        return text
    fits, used = [], 0
    for char in text:
        used += _columns(char)
        if used > width:
            break
        fits.append(char)
    return "".join(fits)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def joined(lines: Iterable[Line]) -> str:
    """Return lines as plain text."""
    return "\n".join(line.text.rstrip() for line in lines)
