"""``library`` of the clients: kept sounds, asked of a served pool by whoever blocks and by whoever awaits.

Owns: ClientLibrary and AsyncClientLibrary.
Must not know: sockets, what messages look like (control.py), how an answer is waited for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from audio_pool.api import PictureReport
from audio_pool.client import control
from audio_pool.client.control import QUESTION_TIMEOUT_S, Question
from audio_pool.library import (
    WRITING_TIMEOUT_S,
    KeptSound,
    KeptSounds,
    SoundFile,
    SoundRemoved,
    SoundsChanged,
    Waveform,
)
from audio_pool.library_api import LibraryApi
from audio_pool.stock import Duplicates, EvictionPlan, LikenessMethod
from audio_pool.types import Delivery

__all__ = ["AsyncClientLibrary", "ClientLibrary"]

T = TypeVar("T")


class Ask(Protocol):
    """Asks a question and waits for its answer."""

    def __call__(self, question: Question[T], timeout_s: float) -> T: ...


class AskLater(Protocol):
    """Asks a question whose answer is awaited."""

    def __call__(self, question: Question[T], timeout_s: float) -> Awaitable[T]: ...


class ClientLibrary(LibraryApi):
    """See LibraryApi; every method takes ``timeout_s``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def search(self, words: str = "", *, timeout_s: float = WRITING_TIMEOUT_S, **fields: Any) -> KeptSounds:
        """Get a page of kept sounds; ``fields`` of SoundSearch."""
        return self._ask(control.sounds(words, fields), timeout_s)

    def sound(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> KeptSound:
        """Get one kept sound with its metadata."""
        return self._ask(control.sound(entry, namespace), timeout_s)

    def file(
        self,
        entry: int,
        *,
        namespace: str | None = None,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
        **form: Any,
    ) -> SoundFile:
        """Get a kept sound's file; ``form`` of FileForm. ``delivery="inline"`` gives it as ``data``."""
        return self._ask(control.sound_file(entry, namespace, delivery, form), timeout_s)

    def waveform(
        self, entry: int, *, namespace: str | None = None, buckets: int = 1024, timeout_s: float = WRITING_TIMEOUT_S
    ) -> Waveform:
        """Get the least and greatest samples of a kept sound in up to so many buckets."""
        return self._ask(control.waveform(entry, namespace, buckets), timeout_s)

    def tile(
        self,
        entry: int,
        *,
        namespace: str | None = None,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
    ) -> PictureReport:
        """Get a small picture of a kept sound; ``delivery="inline"`` gives it as ``data``."""
        return self._ask(control.tile(entry, namespace, delivery), timeout_s)

    def mark(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S, **marks: Any
    ) -> KeptSound:
        """Change what is marked of a kept sound; ``marks`` of SoundMarks."""
        return self._ask(control.mark(entry, namespace, marks), timeout_s)

    def remove(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> SoundRemoved:
        """Remove a kept sound, pinned or not."""
        return self._ask(control.remove(entry, namespace), timeout_s)

    def mark_many(
        self,
        entries: Sequence[int],
        *,
        namespace: str | None = None,
        timeout_s: float = WRITING_TIMEOUT_S,
        **marks: Any,
    ) -> SoundsChanged:
        """Change what is marked of many kept sounds; ``marks`` of SoundMarks."""
        return self._ask(control.mark_many(entries, namespace, marks), timeout_s)

    def remove_many(
        self,
        entries: Sequence[int],
        *,
        namespace: str | None = None,
        spare_pinned: bool = False,
        timeout_s: float = WRITING_TIMEOUT_S,
    ) -> SoundsChanged:
        """Remove many kept sounds."""
        return self._ask(control.remove_many(entries, namespace, spare_pinned), timeout_s)

    def eviction(self, limit: int = 50, *, timeout_s: float = WRITING_TIMEOUT_S) -> EvictionPlan:
        """Get what eviction takes now and next."""
        return self._ask(control.eviction(limit), timeout_s)

    def duplicates(
        self, by: LikenessMethod = "any", limit: int = 50, *, timeout_s: float = WRITING_TIMEOUT_S
    ) -> Duplicates:
        """Get sounds that are one too many, in groups."""
        return self._ask(control.duplicates(by, limit), timeout_s)


class AsyncClientLibrary(LibraryApi):
    """As ClientLibrary; every answer is awaited."""

    def __init__(self, ask: AskLater) -> None:
        self._ask = ask

    async def search(self, words: str = "", *, timeout_s: float = WRITING_TIMEOUT_S, **fields: Any) -> KeptSounds:
        """As ClientLibrary.search."""
        return await self._ask(control.sounds(words, fields), timeout_s)

    async def sound(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> KeptSound:
        """As ClientLibrary.sound."""
        return await self._ask(control.sound(entry, namespace), timeout_s)

    async def file(
        self,
        entry: int,
        *,
        namespace: str | None = None,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
        **form: Any,
    ) -> SoundFile:
        """As ClientLibrary.file."""
        return await self._ask(control.sound_file(entry, namespace, delivery, form), timeout_s)

    async def waveform(
        self, entry: int, *, namespace: str | None = None, buckets: int = 1024, timeout_s: float = WRITING_TIMEOUT_S
    ) -> Waveform:
        """As ClientLibrary.waveform."""
        return await self._ask(control.waveform(entry, namespace, buckets), timeout_s)

    async def tile(
        self,
        entry: int,
        *,
        namespace: str | None = None,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
    ) -> PictureReport:
        """As ClientLibrary.tile."""
        return await self._ask(control.tile(entry, namespace, delivery), timeout_s)

    async def mark(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S, **marks: Any
    ) -> KeptSound:
        """As ClientLibrary.mark."""
        return await self._ask(control.mark(entry, namespace, marks), timeout_s)

    async def remove(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> SoundRemoved:
        """As ClientLibrary.remove."""
        return await self._ask(control.remove(entry, namespace), timeout_s)

    async def mark_many(
        self,
        entries: Sequence[int],
        *,
        namespace: str | None = None,
        timeout_s: float = WRITING_TIMEOUT_S,
        **marks: Any,
    ) -> SoundsChanged:
        """As ClientLibrary.mark_many."""
        return await self._ask(control.mark_many(entries, namespace, marks), timeout_s)

    async def remove_many(
        self,
        entries: Sequence[int],
        *,
        namespace: str | None = None,
        spare_pinned: bool = False,
        timeout_s: float = WRITING_TIMEOUT_S,
    ) -> SoundsChanged:
        """As ClientLibrary.remove_many."""
        return await self._ask(control.remove_many(entries, namespace, spare_pinned), timeout_s)

    async def eviction(self, limit: int = 50, *, timeout_s: float = WRITING_TIMEOUT_S) -> EvictionPlan:
        """As ClientLibrary.eviction."""
        return await self._ask(control.eviction(limit), timeout_s)

    async def duplicates(
        self, by: LikenessMethod = "any", limit: int = 50, *, timeout_s: float = WRITING_TIMEOUT_S
    ) -> Duplicates:
        """As ClientLibrary.duplicates."""
        return await self._ask(control.duplicates(by, limit), timeout_s)
