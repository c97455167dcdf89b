"""The tensor hand-over: file-based, at the speed of memory.

Owns: the slot's file format, its two ends (SlotWriter,
SlotReader), and the same format as two inline frames where there is no room for a slot.
Must not know: who holds which slot (that is arena.py), sockets, the scheduler, audio.

Every tensor handed over is a valid safetensors file. Nothing is allocated on the path: a slot is
created once by the worker that first gets it, stays mapped on both sides, and is used again. Since
safetensors readers refuse a file that its tensors do not cover exactly, a slot never changes size:

    offset 0     8 bytes, little-endian: 4088, the length of the JSON
    offset 8     4088 bytes: JSON padded with spaces; generation and request id in ``__metadata__``
    offset 4096  the tensor, then a U8 tensor ``_slack`` that covers the rest

The generation is 20 digits at a fixed offset, 0 while the slot is being written. It finds misuse;
what makes reading safe is the lease: one holder at a time, given and taken back by the router alone.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from audio_pool.errors import BadMessage, InvalidAudio, InvalidRequest, StorageError
from audio_pool.tasks import Grant, TensorRef

__all__ = [
    "HEADER_BYTES",
    "SLACK",
    "TENSOR",
    "SlotReader",
    "SlotWriter",
    "from_frames",
    "is_float32_header",
    "to_frames",
]

HEADER_BYTES = 4096
TENSOR = "tensor"
SLACK = "_slack"

_OPENING = b'{"__metadata__":{"generation":"'
_DIGITS = 20
_GENERATION = slice(8 + len(_OPENING), 8 + len(_OPENING) + _DIGITS)
_INVALID = b"0" * _DIGITS
_LENGTH = (HEADER_BYTES - 8).to_bytes(8, "little")
_USUALLY = 640
"""Bytes in which the JSON ends, unless a request's id is long."""
_MAPPINGS_KEPT = 64

# numpy's name, little-endian <-> safetensors' name
_DTYPES = {
    "<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8",
    "<u8": "U64", "<u4": "U32", "<u2": "U16", "|u1": "U8", "|b1": "BOOL",
}  # fmt: skip
_NUMPY = {name: np.dtype(code) for code, name in _DTYPES.items()}

Array = npt.NDArray[Any]  # of any dtype in _DTYPES
Dtype = np.dtype[Any]  # any of _NUMPY
_Described = dict[str, str | list[int]]
"""A tensor in a header: dtype, shape, data_offsets."""


