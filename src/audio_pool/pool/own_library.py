"""``library`` of AudioPool: kept sounds, asked by the program that the pool runs in.

Owns: PoolLibrary: that its arguments are checked as those of a client's message.
Must not know: how a question is answered (library.py, kept_files.py, pictures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from audio_pool.api import PictureReport
from audio_pool.errors import InvalidRequest
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
from audio_pool.pool.questions import QUESTION_TIMEOUT_S, answer_of
from audio_pool.pool.replies import LocalSink
from audio_pool.pool.router import Router
from audio_pool.pool.service import PoolService
from audio_pool.stock import Duplicates, EvictionPlan, LikenessMethod
from audio_pool.transport.client_messages import (
    PROTOCOL_VERSION,
    DuplicatesRequest,
    EvictionRequest,
    MarkManyRequest,
    MarkRequest,
    RemoveManyRequest,
    RemoveRequest,
    SoundFileRequest,
    SoundRequest,
    SoundsRequest,
    SpectrogramRequest,
    WaveformRequest,
)
from audio_pool.types import Delivery
from audio_pool.validation import parse

__all__ = ["PoolLibrary", "checked"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=msgspec.Struct)
Order = Callable[[PoolService, LocalSink], None]


class PoolLibrary(LibraryApi):
    """See LibraryApi; every method takes ``timeout_s``."""

    def __init__(self, router: Router, service: PoolService) -> None:
        self._router = router
        self._service = service

    def _ask(self, answered_by: type[Answer], order: Order, timeout_s: float) -> tuple[Answer, bytes | None]:
        return answer_of(self._router, answered_by, lambda sink: order(self._service, sink), timeout_s)

    # opaque fields, until they are parsed
    def search(self, words: str = "", *, timeout_s: float = WRITING_TIMEOUT_S, **fields: Any) -> KeptSounds:
        """Get a page of kept sounds; ``fields`` of SoundSearch."""
        asked = checked(SoundsRequest, "search", {"search": {"words": words, **fields}})
        return self._ask(KeptSounds, lambda service, sink: service.library.search(asked.search, sink), timeout_s)[0]

    def sound(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> KeptSound:
        """Get one kept sound with its metadata."""
        asked = checked(SoundRequest, "sound", {"entry": entry, "namespace": namespace})
        return self._ask(
            KeptSound, lambda service, sink: service.library.sound(asked.entry, asked.namespace, sink), timeout_s
        )[0]

    def file(
        self,
        entry: int,
        *,
        namespace: str | None = None,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
        **form: Any,  # opaque until it is parsed
    ) -> SoundFile:
        """Get a kept sound's file; ``form`` of FileForm. ``delivery="inline"`` gives it as ``data``."""
        fields = {"entry": entry, "namespace": namespace, "delivery": delivery, "form": form}
        asked = checked(SoundFileRequest, "file", fields)

        def order(service: PoolService, sink: LocalSink) -> None:
            service.kept_files.ask(asked.entry, asked.namespace, asked.form, asked.delivery, sink)

        found, data = self._ask(SoundFile, order, timeout_s)
        return found if data is None else structs.replace(found, data=data)

    def waveform(
        self, entry: int, *, namespace: str | None = None, buckets: int = 1024, timeout_s: float = WRITING_TIMEOUT_S
    ) -> Waveform:
        """Get the least and greatest samples of a kept sound in up to so many buckets."""
        asked = checked(WaveformRequest, "waveform", {"entry": entry, "namespace": namespace, "buckets": buckets})

        def order(service: PoolService, sink: LocalSink) -> None:
            service.pictures.ask_waveform(asked.entry, asked.namespace, asked.buckets, sink)

        return self._ask(Waveform, order, timeout_s)[0]

    def tile(
        self,
        entry: int,
        *,
        namespace: str | None = None,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
    ) -> PictureReport:
        """Get a small picture of a kept sound; ``delivery="inline"`` gives it as ``data``."""
        fields = {"entry": entry, "namespace": namespace, "delivery": delivery, "tile": True}
        asked = checked(SpectrogramRequest, "tile", fields)

        def order(service: PoolService, sink: LocalSink) -> None:
            service.pictures.ask(asked.entry, asked.namespace, asked.picture, asked.delivery, sink)

        found, data = self._ask(PictureReport, order, timeout_s)
        return found if data is None else structs.replace(found, data=data)

    def mark(
        self,
        entry: int,
        *,
        namespace: str | None = None,
        timeout_s: float = QUESTION_TIMEOUT_S,
        **marks: Any,  # opaque until they are parsed
    ) -> KeptSound:
        """Change what is marked of a kept sound; ``marks`` of SoundMarks."""
        asked = checked(MarkRequest, "mark", {"entry": entry, "namespace": namespace, "marks": marks})

        def order(service: PoolService, sink: LocalSink) -> None:
            service.library.mark(asked.entry, asked.namespace, asked.marks, sink)

        return self._ask(KeptSound, order, timeout_s)[0]

    def remove(
        self, entry: int, *, namespace: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> SoundRemoved:
        """Remove a kept sound, pinned or not."""
        asked = checked(RemoveRequest, "remove", {"entry": entry, "namespace": namespace})
        return self._ask(
            SoundRemoved, lambda service, sink: service.library.remove(asked.entry, asked.namespace, sink), timeout_s
        )[0]

    def mark_many(
        self,
        entries: Sequence[int],
        *,
        namespace: str | None = None,
        timeout_s: float = WRITING_TIMEOUT_S,
        **marks: Any,  # opaque until they are parsed
    ) -> SoundsChanged:
        """Change what is marked of many kept sounds; ``marks`` of SoundMarks."""
        fields = {"entries": list(entries), "namespace": namespace, "marks": marks}
        asked = checked(MarkManyRequest, "mark_many", fields)

        def order(service: PoolService, sink: LocalSink) -> None:
            service.bulk.mark(asked.entries, asked.namespace, asked.marks, sink)

        return self._ask(SoundsChanged, order, timeout_s)[0]

    def remove_many(
        self,
        entries: Sequence[int],
        *,
        namespace: str | None = None,
        spare_pinned: bool = False,
        timeout_s: float = WRITING_TIMEOUT_S,
    ) -> SoundsChanged:
        """Remove many kept sounds."""
        fields = {"entries": list(entries), "namespace": namespace, "spare_pinned": spare_pinned}
        asked = checked(RemoveManyRequest, "remove_many", fields)

        def order(service: PoolService, sink: LocalSink) -> None:
            service.bulk.remove(asked.entries, asked.namespace, sink, spare_pinned=asked.spare_pinned)

        return self._ask(SoundsChanged, order, timeout_s)[0]

    def eviction(self, limit: int = 50, *, timeout_s: float = WRITING_TIMEOUT_S) -> EvictionPlan:
        """Get what eviction takes now and next."""
        asked = checked(EvictionRequest, "eviction", {"limit": limit})
        return self._ask(
            EvictionPlan, lambda service, sink: service.cache_view.eviction(asked.limit, sink), timeout_s
        )[0]

    def duplicates(
        self, by: LikenessMethod = "any", limit: int = 50, *, timeout_s: float = WRITING_TIMEOUT_S
    ) -> Duplicates:
        """Get sounds that are one too many, in groups."""
        asked = checked(DuplicatesRequest, "duplicates", {"by": by, "limit": limit})
        return self._ask(
            Duplicates, lambda service, sink: service.cache_view.duplicates(asked.by, asked.limit, sink), timeout_s
        )[0]


# opaque until they are parsed
def checked(message: type[T], what: str, fields: Mapping[str, Any]) -> T:
    """Return a client's message with these fields, checked as on the wire. Raises InvalidRequest."""
    envelope = {"v": PROTOCOL_VERSION, "request_id": "local"}
    return parse(message, {**envelope, **fields}, error=InvalidRequest, what=what)
