"""Where a sound goes: a file, a directory, or standard output; all that can be wrong is found before it is made.

Owns: what ``--output`` means, and the question before a file is replaced.
Must not know: how a sound is made.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from msgspec import Struct, structs

from audio_pool.cli.terminal import confirmed
from audio_pool.errors import CallerError, EngineUnavailable, InvalidRequest, NotFound, Timeout
from audio_pool.packs.names import slug, write_unused
from audio_pool.replacement import replacing
from audio_pool.results import AudioResult
from audio_pool.roots import ANYWHERE
from audio_pool.types import FORMATS

__all__ = [
    "Output", "check_output", "check_picture", "check_replaceable", "deliver", "output_of",
    "writable_pipe",
]  # fmt: skip

_READER_S = 60.0


class Output(Struct, frozen=True, kw_only=True):
    """Where the caller wants the sound."""

    kind: Literal["kept", "file", "directory", "stdout", "pipe"]
    """kept: nowhere but where the pool puts it. pipe: a named pipe or a device, which is written through."""
    path: Path = Path()
    format: str | None = None
    """What the file's ending says, or what it got its ending from."""


def output_of(given: str | None, format_: str | None, default_format: str, *, pipe: bool = False) -> Output:
    """Return what ``--output`` means.

    Args:
        format_: of ``--format``.
        default_format: chosen where neither the name nor ``--format`` says one.
        pipe: a named pipe or a device is meant, which is written through.

    Raises:
        InvalidRequest: an ending that is no format's, or another's; something there that is no file; a terminal
            as standard output.
    """
    if pipe:
        return _pipe(given, format_)
    if given is None:
        return Output(kind="kept", format=format_)
    if not given:
        raise InvalidRequest("--output: given an empty name; allowed is a file, a directory, or '-'")
    if given == "-":
        if sys.stdout is None or sys.stdout.closed:
            raise InvalidRequest("--output -: standard output is closed", hint="redirect it to a file or a pipe")
        if sys.stdout.isatty():
            raise InvalidRequest(
                "--output -: standard output is a terminal, which cannot show a sound",
                hint="redirect it: audio-pool generate ... -o - > sound.wav",
            )
        return Output(kind="stdout", format=format_)
    path = Path(given)
    if given.endswith("/") or path.is_dir():
        return Output(kind="directory", path=path.absolute(), format=format_)
    ending = path.suffix[1:].lower()
    if not ending:
        _is_file(path.absolute(), "--output")  # /dev/null is not asked for as /dev/null.wav
        chosen = format_ or default_format
        return Output(kind="file", path=path.absolute().with_name(f"{path.name}.{chosen}"), format=chosen)
    if ending != (format_ or ending) or ending not in FORMATS:
        named = f"format {format_!r}" if format_ else "any format"
        raise InvalidRequest(
            f"--output: given {path.name!r}, which is not a name for {named}; "
            f"allowed endings are .{', .'.join(FORMATS)}",
            hint="a directory's name ends with '/'",
        )
    return Output(kind="file", path=path.absolute(), format=ending)


def _pipe(given: str | None, format_: str | None) -> Output:
    path = Path(given or "").absolute()
    mode = path.stat().st_mode if given and path.exists() else 0
    if not stat.S_ISFIFO(mode) and not stat.S_ISCHR(mode):
        raise InvalidRequest(f"--pipe: --output is {given!r}, allowed is a named pipe or a device that is there")
    ending = path.suffix[1:].lower()
    return Output(kind="pipe", path=path, format=format_ or (ending if ending in FORMATS else None))


