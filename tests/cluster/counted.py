"""A client that keeps book of what a head has acknowledged: sounds kept, removed and marked, presets set."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tests.cluster.heads import Heads
from tests.support.bench_pool import settings
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioPool
from audio_pool.api import Health
from audio_pool.errors import StorageError

__all__ = ["Counted", "are", "kept_by", "pool_on"]

_names = itertools.count(1)


def pool_on(heads: Heads, name: str, url: str, **cache: object) -> AudioPool:
    """Open a pool with one worker on a database that several heads share; closed with ``heads``."""
    wanted = {"store": url, "store_connect_s": 2.0, "store_timeout_s": 3.0, **cache}
    config = settings(
        heads.directory(name).parent,
        [{"name": "w", "engines": ["procedural"]}],
        cache={"dir": str(heads.directory(name)), **wanted},
        defaults={"duration_s": 0.2},
    )
    return heads.enter_context(AudioPool.from_config(config))


def are(state: str, *pools: AudioPool) -> None:
    """Wait until all of them say so."""
    told: list[Health] = []

    def said() -> bool:
        told[:] = [pool.health() for pool in pools]
        return all(one.state == state for one in told)

    try:
        eventually(said, f"each is {state}")
    except AssertionError as exc:
        raise AssertionError(f"{exc}; they say {told}") from exc


def kept_by(pool: AudioPool, prompt: str) -> int:
    """Ask for a sound until it is kept; return its entry. A machine with much else to do may be late for a deadline."""
    made = eventually(lambda: pool.generate(prompt, timeout_s=PATIENCE_S).metadata.entry_id, f"{prompt!r} is kept")
    assert made is not None
    return made


class Counted:
    """Asks one pool, again and again, on a thread of its own; ``with`` starts and ends it."""

    def __init__(self, pool: AudioPool) -> None:
        self.pool = pool
        self.name = f"client {next(_names)}"
        self.kept: dict[str, int] = {}
        """Acknowledged: prompts and their entries."""
        self.removed: dict[str, int] = {}
        self.unsure: set[str] = set()
        """Prompts of which something was asked without an answer that says what became of it."""
        self.marked: dict[int, int] = {}
        self.presets: set[str] = set()
        self.answers = self.not_kept = self.refused = 0
        self.failed: list[Exception] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name)

    def __enter__(self) -> Counted:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"{self.name} waits for an answer"
        assert not self.failed or raised is not None, self.failed

    def more(self, kept: int) -> None:
        """Wait until so many more sounds have been kept."""
        wanted = len(self.kept) + len(self.removed) + kept
        eventually(
            lambda: self.failed or len(self.kept) + len(self.removed) >= wanted, f"{kept} more are kept of {self.name}"
        )

    def _run(self) -> None:
        try:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                self._turn(number)
        except Exception as exc:  # told where it is looked at
            self.failed.append(exc)

    def _turn(self, number: int) -> None:
        prompt = f"{self.name} asks for bell {number}"
        made = self.pool.generate(prompt, timeout_s=PATIENCE_S)
        self.answers += 1
        assert made.path is not None and Path(made.path).is_file(), "whatever is wrong, the sound is delivered"
        told = any(line.startswith("not_kept") for line in made.metadata.warnings)
        entry = made.metadata.entry_id
        assert told == (entry is None), "it is kept, or it is said that it is not"
        if entry is None:
            self.not_kept += 1
            self.unsure.add(prompt)
            return
        self.kept[prompt] = entry
        with self._perhaps_refused():
            if number % 3 == 0:
                self.pool.library.mark(entry, rating=1 + number % 5)
                self.marked[entry] = 1 + number % 5
            if number % 3 == 1:
                self.pool.presets.set(f"{self.name} {number}", "prompt", {"after": f"in hall {number}"})
                self.presets.add(f"{self.name} {number}")
            if number % 3 == 2:
                self.unsure.add(prompt)
                self.kept.pop(prompt)
                self.pool.library.remove(entry)
                self.unsure.discard(prompt)
                self.removed[prompt] = entry

    @contextlib.contextmanager
    def _perhaps_refused(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            self.refused += 1
