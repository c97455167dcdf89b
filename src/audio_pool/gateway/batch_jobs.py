"""Batches: many sounds asked for at once, each a durable job of the pool.

Owns: how a batch's id and its jobs' follow from what was asked, which of them have ended, how all are cancelled.
Must not know: routes, how a batch is written as JSON.

A batch is nothing but its jobs: its id says whose it is and how many they are, and each job's id follows from it.
So the pool keeps everything, any gateway before it answers for any batch after any restart, and the same batch
posted again asks for nothing that is there already.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
from msgspec import structs

from audio_pool.api import JobReport
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.errors import AudioPoolError, Conflict, NotFound
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.http_request import HttpRequest, caller_of, while_connected
from audio_pool.gateway.live_jobs import FINAL, Asking
from audio_pool.gateway.problems import ReusedKey
from audio_pool.pending import Pending
from audio_pool.types import AudioRequest

__all__ = ["BatchJobs", "BatchView"]

_ID = re.compile(r"([a-z0-9]{4,16})\.([0-9a-f]{24})([0-9a-f]{8})")
_LONGEST_S = 30 * 86_400.0
_AT_ONCE = 32
"""Questions about a batch's jobs that the pool has at a time."""
_ASKED_AT_ONCE = 256
"""Jobs asked for at a time: the pool writes them down in one go, and fewer than a connection holds unsent."""
_REMEMBERED = 64
"""Batches whose ended jobs are not asked after again."""
_LOOK_S = 1.0
"""Between two looks at the jobs of a batch that another gateway asked for; longer for many."""
_PER_JOB_S = 0.02
_REUSED = "Idempotency-Key: stands for another batch; use a new one, or the same body"


class BatchView:
    """One batch as far as it is known: the last report of each job; None: the pool knows of none."""

    def __init__(self, batch_id: str) -> None:
        found = _ID.fullmatch(batch_id)
        assert found is not None
        self.batch_id = batch_id
        self._stem = f"{found[1]}.{found[2]}"
        self.reports: list[JobReport | None] = [None] * int(found[3], 16)
        self.live: set[int] = set()
        """Jobs that this gateway asked for, and hears the end of."""
        self.look_at = 0.0
        """When all of its jobs may be asked after again."""
        self._changed = asyncio.Event()

    def job_id(self, number: int) -> str:
        """Return the id of one of its jobs, counted from 0."""
        return f"{self._stem}{number:08x}"

    @property
    def open(self) -> list[int]:
        """The jobs that have not ended."""
        return [number for number, report in enumerate(self.reports) if report is None or report.state not in FINAL]

    @property
    def under_way(self) -> bool:
        """True while a job of it has not ended; one that the pool knows nothing of never will."""
        return any(self.reports[number] is not None or number in self.live for number in self.open)

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs there are by state; ``missing``: the pool knows of none."""
        return dict(collections.Counter("missing" if one is None else one.state for one in self.reports))

    def tell(self) -> None:
        """Wake whoever waits for something to happen."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, within_s: float) -> None:
        """Return when a job has ended, or after so long; sooner where nothing tells of it."""
        unheard = sum(1 for number in self.open if number not in self.live)
        if unheard:
            within_s = min(within_s, max(_LOOK_S, unheard * _PER_JOB_S))
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def follow(self, number: int, pending: Pending) -> None:
        """Hear of a job until its end."""
        self.live.add(number)
        try:
            await pending
        except AudioPoolError:
            pass  # its report says what it came to
        finally:
            self.live.discard(number)
            self.tell()


