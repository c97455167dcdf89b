"""What becomes of each request when a client with several addresses loses a head.

Owns: Moving: the requests that no head has yet, those that one has, and what the loss of that head means for each.
Must not know: sockets, which head comes next (roaming.py), what messages say.

Sounds and questions are asked again of the next head, under the same id: the same recipe is made once. Durable
requests are asked after first, as on a new connection (resumption.py). What must not be done twice by accident is
asked again only where no head had got it; else it ends as Disconnected, which says so.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from audio_pool.client import control
from audio_pool.client.control import Frames, Question, new_request_id
from audio_pool.client.resumption import Outstanding, Resumption
from audio_pool.errors import AudioPoolError, Cancelled, Disconnected, InvalidRequest, PoolClosed, ServerRestarted

__all__ = ["Fate", "Head", "Mover", "Moving", "fate_of"]

T = TypeVar("T")

_OWN_TIMEOUT_S = 60.0
"""Of questions of the client's own: they end with the head that they are asked of, long before."""
_ONCE = frozenset({"feedback", "remove", "remove_many", "choose", "retry", "preset_set", "preset_remove"})
_OF_ONE_HEAD = frozenset(
    {
        "lease", "lease_return", "worker_add", "worker_drain", "worker_remove", "workers_scale",
        "model_order", "model_switch",
    }
)  # fmt: skip


class Fate(enum.Enum):
    """What the loss of its head means for a request."""

    AGAIN = enum.auto()
    """It is sent to the next."""
    DURABLE = enum.auto()
    """The next is asked after it."""
    ONCE = enum.auto()
    """It ends, where the head may have got it."""
    HERE = enum.auto()
    """It was about this head, and ends."""


def fate_of(kind: str) -> Fate:
    """Return what becomes of a question. Raises InvalidRequest: it is about one head, and several may be asked."""
    if kind in _OF_ONE_HEAD:
        raise InvalidRequest(
            f"{kind}: concerns the workers of one head, and this client was given several addresses",
            hint="ask it by a client of that head's address alone",
        )
    return Fate.ONCE if kind in _ONCE else Fate.AGAIN


class Head(Protocol):
    """What is known here of a connection."""

    address: str
    token: str
    outbox: deque[Frames]
    """For it alone, before anything else."""
    asked: dict[str, None]
    """The requests that it has, in their order."""
    stopping: bool
    """It has said that it takes nothing new."""

    def note(self, request_id: str) -> None:
        """Take a request into ``asked``."""
        ...


class Mover(Protocol):
    """What a Moving needs of its session."""

    outgoing: list[Frames]

    def ask(
        self,
        question: Question[T],
        *,
        request_id: str,
        now: float,
        timeout_s: float,
        on_result: Callable[[T], None],
        on_error: Callable[[AudioPoolError], None],
        on: Head | None = None,
    ) -> Frames:
        """Take on a question; ``on``: of this head alone."""
        ...

    def end(self, request_id: str, error: AudioPoolError) -> None:
        """End one request without a head."""
        ...

    def cancel_frames(self, target: str, token: str) -> Frames:
        """Return what stops a request."""
        ...


class _Asked(Outstanding):
    """One request."""

    def __init__(self, make: Callable[[str], Frames], kind: str, fate: Fate) -> None:
        super().__init__(lambda: make(""), lost=False)
        self.make_for = make
        """Gives its frames, with a head's token."""
        self.kind = kind
        self.fate = fate
        self.on: Head | None = None
        """Who has it; None: nobody."""
        self.begun = False
        """Some of its sound has been handed on."""
        self.cancelled = False


