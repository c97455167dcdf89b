"""Durable requests that outlive their connection: which there are, and how each is picked up on the next one.

Owns: Resumption, one session's outstanding durable requests, and which start of the server has accepted them.
Must not know: sockets, how a connection is made anew.

On a new connection each lost request is asked after by its id. Known to the server: its generate is sent again,
which joins the job, or gets its result. Unknown and never accepted: it had not arrived, and is sent again, too.
Unknown though accepted: it ends, because nobody can say whether it was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

from audio_pool.api import Health, JobReport
from audio_pool.client import control
from audio_pool.client.control import QUESTION_TIMEOUT_S, Frames, Question, new_request_id
from audio_pool.errors import AudioPoolError, Disconnected, NotFound, ServerRestarted, Timeout

__all__ = ["Outstanding", "Resumption"]

T = TypeVar("T")


class Asker(Protocol):
    """What a resumption needs of its session."""

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
    ) -> Frames:
        """Take on a question: the frames to send."""
        ...

    def end(self, request_id: str, error: AudioPoolError) -> None:
        """End one request without its server."""
        ...


class Outstanding:
    """One durable request."""

    def __init__(self, make: Callable[[], Frames], *, lost: bool) -> None:
        self.make = make
        self.lost = lost
        """The connection that it was sent on broke, or there was none."""
        self.accepted_by: str | None = None
        """The server's instance; None: it was not accepted, as far as is known."""


class Resumption:
    """Not thread-safe, as its session."""

    _passing: tuple[type[AudioPoolError], ...] = (Disconnected,)

    def __init__(self, session: Asker) -> None:
        self.instance = ""
        """Which start of the server answered last."""
        self.away = False
        """The server was lost and the next is not there: what is asked for meanwhile is sent to that one."""
        self._session = session
        self._outstanding: dict[str, Outstanding] = {}

    def add(self, request_id: str, make: Callable[[], Frames]) -> None:
        """Take on a request; ``make`` gives its frames for the connection of that moment."""
        self._outstanding[request_id] = Outstanding(make, lost=self.away)

    def accepted(self, request_id: str) -> None:
        """Note that the server has promised a request's answer."""
        one = self._find(request_id)
        if one is not None:
            one.accepted_by = self.instance

    def forget(self, request_id: str) -> None:
        """Let go of a request that has ended."""
        self._outstanding.pop(request_id, None)

    def lose(self) -> Collection[str]:
        """Return the requests that wait for the next connection."""
        self.away = True
        for one in self._outstanding.values():
            one.lost = True
        return self._outstanding

    def resume(self) -> None:
        """Ask a new connection who is there, and after all that was lost."""
        self.away = False
        self._ask(control.HEALTH, self._met, _ignore)
        for request_id, one in self._outstanding.items():
            if one.lost:
                self._ask_after(request_id)

    def _find(self, request_id: str) -> Outstanding | None:
        return self._outstanding.get(request_id)

    def _met(self, health: Health) -> None:
        self.instance = health.instance

    def _ask_after(self, request_id: str) -> None:
        def known(report: JobReport) -> None:
            self._send_again(request_id)

        def unknown(error: AudioPoolError) -> None:
            one = self._find(request_id)
            if one is None or isinstance(error, self._passing):  # it is asked after again on the next connection
                return
            if isinstance(error, Timeout):
                self._ask_after(request_id)
            elif not isinstance(error, NotFound):
                self._session.end(request_id, error)
            elif one.accepted_by is None:
                self._send_again(request_id)
            elif one.accepted_by == self.instance:
                self._session.end(request_id, error)
            else:
                self._session.end(request_id, self._not_known(request_id))

        self._ask(control.job(request_id), known, unknown)

    def _not_known(self, request_id: str) -> ServerRestarted:
        lost = f"the server that accepted {request_id} was restarted, and does not know it any more"
        return ServerRestarted(lost, hint="is its jobs.dir another one? Ask again")

    def _send_again(self, request_id: str) -> None:
        one = self._find(request_id)
        if one is not None:
            one.lost = False
            self._session.outgoing.append(one.make())

    def _ask(
        self, question: Question[T], on_result: Callable[[T], None], on_error: Callable[[AudioPoolError], None]
    ) -> None:
        frames = self._session.ask(
            question,
            request_id=new_request_id(),
            now=time.monotonic(),
            timeout_s=QUESTION_TIMEOUT_S,
            on_result=on_result,
            on_error=on_error,
        )
        self._session.outgoing.append(frames)


def _ignore(error: AudioPoolError) -> None:
    """Do nothing: the instance stays unknown."""
