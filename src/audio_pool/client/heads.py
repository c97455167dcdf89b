"""A client's connections to several heads: one that is asked, and those that are let go.

Owns: when a head counts as lost (its connection ends or is refused, it is silent, it says that it is stopping), and
the change to the next.
Must not know: what messages say, which head comes next (roaming.py), what becomes of each request (moving.py).
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from audio_pool.client.connection import CONNECT_RETRIED, MONITORED, Connection, Keys, Watch
from audio_pool.client.control import Frames
from audio_pool.client.moving import Moving
from audio_pool.client.roaming import Order, Roaming
from audio_pool.client.session import ClientSession
from audio_pool.errors import InvalidConfig, Refused
from audio_pool.transport.keys import ClientKeys

__all__ = ["PROBE_S", "SILENT_S", "Heads", "connect"]

PROBE_S = 3.0
"""A head that has been asked and says nothing for so long is asked whether it lives."""
SILENT_S = 10.0
"""One that does not answer that either, all in all for so long, counts as lost."""
_FULL_S = 0.005
"""Where zmq takes no more now it is tried again so soon."""


class _HeadConnection(Connection):
    """A connection that is not made anew when it ends: the next one may be another head's."""

    _monitored = MONITORED | CONNECT_RETRIED

    def __init__(self, address: str, keys: Keys, session: ClientSession, watch: Watch, patience_s: float) -> None:
        self.outbox: deque[Frames] = deque()
        self.asked: dict[str, None] = {}
        self.stopping = False
        self.is_made = False
        self.answers = False
        """It has said something of its own."""
        self.is_noted = False
        self.ended = ""
        """Why it is of no use any more; "": it is."""
        self.refuses = False
        self.silent = False
        self.heard_at = time.monotonic()
        """When something came last or, since nothing had to, was asked."""
        self.probed_at: float | None = None
        """When it was asked whether it lives, and has said nothing since."""
        self.patient_until = self.heard_at + patience_s
        super().__init__(address, keys, session, watch)
        self.token = self._token()

    def receive(self) -> None:
        while (frames := self.channel.receive()) is not None:
            self._made()
            self.answers = True
            self.heard_at, self.probed_at = time.monotonic(), None
            self._session.on_message(frames)

    def flush(self) -> tuple[bool, bool]:
        """Send what waits for this head alone; return whether anything was sent, and whether all of it was."""
        sent = False
        while self.outbox:
            if not self.take(self.outbox[0]):
                return sent, False
            sent = True
            self.outbox.popleft()
        return sent, True

    def doubted_at(self) -> float:
        """When it has been silent for long enough to be asked whether it lives or, if it was, to be given up."""
        return self.heard_at + PROBE_S if self.probed_at is None else self.probed_at + SILENT_S - PROBE_S

    def take(self, frames: Frames) -> bool:
        """Send a message; return False where there is no room for it now."""
        return self.channel.send(frames)

    def note(self, request_id: str) -> None:
        """Note a request that it has now; it is expected to say something from now on."""
        if not self.asked:
            self.heard_at, self.probed_at = time.monotonic(), None
        self.asked[request_id] = None

    def _flush(self) -> None:
        """Send nothing of the session's own: everything goes by the outbox."""

    def _made(self) -> None:
        if not self.is_made:
            self.is_made, self.token = True, self._token()

    def _not_made(self, why: str) -> None:
        self.ended = self.ended or why

    def _refused(self, value: int) -> None:
        self.refuses = True
        self._not_made(f"it turned this client's key away ({value})")

    def _lost(self) -> None:
        self.receive()  # what came before the end counts
        self._not_made("the connection ended")


