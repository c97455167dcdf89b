"""CLAP asked about texts, files and sounds that came with the question.

Owns: what may be asked.
Must not know: sockets, how a sound travels, what CLAP does.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from audio_pool.config import Config
from audio_pool.errors import EngineUnavailable, InvalidRequest
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.replies import ReplySink
from audio_pool.pool.sent_audio import Frames
from audio_pool.pool.sent_first import SentFirst
from audio_pool.tasks import ClapOperation, ClapTask

__all__ = ["Hearing"]


class Hearing:
    """Router's thread only."""

    def __init__(self, config: Config, first: SentFirst) -> None:
        """``first`` has what was sent written, and hands the question on."""
        self._config = config
        self._first = first

    def ask(
        self,
        operation: ClapOperation,
        texts: list[str],
        paths: list[str],
        sink: ReplySink,
        *,
        sounds: Sequence[Frames] = (),
        size_bytes: int = 0,
        caller: Caller = HOST,
    ) -> int:
        """Ask the scorer; return the request's number.

        Args:
            sounds: that came with the question, each in pieces.

        Raises:
            EngineUnavailable: there is none. InvalidRequest: what is missing. InvalidAudio, Busy: what was sent.
        """
        scorer = self._config.cache.scorer
        if scorer == "off":
            raise EngineUnavailable("no CLAP is configured", hint='set cache.scorer = "clap"')
        heard = bool(paths or sounds)
        if operation == "zero-shot" and not (texts and heard):
            raise InvalidRequest("zero-shot: needs at least one of texts (the labels) and one of paths or sounds")
        if not texts and not heard:
            raise InvalidRequest(f"{operation}: texts, paths and sounds are all empty; give at least one of them")
        relative = next((path for path in paths if not path.startswith("/")), None)
        if relative is not None:
            raise InvalidRequest(f"paths: given {relative!r}, allowed are absolute paths, which this server can read")
        for path in paths:
            caller.input_roots.check("paths", path)
        roots = caller.input_roots.folders
        task = ClapTask(engine=scorer, operation=operation, texts=texts, paths=paths, roots=roots)
        return self._first.call(
            lambda sent: structs.replace(task, sounds=list(sent)), sounds, sink, size_bytes=size_bytes, caller=caller
        )
