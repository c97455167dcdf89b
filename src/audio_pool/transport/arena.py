"""Who holds which slot of the tensor hand-over.

Owns: a pool's private directory of slots, the leases on them, and the sweep of dead owners' leftovers.
Must not know: what lies in a slot (that is tensors.py), sockets, the scheduler.

Bookkeeping only, for the router's thread: the files are made and removed by the workers that get the
grants, because filling 10 MB takes milliseconds. No lease ends while its holder lives, and a dead
holder's only once its death is confirmed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from audio_pool.claims import claim, gate, is_claimed
from audio_pool.errors import BadMessage, StorageError
from audio_pool.tasks import Grant, TensorRef
from audio_pool.transport.tensors import HEADER_BYTES

__all__ = ["Arena", "default_directory", "sweep"]

log = logging.getLogger(__name__)

_SMALLEST_PAYLOAD = 64 * 1024
_LOCK_WAIT_S = 5.0
_NAME = re.compile(r"arena-\d+-[0-9a-f]{12}")


def _class_of(payload_bytes: int) -> int:
    """Return the size class that holds so many bytes: 4, 5, 6 or 7 times a power of two (at most 25 % waste)."""
    if payload_bytes <= _SMALLEST_PAYLOAD:
        return _SMALLEST_PAYLOAD
    quarter = 1 << ((payload_bytes - 1).bit_length() - 3)
    return -(-payload_bytes // quarter) * quarter


class _Slot:
    """One slot file as the arena keeps book of it."""

    __slots__ = ("generation", "holder", "made", "path", "payload_bytes", "retire")

    def __init__(self, path: str, payload_bytes: int) -> None:
        self.path = path
        self.payload_bytes = payload_bytes
        self.made = False  # known to exist: a reference into it has come back
        self.generation = 0
        self.holder = ""
        self.retire: tuple[_Slot, ...] = ()  # given up for it, not yet known to be removed

    @property
    def most_bytes(self) -> int:
        """The most that this slot can take now: itself, or what was to be removed before it is made."""
        return max(self.slot_bytes, sum(old.most_bytes for old in self.retire))

    def retired_paths(self) -> tuple[str, ...]:
        """Return what its worker has to remove before making it."""
        return tuple(path for old in self.retire for path in (*old.retired_paths(), old.path))

    @property
    def slot_bytes(self) -> int:
        return self.payload_bytes + HEADER_BYTES


class Arena:
    """A pool's slots and who holds them. Used by one thread.

    A slot is idle or has one holder: the worker that writes it,
    then (``transfer``) the one that reads it, until ``release`` or, after the holder's confirmed
    death, ``reclaim``.
    """

    def __init__(self, directory: Path, quota_bytes: int, lock_fd: int) -> None:
        self.directory = directory
        self.owner = directory.name
        self.quota_bytes = quota_bytes
        self._lock_fd = lock_fd
        self._slots_made = 0
        self._last_generation = 0
        self._bytes = 0
        self._idle: list[_Slot] = []  # least recently used first
        self._leased: dict[int, _Slot] = {}
        self._counts: Counter[str] = Counter()

    @classmethod
    def create(cls, directory: Path | None = None, quota_bytes: int = 1 << 30) -> Arena:
        """Return a new, private arena (0700) under ``directory``, after sweeping dead owners' leftovers there.

        Args:
            directory: where arenas of this user live; ``default_directory()`` where None.
            quota_bytes: the most that the slots' files may take together.

        Raises:
            StorageError: the directory is not private to this user, or cannot be written.
        """
        base = default_directory() if directory is None else Path(directory)
        with _locked_base(base):
            _sweep(base)
            own = base / f"arena-{os.getpid()}-{secrets.token_hex(6)}"
            try:
                own.mkdir(mode=0o700)
                lock_fd = claim(own / "lock")
            except OSError as exc:
                raise StorageError(f"cannot make an arena in {str(base)!r}: {exc.strerror}") from None
        return cls(own, quota_bytes, lock_fd)

    def lease(self, payload_bytes: int, holder: str) -> Grant | None:
        """Return a slot for at least so many bytes; None where there is no room: the tensor travels inline.

        Args:
            payload_bytes: of the largest tensor that is to be written.
            holder: the worker's incarnation, as ``reclaim`` will name it.
        """
        wanted = _class_of(payload_bytes)
        slot = self._recycled(wanted, 2 * wanted) or self._new(wanted)
        slot = slot or self._recycled(wanted, self.quota_bytes)
        if slot is None:
            self._no_room("no_room", payload_bytes)
            return None
        self._last_generation += 1
        slot.generation = self._last_generation
        slot.holder = holder
        self._leased[slot.generation] = slot
        self._counts["leases"] += 1
        return Grant(
            path=slot.path,
            slot_bytes=slot.slot_bytes,
            generation=slot.generation,
            owner=self.owner,
            fresh=not slot.made,
            retire=slot.retired_paths(),
        )

    def transfer(self, ref: TensorRef, giver: str, taker: str) -> None:
        """Accept a reference that ``giver`` sent, and make ``taker`` the holder of its slot.

        Raises:
            BadMessage: the giver does not hold that lease, or the reference is not what was granted.
        """
        slot = self._leased.get(ref.generation)
        if slot is None or slot.holder != giver or slot.path != ref.path or ref.owner != self.owner:
            raise BadMessage(f"worker {giver!r} holds no lease of {ref.path!r}, generation {ref.generation}")
        if not 0 <= ref.length <= slot.payload_bytes:
            raise BadMessage(f"a tensor of {ref.length:,} bytes in a slot for {slot.payload_bytes:,}")
        slot.made = True
        slot.holder = taker
        self._bytes += slot.slot_bytes - slot.most_bytes
        slot.retire = ()

    def release(self, lease: Grant | TensorRef, *, unwritable: bool = False) -> bool:
        """Take a lease back; the slot is free for the next. Return False where it was back already.

        Args:
            unwritable: the worker could not make the slot (StorageError), so its tensor came inline.
        """
        slot = self._leased.pop(lease.generation, None)
        if slot is None:
            return False
        if unwritable and not slot.made:
            self._bytes -= slot.most_bytes  # removed by that worker, which did so before it tried
        else:
            self._idle.append(slot)
        if unwritable:
            self._no_room("unwritable", slot.payload_bytes)
        return True

    def reclaim(self, holder: str) -> int:
        """Take back all leases of a holder whose death is confirmed (waited for); return how many."""
        slots = [slot for slot in self._leased.values() if slot.holder == holder]
        for slot in slots:
            del self._leased[slot.generation]
            self._idle.append(slot)
        self._counts["reclaimed"] += len(slots)
        return len(slots)

    def stats(self) -> dict[str, int]:
        """Count slots, bytes, and events since the start: leases, reclaimed, retired, no_room, unwritable."""
        counts = {name: self._counts[name] for name in ("leases", "reclaimed", "retired", "no_room", "unwritable")}
        return {
            "slots": len(self._idle) + len(self._leased),
            "leased": len(self._leased),
            "bytes": self._bytes,
            "quota_bytes": self.quota_bytes,
            **counts,
        }

    def close(self) -> None:
        """Remove the directory with all slots; readers that have one mapped keep what they see."""
        if self._lock_fd < 0:
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock_fd)
        self._lock_fd = -1

    def _recycled(self, payload_bytes: int, at_most: int) -> _Slot | None:
        """Return the idle slot that fits best; the most recently used of equals, its pages being warm."""
        best: _Slot | None = None
        for slot in self._idle:
            if payload_bytes <= slot.payload_bytes <= at_most and (
                best is None or slot.payload_bytes <= best.payload_bytes
            ):
                best = slot
        if best is not None:
            self._idle.remove(best)
        return best

    def _new(self, payload_bytes: int) -> _Slot | None:
        """Return a slot not made yet, idle ones given up for it where the quota asks for that."""
        slot = _Slot(str(self.directory / f"{self._slots_made}.safetensors"), payload_bytes)
        count = freed = 0
        while self._bytes - freed + slot.slot_bytes > self.quota_bytes:
            if count == len(self._idle):
                return None
            freed += self._idle[count].most_bytes
            count += 1
        room = os.statvfs(self.directory)
        on_disk = sum(old.slot_bytes for old in self._idle[:count] if old.made)
        if room.f_bavail * room.f_frsize + on_disk < slot.slot_bytes:
            return None
        slot.retire = tuple(self._idle[:count])
        del self._idle[:count]
        self._counts["retired"] += count
        self._slots_made += 1
        self._bytes += slot.most_bytes - freed
        return slot

    def _no_room(self, why: str, payload_bytes: int) -> None:
        self._counts[why] += 1
        count = self._counts[why]
        if count & (count - 1) == 0:  # the first, second, fourth, ...: a full arena must not fill the log
            log.warning(
                "arena %s: %s for a tensor of %d bytes, sent inline (%d so far; %d of %d bytes in use)",
                self.owner, why, payload_bytes, count, self._bytes, self.quota_bytes,
            )  # fmt: skip


def default_directory() -> Path:
    """Return where this user's arenas live: tmpfs where there is one, else the temporary directory."""
    shm = Path("/dev/shm")
    root = shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())
    return root / f"audio_pool-{os.getuid()}"


