"""``presets`` of AudioPool: asked by the program that the pool runs in.

Owns: PoolPresets: that its arguments are checked as those of a client's message.
Must not know: how a question is answered (presets.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from audio_pool.pool.own_library import checked
from audio_pool.pool.presets import PresetDesk
from audio_pool.pool.questions import QUESTION_TIMEOUT_S, answer_of
from audio_pool.pool.replies import LocalSink
from audio_pool.pool.router import Router
from audio_pool.pool.service import PoolService
from audio_pool.presets import MAX_AT_ONCE, Preset, PresetPage, PresetRemoved, PresetsApi, PresetType
from audio_pool.transport.preset_messages import (
    PresetRemoveRequest,
    PresetRequest,
    PresetSetRequest,
    PresetsRequest,
)

__all__ = ["PoolPresets"]

Answer = TypeVar("Answer", bound=msgspec.Struct)


class PoolPresets(PresetsApi):
    """See PresetsApi; every method takes ``timeout_s``."""

    def __init__(self, router: Router, service: PoolService) -> None:
        self._router = router
        self._service = service

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
        fields = {"of": type, "engine": engine, "after": after, "limit": limit}
        asked = checked(PresetsRequest, "presets", fields)
        return self._ask(PresetPage, lambda desk, sink: desk.page(asked, sink), timeout_s)

    def get(self, preset_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Preset:
        """Get one preset."""
        asked = checked(PresetRequest, "preset", {"id": preset_id})
        return self._ask(Preset, lambda desk, sink: desk.preset(asked.id, sink), timeout_s)

    def set(
        self,
        preset_id: str,
        type: PresetType,
        content: Mapping[str, Any],  # opaque until it is checked
        *,
        engines: Sequence[str] = (),
        priority: int = 50,
        if_revision: str | None = None,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Preset:
        """Keep a preset, in the place of what has its id."""
        said = {"id": preset_id, "of": type, "content": dict(content), "engines": list(engines)}
        asked = checked(PresetSetRequest, "preset_set", {**said, "priority": priority, "if_revision": if_revision})
        return self._ask(Preset, lambda desk, sink: desk.set(asked, sink), timeout_s)

    def remove(
        self, preset_id: str, *, if_revision: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> PresetRemoved:
        """Keep a preset no more."""
        asked = checked(PresetRemoveRequest, "preset_remove", {"id": preset_id, "if_revision": if_revision})
        return self._ask(PresetRemoved, lambda desk, sink: desk.remove(asked, sink), timeout_s)

    def _ask(
        self, answered_by: type[Answer], order: Callable[[PresetDesk, LocalSink], None], timeout_s: float
    ) -> Answer:
        return answer_of(self._router, answered_by, lambda sink: order(self._service.presets, sink), timeout_s)[0]
