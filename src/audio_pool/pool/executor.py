"""What the router's decisions come to: requests taken in, look-ups, replies, and whom each action goes to.

Owns: every ticket's settled request while it lives, and look-ups in the cache.
Must not know: sockets' frames (router, reception), any rule of order or retry (schedule), what workers are
told (tasks), how a file gets to its place and its caller (delivery).
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from audio_pool.cache.sound_cache import Hit, SoundCache
from audio_pool.config import Config
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import (
    AudioPoolError,
    Busy,
    Cancelled,
    InvalidAudio,
    InvalidRequest,
    NotFound,
    StorageError,
)
from audio_pool.pool.clerk import Clerk
from audio_pool.pool.delivery import Delivery, Kept
from audio_pool.pool.metadata import is_master, rendered_metadata, told
from audio_pool.pool.plan import vector_space
from audio_pool.pool.replies import Caller, Final
from audio_pool.pool.resolve import Settled, settle
from audio_pool.pool.router import Hands, Router
from audio_pool.pool.supervisor import Factory, ProcessPlan
from audio_pool.pool.task_builder import Offer, Tasks
from audio_pool.results import FinishedSound
from audio_pool.scheduler import events as acts
from audio_pool.server.outbox import Outbox
from audio_pool.transport import packing, worker_messages
from audio_pool.transport.arena import Arena
from audio_pool.types import AudioRequest, Rendition
from audio_pool.validation import parse

__all__ = ["PoolHands", ]

log = logging.getLogger(__name__)

_MOST_REMEMBERED = 1024
_LONGEST_REMEMBERED = 1024
"""Requests, and bytes of one, that are remembered as they were settled."""
_MAX_INIT_BYTES = 1 << 30
"""Largest ``init_audio``: ten minutes of 32-bit stereo at 192 kHz fit."""


class PoolHands(Hands):
    """Used on the router's thread, but for what is ordered from the clerk."""

    def __init__(
        self,
        config: Config,
        router: Router,
        *,
        cache: SoundCache | None,
        arena: Arena,
        factory: Callable[[], Factory],
        clerk: Clerk,
        processes: Mapping[str, ProcessPlan],
        loads: Mapping[str, worker_messages.Load],
        infos: dict[str, EngineInfo],
        encoders: tuple[str, ...],
        incoming: Path,
        delivery: Delivery,
    ) -> None:
        self.config = config
        self.router = router
        self.cache = cache
        self.arena = arena
        self.clerk = clerk
        self.infos = infos
        self.encoders = encoders
        self.delivery = delivery
        self.devices: dict[str, str] = {}
        self.tickets = itertools.count(1)
        self.asked: dict[int, Settled] = {}
        self.reception: Any = None
        """Reception, which is made with these hands."""
        self.hits: collections.Counter[str] = collections.Counter()
        self._factory = factory
        self._processes = processes
        self._loads = loads
        self.tasks = Tasks(arena, infos, incoming, self.asked, lambda ticket: router.callers[ticket].request_id)
        self._reading: set[int] = set()
        """Tickets whose ``init_audio`` the clerk reads."""
        self._settled: dict[bytes, Settled] = {}

    # -- arrivals ----------------------------------------------------------------------------------

    def submit(self, request: AudioRequest, caller: Caller, *, events: bool = False, size_bytes: int = 0) -> int:
        """Takes a request in. Returns its ticket (what ``cancel`` names); the caller hears the rest.

        Raises:
            CallerError: the request cannot be carried out by this pool.
        """
        if request.init_audio is not None:
            return self._submit_read(request, caller, events, size_bytes)
        return self.submit_settled(settle(request, self.config, self.infos), caller, events, size_bytes)

    def submit_fields(self, fields: dict[str, Any], caller: Caller, *, events: bool, size_bytes: int) -> int:
        """As ``submit``, from the fields of a client's message.

        Games ask for the same thing again and again: what the same fields came to is remembered, which saves
        a third of a hit's work.
        """
        try:
            key = packing.pack(fields)
        except (TypeError, ValueError, OverflowError):
            key = b""
        settled = self._settled.get(key)
        if settled is None:
            request = parse(AudioRequest, fields)
            if request.init_audio is not None:
                return self._submit_read(request, caller, events, size_bytes)
            settled = settle(request, self.config, self.infos)
            if 0 < len(key) <= _LONGEST_REMEMBERED:
                if len(self._settled) >= _MOST_REMEMBERED:
                    self._settled.clear()
                self._settled[key] = settled
        return self.submit_settled(settled, caller, events, size_bytes)

    def _submit_read(self, request: AudioRequest, caller: Caller, events: bool, size_bytes: int) -> int:
        """The same once the clerk has read ``init_audio``: a file's bytes are not read on the router's thread."""
        settle(request, self.config, self.infos, "")  # what is refused anyway is refused before a byte is read
        path = request.init_audio or ""
        if not path.startswith("/"):  # it would be looked for where this process happens to have been started
            raise InvalidRequest(f"init_audio: given {path!r}, allowed is an absolute path")
        if len(self._reading) >= self.config.queue.max_requests:
            raise Busy(f"{len(self._reading)} requests wait for their init_audio to be read", retry_after_ms=1000)
        ticket, arrival = next(self.tickets), time.monotonic()
        self.router.callers[ticket] = caller
        self._reading.add(ticket)

        def errand() -> None:
            found: str | AudioPoolError
            try:
                found = _file_sha256(path)
            except AudioPoolError as exc:
                found = exc
            self.router.post(lambda: read(found))

        def read(found: str | AudioPoolError) -> None:
            if ticket not in self._reading:
                return  # cancelled meanwhile
            self._reading.remove(ticket)
            if isinstance(found, AudioPoolError):
                self.router.finish(ticket, Final(kind="error", error=found))
                return
            try:  # again: a worker that has become ready meanwhile may have told of an engine what was not known
                settled = settle(request, self.config, self.infos, found)
            except AudioPoolError as exc:
                self.router.finish(ticket, Final(kind="error", error=exc))
                return
            self.submit_settled(settled, caller, events, size_bytes, ticket=ticket, arrival=arrival)

        self.clerk.order(errand)
        return ticket

    def cancel(self, ticket: int) -> None:
        """Router's thread only."""
        if ticket in self._reading:
            self._reading.remove(ticket)
            self.router.finish(ticket, Final(kind="cancelled", error=Cancelled("cancelled by its caller")))
        else:
            self.router.feed(acts.Cancel(ticket=ticket))

    def submit_settled(
        self,
        settled: Settled,
        caller: Caller,
        events: bool = False,
        size_bytes: int = 0,
        *,
        ticket: int = 0,
        arrival: float | None = None,
    ) -> int:
        """``ticket`` and ``arrival``: of a request that was taken in before."""
        request = settled.request
        ticket = ticket or next(self.tickets)
        now = time.monotonic() if arrival is None else arrival
        self.router.callers[ticket] = caller
        self.asked[ticket] = settled
        lookup = self.cache is not None and not request.force
        by_meaning = settled.query.match != "strict" and not settled.query.speech
        ask = acts.Ask(
            ticket=ticket,
            recipe=settled.recipe,
            join_key=settled.join_key,
            priority=acts.PRIORITIES.index(request.priority),
            deadline=now + request.deadline_ms / 1000 if request.deadline_ms is not None else None,
            events=events,
            size_bytes=size_bytes,
            lookup=lookup,
            near=by_meaning and settled.recipe.seed is None and settled.recipe.init_audio_sha256 is None,
            encoders=self.encoders if self.cache is not None and by_meaning else (),
            max_rounds=settled.max_rounds,
        )
        self.router.feed(acts.Submit(ask=ask))
        return ticket

    def errand(
        self, kind: Any, payload: Any, caller: Caller, *, engine: str = "", worker: str = "", size_bytes: int = 0
    ) -> int:
        """Takes in a small task that is not a sound."""
        ticket = next(self.tickets)
        self.router.callers[ticket] = caller
        self.router.feed(
            acts.Errand(ticket=ticket, kind=kind, payload=payload, engine=engine, worker=worker, size_bytes=size_bytes)
        )
        return ticket

    def client_said(self, frames: list[bytes], outbox: Outbox) -> None:
        self.reception(frames, outbox)

    def image_server_said(self, frame: bytes, send: Callable[[bytes], None]) -> None:
        self.reception.image_request(frame, b"", send)

    # -- look-ups ----------------------------------------------------------------------------------

    def find_exact(self, work: int, ticket: int) -> acts.Found:
        return self._find(work, ticket, None)

    def find_near(self, work: int, ticket: int, vectors: dict[str, Any]) -> acts.Found:
        return self._find(work, ticket, _arrays(vectors))

    def _find(self, work: int, ticket: int, vectors: dict[str, Any] | None) -> acts.Found:
        settled = self.asked[ticket]
        assert self.cache is not None
        refused: list[str] = []
        try:
            if vectors is None:
                hit = self.cache.find_exact(settled.recipe, settled.query)
            else:
                spaces = self._in_spaces(vectors)
                hit = self.cache.find_near(settled.recipe, settled.query, spaces, refused=refused)
            if hit is None:
                return acts.Found(work=work, warning=f"hit_refused: {refused[0]}" if refused else "")
            path = self._rendered(hit, settled.rendition)
        except StorageError as exc:  # a broken cache must not stop new sounds
            log.error("look-up failed: %s", exc)
            return acts.Found(work=work, warning=f"cache_unreadable: {exc}")
        return acts.Found(work=work, hit=Offer(hit, path), render=None if path else settled.rendition)

    def _in_spaces(self, vectors: Mapping[str, Any]) -> dict[str, Any]:
        """Vectors under the names that the cache knows their spaces by."""
        return {vector_space(name, self.config): vector for name, vector in vectors.items()}

    def _rendered(self, hit: Hit, rendition: Rendition) -> str | None:
        """The hit's file as asked for, or None where it must be made first."""
        assert self.cache is not None
        if is_master(hit.metadata, rendition):
            return hit.entry.path
        return self.cache.find_rendition(hit.entry.id, rendition) if hit.entry.id is not None else None

    # -- jobs --------------------------------------------------------------------------------------

    def task(self, action: acts.SendJob) -> tuple[worker_messages.Task, list[dict[str, Any]], list[bytes]]:
        return self.tasks.task(action)

    def landed(
        self,
        job: int,
        holder: str,
        parts: dict[int, dict[str, Any]],
        frames: list[bytes],
        unwritable: Sequence[int] = (),
    ) -> None:
        self.tasks.landed(job, holder, parts, frames, unwritable)

    def forget(self, work: int) -> None:
        self.tasks.forget(work)

    def discard(self, outcome: dict[str, Any]) -> None:
        self.tasks.release(outcome)
        sound = outcome.get("sound")
        paths = [sound["path"], sound.get("delivered_path")] if sound else [outcome.get("path")]
        doomed = [path for path in paths if path]
        if doomed:
            self.delivery.unlink(doomed)

    # -- keeping and answering ---------------------------------------------------------------------

    def keep(self, action: acts.Keep) -> None:
        making = self.tasks.making(action.work)
        outcome = action.sound
        sound = msgspec.convert(outcome["sound"], FinishedSound)
        metadata = {**sound.metadata, "candidates": outcome["tried"], "rounds": outcome["rounds"]}
        sound = msgspec.structs.replace(sound, metadata=metadata)
        vectors = self._in_spaces({**_arrays(action.vectors), **_arrays(outcome.get("vectors", {}))})

        def done(kept: Kept | AudioPoolError) -> None:
            if isinstance(kept, AudioPoolError):
                self.router.post(acts.Kept(work=action.work, error=kept))
            else:
                self.router.post(acts.Kept(work=action.work, result=kept))

        self.delivery.keep(sound, vectors, making.settled, making.request_id, done)

    def answer(self, action: acts.Answer, caller: Caller) -> Final | None:
        settled = self.asked.pop(action.ticket, None)
        if action.kind != "result":
            return Final(kind=action.kind, error=action.error)
        if settled is None:
            return Final(kind="result", body=_body(action.value))
        value = action.value
        made = value["outcome"] if isinstance(value, dict) else None  # a rendition has been made of a hit
        offer: Offer | Kept = value["hit"] if isinstance(value, dict) else value
        if isinstance(offer, Offer):
            hit = offer.hit
            self._came(hit.cache_type)
            changed = rendered_metadata(hit.metadata, settled.rendition) if made is None else made["metadata"]
            path, stored = offer.path or hit.entry.path, {**hit.metadata, **changed}
        else:
            self._came(action.cache_type)
            path, stored = offer.path, offer.metadata
        metadata = told(
            stored,
            settled,
            caller.request_id,
            # a hit says itself what it is, also to those who joined the wait for it
            cache_type="" if isinstance(offer, Offer) else action.cache_type,
            times_ms=action.times_ms,
            warnings=[*settled.warnings, *action.warnings],
        )

        def later(final: Final) -> None:
            self.router.post(lambda: self.router.finish(action.ticket, final))

        if made is not None and isinstance(offer, Offer):
            self.delivery.rendered(offer.hit, settled, made["path"], metadata, later)
            return None
        return self.delivery.deliver(settled.request, path, metadata, later)

    def _came(self, cache_type: str) -> None:
        self.hits[cache_type] += 1
        self.router.telemetry.count("hits", cache_type=cache_type)

    # -- workers -----------------------------------------------------------------------------------

    def load(self, worker: str) -> worker_messages.Load:
        return self._loads[worker]

    def spawn(self, worker: str, incarnation: int) -> None:
        self._factory().spawn(self._processes[worker], incarnation)

    def kill(self, worker: str, incarnation: int, why: str) -> None:
        self._factory().kill(worker, incarnation, why)

    def worker_ready(self, worker: str, message: worker_messages.Ready) -> None:
        self._settled.clear()  # settled by what was known of the engines before
        self.devices[worker] = message.device
        for name, info in message.engines.items():
            loaded = msgspec.convert(info, EngineInfo)
            known = self.infos.get(name)
            # the model's name is part of a recipe's identity: it must not change while the pool runs
            self.infos[name] = msgspec.structs.replace(loaded, model=known.model) if known else loaded

    def worker_died(self, worker: str, incarnation: int) -> None:
        self.tasks.worker_died(f"{worker}:{incarnation}")






def _arrays(vectors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: np.frombuffer(value, np.float32) if isinstance(value, bytes) else value for name, value in vectors.items()
    }


def _body(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"value": value}


def _file_sha256(path: str) -> str:
    """Of a regular file: a pipe or a device would never end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidAudio(f"init_audio: {path!r} is not a regular file")
            if found.st_size > _MAX_INIT_BYTES:
                raise InvalidAudio(f"init_audio: {path!r} has {found.st_size:,} bytes, allowed are {_MAX_INIT_BYTES:,}")
            with open(fd, "rb", closefd=False) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        finally:
            os.close(fd)
    except (OSError, ValueError) as exc:  # ValueError: a zero byte in the path
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise NotFound(f"init_audio: {path!r} cannot be read: {reason}") from None