def check_replaceable(paths: Sequence[Path], overwrite: bool, option: str) -> None:
    """Return where every path can and may be written; ask about those that exist where there is a terminal.

    Args:
        option: names the paths in messages, e.g. "--output".

    Raises:
        InvalidRequest: something other than a regular file is there, or a file, and it may not be replaced.
        OSError: the directory is none, or cannot be written to.
    """
    existing = [path for path in paths if _is_file(path, option)]
    for directory in {path.parent for path in paths}:
        _check_writable(directory)
    if not existing or overwrite:
        return
    others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
    verb = "exist" if len(existing) > 1 else "exists"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidRequest(
            f"{option}: {existing[0]}{others} {verb} already; nothing was made",
            hint="give --overwrite, or another name",
        )
    if not confirmed(f"{existing[0]}{others} {verb} already. Replace?"):
        raise CallerError(f"{option}: not replaced; nothing was made")


def _is_file(path: Path, option: str) -> bool:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise InvalidRequest(f"{option}: {path} is there and is not a regular file; only those are replaced")
    return True


def _check_writable(directory: Path) -> None:
    """Raise OSError where a file could not be written into a directory that may still have to be made."""
    nearest = next(place for place in (directory, *directory.parents) if place.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(nearest))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13), str(nearest))


def check_output(output: Output, overwrite: bool) -> None:
    """Check before a sound is made that it can be written; see ``check_replaceable`` for what is raised."""
    if output.kind == "file":
        check_replaceable([output.path], overwrite, "--output")
    elif output.kind == "directory":
        _check_writable(output.path)


def check_picture(picture: Path, overwrite: bool) -> None:
    """Check, before a sound is made, that it can be drawn into this file.

    Raises:
        EngineUnavailable: what is missing to draw. StorageError, InvalidRequest: the path.
    """
    from audio_pool.audio import spectrogram

    missing = spectrogram.available()
    if missing:
        raise EngineUnavailable(f"--spectrogram: {missing}")
    spectrogram.require_directory(picture)
    check_replaceable([picture.absolute()], overwrite, "--spectrogram")


def deliver(output: Output, result: AudioResult, *, copied: bool = False) -> AudioResult:
    """Return the result with its final path, once the sound is where it was wanted.

    A pool writes a file whose path the request names; the rest is copied here.

    Args:
        copied: a file, too, is copied here: the request did not name its path.

    Raises:
        NotFound: the server's file cannot be read here. OSError: it cannot be written.
    """
    if output.kind == "directory":
        with _opened(result) as source:
            words = result.metadata.get("requested_prompt") or result.metadata.prompt
            target = write_unused(output.path, slug(words), Path(result.path).suffix, source)
        return structs.replace(result, path=str(target))
    if output.kind == "stdout":
        with _opened(result) as source:
            try:
                shutil.copyfileobj(source, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            except BrokenPipeError:  # who reads it has seen enough
                raise
            except OSError as exc:
                raise OSError(exc.errno, exc.strerror, "standard output") from None
    elif output.kind == "pipe":
        with _opened(result) as source, open(writable_pipe(output.path), "wb") as pipe:
            shutil.copyfileobj(source, pipe)
        return structs.replace(result, path=str(output.path))
    elif output.kind == "file" and (copied or result.data is not None):
        with (
            _opened(result) as source,
            ANYWHERE.folder_for("--output", str(output.path)) as (folder, name),
            replacing(folder, name, f"--output: {output.path}") as file,
        ):
            shutil.copyfileobj(source, file)
        return structs.replace(result, path=str(output.path))
    return result


def writable_pipe(path: Path) -> int:
    """Open a named pipe once somebody reads it, or a device.

    Raises:
        Timeout: nobody does. OSError: it cannot be opened.
    """
    deadline = time.monotonic() + _READER_S
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise Timeout(f"--output: nobody has read {path} for {_READER_S:g} s") from None
            time.sleep(0.05)
        else:
            os.set_blocking(handle, True)
            return handle


def _opened(result: AudioResult) -> BinaryIO:
    if result.data is not None:
        return io.BytesIO(result.data)
    try:
        return open(result.path, "rb")
    except OSError as exc:
        raise NotFound(
            f"the server's file {result.path} cannot be read here: {exc.strerror}",
            hint="--delivery inline has it sent",
        ) from None
