"""A worker that answers as the prompt's first word says, nearly always wrongly. Run as a worker's ``python``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import zmq

from audio_pool.tasks import Grant
from audio_pool.transport.tensors import SlotWriter
from audio_pool.transport.worker_messages import WORKER_PROTOCOL

INFO = {
    "name": "other", "kind": "generator", "model": "other", "licence": "MIT", "commercial_use": True,
    "sample_rate": 44_100, "channels": 2, "any_rate": True,
}  # fmt: skip
MADE = {"engine": "mock", "implementation": "mock", "model": "mock", "worker": {"id": "liar"}}


def raw(**where: Any) -> dict[str, Any]:
    one = {"seed": 1, "sample_rate": 44_100, "looped": False, "notes": {}, **where}
    return {"kind": "raw", "candidates": [one], "made": MADE}


def tensor(grant: dict[str, Any]) -> dict[str, Any]:
    slot = {name: grant[name] for name in ("path", "generation", "owner")}
    return {**slot, "length": 8, "dtype": "F32", "shape": [2, 1]}


def written(grant: dict[str, Any], audio: Any) -> dict[str, Any]:
    """A tensor as an honest worker writes it."""
    writer = SlotWriter(Path(grant["path"]).parent)
    return msgspec.to_builtins(writer.write(msgspec.convert(grant, Grant), audio, "r"))


def handed_over(word: str, grant: dict[str, Any]) -> dict[str, Any]:
    """A tensor that is wrong in one way."""
    sound = np.full((2, 8820), 0.1, np.float32)
    match word:
        case "missing":
            return tensor(grant)
        case "cut":
            ref = written(grant, sound)
            os.truncate(grant["path"], 4096)
            return ref
        case "emptied":
            ref = written(grant, sound)
            os.truncate(grant["path"], 0)
            return ref
        case "longer":
            return {**written(grant, sound), "length": 1 << 40}
        case "negative":
            return {**written(grant, sound), "length": -1}
        case "larger":
            return {**written(grant, sound), "shape": [2, 10**12]}
        case "otherwise":
            return {**written(grant, sound), "dtype": "F64"}
        case "stranger":
            return {**written(grant, sound), "owner": "somebody else"}
        case "elsewhere":
            return {**written(grant, sound), "path": "/etc/passwd"}
        case "older":
            return {**written(grant, sound), "generation": grant["generation"] + 1000}
        case "torn":
            return written(grant, sound * np.float32("nan"))
        case "wide":
            return written(grant, np.zeros((882, 20), np.float32))
        case "flat":
            return written(grant, sound[0])
        case "double":
            return written(grant, sound[:, :4000].astype(np.float64))
        case "brief":
            return written(grant, sound[:, :10])
    raise AssertionError(word)


HANDED_OVER = (
    "missing", "cut", "emptied", "longer", "negative", "larger", "otherwise", "stranger", "elsewhere", "older", "torn",
    "wide", "flat", "double", "brief",
)  # fmt: skip


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
            case _ if word in HANDED_OVER:
                results = {job: raw(tensor=handed_over(word, message["grants"][0]))}
            case "rated":
                results = {job: {**raw(tensor=written(message["grants"][0], np.zeros((2, 8820), np.float32)))}}
                results[job]["candidates"][0]["sample_rate"] = 10**9
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
