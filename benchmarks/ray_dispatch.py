"""One small task to an actor of a Ray cluster: through our head, by Ray's own call, and by Ray Serve, in one run.

One cluster of one node on this machine, one worker. 1 kB there and back, one after the other, in turns. Ours goes from
a client's socket through the queue to the worker's process and back; Serve's from a handle in the driver to a replica,
which is less than its HTTP. Without Ray (and ``ray[serve]``) there is nothing to run.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS, EACH = 4, 200
PAYLOAD = os.urandom(1024)


def _timed(call: Callable[[], object]) -> list[float]:
    took = []
    for _ in range(EACH):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return took


def rows() -> list[dict[str, Any]]:
    """Latencies of the ways, and their ratios to Serve's."""
    place = Path(tempfile.mkdtemp(prefix="apr", dir="/tmp"))
    (place / "ray").mkdir()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0", "RAY_TMPDIR": str(place)}
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError:
        return [{"way": "Ray is not installed: pip install 'audio-pool[cluster]'"}]
    head = {"num_cpus": 4, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "temp_dir": str(place / "ray")})
    try:
        return _ways(cluster.address, place)
    finally:
        ray.shutdown()
        cluster.shutdown()


def _ways(address: str, place: Path) -> list[dict[str, Any]]:
    import ray

    from audio_pool import AudioClient, AudioPool

    config = {
        "cluster": {"launcher": "ray", "address": address},
        "cache": {"dir": str(place / "cache"), "encoder": "off"},
        "server": {"bind": f"ipc://{place}/s"},
        "workers": [{"name": "w", "engines": ["procedural"]}],
    }

    class Echo:
        def __call__(self, payload: bytes) -> bytes:
            return payload

    took: dict[str, list[float]] = {}
    with AudioPool.from_config(config, serve=True) as pool, AudioClient(pool.endpoint) as client:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        actor = ray.remote(Echo).options(num_cpus=0).remote()
        ways: dict[str, Callable[[], object]] = {
            "our head, from a client": lambda: client.echo(PAYLOAD),
            "Ray's own call": lambda: ray.get(actor.__call__.remote(PAYLOAD)),
        }
        try:
            from ray import serve

            handle = serve.run(serve.deployment(Echo, ray_actor_options={"num_cpus": 0}).bind())
            ways["Ray Serve, from a handle"] = lambda: handle.remote(PAYLOAD).result()
        except ImportError:
            pass  # its row is missing then
        for call in ways.values():
            call()
        for _ in range(ROUNDS):
            for way, call in ways.items():
                took.setdefault(way, []).extend(_timed(call))
    floor = sorted(took.get("Ray Serve, from a handle", took["Ray's own call"]))
    found = []
    for way, each in took.items():
        each.sort()
        p50, p99 = each[len(each) // 2], each[len(each) * 99 // 100]
        found.append(
            {"way": way, "p50 ms": p50 * 1e3, "p99 ms": p99 * 1e3, "p50 / Serve": p50 / floor[len(floor) // 2]}
        )
    return found
