"""Who may come in, by key, and what each key has here: a connection to the pool of its own, and its quota.

Owns: Accounts: a caller's client and its turns.
Must not know: routes, how a request is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.gateway.callers import ANYBODY, HttpCaller
from audio_pool.gateway.keyring import Keyring, key_in
from audio_pool.gateway.quota import Quota

__all__ = ["Accounts"]


class _Account:
    """What is kept of one key."""

    def __init__(self, client: AsyncAudioClient, quota: Quota) -> None:
        self.client = client
        self.quota = quota


class Accounts:
    """All callers of one process. Of one event loop.

    Args:
        connect: makes a client of the pool.
        keyring: None: there are no keys, and only this machine gets in.
    """

    def __init__(self, connect: Callable[[], AsyncAudioClient], keyring: Keyring | None) -> None:
        self.client = connect()
        """For questions, and for sounds where there are no keys."""
        self._connect = connect
        self._keyring = keyring
        self._accounts: dict[str, _Account] = {}
        self._closing: set[asyncio.Future[None]] = set()

    async def close(self) -> None:
        """Close every connection to the pool."""
        for account in self._accounts.values():
            await account.client.close()
        await self.client.close()

    @property
    def clients(self) -> tuple[AsyncAudioClient, ...]:
        """Every connection to the pool."""
        return (self.client, *(account.client for account in self._accounts.values()))

    @property
    def has_keys(self) -> bool:
        """True where a key must be shown."""
        return self._keyring is not None

    def admit(self, authorization: str, xi_api_key: str) -> HttpCaller:
        """Return who asks, by a request's headers; the request is counted.

        Raises:
            Unauthenticated: no key that is known.
            TooMany: its requests of this minute are used up.
        """
        if self._keyring is None:
            return ANYBODY
        caller = self._keyring.caller(key_in(authorization, xi_api_key))
        account = self._account(caller)
        if account is not None:
            account.quota.count(time.monotonic())
        return caller

    def stands(self, caller: HttpCaller) -> bool:
        """Return whether a caller that was admitted would be so now, with the same rights."""
        return self._keyring is None or (caller.key is not None and self._keyring.stands(caller.key))

    def turn(self, caller: HttpCaller) -> AbstractAsyncContextManager[None]:
        """Return what waits for, and holds, a place of the caller's to make a sound in. Raises TooMany."""
        account = self._account(caller)
        return contextlib.nullcontext() if account is None else account.quota.turn()

    def take(self, caller: HttpCaller) -> Callable[[], None]:
        """Count a sound that the pool is asked for at once; return what ends it. Raises TooMany."""
        account = self._account(caller)
        if account is None:
            return lambda: None
        account.quota.take()
        return account.quota.leave

    def client_of(self, caller: HttpCaller) -> AsyncAudioClient:
        """Return the connection that a caller's sounds are asked on: to the pool each key is a client of its own."""
        account = self._account(caller)
        return self.client if account is None else account.client

    def close_later(self, work: Awaitable[None]) -> None:
        """Let something end by itself."""
        closing = asyncio.ensure_future(work)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _account(self, caller: HttpCaller) -> _Account | None:
        """Return a key's account; None: there are no keys."""
        if caller.key is None:
            return None
        account = self._accounts.get(caller.mark)
        if account is None:
            self._forget_revoked()
            account = self._accounts[caller.mark] = _Account(self._connect(), Quota(caller.key, time.monotonic()))
        account.quota.key = caller.key  # what its file says now
        return account

    def _forget_revoked(self) -> None:
        for mark, account in list(self._accounts.items()):
            if self._keyring is not None and not self._keyring.knows(account.quota.key) and account.quota.idle:
                self.close_later(self._accounts.pop(mark).client.close())
