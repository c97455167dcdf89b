"""Hits while workers on other machines hand over large results: the latency of a hit, quiet and beside them.

Ten senders in a process of their own, each with the key of a worker, send 10.6 MB of float32 each at the same moment,
again and again, over TCP and CURVE; a client in a third process asks for a kept sound meanwhile. In turns: quiet,
results as they are, compressed ones. The server reads, decrypts, puts together and unpacks all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

from audio_pool import AudioPool

SENDERS, EACH_S, TURNS, MEGABYTES = 10, 2.0, 3, 10.6
_SENDER = """
import sys, threading, numpy as np
from audio_pool.transport import packing
from audio_pool.transport.pieces import Parting
from audio_pool.transport.remote_channel import RemoteChannel
from audio_pool.transport.tensors import to_frames
from audio_pool.transport.worker_keys import WorkerCredentials
from audio_pool.transport.worker_messages import TaskDone, worker_identity

endpoint, codec = sys.argv[1:3]
lines = sys.stdin.readline().strip().split("|")
t = np.arange(30 * 44_100) / 44_100
noise = np.random.default_rng(1).standard_normal((2, len(t)))
frames = to_frames((0.3 * np.sin(2 * np.pi * 220 * t) + 0.05 * noise).astype(np.float32), "bench")
go, done = threading.Barrier(len(lines) + 1), threading.Barrier(len(lines) + 1)

def send(number, line):
    own = WorkerCredentials.of(line)
    identity = worker_identity(f"{codec}-{number}", 1, "aux", own.secret)
    channel = RemoteChannel(endpoint, identity, own.keys, Parting(codec), patient=True)
    while True:
        go.wait()
        channel.send([packing.pack(TaskDone(incarnation=1, task_id=1, attempt=1, results={})), *frames])
        done.wait()

for number, line in enumerate(lines):
    threading.Thread(target=send, args=(number, line), daemon=True).start()
for order in sys.stdin:
    go.wait()
    done.wait()
    print("sent", flush=True)
"""
_HITS = """
import json, sys, time
from audio_pool import AudioClient

with AudioClient(sys.argv[1]) as client:
    for seconds in map(float, sys.stdin):
        took, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            begun = time.perf_counter()
            client.generate("a kept sound", duration_s=1.0)
            took.append(time.perf_counter() - begun)
            time.sleep(0.002)
        print(json.dumps(took), flush=True)
"""


class _Process:
    """Told one line, answers with one."""

    def __init__(self, code: str, *arguments: str) -> None:
        command = [sys.executable, "-c", code, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def rows() -> list[dict[str, Any]]:
    """Latencies of hits by what arrives meanwhile."""
    found: dict[str, list[float]] = {}
    sent: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        config = {
            "cluster": {"launcher": "tcp"},
            "cache": {"dir": place, "encoder": "off"},
            "server": {"bind": f"ipc://{place}/s"},
            "workers": [{"name": "w", "engines": ["procedural"], "local": True}],
        }
        with AudioPool.from_config(config, serve=True) as pool:
            link = pool._running().router._link.remote
            assert link is not None and pool.endpoint is not None
            client = _Process(_HITS, pool.endpoint)
            client.tell("0.2")
            client.hear()  # the sound is kept now
            senders = {}
            for codec in ("plain", "zstd"):
                keys = [link.keys.make(f"{codec}-{n}", 1, "s", 1e4).line() for n in range(SENDERS)]
                senders[codec] = _Process(_SENDER.replace("Parting(codec)", "Parting(codec.replace('plain', ''))"),
                                          link.endpoint, codec)  # fmt: skip
                senders[codec].tell("|".join(keys))
                senders[codec].tell("go")
                senders[codec].hear()
            for _ in range(TURNS):
                for name in ("quiet", *senders):
                    client.tell(str(EACH_S))
                    begun = sum(sent.values())
                    if name != "quiet":
                        while sum(sent.values()) - begun < 5:  # five times 106 MB, as fast as they are taken
                            senders[name].tell("go")
                            senders[name].hear()
                            sent[name] = sent.get(name, 0) + 1
                    found.setdefault(name, []).extend(json.loads(client.hear()))
            for one in (client, *senders.values()):
                one.close()
    table = []
    quiet = sorted(found["quiet"])[len(found["quiet"]) // 2]
    for name, took in found.items():
        took.sort()
        table.append(
            {
                "meanwhile": name,
                "MB": round(sent.get(name, 0) * SENDERS * MEGABYTES),
                "hits": len(took),
                "p50 ms": took[len(took) // 2] * 1e3,
                "p99 ms": took[int(len(took) * 0.99)] * 1e3,
                "worst ms": took[-1] * 1e3,
                "p50 / quiet": took[len(took) // 2] / quiet,
            }
        )
    return table
