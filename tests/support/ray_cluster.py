"""A Ray cluster of several nodes on this machine, with logical GPUs, for the tests that want one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil

_STORE_BYTES = 80 << 20
_TUNED = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    # a lost node is noticed in about a second, not after the many that a large cluster wants
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "300",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
_SLOW = {"RAY_health_check_timeout_ms": "5000", "RAY_health_check_period_ms": "1000"}


class RayCluster:
    """Its nodes; the first has a processor and nothing else.

    Args:
        port: where it is found; 0: any.
        slow: nodes are not taken for dead on a machine that has much else to do.
    """

    def __init__(self, port: int = 0, *, slow: bool = False) -> None:
        # short: Ray adds 62 bytes to it for the path of a socket, which may have 107
        self.place = Path(tempfile.mkdtemp(prefix="apr", dir="/tmp"))
        (self.place / "ray").mkdir()
        os.environ |= {**_TUNED, **(_SLOW if slow else {}), "RAY_TMPDIR": str(self.place)}
        from ray.cluster_utils import Cluster  # only here: it reads the environment

        head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "temp_dir": str(self.place / "ray")}
        if port:
            head["gcs_server_port"] = port
        self._cluster = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": _STORE_BYTES})
        self._nodes: list[Any] = []

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return str(self._cluster.address)

    def add(self, *, gpus: int = 0, **resources: float) -> Any:
        """A node more."""
        node = self._cluster.add_node(
            num_cpus=2, num_gpus=gpus, resources=resources, object_store_memory=_STORE_BYTES
        )
        self._nodes.append(node)
        return node

    def kill(self, node: Any) -> None:
        """As when its machine loses its power."""
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def is_up(self, node: Any) -> bool:
        """Whether its process runs; one that was declared dead ends it."""
        return node.all_processes["raylet"][0].process.poll() is None

    def lose(self) -> None:
        """End what all nodes depend on: without it there is no cluster any more."""
        self._cluster.head_node.all_processes["gcs_server"][0].process.kill()

    def raylet(self, node: Any) -> psutil.Process:
        """The process that is a node to Ray."""
        return psutil.Process(node.all_processes["raylet"][0].process.pid)

    def close(self) -> None:
        self._cluster.shutdown()
        shutil.rmtree(self.place, ignore_errors=True)
