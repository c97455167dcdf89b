"""``presets`` of the clients: presets of a served pool listed, set and removed, by who blocks and by who awaits.

Owns: the two classes, and the questions that they put.
Must not know: sockets, how an answer is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_pool.client.control import QUESTION_TIMEOUT_S, Question
from audio_pool.client.library import Ask, AskLater
from audio_pool.presets import MAX_AT_ONCE, Preset, PresetPage, PresetRemoved, PresetsApi, PresetType

__all__ = ["AsyncClientPresets", "ClientPresets"]


def _list(type_: PresetType | None, engine: str | None, after: str | None, limit: int) -> Question[PresetPage]:
    return Question("presets", PresetPage, {"of": type_, "engine": engine, "after": after, "limit": limit})


def _get(preset_id: str) -> Question[Preset]:
    return Question("preset", Preset, {"id": preset_id})


def _set(
    preset_id: str,
    type_: PresetType,
    content: Mapping[str, Any],  # opaque until the server has checked it
    engines: Sequence[str],
    priority: int,
    if_revision: str | None,
) -> Question[Preset]:
    fields = {"id": preset_id, "of": type_, "content": dict(content), "engines": list(engines)}
    return Question("preset_set", Preset, {**fields, "priority": priority, "if_revision": if_revision})


def _remove(preset_id: str, if_revision: str | None) -> Question[PresetRemoved]:
    return Question("preset_remove", PresetRemoved, {"id": preset_id, "if_revision": if_revision})


class ClientPresets(PresetsApi):
    """See PresetsApi; every method takes ``timeout_s``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def list(
        self,
        *,
        type: PresetType | None = None,
        engine: str | None = None,
        after: str | None = None,
        limit: int = MAX_AT_ONCE,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> PresetPage:
        """Get presets by id."""
        return self._ask(_list(type, engine, after, limit), timeout_s)

    def get(self, preset_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Preset:
        """Get one preset."""
        return self._ask(_get(preset_id), timeout_s)

    def set(
        self,
        preset_id: str,
        type: PresetType,
        content: Mapping[str, Any],  # opaque until the server has checked it
        *,
        engines: Sequence[str] = (),
        priority: int = 50,
        if_revision: str | None = None,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Preset:
        """Keep a preset, in the place of what has its id."""
        return self._ask(_set(preset_id, type, content, engines, priority, if_revision), timeout_s)

    def remove(
        self, preset_id: str, *, if_revision: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> PresetRemoved:
        """Keep a preset no more."""
        return self._ask(_remove(preset_id, if_revision), timeout_s)


class AsyncClientPresets(PresetsApi):
    """As ClientPresets; every answer is awaited."""

    def __init__(self, ask: AskLater) -> None:
        self._ask = ask

    async def list(
        self,
        *,
        type: PresetType | None = None,
        engine: str | None = None,
        after: str | None = None,
        limit: int = MAX_AT_ONCE,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> PresetPage:
        """As ClientPresets.list."""
        return await self._ask(_list(type, engine, after, limit), timeout_s)

    async def get(self, preset_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Preset:
        """As ClientPresets.get."""
        return await self._ask(_get(preset_id), timeout_s)

    async def set(
        self,
        preset_id: str,
        type: PresetType,
        content: Mapping[str, Any],  # opaque until the server has checked it
        *,
        engines: Sequence[str] = (),
        priority: int = 50,
        if_revision: str | None = None,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Preset:
        """As ClientPresets.set."""
        return await self._ask(_set(preset_id, type, content, engines, priority, if_revision), timeout_s)

    async def remove(
        self, preset_id: str, *, if_revision: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> PresetRemoved:
        """As ClientPresets.remove."""
        return await self._ask(_remove(preset_id, if_revision), timeout_s)
