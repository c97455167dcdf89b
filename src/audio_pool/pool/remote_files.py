"""What a task of a remote worker reads and writes, at the pool's end: read for it, and put where it would have written.

Owns: tensors of slots as frames, files read as their callers may name them, finished files written and fsynced.
Must not know: sockets, workers.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from msgspec import structs

from audio_pool.errors import BadMessage, NotFound, StorageError
from audio_pool.tasks import CandidateRef, MasterTask, Task, TaskResult
from audio_pool.transport.task_files import Output, inputs_of, moved, output_of
from audio_pool.transport.tensors import SlotReader, to_frames
from audio_pool.transport.worker_messages import TaskDone

__all__ = ["inlined", "needs_reading", "put_back", "read_inputs"]

Frame = bytes | memoryview


def needs_reading(task: Task) -> bool:
    """Return True for a task that reads files, or tensors of slots."""
    return bool(inputs_of(task)) or (
        isinstance(task, MasterTask) and any(one.tensor is not None for one in task.candidates)
    )


def inlined(task: Task, frames: list[Frame], slots: SlotReader) -> tuple[Task, list[Frame]]:
    """Return a task whose tensors are among its frames, none of them in a slot.

    Raises:
        StorageError: a slot holds another tensor by now.
    """
    if not isinstance(task, MasterTask) or all(one.tensor is None for one in task.candidates):
        return task, frames
    out: list[Frame] = []
    candidates: list[CandidateRef] = []
    for one in task.candidates:
        number = len(out)
        if one.tensor is not None:
            out += to_frames(slots.read(one.tensor), "")
        else:
            out += frames[one.frame : one.frame + 2]
        candidates.append(structs.replace(one, tensor=None, frame=number))
    return structs.replace(task, candidates=tuple(candidates)), out


def read_inputs(task: Task, but: Collection[str] = ()) -> dict[str, bytes]:
    """Return the files that a task reads, by path.

    Args:
        but: those that are where the worker is.

    Raises:
        PathNotAllowed, InvalidAudio, NotFound: one that a caller named.
    """
    files: dict[str, bytes] = {}
    for one in inputs_of(task):
        if one.path in but:
            continue
        try:
            with open(one.roots.open(one.field, one.path), "rb") as file:
                files[one.path] = file.read()
        except OSError as exc:
            raise NotFound(f"{one.field}: {one.path!r} cannot be read: {exc.strerror}") from None
    return files


def put_back(done: TaskDone, task: Task, frames: list[Frame]) -> tuple[dict[int, TaskResult], list[Frame]]:
    """Write the files of a result where the task said; return the results that name them there, and the other frames.

    Raises:
        BadMessage: a file did not come, or is none that the task writes. StorageError: no disk takes one.
    """
    count = len(done.files)
    if count > len(frames):
        raise BadMessage(f"a result with {count} files, of which {len(frames)} came")
    rest, data = frames[: len(frames) - count], dict(zip(done.files, frames[len(frames) - count :], strict=True))
    written: dict[str, str] = {}
    try:
        results = {
            job: moved(result, lambda path, job=job: _put(path, data, written, output_of(task, job)))  # type: ignore[misc]
            for job, result in done.results.items()
        }
    except BaseException:
        for place in written.values():
            Path(place).unlink(missing_ok=True)
        raise
    return results, rest


def _put(path: str, data: Mapping[str, Frame], written: dict[str, str], output: Output) -> str:
    """Write one file, once; return where it is."""
    if path in written:
        return written[path]
    name = os.path.basename(path)
    if path not in data or not name.startswith(output.name) or "\0" in name:
        raise BadMessage(f"a file {name[:100]!r} that did not come, or is none of the task's")
    try:
        place = _write(os.path.join(output.directory, name), data[path])
    except OSError as exc:
        if not output.spill:
            raise StorageError(f"{output.directory} takes no files: {exc.strerror}") from None
        try:
            place = _write(os.path.join(output.spill, name), data[path])
        except OSError as exc:
            raise StorageError(f"{output.spill} takes no files: {exc.strerror}") from None
    written[path] = place
    return place


def _write(place: str, data: Frame) -> str:
    try:
        with open(place, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise
    except OSError:
        Path(place).unlink(missing_ok=True)
        raise
    return place
