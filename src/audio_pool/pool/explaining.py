"""Why a request would hit or miss, asked of a running pool: its prompt embedded by a worker, then compared aside.

Owns: Explaining: which requests are compared by their meaning, and how many explanations may be under way.
Must not know: sockets; what counts as a hit (cache/explain.py).

Nothing is made, kept or counted as a hit. The comparison reads the analyses of many prompts and is done on a
thread of its own, beside the router's; one at a time, for it takes milliseconds of the same interpreter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from msgspec import structs

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, Busy, InvalidRequest, NotFound
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.meaning import Meaning, Vectors
from audio_pool.pool.metadata import present_settings
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.results import Failure
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["Explaining"]

log = logging.getLogger(__name__)

_MOST = 64
"""Under way at once; each is a task of a worker and some milliseconds beside the router."""

class Explaining:
    """Router's thread only, but for the comparison."""

    def __init__(
        self,
        config: Config,
        intake: Intake,
        requests: RequestTable,
        cache: CacheKeeper | None,
        encoders: tuple[str, ...],
        thread: Executor,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """
        Args:
            encoders: embedder and scorer that prompts are put through.
            thread: compares.
            post: has something done on the router's thread.
        """
        self._intake = intake
        self._requests = requests
        self._cache = cache
        self._meaning = Meaning(config, intake, encoders)
        self._thread = thread
        self._post = post
        self._under_way = 0

    def ask(
        self,
        fields: Mapping[str, Any],  # opaque until it has been parsed: a client's words
        sink: ReplySink,
        *,
        size_bytes: int = 0,
        caller: Caller = HOST,
        across_namespaces: bool = True,
    ) -> None:
        """Answer with an Explanation.

        Args:
            across_namespaces: name sounds of other namespaces, too, where the caller may see them.

        Raises:
            NotFound: there is no cache. Busy: too many are under way.
            CallerError: the request could not be carried out by this pool.
        """
        if self._cache is None:
            raise NotFound("the cache is off (cache.enabled = false)")
        if caller.namespace is not None:
            fields = {**fields, "namespace": caller.namespace_of(fields.get("namespace"))}
        request = parse(AudioRequest, fields)
        if request.init_audio is not None:
            raise InvalidRequest("init_audio: explaining reads no files; leave it out")
        resolved = self._intake.resolve(request)
        if self._under_way >= _MOST:
            raise Busy(f"{self._under_way} requests are being explained, allowed are {_MOST}", retry_after_ms=1000)
        self._under_way += 1
        number = self._requests.open(sink, caller=caller)
        everywhere = across_namespaces and caller.operator and caller.namespace is None

        def compare(vectors: Vectors, warnings: list[str]) -> None:
            self._compare(number, resolved, vectors, warnings, everywhere)

        if resolved.query.match == "strict" or resolved.query.speech:
            compare({}, [])
            return
        text = resolved.recipe.prompt
        self._meaning.of(text, sink.request_id, compare, size_bytes=size_bytes, caller=caller)

    def _compare(
        self, number: int, resolved: ResolvedRequest, vectors: Vectors, warnings: list[str], everywhere: bool
    ) -> None:
        assert self._cache is not None
        cache = self._cache.current

        def work() -> None:
            try:
                from audio_pool.cache.explain import explain

                told = explain(cache, resolved.recipe, resolved.query, vectors, across_namespaces=everywhere)
                told = structs.replace(
                    told,
                    warnings=(*resolved.warnings, *warnings, *told.warnings),
                    present_settings=present_settings(resolved),
                )
                reply = Reply(kind="result", body=told)
            except AudioPoolError as exc:
                reply = Reply(kind="error", failure=Failure.of(exc))
            except BaseException:  # whatever it is: nobody may be left without an answer
                log.exception("explaining a request failed")
                bug = AudioPoolError("explaining the request met a bug in the server; its log says more")
                reply = Reply(kind="error", failure=Failure.of(bug))
            self._post(lambda: self._done(number, reply))

        try:
            self._thread.submit(work)
        except RuntimeError:  # it takes nothing any more
            self._done(number, Reply(kind="error", failure=Failure.of(AudioPoolError("the pool has stopped"))))

    def _done(self, number: int, reply: Reply) -> None:
        self._under_way -= 1
        self._requests.finish(number, reply)
