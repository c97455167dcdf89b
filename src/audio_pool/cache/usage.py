"""Counting what is delivered, in memory, and writing it down in batches.

Owns: Usage: what was counted since the last time, and which entries were delivered just now.
Must not know: what the figures are for; the database (uses.py).

A hit costs two additions in memory. The writer thread writes them down every few seconds; a process that is killed
loses what it had counted since.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from audio_pool.cache.uptime import uptime_s
from audio_pool.cache.uses import Candidate, Counted, Uses
from audio_pool.errors import StorageError
from audio_pool.reports import CacheType

__all__ = ["Usage"]

_log = logging.getLogger(__name__)

_AT_ONCE = 200
"""Entries whose hits one transaction writes: whoever has a sound to keep waits for one at most."""
_NOTHING = Counted({}, {}, {})
_MISSES_HELD = 4096
"""Prompts that are held in memory; further ones are not counted until the next writing."""
_CATCH_UPS = 4
"""Steps of catching up with what an earlier version kept, each time."""
_HITS_HELD = 100_000
"""Entries, where nothing can be written for long."""


class Usage:
    """``answered`` and ``missed`` on the router's thread, the rest on the writer's."""

    def __init__(
        self, uses: Uses, now: Callable[[], float] = time.time, *, grace_s: float = 0.0
    ) -> None:
        """
        Args:
            uses: where it is written down.
            now: seconds since 1970.
            grace_s: how long a sound counts as delivered just now.
        """
        self.knows_all = False
        """Every entry has its figures, also those that an earlier version kept."""
        self._grace_s = grace_s
        self._recent: dict[int, float] = {}
        """When entries were made or delivered here, by the machine's uptime, the latest last; writer's thread only."""
        self._uses = uses
        self._now = now
        self._lock = threading.Lock()
        self._hits: dict[int, int] = {}
        self._answers: dict[CacheType, tuple[int, float]] = {}
        self._missed: dict[tuple[str, str], int] = {}
        self._told = ""

    def answered(self, stage: CacheType, saved_s: float = 0.0, entry_id: int | None = None) -> None:
        """Count an answer.

        Args:
            stage: where it came from: a kept sound, by the rule that found it; one that was being made; a new one.
            saved_s: seconds of generating that it saved.
            entry_id: the kept sound that was delivered.
        """
        with self._lock:
            count, saved = self._answers.get(stage, (0, 0.0))
            self._answers[stage] = (count + 1, saved + saved_s)
            if entry_id is not None and (entry_id in self._hits or len(self._hits) < _HITS_HELD):
                self._hits[entry_id] = self._hits.get(entry_id, 0) + 1

    def missed(self, namespace: str, prompt: str) -> None:
        """Count a prompt for which nothing kept was found."""
        at = (namespace, prompt)
        with self._lock:
            if at in self._missed or len(self._missed) < _MISSES_HELD:
                self._missed[at] = self._missed.get(at, 0) + 1

    def kept(self, entry_id: int | None) -> None:
        """Note an entry that has just been made, and will be delivered; writer's thread only."""
        if entry_id is not None:
            self._recent.pop(entry_id, None)
            self._recent[entry_id] = uptime_s()

    def is_recent(self, sound: Candidate) -> bool:
        """Return True for a sound that was made or delivered within the grace time.

        What this process did it knows by the machine's uptime, what others did by the clock on the wall: where that
        has been set to another time they are not believed, for else nothing could go until it caught up.
        """
        if abs(self._now() - sound.last_used) < self._grace_s:
            return True
        known = self._recent.get(sound.entry_id)
        return sound.entry_id in self._hits or (known is not None and uptime_s() - known < self._grace_s)

    def write_down(self, within_s: float = math.inf) -> None:
        """Write down what was counted, in short transactions.

        What cannot be written now, or no more in this time, is held until the next time.
        """
        part, left = _NOTHING, self._taken()
        end = uptime_s() + within_s
        try:
            while not left.is_empty:
                part, left = left.part(_AT_ONCE)
                self._uses.record(part, self._now())
                part = _NOTHING
                if uptime_s() >= end:
                    break
            for _ in range(_CATCH_UPS):
                if uptime_s() >= end or self.catch_up():
                    break
        except StorageError as exc:
            if exc.message != self._told:
                self._told = exc.message
                _log.warning("hits are counted in memory for now: %s", exc)
        else:
            self._told = ""
        self._give_back(part)
        self._give_back(left)

    def catch_up(self) -> bool:
        """Give some entries that an earlier version kept their figures; True where every one has them.

        Raises:
            StorageError.
        """
        if not self._uses.catch_up():
            self.knows_all = True
        return self.knows_all

    def _taken(self) -> Counted:
        with self._lock:
            counted = Counted(self._hits, self._answers, self._missed)
            self._hits, self._answers, self._missed = {}, {}, {}
        for entry_id in counted.hits:
            self.kept(entry_id)
        self._forget_old()
        return counted

    def _forget_old(self) -> None:
        oldest = uptime_s() - self._grace_s
        while self._recent and (len(self._recent) > _HITS_HELD or next(iter(self._recent.values())) < oldest):
            del self._recent[next(iter(self._recent))]

    def _give_back(self, counted: Counted) -> None:
        with self._lock:
            for entry_id, hits in counted.hits.items():
                self._hits[entry_id] = self._hits.get(entry_id, 0) + hits
            for stage, (count, saved_s) in counted.answers.items():
                later, saved = self._answers.get(stage, (0, 0.0))
                self._answers[stage] = (count + later, saved_s + saved)
            for at, count in counted.missed.items():
                self._missed[at] = self._missed.get(at, 0) + count
