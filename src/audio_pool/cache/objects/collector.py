"""Objects that no row names: put aside after a grace, deleted after another, and brought back where a row names them.

Owns: which objects these are, and the order of asking for rows and touching objects.
Must not know: SQL, how the store is spoken to.

A sound that is kept just now may find its object there, without a row as yet, and the collector may find no row for
it: neither may lose it, without either waiting for the other. So nothing is deleted at first: the object is copied
aside, deleted, and then the rows are asked again. Whoever keeps a sound looks for its object when its row is there. Of
two orders that are possible, row first or deletion first, each is seen by one of them:

    collector   no row?  copy aside  delete               row now?  then bring it back
    putter                                  commit row                                   look: gone? then store it again

What lies aside is deleted after the grace, unless a row names it: then a collector was killed before it asked again.
Ages are told by the store's clock alone.

Threads: one at a time in a process; several processes may collect at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import NamedTuple

from audio_pool.cache.objects.bucket import Bucket, Missing, Stored
from audio_pool.cache.objects.names import FANS, SOUNDS, TRASH, Content, content_of, trash_of
from audio_pool.cache.store import Store

__all__ = ["Collected", "Collector"]

_CLOCK = "collector/clock"
_TURN = "collector/turn"


class Collected(NamedTuple):
    """What a collection did."""

    put_aside: int = 0
    brought_back: int = 0
    deleted: int = 0
    freed_bytes: int = 0

    def and_also(self, other: Collected) -> Collected:
        """Return the sum of both."""
        return Collected(*(a + b for a, b in zip(self, other, strict=True)))


class Collector:
    """For one store and its bucket."""

    def __init__(self, store: Store, bucket: Bucket, grace_s: float) -> None:
        """``grace_s``: of an object before it is put aside, and of what lies aside before it is deleted."""
        self._store = store
        self._bucket = bucket
        self._grace_s = grace_s

    def now(self) -> float:
        """Return the time by the store's clock."""
        self._bucket.write(_CLOCK, b"")
        found = self._bucket.look(_CLOCK)
        return found.modified_at if found is not None else 0.0

    def take_turn(self, every_s: float) -> bool:
        """Return True where no process has collected for so long; then it is noted that this one does."""
        last = self._bucket.look(_TURN)
        if last is not None and self.now() - last.modified_at < every_s:
            return False
        self._bucket.write(_TURN, b"")
        return True

    def named(self, fan: str) -> set[str]:
        """Return the keys of all objects in a folder that rows name, or files that are leaving."""
        files = self._store.checks.known_files(f"audio/{fan}") | self._store.checks.known_files(f"renditions/{fan}")
        return {content.key for file in files if (content := content_of(file)) is not None}

    def _is_named(self, content: Content) -> bool:
        return content.key in self.named(content.fan)

    def orphans(self, fan: str, now: float) -> Iterator[Stored]:
        """Yield the objects in a folder that no row names and that are old enough."""
        found = list(self._bucket.list(f"{SOUNDS}/{fan}"))
        named = self.named(fan) if found else set()
        yield from (one for one in found if one.key not in named and now - one.modified_at >= self._grace_s)

    def rounds(self) -> Iterator[Collected]:
        """Go through everything, one folder a step."""
        now = self.now()
        for fan in FANS:
            total = Collected()
            for one in list(self.orphans(fan, now)):
                total = total.and_also(self.put_aside(one.key))
            yield total
        for fan in FANS:
            yield self._empty(fan, now)

    def collect(self) -> Collected:
        """Go through everything at once."""
        total = Collected()
        for one in self.rounds():
            total = total.and_also(one)
        return total

    def put_aside(self, key: str, *, old_enough: bool = True) -> Collected:
        """Put an object aside that no row names.

        Args:
            old_enough: False: its age is not known yet.
        """
        content = content_of(key)
        if content is None or self._is_named(content):
            return Collected()
        if not old_enough:
            found = self._bucket.look(key)
            if found is None or self.now() - found.modified_at < self._grace_s:
                return Collected()
        aside = f"{trash_of(key)}/{secrets.token_hex(8)}"  # of its own: another collector deletes only what it has seen
        try:
            self._bucket.copy(key, aside)
        except Missing:
            return Collected()
        self._bucket.delete([key])
        if self._is_named(content):
            self._bucket.copy(aside, key)
            return Collected(brought_back=1)
        return Collected(put_aside=1)

    def _empty(self, fan: str, now: float) -> Collected:
        """Delete what has lain aside for long enough, and bring back what is needed after all."""
        total = Collected()
        found = list(self._bucket.list(f"{TRASH}/{fan}"))
        named = self.named(fan) if found else set()
        for one in found:
            key = SOUNDS + one.key.removeprefix(TRASH).rpartition("/")[0]
            if key in named:
                if self._bucket.look(key) is None:
                    self._bucket.copy(one.key, key)
                    total = total.and_also(Collected(brought_back=1))
            elif now - one.modified_at >= self._grace_s and not self._is_named_now(key):
                self._bucket.delete([one.key])
                total = total.and_also(Collected(deleted=1, freed_bytes=one.size_bytes))
        return total

    def _is_named_now(self, key: str) -> bool:
        content = content_of(key)
        return content is not None and self._is_named(content)
