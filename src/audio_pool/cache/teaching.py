"""What look-ups have been taught: the judgements of people, in memory and in step with the store.

Owns: Teaching: what is denied and what is confirmed for the words asked for.
Must not know: the policy; who judged.

A judgement of one sound counts for the very words that it was given for. One of two prompts counts from either
side, for all their sounds. Both stay within their namespace. A later judgement is stronger than an earlier one of
the same, one of a sound stronger than one of its prompt.

Threads: any. A look-up takes over what is new, a few at a time, unless another thread is at it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from audio_pool.cache.entry import Row, text_digest
from audio_pool.cache.judgements import Judged, Judgement
from audio_pool.cache.store import Store

__all__ = ["Teaching"]

_WHILE_LOOKING_UP = 64


class Teaching:
    """The judgements of one opened store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sounds: dict[bytes, dict[int, Judged]] = {}
        """By the words asked for and entry."""
        self._pairs: dict[bytes, dict[bytes, Judged]] = {}
        """By the words of either side and those of the other."""
        self._texts: dict[bytes, str] = {}
        """The words of confirmed pairs."""
        self._seq = 0
        self._version = -1
        self._following = threading.Lock()
        self.follow()

    @property
    def version(self) -> int:
        """The store's, when all of its judgements had been taken over."""
        return self._version

    def follow(self) -> None:
        """Take over every judgement since the last time, whoever gave it."""
        self._follow(-1, wait=True)

    def _follow(self, limit: int, *, wait: bool) -> None:
        version = self._store.changes.version()
        if version == self._version or not self._following.acquire(blocking=wait):
            return
        try:
            found = self._store.judgements.since(self._seq, limit)
            for one in found:
                self._learn(one)
            if found:
                self._seq = found[-1].seq
            if len(found) != limit:
                self._version = version
        finally:
            self._following.release()

    def _learn(self, one: Judgement) -> None:
        given = one.given
        query, prompt = text_digest(given.namespace, given.query), text_digest(given.namespace, given.prompt)
        if given.entry_id is not None:
            self._sounds.setdefault(query, {})[given.entry_id] = given.verdict
            return
        for mine, other in ((query, prompt), (prompt, query)):
            self._pairs.setdefault(mine, {})[other] = given.verdict
        if given.verdict == "right":
            self._texts |= {query: given.query, prompt: given.prompt}

    def allowed(self, namespace: str, query: str, rows: Sequence[Row]) -> Sequence[Row]:
        """Return those of the rows that nobody denied for these words."""
        if not rows:
            return rows
        self._follow(_WHILE_LOOKING_UP, wait=False)
        key = text_digest(namespace, query)
        if key not in self._sounds and key not in self._pairs:
            return rows
        return [row for row in rows if self._of(key, namespace, row.id, row.prompt) != "wrong"]

    def of(self, namespace: str, query: str, entry_id: int, prompt: str) -> Judged:
        """Return what was judged of an entry for these words, by the judgements that were last followed."""
        return self._of(text_digest(namespace, query), namespace, entry_id, prompt)

    def _of(self, key: bytes, namespace: str, entry_id: int, prompt: str) -> Judged:
        sound = self._sounds.get(key, {}).get(entry_id, "none")
        if sound != "none":
            return sound
        pairs = self._pairs.get(key)
        return pairs.get(text_digest(namespace, prompt), "none") if pairs else "none"

    def confirmed(self, namespace: str, query: str) -> list[str]:
        """Return the prompts of which somebody said that they do for these words."""
        self._follow(_WHILE_LOOKING_UP, wait=False)
        key = text_digest(namespace, query)
        pairs = self._pairs.get(key)
        if not pairs:
            return []
        return [self._texts[other] for other, verdict in pairs.items() if verdict == "right" and other != key]
