"""A worker that answers as the prompt's first word says, nearly always wrongly. Run as a worker's ``python``."""

from __future__ import annotations

import os
import sys
from typing import Any

import msgpack
import zmq

from audio_pool.transport.worker_messages import WORKER_PROTOCOL

INFO = {
    "name": "other", "kind": "generator", "model": "other", "licence": "MIT", "commercial_use": True,
    "sample_rate": 44_100, "channels": 2, "any_rate": True,
}  # fmt: skip
MADE = {"engine": "mock", "implementation": "mock", "model": "mock"}


def raw(**where: Any) -> dict[str, Any]:
    one = {"seed": 1, "sample_rate": 44_100, "looped": False, "notes": {}, **where}
    return {"kind": "raw", "candidates": [one], "made": MADE}


def tensor(grant: dict[str, Any]) -> dict[str, Any]:
    slot = {name: grant[name] for name in ("path", "generation", "owner")}
    return {**slot, "length": 8, "dtype": "F32", "shape": [2, 1]}


class LyingWorker:
    def __init__(self, endpoint: str, name: str, incarnation: int, secret: str) -> None:
        self.incarnation = incarnation
        self.sockets = {}
        for thread in ("control", "generate", "aux"):
            socket = zmq.Context.instance().socket(zmq.DEALER)
            socket.setsockopt(zmq.IDENTITY, f"{name}:{incarnation}:{thread}:{secret}".encode())
            socket.connect(endpoint)
            self.sockets[thread] = socket

    def send(self, thread: str, kind: str, *frames: bytes, **fields: Any) -> None:
        message = {"type": kind, "incarnation": self.incarnation, **fields}
        self.sockets[thread].send_multipart([msgpack.packb(message), *frames])

    def run(self) -> None:
        self.send("control", "hello", protocol=WORKER_PROTOCOL)
        poller = zmq.Poller()
        for socket in self.sockets.values():
            poller.register(socket, zmq.POLLIN)
        while True:
            for thread, socket in self.sockets.items():
                if socket in dict(poller.poll(100)):
                    message = msgpack.unpackb(socket.recv_multipart()[0], strict_map_key=False)
                    if message["type"] == "stop":
                        return
                    getattr(self, message["type"])(thread, message)
            self.send("control", "heartbeat")

    def load(self, thread: str, message: dict[str, Any]) -> None:
        for other in ("generate", "aux"):
            self.send(other, "heartbeat")
        engines = 5 if os.environ.get("LIE") == "ready" else dict.fromkeys(message["engines"], INFO)
        self.send("control", "ready", engines=engines)

    def run_task(self, thread: str, message: dict[str, Any]) -> None:
        part = message["task"]["parts"][0]
        job, word = part["job"], part["recipe"]["prompt"].split()[0]
        failed = {"kind": "failed", "failure": {"code": "engine_failed", "message": "as asked"}}
        frames: list[bytes] = []
        results: Any = {job: failed}
        match word:
            case "junk":
                self.sockets[thread].send(b"\xc1\xff")
                self.send(thread, "done", results="none")
            case "slots":
                results |= {job + 1000: raw(tensor=tensor(message["grants"][0]))}
            case "frames":
                results |= {job + 1000: raw(frame=0)}
                frames = [b"header", b"payload"]
            case "vectors":
                sound = {"path": "/nowhere.flac", "recipe": part["recipe"], "metadata": {}, "accepted": True}
                results = {job: {"kind": "sound", "sound": sound, "score": 1.0, "vectors": {"sound:x": b"abc"}}}
        self.send(
            thread, "done", *frames, task_id=message["task_id"], attempt=message["attempt"], results=results
        )


if __name__ == "__main__":
    first = next(number for number, argument in enumerate(sys.argv) if "://" in argument)
    LyingWorker(sys.argv[first], sys.argv[first + 1], int(sys.argv[first + 2]), sys.stdin.readline().strip()).run()