class Heads:
    """The connections of one session whose requests may move. Used as a Connection is.

    Args:
        order: which address is tried first; see Roaming.
        watch: told of the sockets, as they come and go.
        chance: a number 0..1 at each call.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        keys: Keys,
        session: ClientSession,
        watch: Watch,
        *,
        order: Order = "random",
        chance: Callable[[], float] = random.random,
    ) -> None:
        assert session.moving is not None, "the session's requests cannot move"
        self._keys = ClientKeys.read(Path(keys)) if isinstance(keys, str | Path) else keys
        self._session = session
        self._moving: Moving = session.moving
        self._watch = watch
        self._roaming = Roaming(addresses, order=order, chance=chance)
        self._names = ", ".join(addresses)
        self._current: _HeadConnection | None = None
        self._leaving: list[_HeadConnection] = []
        """They take nothing new, and finish what they have."""
        self._try_at = 0.0
        self._full = False
        self._closed = False

    @property
    def address(self) -> str:
        """The head that is asked; "": none is there."""
        return self._current.address if self._current is not None and self._current.is_made else ""

    def close(self) -> None:
        self._closed = True
        for head in self._all():
            head.close()
        self._current, self._leaving = None, []

    def offer(self, frames: Frames) -> bool:
        """Send nothing: what a session with several heads has to send it says by ``tend``."""
        return not frames

    send = offer

    def due(self) -> float | None:
        """When ``tend`` has something to do whatever arrives."""
        times = [self._session.next_deadline()]
        if self._current is None:
            times.append(self._try_at)
        elif not self._current.is_made:
            times.append(self._current.patient_until)
        if self._full:
            times.append(time.monotonic() + _FULL_S)
        times += [head.doubted_at() for head in self._all() if head.asked]
        return min((at for at in times if at is not None), default=None)

    def tend(self) -> None:
        """Take in whatever there is; move on where that is called for; send what waits."""
        while not self._closed:  # by a callback of what came
            for head in self._all():
                head.receive()
                head.poll_monitor()
            now = time.monotonic()
            self._session.expire(now)
            self._look(now)
            if not self._flush():
                return

    def _all(self) -> list[_HeadConnection]:
        return self._leaving if self._current is None else [*self._leaving, self._current]

    def _look(self, now: float) -> None:
        self._moving.settle()
        for head in self._all():
            self._listen(head, now)
        for head in list(self._leaving):
            if head.ended or not (head.asked or head.outbox):
                self._leaving.remove(head)
                self._drop(head)
        if self._current is not None:
            self._look_at(self._current, now)
        if self._current is None:
            address, self._try_at = self._roaming.choose(now)
            if self._try_at <= now:
                self._current = self._begun(address, now)

    def _begun(self, address: str, now: float) -> _HeadConnection | None:
        """Return the connection to a head, which is yet to be made; None: zmq takes it for no address."""
        self._roaming.begun(address)
        try:
            return _HeadConnection(address, self._keys, self._session, self._watch, self._roaming.patience_s(address))
        except InvalidConfig as exc:
            self._roaming.failed(address, exc.message, now, leave=True)
            self._try_at = self._roaming.choose(now)[1]
            return None
        finally:
            self._session.trouble = self._roaming.trouble

    def _look_at(self, head: _HeadConnection, now: float) -> None:
        """See whether the head that is asked has come, or is to be left."""
        if head.is_made and not head.ended and not self._session.connected:
            self._session.connected, self._session.refusal = True, None
            self._moving.arrived(head)
        if head.answers and not head.is_noted:  # a greeting alone says little: it may end the connection next
            head.is_noted = True
            self._roaming.answered(head.address)
        if not head.is_made and now >= head.patient_until:
            head.ended = head.ended or "no greeting in time"
        if head.ended or head.stopping:
            self._leave(head, now)

    def _listen(self, head: _HeadConnection, now: float) -> None:
        """Ask a head that says nothing whether it lives, and give it up in the end."""
        if not head.asked or head.ended or now < head.doubted_at():
            return
        if head.probed_at is None:  # also where it was this process that stood still: what came meanwhile has been read
            head.probed_at = now
            self._moving.probe(head)
        else:
            head.silent, head.ended = True, f"silent for {SILENT_S:g} s"

    def _leave(self, head: _HeadConnection, now: float) -> None:
        """Ask this head nothing any more; one that is stopping finishes what it has."""
        self._current, self._session.connected = None, False
        self._moving.left()
        why = head.ended or "it is stopping"
        self._roaming.failed(head.address, why, now, leave=head.stopping or head.silent, refuses=head.refuses)
        if head.ended:
            self._drop(head)
        else:
            self._leaving.append(head)
        self._session.trouble = self._roaming.trouble
        if self._roaming.all_refuse:
            self._session.refuse(
                Refused(
                    f"{self._names}: every one of them turned this client's key away",
                    hint="have its .key file put into their allowed_clients",
                )
            )

    def _drop(self, head: _HeadConnection) -> None:
        head.close()
        self._moving.lose(head, head.ended or "it is stopping")

    def _flush(self) -> bool:
        """Send what waits; return whether anything was sent."""
        some, self._full = False, False
        for head in self._all():
            if head.is_made and not head.ended:
                sent, whole = head.flush()
                some = some or sent
                self._full = self._full or not whole
        head_now = self._current
        if head_now is None or not self._session.connected:
            return some
        while not self._full and (waiting := self._moving.next_for(head_now)) is not None:
            request_id, frames = waiting
            if not head_now.take(frames):
                self._full = True
                break
            self._moving.sent(request_id, head_now)
            some = True
        return some


def connect(
    addresses: Sequence[str], keys: Keys, session: ClientSession, watch: Watch, *, order: Order = "random"
) -> Connection | Heads:
    """Return what keeps a session's connection: to the one server, or to whichever of several heads."""
    if len(addresses) == 1:
        return Connection(addresses[0], keys, session, watch)
    return Heads(addresses, keys, session, watch, order=order)
