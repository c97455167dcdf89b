"""The requests that wait for their final reply, with their bytes and deadlines. Pure, like the scheduler.

Owns: how much is taken in, and of whom, whose deadline comes next, and that a request's number is used once.
Must not know: what becomes of a request (scheduler.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from msgspec import Struct

from audio_pool.scheduler.events import Call, Submit
from audio_pool.scheduler.jobs import RequestState

__all__ = ["WaitingRequests"]


class _Share(Struct):
    """What one client has here."""

    requests: int = 0
    bytes: int = 0


class WaitingRequests:
    """Request states by number."""

    def __init__(self) -> None:
        self.bytes = 0
        """Of all of them, as their callers sent them."""
        self._by_client: dict[str, _Share] = {}
        self._states: dict[int, RequestState] = {}
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, request: int) -> bool:
        return request in self._states

    def __getitem__(self, request: int) -> RequestState:
        return self._states[request]

    def get(self, request: int) -> RequestState | None:
        """Return the state of a request that is not answered yet."""
        return self._states.get(request)

    def states(self) -> list[RequestState]:
        """Return all of them."""
        return list(self._states.values())

    @property
    def deadlines(self) -> int:
        """Deadlines that are remembered, those of answered requests included until they come up."""
        return len(self._deadlines)

    def add(self, asked: Submit | Call, job: int, *, joined: bool) -> None:
        """Take a request in."""
        request = asked.request
        assert request not in self._states, "a request's number is used once"
        self._states[request] = RequestState(
            request=request,
            job=job,
            deadline=asked.deadline,
            events=isinstance(asked, Submit) and asked.events,
            size_bytes=asked.size_bytes,
            joined=joined,
            client=asked.client,
            priority=asked.priority,
        )
        self.bytes += asked.size_bytes
        share = self._by_client.get(asked.client)
        if share is None:
            share = self._by_client[asked.client] = _Share()
        share.requests += 1
        share.bytes += asked.size_bytes
        if asked.deadline is not None:
            heapq.heappush(self._deadlines, (asked.deadline, request))
            if len(self._deadlines) > 64 and len(self._deadlines) > 4 * len(self._states):  # most are answered
                self._deadlines = [entry for entry in self._deadlines if entry[1] in self._states]
                heapq.heapify(self._deadlines)

    def remove(self, request: int) -> RequestState:
        """Take a request out, because it is answered."""
        state = self._states.pop(request)
        self.bytes -= state.size_bytes
        share = self._by_client[state.client]
        share.requests -= 1
        share.bytes -= state.size_bytes
        if not share.requests:
            del self._by_client[state.client]
        return state

    def of_client(self, client: str) -> tuple[int, int]:
        """Return how many requests of a client there are, and how many bytes."""
        share = self._by_client.get(client)
        return (share.requests, share.bytes) if share is not None else (0, 0)

    @property
    def clients(self) -> int:
        """How many clients have requests here."""
        return len(self._by_client)

    def next_deadline(self) -> float | None:
        """Return the earliest deadline; None: no request has one."""
        while self._deadlines and self._deadlines[0][1] not in self._states:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def expired(self, now: float) -> Iterator[int]:
        """Yield the requests whose deadline has passed, each once."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, request = heapq.heappop(self._deadlines)
            if request in self._states:
                yield request
