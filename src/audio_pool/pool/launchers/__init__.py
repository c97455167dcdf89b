"""How workers are started: the seam for other launchers than local processes.

Owns: ProcessSpec and the WorkerLauncher protocol. One launcher is one module of this folder.
Must not know: what workers do; which should run (scheduler/workers.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from audio_pool.models.shipping import Shipped

__all__ = ["OnExit", "ProcessSpec", "WorkerLauncher"]

OnExit = Callable[[str, int, str], None]
"""Called from a thread of the launcher as (name, incarnation, reason) when a worker is gone for sure."""


class ProcessSpec(Struct, frozen=True, kw_only=True):
    """How one worker is started."""

    name: str
    python: str = ""
    """Another interpreter; empty: this one."""
    gpu: str | None = None
    """CUDA_VISIBLE_DEVICES; "" hides every GPU, None leaves the variable alone."""
    env: dict[str, str] = {}
    threads: int = 0
    """OMP/MKL threads; 0: ``fair_threads``, unless OMP_NUM_THREADS is set."""
    fair_threads: int = 0
    """Its share of the cores; 0: the libraries' own choice."""
    niceness: int = 0
    """Added to this process's."""
    thread: bool = False
    """No process at all: a thread of this one."""
    remote: bool = False
    """It is treated as one that shares neither memory nor a disk with this process, wherever it is."""
    gpus: float = 0.0
    """Cards that Ray gives it."""
    resources: dict[str, float] = {}
    """What else its node must have."""
    memory_bytes: int = 0
    """Set aside of its node's memory."""
    models: tuple[Shipped, ...] = ()
    """That it may need, and its node may lack."""


class WorkerLauncher(Protocol):
    """Starts and ends workers, which then connect by themselves. No method waits but ``close``."""

    def spawn(self, spec: ProcessSpec, incarnation: int, secret: str) -> None:
        """Start a worker; OnExit tells if it cannot be started, and when it has ended.

        ``secret``: what it must prove itself with; for its eyes alone.
        """
        ...

    def kill(self, name: str, incarnation: int, why: str, *, at_once: bool = False) -> None:
        """End a worker: gently now and by force a little later, or by force at once; OnExit tells when it is gone."""
        ...

    def pids(self) -> dict[str, int]:
        """Return the process ids of local workers that run now, by name."""
        ...

    def close(self, timeout_s: float = 10.0) -> None:
        """End what is left, within ``timeout_s``."""
        ...