class Moving(Resumption):
    """Of one session. Not thread-safe."""

    _passing = (Disconnected, PoolClosed)

    def __init__(self, session: Mover) -> None:
        super().__init__(session)
        self._mover = session
        self._asked: dict[str, _Asked] = {}
        self._queue: deque[str] = deque()
        """Of those that nobody has; ids that have ended since are passed over."""
        self._current: Head | None = None
        self._given_up: deque[str] = deque()

    def take(
        self, request_id: str, make: Callable[[str], Frames], kind: str, fate: Fate, on: Head | None = None
    ) -> None:
        """Take on a request; ``on``: for this head alone."""
        one = self._asked[request_id] = _Asked(make, kind, fate)
        if on is None:
            self._queue.append(request_id)
        else:
            one.on = on
            on.note(request_id)
            on.outbox.append(make(on.token))

    def follow(self, request_id: str, first: str) -> None:
        """Take on what a head has promised to send by itself, with the answer to another request."""
        head = self._asked[first].on if first in self._asked else self._current
        one = self._asked[request_id] = _Asked(lambda token: [], "upgrade", Fate.HERE)
        one.on = head
        if head is not None:
            head.note(request_id)

    def next_for(self, head: Head) -> tuple[str, Frames] | None:
        """Return the next request that nobody has, and its frames for a head; None: there is none that it may have."""
        while self._queue and not head.stopping:
            one = self._asked.get(self._queue[0])
            if one is not None and one.on is None and not one.lost:
                return self._queue[0], one.make_for(head.token)
            self._queue.popleft()
        return None

    def sent(self, request_id: str, head: Head) -> None:
        """Note that a head has got the request that ``next_for`` gave."""
        self._queue.popleft()
        one = self._asked[request_id]
        one.on = head
        head.note(request_id)
        if one.cancelled:
            head.outbox.append(self._mover.cancel_frames(request_id, head.token))

    def begun(self, request_id: str) -> None:
        """Note that some of a sound has been handed on."""
        one = self._asked.get(request_id)
        if one is not None:
            one.begun = True

    def stop(self, request_id: str) -> None:
        """Have a request cancelled by whoever has it; where nobody has, ``settle`` ends it."""
        one = self._asked.get(request_id)
        if one is None:
            return
        one.cancelled = True
        if not self.release(request_id) and not one.lost:
            self._given_up.append(request_id)

    def settle(self) -> None:
        """End what was cancelled and nobody has: in the thread that delivers, as every end is."""
        while self._given_up:
            request_id = self._given_up.popleft()
            one = self._asked.get(request_id)
            if one is not None and one.cancelled and one.on is None and not one.lost:
                self._mover.end(request_id, Cancelled("cancelled by its caller"))

    def release(self, request_id: str) -> bool:
        """Have the head that has a request stop it; False: none has."""
        one = self._asked.get(request_id)
        if one is None or one.on is None:
            return False
        one.on.outbox.append(self._mover.cancel_frames(request_id, one.on.token))
        return True

    def forget(self, request_id: str) -> None:
        one = self._asked.pop(request_id, None)
        if one is not None and one.on is not None:
            one.on.asked.pop(request_id, None)

    # -- heads that come and go

    def arrived(self, head: Head) -> None:
        """Ask a new head who it is, and after every durable request that was lost."""
        self._current = head
        self._ask(control.HEALTH, self._met, _ignore)
        for request_id, one in list(self._asked.items()):
            if one.lost:
                self._ask_after(request_id)

    def left(self) -> None:
        """Note that nobody new is asked until the next head is there."""
        self._current = None

    def probe(self, head: Head) -> None:
        """Ask a head that says nothing whether it lives."""
        self._ask_of(head, control.HEALTH, _ignore, _ignore)

    def take_back(self, request_id: str) -> bool:
        """Have a request that its head would not begin asked of the next; False: it ends with that answer."""
        one = self._asked.get(request_id)
        if one is None or one.on is None:
            return False
        one.on.stopping = True
        if one.fate in (Fate.ONCE, Fate.HERE) or one.begun or one.cancelled:
            return False
        self._lost(request_id, one, one.on, "")
        return True

    def lose(self, head: Head, why: str) -> None:  # type: ignore[override]  # there are several
        """Settle what becomes of everything that a head had."""
        for request_id in list(head.asked):
            one = self._asked.get(request_id)
            if one is not None:  # else it ended with one before it
                self._lost(request_id, one, head, why)

    def _lost(self, request_id: str, one: _Asked, head: Head, why: str) -> None:
        one.on = None
        head.asked.pop(request_id, None)
        where = f"{head.address}: {why}"
        if one.fate is Fate.DURABLE and not one.begun:
            one.lost = True
            if self._current is not None and self._current is not head:
                self._ask_after(request_id)
        elif one.fate is Fate.HERE:
            self._mover.end(request_id, Disconnected(f"{where}, before the answer came", hint="ask again"))
        elif one.cancelled:
            self._mover.end(request_id, Cancelled("cancelled by its caller"))
        elif one.begun:
            lost = f"{where}, in the middle of a stream, which no other head can go on with"
            self._mover.end(request_id, Disconnected(lost, hint="ask again, for all of it"))
        elif one.fate is Fate.ONCE:
            lost = f"{where}, before it said whether {one.kind} was done; it is not asked twice"
            self._mover.end(request_id, Disconnected(lost, hint="look whether it was, and ask again if not"))
        else:
            self._queue.append(request_id)

    # -- as its base asks

    def _find(self, request_id: str) -> _Asked | None:
        return self._asked.get(request_id)

    def _not_known(self, request_id: str) -> ServerRestarted:
        lost = f"the head that accepted {request_id} is gone, and the next does not know it"
        return ServerRestarted(lost, hint="do the heads share their jobs? Ask again, and it is done anew")

    def _send_again(self, request_id: str) -> None:
        one = self._asked.get(request_id)
        if one is not None and one.lost:
            one.lost = False
            self._queue.append(request_id)

    def _ask(
        self, question: Question[T], on_result: Callable[[T], None], on_error: Callable[[AudioPoolError], None]
    ) -> None:
        if self._current is not None:  # else it is asked of the next, which is asked after everything
            self._ask_of(self._current, question, on_result, on_error)

    def _ask_of(
        self,
        head: Head,
        question: Question[T],
        on_result: Callable[[T], None],
        on_error: Callable[[AudioPoolError], None],
    ) -> None:
        self._mover.ask(
            question,
            request_id=new_request_id(),
            now=time.monotonic(),
            timeout_s=_OWN_TIMEOUT_S,
            on_result=on_result,
            on_error=on_error,
            on=head,
        )


def _ignore(outcome: object) -> None:
    """Do nothing: who does not answer is lost anyway."""
