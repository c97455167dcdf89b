"""Jobs over HTTP: durable requests of the pool, which outlive connections, gateways and servers.

Owns: LiveJobs: which job is whose, what this gateway hears of those that it asked for, how their end is waited for.
Must not know: routes, how a job is written as JSON.

A gateway keeps nothing that a job needs: its id is the pool's ``request_id``, made of the caller's mark and, where
there is one, the Idempotency-Key. So any gateway before the same pool answers for it, after any restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from msgspec import structs

from audio_pool.api import JobReport, JobState
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.errors import AudioPoolError, Conflict, Disconnected, NotFound
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.http_request import HttpRequest, caller_of, while_connected
from audio_pool.gateway.problems import ClientGone, ReusedKey
from audio_pool.gateway.upgrades import betters, first_of, of_sound, stands_in, upgrade_of
from audio_pool.pending import Pending
from audio_pool.results import Accepted, Progress
from audio_pool.types import AudioRequest

__all__ = ["FINAL", "Happening", "LiveJob", "LiveJobs"]

FINAL: frozenset[JobState] = frozenset(("done", "failed", "cancelled", "expired"))
Happening = Accepted | Progress | JobReport
"""Of a job: accepted, how far it is, its end."""

_ID = re.compile(r"[a-z0-9]{4,16}\.[0-9a-f]{32}u?")
_LONGEST_S = 30 * 86_400.0
"""A durable request has its own deadline, if any; the client's is never the one that counts."""
_ASK_S = 10.0
"""One question after a job waits so long for its end."""
_RECONNECT_S = 0.5


class Asking(Protocol):
    """What jobs need of the door: how the pool is asked for a caller."""

    def admitted(self, request: AudioRequest, http: HttpRequest) -> AudioRequest:
        """Return what the pool is asked for a request. Raises AudioPoolError."""
        ...

    def client_of(self, caller: HttpCaller) -> AsyncAudioClient:
        """Return the connection that a caller's sounds are asked on."""
        ...

    def take(self, caller: HttpCaller) -> Callable[[], None]:
        """Count a sound that the pool is asked for at once; return what ends it. Raises TooMany."""
        ...


class LiveJob:
    """A job that this gateway asked for and that has not ended: what was heard of it last."""

    def __init__(self, request: AudioRequest, init_audio: bytes, pending: Pending) -> None:
        self.request = request
        self.init_audio = init_audio
        self.pending = pending
        self.accepted: Accepted | None = None
        self.progress: Progress | None = None
        self.error: AudioPoolError | None = None
        self.ended = False
        self.next = asyncio.Event()
        """Set when something happens; then there is another one."""

    def tell(self) -> None:
        """Wake whoever waits for something to happen."""
        self.next.set()
        self.next = asyncio.Event()

    async def taken(self) -> None:
        """Return once the pool has promised it, or it has ended."""
        while self.accepted is None and not self.ended:
            await self.next.wait()


