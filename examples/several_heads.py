"""A client of several heads with nothing but pyzmq and msgpack, made from docs/protocol.md, section 9.

    pip install pyzmq msgpack
    python several_heads.py tcp://10.0.0.5:5555,tcp://10.0.0.6:5555 "rain on a tin roof" --count 20

Asks one head for all of the sounds at once and, when that is lost or stops, the next for those that are missing. Prints
one line of JSON for each.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import uuid
from typing import Any

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

GREETING_S, QUIET_S, SILENT_S, MOST_PAUSE_S = 2.0, 3.0, 10.0, 5.0
MADE = zmq.EVENT_HANDSHAKE_SUCCEEDED
LOST = (
    zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)  # fmt: skip


class Head:
    """One connection: made once, and given up when it ends."""

    def __init__(self, address: str, patience_s: float) -> None:
        self.address, self.made, self.lost = address, False, ""
        self.asked: set[str] = set()
        self.heard_at, self.probed = time.monotonic(), False
        self.patient_until = self.heard_at + patience_s
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0), (zmq.RECONNECT_IVL, -1), (zmq.HEARTBEAT_IVL, 5000), (zmq.HEARTBEAT_TIMEOUT, 20_000),
        ):  # fmt: skip
            self.socket.setsockopt(option, value)
        self.monitor = self.socket.get_monitor_socket(MADE | LOST)
        self.socket.connect(address)

    def send(self, message: dict[str, Any]) -> None:
        if not self.asked:
            self.heard_at, self.probed = time.monotonic(), False
        self.asked.add(message["request_id"])
        self.socket.send(msgpack.packb(message))

    def look(self) -> None:
        """Take in what the monitor tells, and whether it has been silent for too long."""
        while self.monitor.poll(0):
            event = recv_monitor_message(self.monitor)["event"]
            if event == MADE:
                self.made, self.heard_at = True, time.monotonic()
            elif not self.lost:
                self.lost = "the connection ended" if self.made else "no connection"
        now = time.monotonic()
        if not self.made and now > self.patient_until:
            self.lost = self.lost or "no greeting in time"
        elif self.made and self.asked and now > self.heard_at + SILENT_S:
            self.lost = self.lost or f"silent for {SILENT_S:g} s"
        elif self.made and self.asked and now > self.heard_at + QUIET_S and not self.probed:
            self.probed = True
            self.send({"v": 1, "type": "health", "request_id": uuid.uuid4().hex})

    def receive(self) -> list[dict[str, Any]]:
        replies = []
        while self.socket.poll(0):
            replies.append(msgpack.unpackb(self.socket.recv_multipart()[0]))
            self.heard_at, self.probed = time.monotonic(), False
            self.asked.discard(replies[-1]["request_id"])
        return replies

    def close(self) -> None:
        self.socket.disable_monitor()
        self.socket.close()


class Client:
    """Requests in flight, and the heads that have them."""

    def __init__(self, addresses: list[str]) -> None:
        self.failures = dict.fromkeys(addresses, 0)
        self.again_at = dict.fromkeys(addresses, 0.0)
        self.why = dict.fromkeys(addresses, "not tried yet")
        self.current: Head | None = None
        self.leaving: list[Head] = []
        self.waiting: dict[str, dict[str, Any]] = {}
        """By id, what nobody has."""
        self.sent: dict[str, dict[str, Any]] = {}
        """By id, what a head has."""

    def ask_all(self, messages: list[dict[str, Any]], timeout_s: float) -> Any:
        """Yield each one's final reply, as they come. Raises TimeoutError."""
        self.waiting.update({message["request_id"]: message for message in messages})
        until = time.monotonic() + timeout_s
        while self.waiting or self.sent:
            if time.monotonic() > until:
                wrong = "; ".join(f"{address}: {why}" for address, why in self.why.items())
                raise TimeoutError(f"{len(self.waiting) + len(self.sent)} sounds are missing; {wrong}")
            self._choose()
            heads = [*self.leaving, *([self.current] if self.current else [])]
            poller = zmq.Poller()
            for head in heads:
                poller.register(head.socket, zmq.POLLIN)
                poller.register(head.monitor, zmq.POLLIN)
            poller.poll(50)
            for head in heads:
                yield from self._settle(head)

    def _choose(self) -> None:
        now = time.monotonic()
        ready = [address for address, at in self.again_at.items() if at <= now]
        if self.current is None and ready:
            address = random.choice(ready)
            self.current = Head(address, min(15.0, GREETING_S * 2 ** self.failures[address]))
        if self.current is not None and self.current.made:
            for request_id, message in list(self.waiting.items()):
                self.current.send(message)
                self.sent[request_id] = self.waiting.pop(request_id)

    def _settle(self, head: Head) -> Any:
        stopping = False
        for reply in head.receive():
            if reply.get("error", {}).get("code") == "closed":  # it finishes what it has, and takes nothing new
                stopping = True
                self._take_back([reply["request_id"]])
            elif self.sent.pop(reply["request_id"], None) is not None:
                self.failures[head.address], self.why[head.address] = 0, "it answers"
                yield reply
        head.look()
        if head is self.current and (head.lost or stopping):
            self._fail(head.address, head.lost or "it is stopping", leave=stopping)
            self.current = None
            self.leaving.append(head)
        if head in self.leaving and (head.lost or not head.asked):
            self.leaving.remove(head)
            self._take_back(list(head.asked))
            head.close()

    def _take_back(self, request_ids: list[str]) -> None:
        """Have what a head will not answer any more asked of the next, under the same ids."""
        for request_id in request_ids:
            if request_id in self.sent:
                self.waiting[request_id] = self.sent.pop(request_id)

    def _fail(self, address: str, why: str, *, leave: bool) -> None:
        self.failures[address] += 1
        pause_s = MOST_PAUSE_S if leave else min(MOST_PAUSE_S, 0.1 * 2 ** (self.failures[address] - 1))
        self.again_at[address] = time.monotonic() + pause_s * random.uniform(0.5, 1.0)
        self.why[address] = why


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("addresses", help="with commas between them")
    parser.add_argument("prompt")
    parser.add_argument("--count", type=int, default=1, help="so many sounds, with seeds of their own")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds")
    options = parser.parse_args()
    messages = [
        {
            "v": 1, "type": "generate", "request_id": uuid.uuid4().hex,
            "request": {"prompt": options.prompt, "duration_s": options.duration, "seed": seed},
        }
        for seed in range(options.count)
    ]  # fmt: skip
    failed = 0
    try:
        for reply in Client(options.addresses.split(",")).ask_all(messages, options.timeout):
            if reply["type"] == "result":
                print(json.dumps({"path": reply["path"], "seed": reply["metadata"]["seed"]}), flush=True)
            else:
                failed += 1
                print(f"{reply['error']['code']}: {reply['error']['message']}", file=sys.stderr)
    except TimeoutError as exc:
        print(f"timeout: {exc}", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
