"""What is done for an object store now and then, while a server runs.

Owns: when it is asked whether it is there, when objects are collected, and when snapshots go there.
Must not know: how each of these is done.

Threads: one that may take its time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from audio_pool.cache.objects.collector import Collected, Collector
from audio_pool.cache.objects.files import MARKER, ObjectFiles
from audio_pool.cache.objects.warming import Warming
from audio_pool.cache.store import Store
from audio_pool.errors import AudioPoolError

__all__ = ["ObjectUpkeep"]

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
_WARM_EVERY_S = 30.0
"""Between two looks at how old the newest snapshot is."""
_FOLDERS_AT_ONCE = 16
_RELEASED_AT_ONCE = 32


class ObjectUpkeep:
    """Of one opening of a store whose files are in an object store."""

    def __init__(
        self,
        store: Store,
        files: ObjectFiles,
        save_indexes: Callable[[], None],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``save_indexes``: writes what has changed of them to their files."""
        self._warming = Warming(store, files, save_indexes)
        self._files = files
        self._settings = files.settings
        self._collector = Collector(store, files.bucket, files.settings.orphan_grace_s)
        self._now = now
        self._look_at = self._collect_at = self._warm_at = now()
        self._rounds: Iterator[Collected] | None = None
        self._total = Collected()

    def work(self) -> None:
        """Do what is due, a little at a time."""
        if self._files.bucket.trouble:
            return
        try:
            if self._now() >= self._look_at:
                self._look_at = self._now() + _LOOK_EVERY_S
                self._files.claim_prefix()
                self._files.bucket.look(MARKER)  # a store that is gone is found out though nobody asks for anything
            self._collect()
            every_s = self._settings.snapshots_every_s
            if every_s and self._now() >= self._warm_at and self._warming.wanted:
                self._warm_at = self._now() + min(every_s, _WARM_EVERY_S)
                self._warming.work(every_s)
        except (AudioPoolError, OSError) as exc:
            self._rounds = None
            _log.info("the object store is not looked after: %s", exc)

    def _collect(self) -> None:
        if self._rounds is None:
            for _ in range(min(_RELEASED_AT_ONCE, len(self._files.released))):
                self._collector.put_aside(self._files.released.pop(), old_enough=False)
            if self._now() < self._collect_at:
                return
            self._collect_at = self._now() + self._settings.collect_every_s
            if not self._collector.take_turn(self._settings.collect_every_s):
                return
            self._rounds, self._total = self._collector.rounds(), Collected()
        for _ in range(_FOLDERS_AT_ONCE):
            found = next(self._rounds, None)
            if found is None:
                self._rounds = None
                if any(self._total):
                    _log.info("objects that no entry names: %s", self._total)
                return
            self._total = self._total.and_also(found)