class LiveJobs:
    """The jobs of one gateway's callers. Of one event loop."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._live: dict[str, LiveJob] = {}
        self._tasks: set[asyncio.Future[None]] = set()

    async def submit(
        self, request: AudioRequest, http: HttpRequest, *, idempotency_key: str = "", init_audio: bytes = b""
    ) -> str:
        """Ask for a sound that outlives its connection; return the job's id once the pool has promised it.

        Args:
            init_audio: the file of a sound to start from, where one came with the request.

        Raises:
            ReusedKey: another request has this Idempotency-Key.
            TooMany: the caller has as many under way and waiting as it may.
            AudioPoolError: the pool does not take it.
        """
        caller = caller_of(http)
        wanted = structs.replace(self._asking.admitted(request, http), durable=True, delivery="path")
        asked = first_of(wanted)
        job_id = _named(caller, idempotency_key)
        live = self._live.get(job_id)
        if live is None:
            live = self._begin(job_id, asked, init_audio, caller, better=betters(wanted))
        elif (live.request, live.init_audio) != (asked, init_audio):
            raise ReusedKey(_reused(idempotency_key))
        try:
            await while_connected(http, self._promised(job_id, live, caller))
        except ClientGone:
            if not idempotency_key:  # nobody knows its id
                live.pending.cancel()
            raise
        if isinstance(live.error, Conflict):
            raise ReusedKey(_reused(idempotency_key))
        if live.error is not None and live.accepted is None:
            await self._answered_before(job_id, live.error, caller)
        return job_id

    async def go_on(self, request: AudioRequest, begun: Pending, caller: HttpCaller) -> str:
        """Have a better sound, which the pool has begun for this connection, made as a job; return the job's id.

        Raises:
            TooMany, AudioPoolError: nothing is made on.
        """
        job_id = upgrade_of(_named(caller, ""))
        asked = structs.replace(of_sound(request), durable=True, delivery="path")
        try:
            live = self._begin(job_id, asked, b"", caller)
            await self._promised(job_id, live, caller)  # it has joined what was begun
            if live.error is not None and live.accepted is None:
                raise live.error
        finally:
            begun.cancel()
        return job_id

    async def better(self, job_id: str, http: HttpRequest) -> JobReport | None:
        """Return how the job stands that makes a better sound than an ended one's; None: there is none."""
        try:
            return await self.client_of(job_id, http).job(upgrade_of(job_id))
        except NotFound:
            return None

    async def _promised(self, job_id: str, live: LiveJob, caller: HttpCaller) -> None:
        """Return once a job is written down, or refused; it is accepted only when the queue has room for it."""
        try:
            await self._asking.client_of(caller).job(job_id)
        except AudioPoolError:  # refused: why is on its way; or the pool has gone, which it is told of likewise
            await live.taken()

    def live(self, job_id: str) -> LiveJob | None:
        """Return what this gateway hears of a job; None: another asked for it, or it has ended."""
        return self._live.get(job_id)

    async def report(
        self, job_id: str, http: HttpRequest, *, wait_s: float = 0.0, inline: bool = False
    ) -> JobReport:
        """Return how a job of the caller's stands: at its end, or after ``wait_s``.

        Args:
            inline: with the file's bytes, where it is done.

        Raises:
            NotFound: the caller has no such job (any more).
        """
        client = self.client_of(job_id, http)
        return await while_connected(http, _report(client, job_id, wait_s, inline))

    async def happenings(
        self, job_id: str, http: HttpRequest, *, every_s: float
    ) -> AsyncIterator[Happening | None]:
        """Yield what happens to a job until its end, a JobReport; None where nothing did for ``every_s``."""
        client = self.client_of(job_id, http)
        report = await client.job(job_id)
        if report.state not in FINAL and self.live(job_id) is None:
            yield Accepted()
        while report.state not in FINAL:
            live = self.live(job_id)
            if live is not None:
                async for happening in _heard(live, every_s):
                    yield happening
                report = await _report(client, job_id, _ASK_S, inline=False)
            else:  # another gateway asked for it: how far it is only that one hears
                before = report.state
                report = await _report(client, job_id, min(every_s, _ASK_S), inline=False)
                if report.state not in FINAL:
                    yield None if report.state == before else Progress(stage="generate")
        yield report

    async def cancel(self, job_id: str, http: HttpRequest) -> bool:
        """Stop a job for good; False: it has ended already. Raises NotFound."""
        client = self.client_of(job_id, http)
        cancelled = (await client.cancel(job_id)).cancelled
        if not cancelled:
            await client.job(job_id)
        return cancelled

    def abandon(self, job_id: str, http: HttpRequest) -> None:
        """Stop a job whose id nobody was told, without waiting."""

        async def cancel() -> None:
            try:
                await self.cancel(job_id, http)
            except AudioPoolError:
                pass  # it has ended, or the pool has gone

        self._keep(asyncio.ensure_future(cancel()))

    async def ended(self, job_id: str, caller: HttpCaller) -> JobReport:
        """Return how a job has ended, once it has, whoever is still connected. Raises NotFound."""
        while True:
            try:
                report = await _report(self._asking.client_of(caller), job_id, _ASK_S, inline=False)
            except NotFound:
                raise
            except AudioPoolError:  # the pool is started anew, perhaps
                await asyncio.sleep(_RECONNECT_S)
            else:
                if report.state in FINAL:
                    return report

    async def close(self) -> None:
        """Hear of nothing any more. The jobs go on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def client_of(self, job_id: str, http: HttpRequest) -> AsyncAudioClient:
        """Return whom to ask after a job of the caller's. Raises NotFound: it is another's, or none."""
        caller = caller_of(http)
        if not _ID.fullmatch(job_id) or self.of_another(job_id, caller):
            raise NotFound(f"there is no job {job_id!r:.80} of yours", hint="it may have been too long ago")
        return self._asking.client_of(caller)

    @staticmethod
    def of_another(name: str, caller: HttpCaller) -> bool:
        """Return whether a name is that of a job which is none of the caller's; an operator's key has all."""
        return bool(_ID.fullmatch(name)) and not (caller.operator or name.startswith(f"{caller.mark}."))

    def _begin(
        self, job_id: str, asked: AudioRequest, init_audio: bytes, caller: HttpCaller, *, better: bool = False
    ) -> LiveJob:
        """Begin a job; ``better``: where its answer stands in, the sound itself is made by another one after it."""
        leave = self._asking.take(caller)
        try:
            pending = self._asking.client_of(caller).submit(
                asked, events=True, timeout_s=_LONGEST_S, request_id=job_id, init_audio=init_audio or None
            )
        except BaseException:
            leave()
            raise
        live = self._live[job_id] = LiveJob(asked, init_audio, pending)

        async def follow() -> None:
            try:
                async for event in pending.events():
                    if isinstance(event.body, Accepted):
                        live.accepted = event.body
                    elif isinstance(event.body, Progress):
                        live.progress = event.body
                    live.tell()
                result = await pending
                if better and stands_in(result.metadata):
                    self._begin(upgrade_of(job_id), of_sound(asked), b"", caller)
            except AudioPoolError as exc:
                live.error = exc
            finally:
                live.ended = True
                self._live.pop(job_id, None)
                leave()
                live.tell()

        self._keep(asyncio.ensure_future(follow()))
        return live

    async def _answered_before(self, job_id: str, error: AudioPoolError, caller: HttpCaller) -> None:
        """Return where an id is that of a job that had ended with this error: that is its answer then, no refusal.

        What may succeed the next time is done again, as it is asked for again.
        """
        client = self._asking.client_of(caller)
        try:
            report = await client.job(job_id)
        except AudioPoolError:
            raise error from None
        if report.state == "failed" and report.error is not None and report.error.retryable:
            await client.retry(job_id)

    def _keep(self, task: asyncio.Future[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _heard(live: LiveJob, every_s: float) -> AsyncIterator[Happening | None]:
    """Yield what is heard of a job until it ends, nothing twice; None where there was nothing for ``every_s``."""
    told: list[Accepted | Progress] = []
    due = time.monotonic() + every_s
    while not live.ended:
        following = live.next  # before looking: what happens while this is told counts
        news = [one for one in (live.accepted, live.progress) if one is not None and one not in told]
        for one in news:
            yield one
        if news:
            told = [one for one in (live.accepted, live.progress) if one is not None]
        elif time.monotonic() >= due:
            yield None
        if news or time.monotonic() >= due:
            due = time.monotonic() + every_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(due - time.monotonic()):
                await following.wait()


async def _report(client: AsyncAudioClient, job_id: str, wait_s: float, inline: bool) -> JobReport:
    """Ask after a job until it has ended or the time is over; a pool that is started anew is waited for."""
    until = time.monotonic() + wait_s
    while True:
        left_s = max(0.0, until - time.monotonic())
        try:
            report = await client.job(job_id, wait_s=min(left_s, _ASK_S), delivery="inline" if inline else "path")
        except Disconnected:
            if left_s == 0.0:
                raise
            await asyncio.sleep(min(left_s, _RECONNECT_S))
        else:
            if report.state in FINAL or left_s == 0.0:
                return report


def _named(caller: HttpCaller, idempotency_key: str) -> str:
    if not idempotency_key:
        return f"{caller.mark}.{secrets.token_hex(16)}"
    return f"{caller.mark}.{caller.digest(b'job', idempotency_key.encode())[:32]}"


def _reused(idempotency_key: str) -> str:
    return f"Idempotency-Key: {idempotency_key!r:.80} stands for another request; use a new one, or the same body"
