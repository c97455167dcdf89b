"""What the machine has left: room on the disk, the workers' memory, graphics memory.

Owns: when it is looked at, and what was seen last.
Must not know: who wants to know it.

Looking takes longer than a step of the router's thread may: it has a thread of its own, which looks only after
somebody has asked. So what is told is what was seen at the question before, or a little later.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from audio_pool import gpu
from audio_pool.numbers import DiskSpace, GpuMemory

if TYPE_CHECKING:  # not loaded for a command that finds its sound kept
    from concurrent.futures import Executor

__all__ = ["Machine", "Seen", "resident_bytes"]

log = logging.getLogger(__name__)

_OLD_S = 2.0
"""What was seen so long ago is looked at again when somebody asks."""


class Seen(Struct, frozen=True, kw_only=True):
    """What was seen at one look."""

    disk: DiskSpace = DiskSpace()
    worker_bytes: dict[str, int] = {}
    gpus: tuple[GpuMemory, ...] = ()


class Machine:
    """Asked on one thread, looks on another."""

    def __init__(self, place: Path, pids: Callable[[], Mapping[str, int]], thread: Executor) -> None:
        """
        Args:
            place: on the disk that sounds are kept on.
            pids: of the workers' processes, by name.
            thread: looks.
        """
        self._place = place
        self._pids = pids
        self._thread = thread
        self._seen = Seen(disk=_disk(place))
        self._ordered = 0.0

    def seen(self, *, graphics: bool) -> Seen:
        """Return what was seen last, and have it looked at again where that is old.

        Args:
            graphics: look at the graphics cards, too.
        """
        now = time.monotonic()
        if now >= self._ordered + _OLD_S:
            self._ordered = now
            try:
                self._thread.submit(self._look, graphics)
            except RuntimeError:  # the pool stops
                log.debug("nobody looks at the machine any more")
        return self._seen

    def _look(self, graphics: bool) -> None:
        try:
            self._seen = Seen(
                disk=_disk(self._place),
                worker_bytes={name: size for name, pid in self._pids().items() if (size := resident_bytes(pid))},
                gpus=_gpus() if graphics else (),
            )
        except Exception:
            log.exception("the machine could not be looked at")


def _disk(place: Path) -> DiskSpace:
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return DiskSpace()
    return DiskSpace(free_bytes=usage.free, total_bytes=usage.total)


def resident_bytes(pid: int) -> int:
    """Return the bytes of a process that are in memory; 0 where that is not known."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _gpus() -> tuple[GpuMemory, ...]:
    return tuple(
        GpuMemory(uuid=card.uuid, name=card.name, used_bytes=card.used_bytes, free_bytes=card.free_bytes)
        for card in gpu.survey().devices
    )