def sweep(directory: Path | None = None) -> int:
    """Remove arenas whose owner is dead; return how many. A living owner's is never touched.

    Death is proven by the lock file: the kernel drops its lock when the owner ends, however it ends.

    Raises:
        StorageError: the directory is not private to this user.
    """
    base = default_directory() if directory is None else Path(directory)
    if not base.exists():
        return 0
    with _locked_base(base):
        return _sweep(base)


def _sweep(base: Path) -> int:
    swept = 0
    for arena in base.iterdir():
        # by name too: the directory may be one the user keeps other things in
        if _NAME.fullmatch(arena.name) and not arena.is_symlink() and not is_claimed(arena / "lock"):
            shutil.rmtree(arena, ignore_errors=True)
            swept += 1
    return swept


@contextlib.contextmanager
def _locked_base(base: Path) -> Iterator[None]:
    """Yield the directory of arenas, made private and checked, under its lock: no sweep sees half an arena."""
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = base.lstat()
    except OSError as exc:
        raise StorageError(f"cannot make the arena's directory {str(base)!r}: {exc.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(
            f"the arena's directory {str(base)!r} must be a directory of this user with mode 0700; it has "
            f"owner {found.st_uid} and mode {stat.S_IMODE(found.st_mode):04o}",
            hint="remove it, correct its mode, or name another directory",
        )
    with gate(base / ".lock", _LOCK_WAIT_S) as inside:
        if not inside:
            raise StorageError(f"{str(base)!r} stays locked by another process")
        yield
