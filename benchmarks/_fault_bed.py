"""Where faults are injected: a served pool, a neighbour who counts, and a look at what is left.

Owns: Bed, Neighbour, Row, and the search for leftovers.
Must not know: the faults (faults.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.transport.arena import default_directory

__all__ = ["LIMITS", "Bed", "Neighbour", "Row", "leftovers_of", "rogues"]

LIMITS: dict[str, Any] = {
    "heartbeat_s": 0.25,
    "missed_heartbeats": 8,
    "hang_floor_s": 3.0,
    "hang_unknown_s": 4.0,
    "restart_backoff_s": 0.05,
    "max_restarts": 1000,
}
SILENT_S = LIMITS["heartbeat_s"] * LIMITS["missed_heartbeats"]
"""After which a worker that sends nothing is killed."""
HUNG_S = LIMITS["hang_floor_s"]
"""After which a task that gets no further is."""


def rogues(count: int, **more: Any) -> dict[str, Any]:
    """Workers that host the engine ``rogue`` and do everything."""
    return {"name": "w", "engines": ["rogue"], "count": count, "credit": 1, **more}


@dataclass(kw_only=True)
class Row:
    """One fault, as it went."""

    fault: str
    got: str = ""
    """What the caller of the faulty work got."""
    after_s: float | None = None
    """Seconds from the fault to that answer."""
    within_s: float | None = None
    """The reach; None where there is none."""
    neighbour: str = ""
    """What the neighbour counted: answers, lost, doubled, crossed."""
    worst_s: float = 0.0
    """Longest that the neighbour waited meanwhile."""
    left: str = ""
    """What was left over; "" for nothing."""
    wrong: list[str] = field(default_factory=list)
    """What is not as it should be."""
    skipped: str = ""

    @property
    def late(self) -> bool:
        return self.after_s is not None and self.within_s is not None and self.after_s > self.within_s

    @property
    def verdict(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.wrong:
            return "WRONG: " + "; ".join(self.wrong)
        return "missed" if self.late else "reached"


class Neighbour(threading.Thread):
    """Asks for one sound after the other, each under words of its own, and counts what comes back."""

    def __init__(self, endpoint: str, name: str = "n", pause_s: float = 0.02, **fields: Any) -> None:
        super().__init__(daemon=True)
        self.endpoint, self.label, self.pause_s, self.fields = endpoint, name, pause_s, fields
        self.asked: dict[str, str] = {}
        self.answers: dict[str, int] = {}
        self.faults: list[str] = []
        self.errors: list[str] = []
        self.worst_s = 0.0
        self._ending = threading.Event()
        self._since: float | None = None

    def run(self) -> None:
        with Asker(self.endpoint) as ask:
            while not self._ending.is_set():
                self._one(ask, f"{self.label}-{len(self.asked)}")
                time.sleep(self.pause_s)
            ask.quiet(0.3)
            while ask.socket.poll(0):
                self._take(ask)
        self.faults += [f"{name} was lost" for name in self.asked if name not in self.answers]
        self.faults += [f"{name} had {count} answers" for name, count in self.answers.items() if count > 1]

    def _one(self, ask: Asker, name: str) -> None:
        self.asked[name] = f"tone of {name}"
        self._since = time.monotonic()
        ask.generate(name, self.asked[name], store=False, **self.fields)
        deadline = self._since + PATIENCE_S
        while name not in self.answers and time.monotonic() < deadline:
            if ask.socket.poll(50):
                self._take(ask)
        self.worst_s = max(self.worst_s, time.monotonic() - self._since)
        self._since = None

    def _take(self, ask: Asker) -> None:
        final = ask.take()
        name = final["request_id"]
        self.answers[name] = self.answers.get(name, 0) + 1
        if final["type"] != "result":
            self.errors.append(said(final))
        elif name not in self.asked or final["metadata"]["prompt"] != self.asked[name]:
            self.faults.append(f"{name} was answered with {final['metadata']['prompt']!r}")

    def end(self) -> None:
        """Stop asking, and count what was asked."""
        self._ending.set()
        self.join(PATIENCE_S + 10)

    def mark(self) -> tuple[int, int]:
        """Begin to measure; for ``told``."""
        self.worst_s = 0.0
        return len(self.answers), len(self.errors)

    def told(self, mark: tuple[int, int]) -> str:
        """What happened since, in a few words."""
        answers, errors = len(self.answers) - mark[0], self.errors[mark[1] :]
        return f"{answers} answers" + (f", of them {', '.join(sorted(set(errors)))}" if errors else "")

    @property
    def worst_so_far_s(self) -> float:
        since = self._since
        return max(self.worst_s, time.monotonic() - since if since is not None else 0.0)


class Bed:
    """A served pool for a few faults in a row."""

    def __init__(self, place: Path, *, neighbour: dict[str, Any] | None = None, **served: Any) -> None:
        """
        Args:
            neighbour: further fields of the neighbour's requests.
            served: sections of the configuration, and arguments of ``Served``.
        """
        place.mkdir(parents=True, exist_ok=True)
        # three: a second try is never made on the only healthy worker, so that with two it waits for the restart
        served.setdefault("workers", [rogues(3)])
        served.setdefault("brings", ("rogue", "stage"))
        served["limits"] = {**LIMITS, **served.get("limits", {})}
        served["defaults"] = {"engine": "rogue", **served.get("defaults", {})}
        self.place = place
        self.served = served
        self.server = Served(place / "s", **served)
        try:
            self.server.ready()
        except BaseException:
            self.server.close()
            raise
        self.ask = Asker(self.server.endpoint)
        self._count = 0
        self.neighbour = Neighbour(self.server.endpoint, **(neighbour or {}))
        self.neighbour.start()
        eventually(lambda: len(self.neighbour.answers) >= 3, "the neighbour gets sounds")

    def close(self) -> None:
        self.neighbour.end()
        self.ask.socket.close(0)
        self.server.close()

    # -- asking

    def send(self, prompt: str, **fields: Any) -> str:
        self._count += 1
        name = f"{self.label(prompt)}-{self._count}"
        self.ask.generate(name, prompt, **{"store": False, **fields})
        return name

    @staticmethod
    def label(prompt: str) -> str:
        return prompt.split()[0]

    def final(self, name: str) -> tuple[str, float]:
        """What came for a request, in words, and when (as time.time())."""
        reply = self.ask.final(name)
        return said(reply), time.time()

    def file(self, word: str) -> Path:
        self._count += 1
        return self.place / f"{word}-{self._count}"

    def well(self) -> None:
        """All workers are back and nothing is in flight but the neighbour's."""

        def at_rest() -> bool:
            health, status = self.ask.ask("health"), self.ask.ask("status")
            return health["state"] == "ready" and status["requests"] <= 1

        eventually(at_rest, "the pool is well again")

    @contextlib.contextmanager
    def row(self, fault: str, within_s: float | None = None) -> Iterator[Row]:
        """Measure one fault: what the neighbour saw, and what is left once the pool is well again."""
        row = Row(fault=fault, within_s=within_s)
        mark = self.neighbour.mark()
        before = len(self.neighbour.answers)
        try:
            yield row
            row.worst_s = self.neighbour.worst_so_far_s
            self.well()
            eventually(lambda: len(self.neighbour.answers) > before, "the neighbour is served")
        except AssertionError as exc:
            row.wrong.append(str(exc).splitlines()[0][:200])
        row.worst_s = max(row.worst_s, self.neighbour.worst_so_far_s)
        row.neighbour = self.neighbour.told(mark)

    def wrapped_up(self, rows: list[Row]) -> list[Row]:
        """End the pool, start it once more, and say of the rows what was lost and left."""
        self.neighbour.end()
        pids = tree_of(self.server.process.pid)
        self.ask.socket.close(0)
        self.server.signal()
        code = self.server.wait()
        left = leftovers_of(pids)
        with Served(self.place / "s", **self.served).ready() as again:
            again.signal()
            again.wait()
        left += [f"after the next start: {one}" for one in files_left(self.place / "s", self.server.process.pid)]
        wrong = self.neighbour.faults[:3] + ([f"exit code {code}"] if code else [])
        for row in rows:
            row.left = ", ".join([*([row.left] if row.left else []), *left])
            row.wrong += wrong
        return rows


