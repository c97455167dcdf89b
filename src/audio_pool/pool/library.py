"""Kept sounds searched, told, marked and removed, asked of a running pool.

Owns: Library: on which thread each question is answered, and who may change what.
Must not know: sockets; how sounds are searched (cache/search.py).

Nothing is made and nothing counted as a hit. What takes its time is done on the library's own thread, by a connection
that no look-up waits for; what is written down on the writer's.
"""

from __future__ import annotations

from msgspec import structs

from audio_pool.cache.library import Wanted
from audio_pool.cache.search import search
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import AudioPoolError, NotFound, Refused
from audio_pool.library import KeptSound, SoundMarks, SoundRemoved, SoundSearch
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.errands import Errands, failed
from audio_pool.pool.meaning import Meaning, Vectors
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.turns import Turns

__all__ = ["Library", "namespace_for", "own_namespace"]

_TYPING_S = 0.5
"""So long a search as one types waits for an encoder; what is found by words alone is of more use than waiting."""


class Library:
    """Router's thread only, but for what other threads do."""

    def __init__(self, errands: Errands, meaning: Meaning, reader: Turns, writer: Turns) -> None:
        self._errands = errands
        self._meaning = meaning
        self._reader = reader
        self._writer = writer

    def search(
        self, asked: SoundSearch, sink: ReplySink, *, size_bytes: int = 0, caller: Caller = HOST
    ) -> None:
        """Answer with KeptSounds.

        Raises:
            NotFound: there is no cache. Busy: too many are under way. Refused: another's namespace.
        """
        namespace = namespace_for(caller, asked.namespace)
        errand = self._errands.begin(sink, caller)

        def look(vectors: Vectors, warnings: list[str]) -> None:
            def work(cache: SoundCache) -> Reply:
                if asked.meaning and warnings and not vectors:  # a text is searched by its words then
                    raise AudioPoolError(f"meaning: {'; '.join(warnings)}", hint="search by words")
                return Reply(kind="result", body=search(cache.store, asked, namespace, cache.spaces, vectors))

            self._errands.do(errand, self._reader, work)

        if not asked.meaning and not asked.text.strip():
            look({}, [])
            return
        within_s = None if asked.meaning else _TYPING_S
        said = asked.meaning or asked.text
        try:
            self._meaning.of(said, sink.request_id, look, size_bytes=size_bytes, caller=caller, within_s=within_s)
        except AudioPoolError as exc:
            self._errands.end(errand, failed(exc))

    def sound(self, entry_id: int, namespace: str | None, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with a KeptSound and its metadata; raises as ``search``."""
        place = namespace_for(caller, namespace)
        self._errands.do(
            self._errands.begin(sink, caller),
            self._reader,
            lambda cache: Reply(kind="result", body=_told(cache, place, entry_id)),
        )

    def mark(
        self, entry_id: int, namespace: str | None, marks: SoundMarks, sink: ReplySink, *, caller: Caller = HOST
    ) -> None:
        """Answer with the KeptSound as it is marked now; raises as ``search``, and Refused to who may not."""
        place = own_namespace(caller, namespace)

        def work(cache: SoundCache) -> Reply:
            _told(cache, place, entry_id)
            cache.store.marks.mark(entry_id, marks)
            return Reply(kind="result", body=_told(cache, place, entry_id))

        self._errands.do(self._errands.begin(sink, caller), self._writer, work)

    def remove(self, entry_id: int, namespace: str | None, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with SoundRemoved; raises as ``mark``."""
        place = own_namespace(caller, namespace)

        def work(cache: SoundCache) -> Reply:
            _told(cache, place, entry_id)
            cache.remove([entry_id])
            grace_s = cache.store.leaving.grace_s
            return Reply(kind="result", body=SoundRemoved(entry=entry_id, freed_after_s=grace_s))

        self._errands.do(self._errands.begin(sink, caller), self._writer, work)


def namespace_for(caller: Caller, given: str | None) -> str:
    """Return the namespace that a caller asks about. Raises Refused."""
    return caller.namespace_of(given) or given or "default"


def own_namespace(caller: Caller, given: str | None) -> str:
    """Return the namespace that a caller changes; only an operator changes one that it shares. Raises Refused."""
    namespace = namespace_for(caller, given)
    if caller.operator or caller.namespace is not None:
        return namespace
    raise Refused(
        f"namespace: sounds of {namespace!r} are others' too",
        hint="ask as an operator, or with a key that has a namespace of its own",
    )


def _told(cache: SoundCache, namespace: str, entry_id: int) -> KeptSound:
    """Return one sound with its metadata. Raises NotFound."""
    found = cache.store.library.sounds(Wanted(namespace, ids=[entry_id])).get(entry_id)
    entry = cache.store.entries.entry(entry_id) if found is not None else None
    if found is None or entry is None:
        raise NotFound(f"namespace {namespace!r} has no entry {entry_id}")
    return structs.replace(found, metadata=structs.replace(entry.metadata, entry_id=entry_id))
