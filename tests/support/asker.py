"""A client of the wire alone: it knows zmq and msgpack and nothing of this package, as docs/protocol.md promises."""

from __future__ import annotations

from typing import Any

import msgpack
import zmq
from tests.support.waiting import PATIENCE_S


class Asker:
    """A DEALER (or REQ) socket and what has come back on it."""

    def __init__(self, endpoint: str, kind: int = zmq.DEALER, **options: Any) -> None:
        self.socket = zmq.Context.instance().socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        self.socket.connect(endpoint)
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.finals: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close(0)

    def send(self, kind: str, request_id: str, **fields: Any) -> None:
        self.socket.send(msgpack.packb({"v": 1, "type": kind, "request_id": request_id, **fields}))

    def generate(self, request_id: str, prompt: str, *, events: bool = False, **request: Any) -> None:
        more = {"events": True} if events else {}
        self.send("generate", request_id, request={"prompt": prompt, **request}, **more)

    def take(self, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The next message, put where it belongs."""
        assert self.socket.poll(int(within_s * 1000)), f"nothing within {within_s:g} s; so far {self.told()}"
        frames = self.socket.recv_multipart()
        if frames[0] == b"":
            del frames[0]
        message: dict[str, Any] = msgpack.unpackb(frames[0])
        if len(frames) > 1:
            message["frame"] = frames[1]
        place = self.events if message["type"] in ("accepted", "progress") else self.finals
        place.setdefault(message["request_id"], []).append(message)
        return message

    def told(self) -> str:
        """What has come so far, in few words."""
        kinds = {name: [final["type"] for final in finals] for name, finals in list(self.finals.items())[-20:]}
        return f"{len(self.finals)} finals, the last {kinds}"

    def final(self, request_id: str) -> dict[str, Any]:
        """The (first) final reply to a request."""
        while request_id not in self.finals:
            self.take()
        return self.finals[request_id][0]

    def event(self, request_id: str, kind: str) -> dict[str, Any]:
        """The first event of a kind."""
        while True:
            for event in self.events.get(request_id, ()):
                if event["type"] == kind:
                    return event
            assert request_id not in self.finals, f"ended without {kind!r}: {self.told()}"
            self.take()

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A question and the body of its answer."""
        self._count = getattr(self, "_count", 0) + 1
        request_id = f"{kind}-{self._count}"
        self.send(kind, request_id, **fields)
        answer = self.final(request_id)
        assert answer["type"] == "result", answer
        body: dict[str, Any] = answer["body"]
        return body

    def quiet(self, for_s: float = 0.3) -> bool:
        """Whether nothing more comes."""
        return not self.socket.poll(int(for_s * 1000))
