"""What a configuration of workers on other machines cannot mean: told when it is read, not when Ray refuses it.

Owns: which combinations of ``[cluster]`` and ``[[workers]]`` are refused, and why.
Must not know: Ray, what a worker does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from audio_pool.config.cluster import ClusterConfig
from audio_pool.config.workers import WorkerConfig

__all__ = ["cluster_refusals", "on_nodes"]

_LEAST = 0.0001
"""What Ray counts in."""
_RAYS_OWN = {"CPU": "threads", "GPU": "gpus", "memory": "memory"}
"""Resources of Ray that a worker asks for by a key of its own."""
_SIZE = re.compile(r"\A\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*\Z", re.IGNORECASE)  # as gpu.parse_bytes reads it
_BIND = re.compile(r"\Atcp://(\*|\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\*|[0-9]{1,5})\Z")
_HOST = re.compile(r"\A([^\s:/\[\]]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\Z")


def on_nodes(worker: WorkerConfig, cluster: ClusterConfig) -> bool:
    """Return True for a worker that Ray places: what it needs is needed there, not on this machine."""
    return cluster.launcher == "ray" and not worker.local


def cluster_refusals(cluster: ClusterConfig, workers: Sequence[WorkerConfig]) -> Iterator[str]:
    """Yield what is wrong, if anything is: what was given, what is allowed, what to do."""
    if cluster.bind and not _BIND.match(cluster.bind):
        yield f"cluster.bind: given {cluster.bind!r}, allowed is tcp://ADDRESS:PORT, e.g. tcp://0.0.0.0:5580"
    if cluster.advertise and not _HOST.match(cluster.advertise):
        yield (
            f"cluster.advertise: given {cluster.advertise!r}, allowed is a name or an address alone, e.g. 10.0.0.5; "
            "the port is that of cluster.bind"
        )
    for worker in workers:
        yield from (f"workers: {worker.name!r} {refusal}" for refusal in _of_worker(worker, cluster.launcher))


def _of_worker(worker: WorkerConfig, launcher: str) -> Iterator[str]:
    elsewhere = launcher != "local" and not worker.local
    for key in ("thread", "device") if elsewhere else ():
        if getattr(worker, key):
            yield f"has {key}, which is of this machine, and cluster.launcher is {launcher!r}; give it local = true"
    for key in ("gpus", "resources", "memory"):
        if getattr(worker, key) and (worker.local or launcher != "ray"):
            yield f"has {key}, which Ray reads; " + ("it is local" if worker.local else 'set cluster.launcher = "ray"')
    if worker.gpus and worker.gpu is not None:
        yield "has gpu and gpus; with gpus Ray chooses the cards"
    if worker.gpus > 1 and not worker.gpus.is_integer():
        yield f"has gpus = {worker.gpus:g}; allowed are whole cards (1, 2, ...) or a part of one (0.5)"
    for name, amount in {"gpus": worker.gpus, **worker.resources}.items():
        if 0 < amount < _LEAST:
            yield f"asks for {amount:g} of {name}; Ray counts in {_LEAST}: 0 or more than that"
    for name in worker.resources:
        if name in _RAYS_OWN:
            yield f"has {name} in its resources; set its key {_RAYS_OWN[name]!r} instead"
    size = _SIZE.match(worker.memory)
    if worker.memory and (size is None or float(size[1]) == 0):
        yield f"has memory = {worker.memory!r}; allowed is a size like '8GB' or '512MB'"
