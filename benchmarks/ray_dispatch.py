"""One small task to an actor of a Ray cluster: through our head, by Ray's own call, and by Ray Serve, in one run.

    python -m benchmarks.ray_dispatch [--rounds 4] [--each 200]

One cluster of one node on this machine. 1 kB there and back, one after the other, in turns. Ours goes from a client's
socket to a server in a process of its own, through its queue, to the worker's process that an actor has started, and
back; Serve's from a handle in the driver to a replica, which is less than its HTTP. ``zmq alone`` are the same two
hops, client to server by ipc and server to worker by TCP and CURVE, with nothing in between. Serve is ``ray[serve]``;
without it its row is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
from benchmarks._absent import Absent
from benchmarks._pingpong import encrypted_ping_pong, ping_pong
from benchmarks.routing import _Server

PAYLOAD = os.urandom(1024)
SERVE = "Ray Serve, from a handle"
_PATIENCE_S = 120.0
_CONFIG = """
[cluster]
launcher = "ray"
address = "{address}"
[cache]
encoder = "off"
[[workers]]
name = "actor"
engines = ["procedural"]
[[workers]]
name = "home"
engines = ["procedural"]
local = true
"""


def _timed(call: Callable[[], object], each: int) -> list[float]:
    took = []
    for _ in range(each):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return took


def rows(rounds: int = 4, each: int = 200, *, beside_serve: bool = True) -> list[dict[str, Any]]:
    """Latencies of the ways, and their ratios to Serve's."""
    place = Path(tempfile.mkdtemp(prefix="apr", dir="/tmp"))
    (place / "ray").mkdir()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0", "RAY_TMPDIR": str(place)}
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError:
        raise Absent("Ray is not installed: make bench-cluster brings it") from None
    head = {"num_cpus": 4, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "temp_dir": str(place / "ray")})
    try:
        with contextlib.ExitStack() as rest:
            return _table(_ways(cluster.address, place, rest, beside_serve=beside_serve), rounds, each)
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(place, ignore_errors=True)


def _ways(
    address: str, place: Path, rest: contextlib.ExitStack, *, beside_serve: bool
) -> dict[str, Callable[[], object]]:
    import ray

    from audio_pool import AudioClient

    class Echo:
        def __call__(self, payload: bytes) -> bytes:
            return payload

    near, far = rest.enter_context(ping_pong()), rest.enter_context(encrypted_ping_pong())
    server = rest.enter_context(_Server(str(place), text=_CONFIG.format(address=address)))
    client = rest.enter_context(AudioClient(server.endpoint))
    socket = rest.enter_context(server.client())
    message = msgpack.packb({"v": 1, "type": "echo", "request_id": "e", "payload": PAYLOAD, "worker": "actor"})

    def zmq_alone() -> None:
        for hop in (near, far):
            hop.send(PAYLOAD)
            hop.recv()

    def ask() -> None:
        socket.send(message)
        assert b"result" in socket.recv()[:64]

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    actor = ray.remote(Echo).options(num_cpus=0).remote()
    ways: dict[str, Callable[[], object]] = {
        "zmq alone, the two hops": zmq_alone,
        "our head, from a socket": ask,
        "our head, from our client": lambda: client.echo(PAYLOAD, "actor"),
        "the same, a worker of its machine": lambda: client.echo(PAYLOAD, "home"),
        "Ray's own call": lambda: ray.get(actor.__call__.remote(PAYLOAD)),
    }
    client.echo(PAYLOAD, "actor", timeout_s=_PATIENCE_S)  # once it is up
    if not beside_serve:
        return ways
    with contextlib.suppress(ImportError):
        from ray import serve

        handle = serve.run(serve.deployment(Echo, ray_actor_options={"num_cpus": 0}).bind())
        ways[SERVE] = lambda: handle.remote(PAYLOAD).result()
    return ways


def _table(ways: dict[str, Callable[[], object]], rounds: int, each: int) -> list[dict[str, Any]]:
    took: dict[str, list[float]] = {}
    for call in ways.values():
        _timed(call, each // 4 + 1)
    for _ in range(rounds):
        for way, call in ways.items():
            took.setdefault(way, []).extend(_timed(call, each))
    found = []
    serves = sorted(took.get(SERVE, []))
    for way, seconds in took.items():
        seconds.sort()
        p50, p99 = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
        row: dict[str, Any] = {"way": way, "p50 ms": p50 * 1e3, "p99 ms": p99 * 1e3}
        if serves:
            row["p50 / Serve"] = p50 / serves[len(serves) // 2]
        found.append(row)
    return found


def main() -> None:
    """One run as asked for."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--each", type=int, default=200, help="calls of each way in a round")
    asked = parser.parse_args()
    print("\n".join(table(rows(asked.rounds, asked.each))))


if __name__ == "__main__":
    main()
