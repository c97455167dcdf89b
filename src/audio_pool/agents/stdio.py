"""A server at the two ends of a pipe: whoever started this process speaks on its standard input and output.

Owns: that standard output carries the protocol alone, and that nothing is left under way at the end.
Must not know: tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from mcp.server import Server
from mcp.server.stdio import stdio_server

from audio_pool.agents.asker import Asker
from audio_pool.agents.server import agents_server
from audio_pool.agents.tools import Tools
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.connection import Keys
from audio_pool.errors import AudioPoolError

__all__ = ["serve_stdio"]

_LEAVE_S = 2.0
_LONGEST_S = 600.0
"""How long a sound may take; agents' clients have limits of their own."""


async def serve_stdio(
    endpoint: str, tools: Tools, *, keys: Keys = None, leaving: Callable[[], object] = lambda: None
) -> None:
    """Serve until the other end closes the pipe. A signal ends the process.

    Args:
        endpoint: of the pool.
        keys: CURVE keys for it.
        leaving: called before a signal ends the process, from where nothing returns.
    """
    client = AsyncAudioClient(endpoint, timeout_s=_LONGEST_S, keys=keys)
    asker = Asker(client=client, endpoint=endpoint)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    serving = asyncio.ensure_future(_serve(agents_server(tools, lambda _: asker)))
    stopping = asyncio.ensure_future(told.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        stopping.cancel()
        await _close(client)
        serving.result()
        return
    try:
        await tools.stop(_LEAVE_S)
        await _close(client)
        leaving()
    finally:
        os._exit(0)  # a thread that reads a pipe cannot be woken


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (incoming, outgoing):  # which turns what others print to standard error
        await server.run(incoming, outgoing, server.create_initialization_options())


async def _close(client: AsyncAudioClient) -> None:
    """Close the client once the pool has read what was sent to it last: that calls are cancelled."""
    if client.connected:
        with contextlib.suppress(AudioPoolError):
            await client.health(timeout_s=_LEAVE_S)
    await client.close()
