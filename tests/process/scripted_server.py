"""A server that does what the prompt says, to show clients every way an answer can come, or not.

Run as a process: ``python scripted_server.py ENDPOINT [KEYS_DIR]``; prints its endpoint when it is bound.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgpack

from audio_pool.transport.keys import ServerKeys
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import router

ENGINE = {"name": "mock", "kind": "generator", "model": "mock", "licence": "Apache-2.0", "commercial_use": True}
STATUS = {
    "version": "0", "health": "ready", "requests": 0, "waiting": 0, "semantic": "off", "cache": "off", "workers": {
        "w": {"state": "ready", "incarnation": 1, "engines": ["mock"], "duties": ["make"], "jobs": 1, "jobs_done": 2}
    },
}  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "health": {"state": "ready", "reasons": [], "engines": {"mock": "ready"}},
    "engines": {"engines": [{**ENGINE, "state": "ready"}]},
    "cache_stats": {"total_items": 3, "total_size_mb": 0.5},
}
"""Only what a server must say, so that clients are seen to do without the rest."""


class Script:
    def __init__(self, endpoint: str, keys: str = "") -> None:
        self.channel = router(endpoint, keys=ServerKeys.read(Path(keys)) if keys else None)
        self.held: dict[str, list[bytes]] = {}
        self.cancels: list[str] = []

    def run(self) -> None:
        poller = Poller()
        poller.add(self.channel, "channel")
        while True:
            poller.wait(60.0)
            while (frames := self.channel.receive()) is not None:
                envelope = frames[:2] if len(frames) > 2 and not frames[1] else frames[:1]
                self.answer(envelope, msgpack.unpackb(frames[len(envelope)]))

    def say(self, envelope: list[bytes], kind: str, request_id: str, *binary: bytes, **fields: Any) -> None:
        message = {"v": 1, "type": kind, "request_id": request_id, **fields}
        self.channel.send_to(envelope[0], [*envelope[1:], msgpack.packb(message), *binary])

    def answer(self, envelope: list[bytes], message: dict[str, Any]) -> None:
        kind, request_id = message["type"], message["request_id"]
        if kind == "cancel":
            self.cancels.append(message["target"])
            held = self.held.pop(message["target"], None)
            if held is not None:
                error = {"code": "cancelled", "message": "cancelled by its caller", "hint": "", "retryable": False}
                self.say(held, "cancelled", message["target"], error=error)
            body = {"target": message["target"], "cancelled": held is not None}
            self.say(envelope, "result", request_id, body=body)
        elif kind == "generate":
            self.generate(envelope, request_id, message["request"], message.get("events", False))
        elif kind == "status":
            clients = {"cancels": len(self.cancels), "held": len(self.held)}
            self.say(envelope, "result", request_id, body={**STATUS, "clients": clients})
        elif kind == "feedback":
            self.say(envelope, "result", request_id, body={"target": message["target"], "noted": True})
        elif kind == "echo":
            self.say(envelope, "result", request_id, body={"payload": message["payload"]})
        else:
            self.say(envelope, "result", request_id, body=BODIES.get(kind, {"asked": message}))

    def generate(self, envelope: list[bytes], request_id: str, request: dict[str, Any], events: bool) -> None:
        prompt = request["prompt"]
        result = {"path": "/sounds/x.wav", "metadata": {"prompt": prompt, "request_id": request_id}}
        if prompt == "silence":
            if events:
                self.say(envelope, "accepted", request_id, body={"queue_position": 0})
            self.held[request_id] = envelope
        elif prompt == "die":
            os._exit(9)
        elif prompt == "busy":
            error = {"code": "busy", "message": "full", "hint": "", "retryable": True, "retry_after_ms": 1234}
            self.say(envelope, "busy", request_id, error=error, retry_after_ms=1234)
        elif prompt == "quality":
            error = {"code": "quality", "message": "all noise", "hint": "other words", "retryable": True}
            self.say(envelope, "error", request_id, error=error)
        elif prompt == "nonsense":
            self.channel.send_to(envelope[0], [*envelope[1:], b"\xc1\xc1"])
            self.channel.send_to(envelope[0], [*envelope[1:]] or [b""])
            self.say(envelope, "result", "of-nobody", **result)
            self.say(envelope, "result", request_id, **result)
        elif prompt == "half a result":
            self.say(envelope, "result", request_id, path="/sounds/x.wav")
        elif prompt == "twice":
            self.say(envelope, "result", request_id, **result)
            self.say(envelope, "result", request_id, path="/sounds/second.wav", metadata={})
        else:
            if events:
                self.say(envelope, "accepted", request_id, body={"queue_position": 0})
                for done in range(1, 5):
                    body = {"stage": "generate", "done": done, "total": 4, "fraction": done / 4}
                    self.say(envelope, "progress", request_id, body=body)
            data = [prompt.encode() * 3] if request.get("delivery") == "inline" else []
            self.say(envelope, "result", request_id, *data, **result)


if __name__ == "__main__":
    script = Script(*sys.argv[1:])
    print(script.channel.endpoint, flush=True)
    script.run()
