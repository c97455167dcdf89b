"""``[[workers]]``: one worker process, or several alike.

Owns: its keys, their defaults and bounds; how the processes of several are named.
Must not know: where a process is started, what it does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from audio_pool.types import Name

__all__ = ["WorkerConfig", "process_names"]

_Resource = Annotated[str, Meta(max_length=64, pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.:\-]*\Z")]
"""A name of Ray's, such as accelerator_type:H100."""
Role = Literal["generate", "master", "embed", "score"]


class WorkerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One worker process (or ``count`` alike)."""

    name: Name
    engines: list[Name] = []
    roles: list[Role] = field(default_factory=lambda: ["generate", "master", "embed", "score"])
    """What it does: generates candidates, masters the best, embeds texts, scores sounds."""
    gpu: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9,\-]*\Z", max_length=200)] | None = None
    """CUDA_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES, e.g. "0"; "" hides every GPU; None leaves them alone."""
    device: Name | Literal[""] = ""
    """A logical device, ``[devices.NAME]``, instead of a GPU; "": the GPU's memory, or the machine's, is meant."""
    python: str = ""
    """Another interpreter; empty: this one."""
    thread: bool = False
    """Run on a thread of the pool's process, where no timeout can kill it. For hosts that may not spawn."""
    env: dict[str, str] = {}
    count: Annotated[int, Meta(ge=1, le=64)] = 1
    credit: Annotated[int, Meta(ge=1, le=64)] = 2
    """Sounds to generate that a worker may hold, so that the next is there when one ends."""
    aux_credit: Annotated[int, Meta(ge=1, le=64)] = 8
    """Short tasks (embed, master, render) that it may hold."""
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    """OMP/MKL threads; 0: what OMP_NUM_THREADS says where it is set, else the machine's cores shared between the
    workers."""
    local: bool = False
    """A process of this machine, though ``cluster.launcher`` starts the others elsewhere."""
    gpus: Annotated[float, Meta(ge=0.0, le=64.0)] = 0.0
    """Cards, or a part of one (0.5), that Ray gives it; it sees no others."""
    resources: dict[_Resource, Annotated[float, Meta(gt=0.0, le=1e9)]] = {}
    """Ray's own resources that its node must have."""
    memory: Annotated[str, Meta(max_length=32)] = ""
    """What Ray sets aside of its node's memory, e.g. "8GB"; "": nothing."""
    niceness: Annotated[int, Meta(ge=0, le=19)] = 10
    """How far its process stands back behind others where cores are scarce: hits are answered while sounds are made.
    0: not at all."""


def process_names(worker: WorkerConfig) -> list[str]:
    """Return the names of a worker's processes: its own, or one numbered from 1 for each of several."""
    if worker.count == 1:
        return [worker.name]
    return [f"{worker.name}-{number}" for number in range(1, worker.count + 1)]
