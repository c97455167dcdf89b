"""A sound that is written while it is made: to standard output, through a pipe, or into a file.

Owns: the head of what is written, its sizes once they are known, and a finished file's recipe.
Must not know: how a sound is made, what ``--output`` means (outputs.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from audio_pool.audio.riff import append_chunks, recipe_in
from audio_pool.audio.stored_samples import streamed_wav_head
from audio_pool.cli.outputs import Output, writable_pipe
from audio_pool.results import SAMPLE_BYTES, AudioResult, Chunk
from audio_pool.sound_stream import SoundStream

__all__ = ["write_stream"]


def write_stream(output: Output, stream: SoundStream, format_: str) -> AudioResult:
    """Write a sound's chunks as they come; return the result, with the path of what was written.

    A file that was begun and not finished is removed. One that is there already is replaced once the new one is whole.

    Raises:
        AudioPoolError: what the request came to instead. OSError: it cannot be written.
    """
    path, place = output.path, output.path
    if output.kind == "file" and place.exists():
        path = place.with_name(f".{secrets.token_hex(12)}.part")
    with stream, _opened(output, path) as file:
        try:
            first: Chunk | None = None
            frames = 0
            for chunk in stream:
                if first is None and format_ == "wav":
                    file.write(_head(chunk, None))
                first, frames = first or chunk, frames + chunk.frames
                file.write(chunk.data)
                file.flush()
            if output.kind == "file" and format_ == "wav" and first is not None:
                file.seek(0)
                file.write(_head(first, frames))
            result = stream.result()
            if output.kind == "file" and format_ == "wav" and first is not None:
                file.seek(0, os.SEEK_END)
                file.write(b"\0" * (file.tell() % 2))
                file.flush()
                append_chunks(path, frames, first.sample_rate, _recipe(result), loop=False)
            if path != place:
                os.replace(path, place)
        except BaseException:
            if output.kind == "file":
                path.unlink(missing_ok=True)
            raise
    return result


def _recipe(result: AudioResult) -> str:
    """Return what the pool's own file says of how it was made; where that is elsewhere, what is known of it."""
    with contextlib.suppress(OSError):
        if found := recipe_in(Path(result.path)):
            return found
    return msgspec.json.encode({**result.metadata.to_dict(), "format": "wav"}).decode()


def _head(chunk: Chunk, frames: int | None) -> bytes:
    return streamed_wav_head(chunk.sample_rate, chunk.channels, 8 * SAMPLE_BYTES[chunk.encoding], frames)


@contextlib.contextmanager
def _opened(output: Output, path: Path) -> Iterator[BinaryIO]:
    if output.kind == "stdout":
        yield sys.stdout.buffer
        return
    target: Path | int = writable_pipe(output.path) if output.kind == "pipe" else path
    with open(target, "wb") as file:
        yield file
