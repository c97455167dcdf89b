"""Who calls a tool, and the pool that is asked for them.

Owns: Asker: whose client, which namespace, whose turn; that a pool that is not there is said in words.
Must not know: how the protocol's messages come, how keys are checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.errors import Disconnected, Timeout

__all__ = ["Asker"]

_REACH_S = 3.0


def _no_turns() -> AbstractAsyncContextManager[None]:
    return contextlib.nullcontext()


class Asker(Struct, frozen=True, kw_only=True):
    """One who calls tools."""

    client: AsyncAudioClient
    endpoint: str
    """Of the pool, for messages."""
    namespace: str | None = None
    """The only one that is read and written; None: the pool's default."""
    turn: Callable[[], AbstractAsyncContextManager[None]] = _no_turns
    """Waits for, and holds, a place to make a sound in."""
    elsewhere: bool = False
    """They are told nothing of where this machine's files lie."""

    async def reach(self) -> None:
        """Return if the pool is there, or comes soon. Raises Disconnected, which says what to do."""
        if self.client.connected:
            return
        try:
            await self.client.health(timeout_s=_REACH_S)
        except (Disconnected, Timeout):
            where = "" if self.elsewhere else f" at {self.endpoint}"
            raise Disconnected(
                f"no pool answers{where}",
                hint="start one with 'audio-pool serve' and call again, or start this server as "
                "'audio-pool mcp --serve', with a pool of its own",
            ) from None
