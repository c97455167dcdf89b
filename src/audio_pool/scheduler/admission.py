"""Who is let into the queue, and when there will be room for who is not. Pure, like the scheduler.

Owns: the bounds of the whole queue and of each client's share, and the estimate in ``retry_after_ms``.
Must not know: when it is asked (scheduler.py), the order of waiting (queue.py).

Without a bound of its own a client may have four times as much in the queue as is left free there (a dynamic
threshold: Choudhury and Hahne, IEEE/ACM Transactions on Networking, 1998). Alone it gets four fifths; each of n that
flood gets 4/(4n + 1), and something is always left for one who has nothing there yet. A fixed share would be too much
for many and too little for one; pushing out what was let in would break a promise.
"""

from __future__ import annotations

from collections.abc import Iterator

from audio_pool.config import QueueConfig
from audio_pool.errors import Busy
from audio_pool.scheduler.clients import ClientRules
from audio_pool.scheduler.estimates import Estimates, TaskKind
from audio_pool.scheduler.requests import WaitingRequests
from audio_pool.scheduler.worker_state import HeldTask, WorkerState
from audio_pool.scheduler.workers import WorkerTable

__all__ = ["Admission"]

_OF_WHAT_IS_FREE = 4
_LEAST_MS, _MOST_MS = 10, 600_000


class Admission:
    """Judges requests that are about to wait."""

    def __init__(
        self,
        queue: QueueConfig,
        rules: ClientRules,
        requests: WaitingRequests,
        workers: WorkerTable,
        estimates: Estimates,
    ) -> None:
        self.queue = queue
        self._rules = rules
        self._requests = requests
        self._workers = workers
        self._estimates = estimates

    def refusal(self, client: str, now: float, more_bytes: int | None = None) -> Busy | None:
        """Return why the queue is too full for a client's request; None: there is room.

        Args:
            more_bytes: of one more request; None: the request is among those that were taken in already.
        """
        requests, queue, rules = self._requests, self.queue, self._rules
        count, size = len(requests), requests.bytes
        own_count, own_size = requests.of_client(client)
        if more_bytes is not None:
            count, size, own_count, own_size = count + 1, size + more_bytes, own_count + 1, own_size + more_bytes
        if count > queue.max_requests or size > queue.max_bytes:
            return self._busy(
                f"the queue is full: {count - 1} requests, {requests.bytes:,} bytes "
                f"(allowed are {queue.max_requests}, {queue.max_bytes:,})",
                self._any_ends_in(now),
            )
        if not client:
            return None  # nobody's own: the program itself, whose whole queue this is
        most = rules.max_requests(client) or _OF_WHAT_IS_FREE * (queue.max_requests - count + 1)
        if own_count > most:
            return self._share_is_full(client, now, f"{own_count - 1} requests of {count - 1}, allowed are {most}")
        most = rules.max_bytes(client) or _OF_WHAT_IS_FREE * (queue.max_bytes - size)
        if own_size > most and own_count > 1:  # a single one is never too large for its share
            return self._share_is_full(client, now, f"{own_size:,} bytes of {size:,}, allowed are {most:,}")
        return None

    # -- when there will be room -------------------------------------------------------------------

    def _share_is_full(self, client: str, now: float, how: str) -> Busy:
        own = [seconds for seconds, held in self._endings(now) if client in held.clients]
        # with nothing in hand its next turn comes when the next thread is free
        wait_s = min(own) if own else self._any_ends_in(now) + self._estimates.expect(TaskKind("generate"))
        return self._busy(f"your share of the queue is full: {how}", wait_s)

    def _busy(self, message: str, wait_s: float) -> Busy:
        wait_ms = max(_LEAST_MS, min(_MOST_MS, round(wait_s * 1000)))
        return Busy(message, hint="try again after retry_after_ms", retry_after_ms=wait_ms)

    def _any_ends_in(self, now: float) -> float:
        """Return the seconds until any task ends; where none is in hand, until one that starts next would."""
        in_hand = min((seconds for seconds, _ in self._endings(now)), default=None)
        if in_hand is not None:
            return in_hand
        dues = [worker.due for worker in self._workers.workers.values() if worker.state == "down"]
        starts_in = min((due - now for due in dues if due is not None), default=0.0)
        return max(0.0, starts_in) + self._estimates.expect(TaskKind("generate"))

    def _endings(self, now: float) -> Iterator[tuple[float, HeldTask]]:
        """Yield the tasks in hand that make room when they end, with the seconds until then."""
        for worker in self._workers.workers.values():
            if worker.state == "ready":
                yield from self._endings_of(worker, now)

    def _endings_of(self, worker: WorkerState, now: float) -> Iterator[tuple[float, HeldTask]]:
        running = {held.task for held in worker.heads()}
        busy_until = {"generate": 0.0, "aux": 0.0}
        for held in worker.tasks.values():
            expected_s = self._estimates.expect(held.kind)
            left_s = expected_s
            if held.task in running:
                elapsed_s = now - held.since
                # one that is late may well be as late again
                left_s = max(abs(expected_s - elapsed_s), expected_s / 10)
            busy_until[held.thread] += left_s
            if held.kind.role != "embed":
                yield busy_until[held.thread], held