def said(reply: dict[str, Any]) -> str:
    """A final reply in few words."""
    return f"error {reply['error']['code']}" if reply["type"] == "error" else str(reply["type"])


def tree_of(pid: int) -> list[int]:
    """The process and all that came from it."""
    with contextlib.suppress(psutil.Error):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return [pid]


def leftovers_of(pids: list[int], within_s: float = 5.0) -> list[str]:
    """Processes that a pool left behind once it has ended."""
    deadline = time.monotonic() + within_s
    while True:
        alive = [one for one in pids if is_alive(one)]
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return [f"process {one}" for one in alive]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def files_left(place: Path, pid: int) -> list[str]:
    """Arenas, sockets and files in the making of a pool that has ended."""
    found = [path.name for path in default_directory().glob(f"arena-{pid}-*")]
    incoming = place / "cache" / "incoming"
    found += [str(path.relative_to(place)) for path in incoming.iterdir() if path.name != ".lock"]
    found += [path.name for path in place.glob("s.*")]
    return found


def measured(row: Row, bed: Bed, name: str, began: Callable[[], float]) -> None:
    """Wait for the answer to a request, and note what it was and how long after the fault it came."""
    row.got, at = bed.final(name)
    row.after_s = max(0.0, at - began())


def made_at(path: Path) -> float:
    """When an engine began to misbehave: it makes this file then."""
    return os.stat(path).st_mtime
