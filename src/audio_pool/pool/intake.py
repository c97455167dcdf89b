"""Requests on their way into the pool: resolved, registered, handed to the scheduler.

Owns: the step from a caller's fields to a Submit or Call event, and reading ``init_audio`` before it.
Must not know: sockets, what becomes of a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol

from msgspec import structs

from audio_pool.config import Config
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import AudioPoolError, Busy, Cancelled, Expired, InvalidRequest, NotSupported
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.chunk_feed import CatchingUp, ChunkFeed
from audio_pool.pool.in_time import InTime, Upgraded, wants_in_time
from audio_pool.pool.preset_book import PresetBook, presets_of
from audio_pool.pool.reading import FileReading
from audio_pool.pool.ready_hits import ReadyHits
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.resolve import ResolvedRequest, resolve
from audio_pool.pool.router import Router
from audio_pool.pool.sent_audio import SENT, Frames, SentAudio, opener_of
from audio_pool.pool.signing import UNSIGNED, Signing
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import ReplyKind
from audio_pool.tasks import CallTask
from audio_pool.transport import packing
from audio_pool.types import AudioRequest, Priority
from audio_pool.validation import parse

__all__ = ["Intake", "refuse_durable"]

log = logging.getLogger(__name__)

_MOST_REMEMBERED = 1024
_LONGEST_REMEMBERED = 1024
"""Requests, and bytes of one, whose resolution is remembered."""


class Reading(Protocol):
    """What a request waits for before it is handed on."""

    def give_up(self) -> None:
        """Nobody wants it any more."""


class Intake:
    """Takes requests in. Router's thread only, but for ``resolve``."""

    def __init__(
        self,
        config: Config,
        router: Router,
        requests: RequestTable,
        infos: Mapping[str, EngineInfo],
        encoders: tuple[str, ...],
        files: FileReading,
        ready: ReadyHits | None,
        sent: SentAudio,
        catching_up: CatchingUp,
        presets: PresetBook,
        signing: Signing = UNSIGNED,
    ) -> None:
        """
        Args:
            infos: of the engines that workers host; it changes when workers become ready.
            encoders: embedder and scorer that prompts are put through; () where there is no cache.
            files: reads and hashes ``init_audio``.
            ready: answers what is kept; None where there is no cache.
            sent: keeps the sounds that come with requests.
            catching_up: sends streams' callers what they have not got of a finished sound.
            presets: what requests are made with.
            signing: what of the pool's files is signed.
        """
        self._config = config
        self.signing = signing
        self._router = router
        self._requests = requests
        self._infos = infos
        self._encoders = encoders
        self._files = files
        self._ready = ready
        self._sent = sent
        self._catching_up = catching_up
        self._in_time = InTime(requests, infos)
        self._presets = presets
        self.reading: dict[int, Reading] = {}
        """Requests whose files are being read or written before they are handed on."""
        self._resolved: dict[bytes, ResolvedRequest] = {}
        self._known: tuple[EngineInfo, ...] = ()

    def configure(self, config: Config, signing: Signing = UNSIGNED) -> None:
        """Resolve by another configuration from now on."""
        self._config = config
        self._presets.configure(presets_of(config))
        self.signing = signing
        self._forget()

    def resolve(self, request: AudioRequest, init_sha256: str | None = None) -> ResolvedRequest:
        """Return what a request means for this pool. May be called from any thread.

        Raises:
            CallerError: the request cannot be carried out by this pool.
        """
        return resolve(
            request,
            self._config,
            dict(self._infos),
            ready=self._ready_engines(request),
            init_sha256=init_sha256,
            presets=self._presets.named(request.presets) if request.presets else (),
            signing=self.signing,
        )

    def check(self, request: AudioRequest, caller: Caller, sent: Frames = ()) -> None:
        """Return if the request could be taken in now.

        Args:
            sent: the sound to start from, where it came with the request.

        Raises:
            CallerError: it cannot be carried out by this pool, or for this caller.
        """
        if sent:
            if request.init_audio is not None:
                raise InvalidRequest("init_audio: given as a path and sent as bytes; give one of them")
            self._sent.check(sent)
            request = structs.replace(request, init_audio=SENT)
        self.resolve(request, None if request.init_audio is None else "")
        if request.output_path is not None:
            check_output(request.output_path, caller)
        if request.init_audio is not None and not sent:
            if not request.init_audio.startswith("/"):  # it would be looked for where this process was started
                raise InvalidRequest(f"init_audio: given {request.init_audio!r}, allowed is an absolute path")
            caller.input_roots.check("init_audio", request.init_audio)

    def submit(
        self,
        request: AudioRequest,
        sink: ReplySink,
        *,
        events_wanted: bool = False,
        size_bytes: int = 0,
        timeout_s: float | None = None,
        caller: Caller = HOST,
        sent: Frames = (),
        upgraded: Upgraded | None = None,
        made: int = 0,
    ) -> int:
        """Take a request in; return its number (which ``cancel`` takes). The sink gets everything else.

        Args:
            caller: whose request it is, and what they may do.
            sent: the sound to start from, where it came with the request.
            upgraded: who hears of a better sound than the first one.
            made: the entry that was made for it earlier, and answers it whatever it asks for; 0: none.

        Raises:
            CallerError, Busy: the request cannot be carried out by this pool.
        """
        if request.init_audio is not None or sent:
            return self._read_first(request, sink, events_wanted, size_bytes, timeout_s, caller, sent, upgraded, made)
        return self.submit_resolved(
            self.resolve(request),
            sink,
            events_wanted=events_wanted,
            size_bytes=size_bytes,
            timeout_s=timeout_s,
            caller=caller,
            upgraded=upgraded,
            made=made,
        )

    def knows(self, entry_id: int) -> bool:
        """Return True for an entry that is kept, as far as it is known here."""
        return self._ready is not None and self._ready.knows(entry_id)

    def submit_fields(
        self,
        fields: Mapping[str, Any],  # opaque until it has been parsed: a client's words
        sink: ReplySink,
        *,
        events_wanted: bool,
        size_bytes: int,
        caller: Caller = HOST,
        sent: Frames = (),
        known: str = "",
        upgraded: Upgraded | None = None,
    ) -> int:
        """Do as ``submit``, from the fields of a client's message.

        Games ask for the same thing again and again: what the same fields resolve to is remembered, which saves
        a third of a hit's work.
        """
        if caller.namespace is not None:
            fields = {**fields, "namespace": caller.namespace_of(fields.get("namespace"))}
        try:
            key = packing.pack(fields)
        except (TypeError, ValueError, OverflowError, RecursionError):
            key = b""
        self._forget_if_engines_changed()
        resolved = None if sent else self._resolved.get(key)
        if resolved is None:
            request = parse(AudioRequest, fields)
            refuse_durable(request)
            if request.init_audio is not None or sent:
                return self._read_first(
                    request, sink, events_wanted, size_bytes, caller=caller, sent=sent, upgraded=upgraded
                )
            resolved = self.resolve(request)
            lasting = request.engine is None or not request.engine.startswith("kind:")
            lasting = lasting and not request.presets  # anybody may change them at any moment
            if lasting and 0 < len(key) <= _LONGEST_REMEMBERED:
                if len(self._resolved) >= _MOST_REMEMBERED:
                    self._resolved.clear()
                self._resolved[key] = resolved
            else:
                key = b""
        return self.submit_resolved(
            resolved,
            sink,
            events_wanted=events_wanted,
            size_bytes=size_bytes,
            caller=caller,
            key=key,
            known=known,
            upgraded=upgraded,
        )

    def submit_resolved(
        self,
        resolved: ResolvedRequest,
        sink: ReplySink,
        *,
        events_wanted: bool = False,
        size_bytes: int = 0,
        timeout_s: float | None = None,
        caller: Caller = HOST,
        number: int = 0,
        arrival: float | None = None,
        key: bytes = b"",
        known: str = "",
        upgraded: Upgraded | None = None,
        made: int = 0,
    ) -> int:
        """Take a resolved request in; where a kept sound answers it, it is answered when this returns.

        Args:
            timeout_s: a deadline beside the request's own; the earlier one counts.
            caller: whose request it is, and what they may do.
            number, arrival: of a request that was registered before.
            key: of the fields that it came in, where what they resolve to is remembered.
            known: a file that the caller has already.
            upgraded: who hears of a better sound than the first one.
            made: the entry that was made for it earlier.
        """
        request = resolved.request
        if request.output_path is not None:
            check_output(request.output_path, caller)
        if number:
            self._requests[number].resolved = resolved
        else:
            number = self._requests.open(sink, resolved, caller)
        asked = self._requests[number]
        asked.known = known
        if request.stream and events_wanted:
            asked.feed = ChunkFeed(sink)
        now = time.monotonic()
        since = now if arrival is None else arrival
        deadlines = [since + request.deadline_ms / 1000] if request.deadline_ms is not None else []
        if timeout_s is not None:
            deadlines.append(since + timeout_s)
        cached = self._config.cache.enabled
        in_time = not deadlines or min(deadlines) > now
        lookups = self._requests.tally.lookups
        there = made > 0 and self._ready is not None and self._ready.take_made(asked, made)
        looks = cached and (there or not request.force)
        lookups["exact"] += looks
        may_be_kept = looks and not there and in_time and self._router.takes_requests
        if may_be_kept and self._ready is not None and self._ready.answer(number, asked, key):
            return number
        lookups["join"] += resolved.join_key is not None
        by_meaning = resolved.query.match != "strict" and not resolved.query.speech
        recipe = resolved.recipe
        any_will_do = recipe.seed is None and recipe.init_audio_sha256 is None and request.variant is None
        submitted = events.Submit(
            request=number,
            recipe=recipe,
            client=caller.client,
            join_key=resolved.join_key,
            priority=events.PRIORITIES.index(request.priority),
            deadline=min(deadlines, default=None),
            events=events_wanted,
            size_bytes=size_bytes,
            lookup=looks,
            # a stream does not wait for another pool's sound
            claims=cached and request.store and not request.force and not request.stream,
            near=by_meaning and any_will_do and not (there and request.force),
            encoders=self._encoders if cached and by_meaning else (),
            max_rounds=resolved.max_rounds,
            stream=request.stream,
            traced=self._requests.traces is not None,
            keep=request.keep_candidates and cached and self._config.cache.candidates_keep_s > 0,
        )
        if wants_in_time(request):
            parts = self._in_time.take_apart(
                submitted, resolved, self._config, self.signing, asked.sink, caller, upgraded
            )
            self._router.feed(parts)
            self._in_time.taken(parts)
        else:
            self._router.feed(submitted)
        asked.looked_up = None  # a later look-up is to find what has come since
        return number

    def call(
        self,
        task: CallTask,
        sink: ReplySink,
        *,
        worker: str = "",
        size_bytes: int = 0,
        caller: Caller = HOST,
        within_s: float | None = None,
        priority: Priority = "normal",
    ) -> int:
        """Take in a small task that is not a sound.

        Args:
            within_s: seconds after which nobody waits for it any more; None: as long as it takes.
        """
        number = self._requests.open(sink, caller=caller)
        self._router.feed(
            events.Call(
                request=number,
                task=task,
                client=caller.client,
                worker=worker,
                size_bytes=size_bytes,
                priority=events.PRIORITIES.index(priority),
                deadline=None if within_s is None else time.monotonic() + within_s,
            )
        )
        return number

    def hash_sent(self, caller: Caller, sent: Frames, done: Callable[[str | AudioPoolError], None]) -> None:
        """Have a sound that came with a request hashed; ``done`` gets its SHA-256 on the router's thread.

        Raises:
            Busy: too many of this client wait for it.
        """
        name = "init_audio: the sound that was sent"
        self._files.submit(
            caller.client, name, opener_of(sent), lambda found: self._router.post(lambda: done(found))
        )

    def cancel(self, number: int) -> None:
        """Cancel a request, wherever it is."""
        if number in self._catching_up:
            self._catching_up.stop(number)
            error = Cancelled("cancelled by its caller")
            self._requests.finish(number, Reply(kind="cancelled", failure=Failure.of(error)))
        elif not self._end_reading(number, "cancelled"):
            self._router.feed(events.Cancel(request=number))

    # -- inside ------------------------------------------------------------------------------------

    def _ready_engines(self, request: AudioRequest) -> Collection[str]:
        if request.engine is None or not request.engine.startswith("kind:"):
            return ()
        workers = self._router.scheduler.workers.workers.values()
        return {engine for worker in workers if worker.state == "ready" for engine in worker.engines}

    def _forget_if_engines_changed(self) -> None:
        known = tuple(self._infos.values())
        if known != self._known:
            self._known = known
            self._forget()

    def _forget(self) -> None:
        self._resolved.clear()
        if self._ready is not None:
            self._ready.forget()

    def _read_first(
        self,
        request: AudioRequest,
        sink: ReplySink,
        events_wanted: bool,
        size_bytes: int,
        timeout_s: float | None = None,
        caller: Caller = HOST,
        sent: Frames = (),
        upgraded: Upgraded | None = None,
        made: int = 0,
    ) -> int:
        """Take a request in once its ``init_audio`` has been read, off the router's thread."""
        self.check(request, caller, sent)  # what is refused anyway is refused before a byte is read
        if len(self.reading) >= self._config.queue.max_requests:
            raise Busy(f"{len(self.reading)} requests wait for their init_audio to be read", retry_after_ms=1000)
        arrival = time.monotonic()

        def read(found: str | AudioPoolError) -> None:
            self._router.post(lambda: done(found))

        def done(found: str | AudioPoolError) -> None:
            if self.reading.pop(number, None) is None:
                return  # cancelled meanwhile, or too late
            try:
                if isinstance(found, AudioPoolError):
                    raise found
                # again: a worker that has become ready meanwhile may know more of the engine
                resolved = self.resolve(request, found)
            except AudioPoolError as exc:
                kind: ReplyKind = "busy" if isinstance(exc, Busy) else "error"
                self._requests.finish(number, Reply(kind=kind, failure=Failure.of(exc)))
                return
            except Exception:  # it has been taken in: nobody else will answer it
                log.exception("a request whose file was read met a bug")
                bug = AudioPoolError("the request met a bug in the pool; its log says more")
                self._requests.finish(number, Reply(kind="error", failure=Failure.of(bug)))
                return
            self.submit_resolved(
                resolved,
                sink,
                events_wanted=events_wanted,
                size_bytes=size_bytes,
                timeout_s=timeout_s,
                caller=caller,
                number=number,
                arrival=arrival,
                upgraded=upgraded,
                made=made,
            )

        def too_late() -> None:
            self._end_reading(number, "expired")

        if sent:
            path, open_file = self._sent.take(caller.client, sent)
            request, name = structs.replace(request, init_audio=path), "init_audio: the sound that was sent"
        else:
            path, roots = request.init_audio or "", caller.input_roots
            name, open_file = f"init_audio: {path!r}", lambda: roots.open("init_audio", path)
        try:
            turn = self._files.submit(caller.client, name, open_file, read)
        except BaseException:
            self._sent.release(path)
            raise
        number = self._requests.open(sink, caller=caller)
        self._requests[number].on_answered = (lambda: self._sent.release(path)) if sent else None
        self.reading[number] = turn
        deadlines = [arrival + limit for limit in (_seconds(request.deadline_ms), timeout_s) if limit is not None]
        if deadlines:
            self._router.call_at(min(deadlines), too_late)
        return number

    def _end_reading(self, number: int, kind: Literal["cancelled", "expired"]) -> bool:
        """Answer a request whose file is being read, and stop that; False where it is not."""
        turn = self.reading.pop(number, None)
        if turn is None:
            return False
        turn.give_up()
        error: AudioPoolError = Cancelled("cancelled by its caller")
        if kind == "expired":
            error = Expired("the deadline passed while init_audio was read")
        self._requests.finish(number, Reply(kind=kind, failure=Failure.of(error)))
        return True


def refuse_durable(request: AudioRequest) -> None:
    """Raise NotSupported for a durable request that comes by a way without a journal."""
    if request.durable:
        raise NotSupported(
            "durable: only a served pool keeps jobs, for clients of its msgpack protocol",
            hint="start 'audio-pool serve' and ask it by a client, or leave durable out",
        )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def check_output(path: str, caller: Caller) -> None:
    """Refuse, before a sound is made, a place where it may not go."""
    caller.output_roots.check("output_path", path)
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in path):
        raise InvalidRequest(f"output_path: given {path!r}, allowed is a path without control characters")
