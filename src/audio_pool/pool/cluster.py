"""Workers on other machines, beside those of this one: their link, and who starts them.

Owns: Cluster: which launcher starts which worker.
Must not know: messages, when a worker is started.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from audio_pool.config import ClusterConfig
from audio_pool.pool.inbox import Item
from audio_pool.pool.launchers import OnExit, ProcessSpec, WorkerLauncher
from audio_pool.pool.launchers.local import LocalLauncher
from audio_pool.pool.launchers.ray import RayLauncher
from audio_pool.pool.remote_link import RemoteLink

__all__ = ["Cluster"]


class Cluster:
    """What a pool needs more whose workers are elsewhere."""

    def __init__(
        self,
        config: ClusterConfig,
        arena: Path,
        log_dir: Path,
        on_exit: OnExit,
        post: Callable[[Item], None],
    ) -> None:
        """
        Args:
            arena: slots are read there for workers that have none.
            log_dir: gets one file per worker that is started on this machine.
            on_exit: told of each that was started on this machine and has ended.
            post: gets events for the router.
        """
        bind = config.bind or ("tcp://127.0.0.1:*" if config.launcher == "tcp" else "tcp://0.0.0.0:*")
        self.link = RemoteLink(bind, arena, config.link_mbit)
        self._launcher: WorkerLauncher
        if config.launcher == "ray":
            port = int(self.link.endpoint.rpartition(":")[2])
            launcher = RayLauncher(port, config, log_dir, post)
            self._launcher, self.link.carry = launcher, launcher.bring
        else:
            self._launcher = LocalLauncher(self.link.endpoint, log_dir, on_exit)

    def beside(self, local: WorkerLauncher) -> WorkerLauncher:
        """Return what starts both sorts of workers."""
        return _Both(local, self._launcher)

    def close(self) -> None:
        """End the workers that are left, and the link."""
        self._launcher.close()
        self.link.close()


class _Both:
    """A WorkerLauncher for workers of which some are remote."""

    def __init__(self, local: WorkerLauncher, remote: WorkerLauncher) -> None:
        self._local = local
        self._remote = remote
        self._away: set[tuple[str, int]] = set()

    def spawn(self, spec: ProcessSpec, incarnation: int, secret: str) -> None:
        """Start a worker where it belongs."""
        if spec.remote:
            self._away = {one for one in self._away if one[0] != spec.name} | {(spec.name, incarnation)}
        (self._remote if spec.remote else self._local).spawn(spec, incarnation, secret)

    def kill(self, name: str, incarnation: int, why: str, *, at_once: bool = False) -> None:
        """End a worker where it is."""
        launcher = self._remote if (name, incarnation) in self._away else self._local
        launcher.kill(name, incarnation, why, at_once=at_once)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the workers of this machine."""
        return {**self._remote.pids(), **self._local.pids()}

    def close(self, timeout_s: float = 10.0) -> None:
        """End what is left."""
        self._remote.close(timeout_s)
        self._local.close(timeout_s)
