"""The actor of one worker: starts the worker's process on its node, and lives as long.

Owns: RayHost. It runs on any machine of the cluster, where this package is installed, too.
Must not know: the pool; when a worker is started.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import socket
import tempfile
from pathlib import Path

import msgspec

from audio_pool import gpu
from audio_pool.errors import AudioPoolError
from audio_pool.models.shipping import Arrival, Shipped, target_of
from audio_pool.pool.launchers import ProcessSpec
from audio_pool.pool.launchers.cards import given_cards, strangers
from audio_pool.pool.launchers.local import LocalLauncher
from audio_pool.worker.remote import own_folder

__all__ = ["RayHost"]

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
"""Between two looks at whose memory the worker has taken, until it has taken some."""
_FILES_KEPT = 64


class RayHost:
    """One worker's place on a node."""

    def __init__(self, endpoint: str, log_dir: str) -> None:
        """
        Args:
            endpoint: where the worker connects.
            log_dir: on this node; "": among its temporary files.
        """
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        directory = Path(log_dir) if log_dir else Path(tempfile.gettempdir()) / f"audio_pool-logs-{os.getuid()}"
        self._launcher = LocalLauncher(endpoint, directory, lambda name, incarnation, reason: self._ended.put(reason))
        self._files: Path | None = None
        self._arrivals: dict[str, Arrival] = {}

    def place(self) -> str:
        """Return where this is, in words."""
        return f"{socket.gethostname()} (pid {os.getpid()})"

    def lacks(self, models: bytes) -> list[str]:
        """Return which models are not on this node.

        Args:
            models: as JSON.
        """
        return [one.model for one in _models(models) if not target_of(one).is_dir()]

    def take(self, model: bytes, name: str, offset: int, data: bytes) -> None:
        """Write a piece of a model."""
        one = msgspec.json.decode(model, type=Shipped)
        if one.model not in self._arrivals:
            self._arrivals[one.model] = Arrival(one)
        self._arrivals[one.model].take(name, offset, data)

    def has_all(self, model: str) -> None:
        """Put a model whose pieces have all come into its place."""
        self._arrivals.pop(model).end()

    def main(self, spec: bytes, incarnation: int, secret: str) -> str:
        """Run the worker; return how it ended.

        Args:
            spec: its ProcessSpec as JSON.
        """
        told = msgspec.json.decode(spec, type=ProcessSpec)
        try:
            setting, cards = given_cards(told.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"), gpu.survey())
        except AudioPoolError as exc:
            return f"it was not started on {self.place()}: {exc}"
        if told.gpus or told.gpu is None:
            told = msgspec.structs.replace(told, gpu=setting)
        self._launcher.spawn(told, incarnation, secret)
        unseen = bool(cards)
        while True:
            try:
                return self._ended.get(timeout=_LOOK_EVERY_S if unseen else None)
            except queue.Empty:
                elsewhere = strangers(list(self._launcher.pids().values()), cards, gpu.process_bytes())
                unseen = elsewhere is None
                if elsewhere:
                    why = f"it has taken memory of {', '.join(elsewhere)}, which it was not given"
                    self._launcher.kill(told.name, incarnation, why, at_once=True)
                    return f"{why} ({setting})"

    def end(self, name: str, incarnation: int, why: str, at_once: bool) -> None:
        """End the worker; ``main`` returns when it is gone."""
        self._launcher.kill(name, incarnation, why, at_once=at_once)

    def bring(self, sha256: str, data: bytes) -> str:
        """Keep a file here for a while; return its path."""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError("the file has changed on its way")
        self._files = self._files or own_folder()
        path = self._files / sha256
        if not path.exists():
            whole = [one for one in self._files.iterdir() if len(one.name) == len(sha256)]
            kept = sorted(whole, key=lambda one: one.stat().st_mtime)
            for old in kept[: max(0, len(kept) - _FILES_KEPT + 1)]:
                old.unlink(missing_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(data)
            part.replace(path)
        path.touch()
        return str(path)


def _models(models: bytes) -> list[Shipped]:
    return msgspec.json.decode(models, type=list[Shipped])
