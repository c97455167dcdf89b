"""Sounds made by the pool for a tool's call: followed while they are made, cancelled with the call.

Owns: Making.
Must not know: which tool asks, where files go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from audio_pool.agents.asker import Asker
from audio_pool.agents.progress_notes import ProgressNotes, Report
from audio_pool.results import AudioResult

__all__ = ["Fields", "made"]

Fields = Mapping[str, object]  # opaque: of AudioRequest, which checks them


async def made(asker: Asker, requests: Sequence[Fields], report: Report) -> list[AudioResult]:
    """Return the sounds, with their bytes, in order; whoever cancels the task cancels all of them.

    Raises:
        AudioPoolError: what the first that has no sound came to; the others are cancelled.
    """
    notes = ProgressNotes(len(requests), report)
    tasks = [asyncio.ensure_future(_followed(asker, one, number, notes)) for number, one in enumerate(requests)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _followed(asker: Asker, fields: Fields, number: int, notes: ProgressNotes) -> AudioResult:
    async with asker.turn():
        named = {} if asker.namespace is None else {"namespace": asker.namespace}
        pending = asker.client.submit({**fields, **named, "delivery": "inline"}, events=True)
        try:
            async for event in pending.events():
                await notes.heard(number, event)
            result = await pending
        except BaseException:
            pending.cancel()
            raise
        await notes.finished(number)
        return result
