"""Presets listed, told, set and removed, asked of a running pool.

Owns: PresetDesk: on which thread each question is answered, and who may change what.
Must not know: sockets, where presets are kept (preset_book.py), how they are merged.

Everybody may read them: they are what requests are made with, and hold nobody's sounds. They are the whole pool's, so
only an operator sets one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from audio_pool.engine_info import EngineInfo
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.errands import Errands
from audio_pool.pool.lending import only_operators
from audio_pool.pool.preset_book import PresetBook
from audio_pool.pool.replies import Body, Reply, ReplySink
from audio_pool.pool.turns import Turns
from audio_pool.presets import PresetMetadata, checked_preset
from audio_pool.transport.preset_messages import PresetRemoveRequest, PresetSetRequest, PresetsRequest

__all__ = ["PresetDesk", "suiting_of"]


class PresetDesk:
    """Router's thread only, but for what other threads do."""

    def __init__(
        self, book: PresetBook, errands: Errands, reader: Turns, writer: Turns, infos: Mapping[str, EngineInfo]
    ) -> None:
        """
        Args:
            infos: of the engines that are hosted; it changes.
        """
        self._book = book
        self._errands = errands
        self._reader = reader
        self._writer = writer
        self._infos = infos

    def page(self, asked: PresetsRequest, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with a PresetPage. Raises Busy."""
        suiting = suiting_of(asked.engine, self._infos)
        self._do(
            lambda: self._book.page(type=asked.of, suiting=suiting, after=asked.after or "", limit=asked.limit),
            sink,
            caller,
            self._reader,
        )

    def preset(self, preset_id: str, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with a Preset. Raises Busy."""
        self._do(lambda: self._book.named([preset_id])[0], sink, caller, self._reader)

    def set(self, asked: PresetSetRequest, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with the Preset as it is now. Raises Refused, InvalidRequest, Busy, NotFound (there is no cache)."""
        only_operators(caller, "presets")
        fields = {"id": asked.id, "type": asked.of, "content": asked.content, "engines": asked.engines}
        preset = checked_preset(fields, metadata=PresetMetadata(priority=asked.priority))
        self._write(lambda: self._book.set([preset], asked.if_revision)[0], sink, caller)

    def remove(self, asked: PresetRemoveRequest, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with PresetRemoved. Raises Refused, Busy, NotFound (there is no cache)."""
        only_operators(caller, "presets")
        self._write(lambda: self._book.remove(asked.id, asked.if_revision), sink, caller)

    def _do(self, look: Callable[[], Body], sink: ReplySink, caller: Caller, thread: Turns) -> None:
        if not self._book.keeps:  # then there is no disk to wait for either
            sink.finish(Reply(kind="result", body=look()))
            return
        errand = self._errands.begin(sink, caller)
        self._errands.do(errand, thread, lambda _cache: Reply(kind="result", body=look()))

    def _write(self, change: Callable[[], Body], sink: ReplySink, caller: Caller) -> None:
        errand = self._errands.begin(sink, caller)
        self._errands.do(errand, self._writer, lambda _cache: Reply(kind="result", body=change()))


def suiting_of(engine: str | None, infos: Mapping[str, EngineInfo]) -> tuple[str, ...]:
    """Return what a preset for an engine may name: the engine, or one of its kinds; () for any."""
    if engine is None:
        return ()
    info = infos.get(engine)
    return (engine, *(f"kind:{kind}" for kind in (info.kinds if info is not None else ())))