class BatchJobs:
    """The batches of one gateway's callers. Of one event loop.

    Args:
        most_jobs: of one batch.
    """

    def __init__(self, asking: Asking, most_jobs: int) -> None:
        self._asking = asking
        self._most_jobs = most_jobs
        self._bodies: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        """Hashes of the requests of batches that were taken here, by the stem of their ids."""
        self._views: collections.OrderedDict[str, BatchView] = collections.OrderedDict()
        self._tasks: set[asyncio.Future[None]] = set()

    async def submit(self, requests: Sequence[AudioRequest], http: HttpRequest, *, key: str = "") -> BatchView:
        """Ask for many sounds; return once the pool has promised every one, or has it already.

        Args:
            key: names the batch; "": its requests do.

        Raises:
            ReusedKey: the key stands for other requests.
            TooMany: the caller may not have so many under way and waiting.
            AudioPoolError: the pool does not take one of them; those that it took go on.
        """
        caller = caller_of(http)
        asked = [structs.replace(self._asking.admitted(one, http), durable=True, delivery="path") for one in requests]
        body = hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).digest()
        named = (b"key", key.encode()) if key else (b"body", body)
        stem = caller.digest(b"batch", *named)[:24]
        known = self._bodies.get(stem)
        if known not in (None, body):
            raise ReusedKey(_REUSED)
        view = self._view(f"{caller.mark}.{stem}{len(asked):08x}")
        # of a batch that another gateway may have taken each job is asked for: the pool compares what for
        numbers = list(range(len(asked))) if known is None else view.open
        numbers = [number for number in numbers if number not in view.live]
        leaves = collections.deque(self._take(caller, len(numbers)))
        try:
            await self._ask_for(asked, numbers, view, http, leaves)
        finally:
            for leave in leaves:  # of those that were not asked for after all
                leave()
        self._bodies[stem] = body
        if len(self._bodies) > _REMEMBERED:
            self._bodies.popitem(last=False)
        return view

    def _take(self, caller: HttpCaller, count: int) -> list[Callable[[], None]]:
        """Count so many sounds, or none of them; return what ends each. Raises TooMany."""
        taken: list[Callable[[], None]] = []
        try:
            while len(taken) < count:
                taken.append(self._asking.take(caller))
        except AudioPoolError:
            for leave in taken:
                leave()
            raise
        return taken

    async def _ask_for(
        self,
        asked: Sequence[AudioRequest],
        numbers: Sequence[int],
        view: BatchView,
        http: HttpRequest,
        leaves: collections.deque[Callable[[], None]],
    ) -> None:
        """Ask the pool for these of a batch, many at a time. ``leaves``: what ends the place of each."""
        client = self._asking.client_of(caller_of(http))
        for start in range(0, len(numbers), _ASKED_AT_ONCE):
            pending: dict[int, Pending] = {}
            for number in numbers[start : start + _ASKED_AT_ONCE]:
                pending[number] = client.submit(asked[number], timeout_s=_LONGEST_S, request_id=view.job_id(number))
                following = asyncio.ensure_future(view.follow(number, pending[number]))
                following.add_done_callback(functools.partial(_left, leaves.popleft()))
                self._keep(following)
            # not until each is accepted, which those are that the queue has room for: all are written down by now
            await while_connected(http, self._ask(view, list(pending), client))
            for number, one in pending.items():
                error = one.exception() if one.done() and not one.cancelled() else None
                if isinstance(error, Conflict):
                    raise ReusedKey(_REUSED)
                if view.reports[number] is None and isinstance(error, AudioPoolError):
                    error.message = f"items[{number}]: {error.message}"
                    raise error

    async def look(self, batch_id: str, http: HttpRequest) -> BatchView:
        """Return how a batch of the caller's stands. Raises NotFound."""
        caller = caller_of(http)
        found = _ID.fullmatch(batch_id)
        if found is None or not (caller.operator or found[1] == caller.mark):
            raise _unknown(batch_id)
        if not 0 < int(found[3], 16) <= self._most_jobs:
            raise _unknown(batch_id)
        known = self._views.get(batch_id) or BatchView(batch_id)
        if all(report is None for report in known.reports):  # two questions tell that there is none, not a thousand
            ends = {0, len(known.reports) - 1}
            client = self._asking.client_of(caller)
            if not any([await self._exists(known, number, client) for number in ends]):
                raise _unknown(batch_id)
        view = self._view(batch_id)
        await while_connected(http, self._refresh(view, caller, every=time.monotonic() >= view.look_at))
        return view

    async def endings(
        self, view: BatchView, http: HttpRequest, *, every_s: float
    ) -> AsyncIterator[list[int] | None]:
        """Yield the jobs that have ended, as they do, until all have; None where none did for ``every_s``."""
        caller, told, heard_at = caller_of(http), set[int](), time.monotonic()
        while True:
            still = set(view.open)
            ended = [number for number in range(len(view.reports)) if number not in still and number not in told]
            if ended or time.monotonic() - heard_at >= every_s:
                told.update(ended)
                heard_at = time.monotonic()
                yield ended or None
            if not view.under_way:
                return
            await view.change(every_s)
            await self._refresh(view, caller)

    async def finished(self, view: BatchView, caller: HttpCaller) -> None:
        """Return once every job of a batch has ended."""
        while view.under_way:
            await view.change(60.0)
            try:
                await self._refresh(view, caller)
            except AudioPoolError:  # the pool is started anew, perhaps
                await asyncio.sleep(_LOOK_S)

    async def cancel(self, view: BatchView, http: HttpRequest) -> int:
        """Stop every job of a batch that has not ended; return how many were stopped."""
        caller = caller_of(http)
        client = self._asking.client_of(caller)
        stopped = 0

        async def stop(number: int) -> None:
            nonlocal stopped
            stopped += (await client.cancel(view.job_id(number))).cancelled

        await self._each(view.open, stop)
        await self._refresh(view, caller, every=True)
        view.tell()
        return stopped

    async def close(self) -> None:
        """Hear of nothing any more. The jobs go on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- inside ------------------------------------------------------------------------------------

    def _view(self, batch_id: str) -> BatchView:
        view = self._views.get(batch_id)
        if view is None:
            view = self._views[batch_id] = BatchView(batch_id)
            while len(self._views) > _REMEMBERED:
                self._views.popitem(last=False)
        self._views.move_to_end(batch_id)
        return view

    async def _refresh(self, view: BatchView, caller: HttpCaller, *, every: bool = False) -> None:
        """Ask after the jobs that had not ended; but for ``every`` not after those whose end is heard of."""
        numbers = [number for number in view.open if every or number not in view.live]
        if every:
            view.look_at = time.monotonic() + len(numbers) * _PER_JOB_S
        await self._ask(view, numbers, self._asking.client_of(caller))

    async def _ask(self, view: BatchView, numbers: Sequence[int], client: AsyncAudioClient) -> None:
        async def ask(number: int) -> None:
            try:
                view.reports[number] = await client.job(view.job_id(number))
            except NotFound:
                view.reports[number] = None

        await self._each(numbers, ask)

    async def _exists(self, view: BatchView, number: int, client: AsyncAudioClient) -> bool:
        """Return True where an error is what a job came to; False: the pool did not take it."""
        try:
            view.reports[number] = await client.job(view.job_id(number))
        except AudioPoolError:
            return False
        return True

    async def _each(self, numbers: Sequence[int], work: Callable[[int], Awaitable[None]]) -> None:
        for start in range(0, len(numbers), _AT_ONCE):
            await asyncio.gather(*(work(number) for number in numbers[start : start + _AT_ONCE]))

    def _keep(self, task: asyncio.Future[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _left(leave: Callable[[], None], job: asyncio.Future[None]) -> None:
    """Give a place back when its job has ended."""
    leave()


def _unknown(batch_id: str) -> NotFound:
    return NotFound(f"there is no batch {batch_id!r:.80} of yours", hint="it may have been too long ago")