class _Tensor(Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Document(Struct, frozen=True):
    """A header's JSON, as far as it is read."""

    tensor: _Tensor
    metadata: dict[str, str] = field(name="__metadata__")


_DOCUMENT = msgspec.json.Decoder(_Document)


# --- the slot's file format


def _header(array: Array, request_id: str, owner: str, capacity: int) -> bytes:
    """The 4,096 bytes in front of the tensor, with the invalid generation.

    Raises:
        InvalidRequest: request id and shape do not fit into the block.
    """
    dtype, shape = _dtype_name(array.dtype), list(array.shape)
    tensor: _Described = {"dtype": dtype, "shape": shape, "data_offsets": [0, array.nbytes]}
    slack: _Described = {"dtype": "U8", "shape": [capacity - array.nbytes], "data_offsets": [array.nbytes, capacity]}
    body = b"%b%b\",\"request_id\":%b,\"owner\":%b},\"%b\":%b,\"%b\":%b}" % (
        _OPENING, _INVALID, _json(request_id), _json(owner),
        TENSOR.encode(), _json(tensor), SLACK.encode(), _json(slack),
    )  # fmt: skip
    if len(body) > HEADER_BYTES - 8:
        raise InvalidRequest(
            f"a tensor's header: request id and shape take {len(body):,} bytes of JSON, "
            f"allowed are {HEADER_BYTES - 8:,}; use a shorter request id"
        )
    return _LENGTH + body.ljust(HEADER_BYTES - 8)


def _json(value: str | _Described) -> bytes:
    return msgspec.json.encode(value)


def _dtype_name(dtype: Dtype) -> str:
    name = _DTYPES.get(dtype.newbyteorder("<").str)
    if name is None:
        raise InvalidAudio(f"tensor of dtype {dtype}: allowed are {', '.join(sorted(_NUMPY))}")
    return name


def _parsed(header: bytes | mmap.mmap, capacity: int) -> tuple[dict[str, str], Dtype, tuple[int, ...]]:
    """Metadata, dtype and shape out of the header block that this begins with.

    Raises:
        InvalidAudio: not such a block, or its tensor does not fit into ``capacity`` bytes.
    """
    try:
        if header[:8] != _LENGTH:
            raise ValueError("the length of the JSON is not 4088")
        document = _document(header)
        tensor = document.tensor
        dtype, shape = _NUMPY[tensor.dtype], tensor.shape
        length = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or tensor.data_offsets != (0, length) or length > capacity:
            raise ValueError(f"shape {shape} of {dtype} in {capacity} bytes")
        return document.metadata, dtype, shape
    except (ValueError, KeyError, msgspec.DecodeError) as exc:
        raise InvalidAudio(f"not a tensor in the hand-over's format: {type(exc).__name__}: {exc}") from None


def _document(header: bytes | mmap.mmap) -> _Document:
    """Decode the JSON. Most of the block is padding, which would come from another core's cache to be passed over."""
    with contextlib.suppress(msgspec.DecodeError):  # longer, or of a text with spaces where this part ends
        return _DOCUMENT.decode(header[8:_USUALLY].rstrip())
    return _DOCUMENT.decode(header[8:HEADER_BYTES])


def to_frames(array: Array, request_id: str, owner: str = "inline") -> tuple[bytes, memoryview]:
    """The tensor as two frames, for where there is no slot; one after the other they are a safetensors
    file too. A contiguous array is not copied: it must stay unchanged until the frames are sent."""
    whole = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    return _header(whole, request_id, owner, whole.nbytes), whole.reshape(-1).view(np.uint8).data


def from_frames(header: bytes, payload: bytes | memoryview) -> Array:
    """The tensor of two frames, a read-only view of ``payload``.

    Raises:
        InvalidAudio: the frames are not what ``to_frames`` makes.
    """
    if len(header) != HEADER_BYTES:
        raise InvalidAudio(f"an inline tensor's header has {HEADER_BYTES} bytes, given {len(header)}")
    size = memoryview(payload).nbytes
    _, dtype, shape = _parsed(bytes(header), size)
    if math.prod(shape) * dtype.itemsize != size:
        raise InvalidAudio(f"an inline tensor of shape {shape}, {dtype} cannot have {size:,} bytes")
    array = np.frombuffer(payload, dtype=dtype).reshape(shape)
    array.flags.writeable = False
    return array


def is_float32_header(header: bytes) -> bool:
    """Return True for the first of the two frames that ``to_frames`` makes of a tensor of float32."""
    return header[:8] == _LENGTH and header[8 : 8 + len(_OPENING)] == _OPENING and b'"dtype":"F32"' in header[:_USUALLY]


# --- mappings, kept open


class _Mappings:
    """The mappings of one process, by path; the least recently used go first."""

    def __init__(self, directory: str, prot: int, open_flags: int) -> None:
        self.directory = os.path.join(directory, "")
        self._prot = prot
        self._open_flags = open_flags | os.O_CLOEXEC | os.O_NOFOLLOW
        self._kept: OrderedDict[str, mmap.mmap] = OrderedDict()

    def check(self, path: str) -> None:
        """Raises BadMessage for a path that is not directly in the arena."""
        name = path.removeprefix(self.directory)
        if name == path or "/" in name or not name.endswith(".safetensors"):
            raise BadMessage(f"{path!r} is not a slot of the arena {self.directory!r}")

    def get(self, path: str, slot_bytes: int = 0) -> mmap.mmap:
        """The mapping; with ``slot_bytes`` a file that is missing or too short is made first.

        Raises:
            BadMessage: not a slot of this arena. OSError: as the system says.
        """
        kept = self._kept.get(path)
        if kept is not None:
            self._kept.move_to_end(path)
            return kept
        self.check(path)
        fd = os.open(path, self._open_flags | (os.O_CREAT if slot_bytes else 0), 0o600)
        try:
            if slot_bytes:
                # all of it now: a write into a page that a full tmpfs cannot give is a SIGBUS
                os.posix_fallocate(fd, 0, slot_bytes)
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            kept = mmap.mmap(fd, os.fstat(fd).st_size, flags=flags, prot=self._prot)
        finally:
            os.close(fd)
        self._kept[path] = kept
        while len(self._kept) > _MAPPINGS_KEPT:
            self.drop(next(iter(self._kept)))
        return kept

    def __contains__(self, path: str) -> bool:
        return path in self._kept

    def drop(self, path: str) -> None:
        kept = self._kept.pop(path, None)
        if kept is not None:
            with contextlib.suppress(BufferError):  # a view is still out: unmapped when it goes
                kept.close()

    def close(self) -> None:
        for path in list(self._kept):
            self.drop(path)


class SlotWriter:
    """A worker's writing end of an arena. One thread may prepare slots while another writes.

    Args:
        directory: the arena's, as the worker was told by the pool.
    """

    def __init__(self, directory: str | Path) -> None:
        self._lock = threading.Lock()  # what is mapped for one slot may put another's mapping out
        self._mappings = _Mappings(str(directory), mmap.PROT_READ | mmap.PROT_WRITE, os.O_RDWR)

    def prepare(self, grant: Grant) -> None:
        """Creates, fills and maps the grant's slot, so that ``write`` has nothing left to allocate.

        Some 4 ms for 10 MB, once a slot: worth doing while something else computes.

        Raises:
            StorageError: no room, or the arena is gone; send the tensor inline and tell the router.
            BadMessage: the grant is not of this arena.
        """
        with self._lock:
            self._map(grant)

    def write(self, grant: Grant, array: Array, request_id: str) -> TensorRef:
        """Puts an array of any shape into the slot; the reference to send.

        Raises:
            StorageError: no room, or the arena is gone; send the tensor inline and tell the router.
            InvalidRequest: the array is larger than the slot. InvalidAudio: dtype without a name there.
            BadMessage: the grant is not of this arena.
        """
        capacity = grant.slot_bytes - HEADER_BYTES
        if array.nbytes > capacity:
            raise InvalidRequest(f"a tensor of {array.nbytes:,} bytes given a slot for {capacity:,}")
        header = _header(array, request_id, grant.owner, capacity)
        with self._lock:
            slot = self._map(grant)
            slot[_GENERATION] = _INVALID
            target = np.frombuffer(slot, dtype=array.dtype.newbyteorder("<"), count=array.size, offset=HEADER_BYTES)
            np.copyto(target.reshape(array.shape), array)
            slot[:HEADER_BYTES] = header
            slot[_GENERATION] = b"%020d" % grant.generation
        return TensorRef(
            path=grant.path,
            length=array.nbytes,
            generation=grant.generation,
            owner=grant.owner,
            dtype=_dtype_name(array.dtype),
            shape=array.shape,
        )

    def _map(self, grant: Grant) -> mmap.mmap:
        if grant.path not in self._mappings:
            for path in grant.retire:
                self._retire(path)
        try:
            return self._mappings.get(grant.path, grant.slot_bytes)
        except OSError as exc:
            if grant.fresh:
                with contextlib.suppress(OSError):  # what a full tmpfs did give goes back
                    os.unlink(grant.path)
            raise StorageError(
                f"no slot of {grant.slot_bytes:,} bytes at {grant.path!r}: {exc.strerror}",
                hint="give the arena more room (a larger /dev/shm) or a lower quota",
            ) from None

    def _retire(self, path: str) -> None:
        """Unlinks a slot and gives its pages back, although others may still have it mapped.

        Not by truncation: a late reader would get a SIGBUS. With a hole it sees zeros, no generation.
        """
        with contextlib.suppress(OSError, ValueError):  # gone, empty, or a file system without holes
            self._mappings.get(path).madvise(mmap.MADV_REMOVE)
        self._mappings.drop(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def close(self) -> None:
        self._mappings.close()


class SlotReader:
    """A reading end of an arena; maps read-only. Not for use by two threads at once.

    Args:
        directory: the arena's; the directory's name is the owner that references must name.
    """

    def __init__(self, directory: str | Path) -> None:
        self._mappings = _Mappings(str(directory), mmap.PROT_READ, os.O_RDONLY)
        self._owner = Path(directory).name

    @contextlib.contextmanager
    def borrow(self, ref: TensorRef) -> Iterator[Array]:
        """The tensor as a read-only view of the slot, for the length of a ``with`` block.

        Keep no view of it: the slot is the next tensor's once the lease is released.

        Raises:
            StorageError: before or after the block: the slot does not hold that tensor (any more).
            BadMessage: the reference is not of this arena, or disagrees with what lies there.
        """
        slot, array = self._look(ref)
        yield array
        self._check(slot, ref)

    def read(self, ref: TensorRef) -> Array:
        """A copy of the tensor that may be kept and changed. Raises as ``borrow`` does."""
        with self.borrow(ref) as array:
            return array.copy()

    def _look(self, ref: TensorRef) -> tuple[mmap.mmap, Array]:
        if ref.owner != self._owner:
            raise BadMessage(f"a tensor of the arena {ref.owner!r} given to a reader of {self._owner!r}")
        try:
            slot = self._mappings.get(ref.path)
            found = slot.size()  # of the file as it is now
        except FileNotFoundError:
            raise _stale(ref) from None
        except (OSError, ValueError) as exc:  # ValueError: an empty file
            raise StorageError(f"tensor {ref.path!r} cannot be mapped: {exc}") from None
        if found < len(slot) or len(slot) < HEADER_BYTES:  # to look beyond its end would be a SIGBUS
            self._mappings.drop(ref.path)
            raise StorageError(f"tensor {ref.path!r} was cut off: its slot has {found:,} bytes")
        self._check(slot, ref)
        try:
            metadata, dtype, shape = _parsed(slot, len(slot) - HEADER_BYTES)
        except InvalidAudio:
            self._check(slot, ref)  # a writer came in between: that is what happened, and what is said
            raise
        if metadata.get("owner") != ref.owner or (_dtype_name(dtype), shape) != (ref.dtype, ref.shape):
            raise BadMessage(f"tensor {ref.path!r}: the slot holds {dtype} {shape}, the reference says "
                             f"{ref.dtype} {ref.shape}")  # fmt: skip
        flat = np.frombuffer(slot, dtype=dtype, count=math.prod(shape), offset=HEADER_BYTES)
        return slot, flat.reshape(shape)

    def _check(self, slot: mmap.mmap, ref: TensorRef) -> None:
        if slot[_GENERATION] != b"%020d" % ref.generation:
            raise _stale(ref)

    def close(self) -> None:
        self._mappings.close()


def _stale(ref: TensorRef) -> StorageError:
    return StorageError(
        f"tensor {ref.path!r}, generation {ref.generation}, is gone: its lease has been released"
    )
