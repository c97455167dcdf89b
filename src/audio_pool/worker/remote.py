"""A worker on another machine than its pool: its encrypted sockets, and its tasks' files, which come and go by message.

Owns: Remote: the folder that takes the files while a task is at work, and where the task finds them.
Must not know: threads, engines, what a task does with its files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from audio_pool.claims import claim, gate, is_claimed
from audio_pool.errors import BadMessage, StorageError
from audio_pool.results import Failure
from audio_pool.transport.compression import best_codec
from audio_pool.transport.pieces import Parting
from audio_pool.transport.remote_channel import RemoteChannel
from audio_pool.transport.task_files import moved, needs_folder, relocated, retold
from audio_pool.transport.worker_keys import WorkerCredentials
from audio_pool.transport.worker_messages import RunTask
from audio_pool.worker.runner import Outcome

__all__ = ["Remote", "own_folder"]

_WAIT_S = 10.0
"""For another worker that sweeps."""


class Remote:
    """What a worker needs that shares neither a disk nor memory with its pool. May be used by all its threads."""

    def __init__(self, credentials: WorkerCredentials) -> None:
        self.secret = credentials.secret
        self._keys = credentials.keys
        self._parting = Parting(best_codec(credentials.link_mbit))
        self._folder = own_folder()
        self._names: dict[tuple[int, int], dict[str, str]] = {}
        """What its files are called where the task comes from, by task and attempt."""

    def connect(self, endpoint: str, identity: bytes, *, patient: bool) -> RemoteChannel:
        """Open a socket; ``patient``: sending waits for room."""
        return RemoteChannel(endpoint, identity, self._keys, self._parting, patient=patient)

    def bring(self, run: RunTask, frames: Sequence[bytes]) -> tuple[RunTask, list[bytes]]:
        """Return a task whose files are here, and the frames that are none of them.

        Raises:
            BadMessage: a file did not come. StorageError: there is no room for one.
        """
        if len(run.files) > len(frames):
            raise BadMessage(f"a task with {len(run.files)} files, of which {len(frames)} came")
        if not needs_folder(run.task):
            return run, list(frames)
        own = self._folder / f"{run.task_id}-{run.attempt}"
        found = dict(run.placed)
        rest = list(frames[: len(frames) - len(run.files)])
        names: dict[str, str] = {}
        self._names[run.task_id, run.attempt] = names  # first: whatever comes in the way, the folder is removed
        try:
            own.mkdir()
            for number, (name, data) in enumerate(zip(run.files, frames[len(rest) :], strict=True)):
                place = own / f"given-{number}{Path(name).suffix}"
                place.write_bytes(data)
                found[name] = str(place)
        except OSError as exc:
            raise StorageError(f"a task's files find no room on its worker's machine: {exc.strerror}") from None
        names |= {here: there for there, here in found.items()}
        return structs.replace(run, task=relocated(run.task, found, str(own))), rest

    def hand_back(self, run: RunTask, outcome: Outcome) -> Outcome:
        """Return what a task came to with the files that it wrote, as frames.

        Raises:
            StorageError: one cannot be read.
        """
        files: dict[str, bytes] = {}

        def taken(path: str) -> str:
            try:
                files[path] = Path(path).read_bytes()
            except OSError as exc:
                raise StorageError(f"a finished file cannot be read: {exc.strerror}") from None
            return path

        names = self._names.get((run.task_id, run.attempt), {})
        results = {job: retold(moved(result, taken), names) for job, result in outcome.results.items()}
        return replace(outcome, results=results, frames=[*outcome.frames, *files.values()], files=tuple(files))

    def told(self, run: RunTask, failure: Failure) -> Failure:
        """Return a failure that names files as whoever asked named them."""
        message = failure.message
        for here, there in self._names.get((run.task_id, run.attempt), {}).items():
            message = message.replace(here, there)
        return structs.replace(failure, message=message)

    def forget(self, run: RunTask) -> None:
        """Remove the files of a task that has been answered."""
        if self._names.pop((run.task_id, run.attempt), None) is None:
            return
        shutil.rmtree(self._folder / f"{run.task_id}-{run.attempt}", ignore_errors=True)

    def close(self) -> None:
        """Remove what is left."""
        shutil.rmtree(self._folder, ignore_errors=True)


def own_folder() -> Path:
    """Return a folder of this process alone, after removing those of processes that are gone."""
    base = Path(tempfile.gettempdir()) / f"audio_pool-remote-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid() or base.stat().st_mode & 0o077:
        raise StorageError(f"{base} is not a folder of this user alone", hint="remove it, or set TMPDIR")
    with gate(base / ".lock", _WAIT_S) as inside:
        for other in base.iterdir() if inside else ():
            if other.is_dir() and not is_claimed(other / ".lock"):
                shutil.rmtree(other, ignore_errors=True)
        own = Path(tempfile.mkdtemp(dir=base))
        with contextlib.suppress(OSError):
            claim(own / ".lock")  # held until the process ends
    return own
