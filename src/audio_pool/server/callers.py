"""Who is behind a message, and which rights that gives: the table of docs/security.md.

Owns: from a connection (its key, its user, its token) to a Caller, once for each connection.
Must not know: what a message asks.
"""

from __future__ import annotations

import itertools
import os

from msgspec import Struct, structs

from audio_pool.config import ServerConfig
from audio_pool.errors import BadToken
from audio_pool.pool.caller import Caller
from audio_pool.roots import ANYWHERE, NOWHERE, Roots
from audio_pool.transport.keys import AllowList
from audio_pool.transport.sender import Sender
from audio_pool.transport.sockets import Channel
from audio_pool.transport.token import LocalToken

__all__ = ["Callers", "Known"]

_MOST_KNOWN = 16_384
"""Connections; beyond it those that have ended make room."""
_LOOKED_AT = 4
"""Of the oldest, whenever there is no room: more than one new connection needs, and never long."""


class Known(Struct, frozen=True):
    """A connection that has been recognised."""

    sender: Sender
    caller: Caller


class Callers:
    """Recognises who sent a channel's last message. Router's thread only."""

    def __init__(
        self, channel: Channel, config: ServerConfig, *, allowed: AllowList | None, token: LocalToken | None
    ) -> None:
        """
        Args:
            channel: made with ``knows_senders``.
            allowed: what is known of keys, where the channel asks for them.
            token: what a local client on TCP shows.
        """
        self._channel = channel
        self._allowed = allowed
        self._token = token
        self._output_roots = Roots(tuple(config.output_roots)) if config.output_roots else None
        self._input_roots = Roots(tuple(config.input_roots)) if config.input_roots else None
        self._known: dict[bytes, Known] = {}
        self._numbers = itertools.count(1)

    def sender_of(self, client: bytes) -> Known:
        """Recognise the connection that the channel's last message came through.

        Args:
            client: its routing id, which is taken for nothing but a key to what is remembered.
        """
        known = self._known.get(client)
        # zmq gives out an id of its own once; one that its client chose may be another's by now
        if (
            known is not None
            and known.sender.fd == self._channel.sender_fd
            and not (known.sender.chose_its_id and known.sender.gone)
        ):
            return known
        self._make_room()
        sender = self._channel.sender()
        known = self._known[client] = Known(sender, self._recognised(sender))
        return known

    def _make_room(self) -> None:
        for client in list(itertools.islice(self._known, _LOOKED_AT)) if len(self._known) >= _MOST_KNOWN else ():
            known = self._known.pop(client)
            if not known.sender.gone:
                self._known[client] = known  # as the youngest

    def by_token(self, client: bytes, given: str) -> Known:
        """Recognise the connection of the last message as one of the server's own user.

        Raises:
            BadToken: it is not this server's.
        """
        known = self.sender_of(client)
        if self._token is None:  # the door itself says who it is
            return known
        if not self._token.matches(given):
            raise BadToken(
                "token: not this server's; it makes a new one at every start",
                hint="read its file anew (docs/protocol.md says which), or leave the token out",
            )
        known = self._known[client] = Known(known.sender, self._of_user(known.caller, os.getuid()))
        return known

    def _recognised(self, sender: Sender) -> Caller:
        name = f"connection-{next(self._numbers)}"
        nobody = Caller(
            client=name, owner=name, connection=name, operator=False, output_roots=NOWHERE, input_roots=NOWHERE
        )
        if self._allowed is not None:
            return self._of_key(nobody, sender.key, self._allowed)
        return nobody if sender.uid is None else self._of_user(nobody, sender.uid)

    def _of_key(self, nobody: Caller, key: str, allowed: AllowList) -> Caller:
        name, settings = allowed.settings(key)

        def roots(own: list[str] | None, common: Roots | None) -> Roots:
            if own is not None:
                return Roots(tuple(own))
            return common or (ANYWHERE if settings.operator else NOWHERE)

        return structs.replace(
            nobody,
            client=name,
            owner=f"key-{key}",
            operator=settings.operator,
            namespace=settings.namespace,
            output_roots=roots(settings.output_roots, self._output_roots),
            input_roots=roots(settings.input_roots, self._input_roots),
        )

    def _of_user(self, nobody: Caller, uid: int) -> Caller:
        """Return a caller on this machine; the server's own user, and root, can do all this without the server."""
        trusted = uid in (os.getuid(), 0)
        elsewhere = ANYWHERE if trusted else NOWHERE
        return structs.replace(
            nobody,
            owner=f"user-{uid}",
            operator=trusted,
            output_roots=self._output_roots or elsewhere,
            input_roots=self._input_roots or elsewhere,
        )
