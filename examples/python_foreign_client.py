"""Clients of ``audio-pool serve`` with nothing but pyzmq and msgpack, made from docs/protocol.md.

    pip install pyzmq msgpack
    python python_foreign_client.py tcp://127.0.0.1:5555 "rain on a tin roof" --duration 2 --loop

The first is a REQ: one request, one reply. The second (``--events``) is a DEALER that hears how it goes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from typing import Any

import msgpack
import zmq


def message(kind: str, **fields: Any) -> dict[str, Any]:
    return {"v": 1, "type": kind, "request_id": uuid.uuid4().hex, **fields}


def ask_once(endpoint: str, asked: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], bytes | None]:
    """One message by REQ: the final reply, and the file's bytes where they were asked for.

    Raises TimeoutError. A REQ that got no answer is of no more use, so each call takes a fresh one.
    """
    with zmq.Context.instance().socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        socket.send(msgpack.packb(asked))
        if not socket.poll(round(timeout_s * 1000)):
            raise TimeoutError(f"no answer from {endpoint} within {timeout_s:g} s")
        head, *data = socket.recv_multipart()
    return msgpack.unpackb(head), data[0] if data else None


def ask_with_events(endpoint: str, asked: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], bytes | None]:
    """One generate by DEALER, telling how it goes on stderr. Raises TimeoutError, after cancelling it."""
    deadline = time.monotonic() + timeout_s
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        socket.linger = 200  # so that a cancel still leaves
        socket.connect(endpoint)
        socket.send(msgpack.packb({**asked, "events": True}))
        while True:
            left_ms = round((deadline - time.monotonic()) * 1000)
            if left_ms <= 0 or not socket.poll(left_ms):
                socket.send(msgpack.packb(message("cancel", target=asked["request_id"])))
                raise TimeoutError(f"no answer from {endpoint} within {timeout_s:g} s")
            head, *data = socket.recv_multipart()
            reply = msgpack.unpackb(head)
            if reply["request_id"] != asked["request_id"]:
                continue
            if reply["type"] not in ("accepted", "progress"):
                return reply, data[0] if data else None
            print(reply["type"], json.dumps(reply["body"]), file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint")
    parser.add_argument("prompt")
    parser.add_argument("--duration", type=float, help="seconds")
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--events", action="store_true", help="by DEALER, telling how it goes")
    parser.add_argument("--out", help="have the file sent here instead of its path told")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds")
    options = parser.parse_args()
    request: dict[str, Any] = {"prompt": options.prompt, "loop": options.loop}
    if options.duration is not None:
        request["duration_s"] = options.duration
    if options.out:
        request["delivery"] = "inline"
    asked = message("generate", request=request)
    ask = ask_with_events if options.events else ask_once
    try:
        reply, data = ask(options.endpoint, asked, options.timeout)
    except TimeoutError as exc:
        print(f"timeout: {exc}", file=sys.stderr)
        return 1
    if reply["type"] != "result":
        error = reply["error"]
        print(f"{error['code']}: {error['message']} {error['hint']}".rstrip(), file=sys.stderr)
        return 1
    if options.out and data is not None:
        with open(options.out, "wb") as file:
            file.write(data)
    print(json.dumps({"path": options.out or reply["path"], "metadata": reply["metadata"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
