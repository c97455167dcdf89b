"""A client of two heads that writes down all it asks and all it is told, and judges nothing.

    python -m benchmarks._cluster_client PLAN.json

It knows the wire alone (docs/protocol.md): one request goes to one head; where that head's connection breaks, or it
is silent for longer than anybody has to wait, the same request is asked at the other one under the same id.

Owns: what is asked, by dice, and the journal: lines of JSON, one for each event, with the machine's monotonic clock.
Must not know: which faults there are, what is right.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import soundfile
import zmq
from zmq.utils.monitor import recv_monitor_message

__all__ = ["DEADLINE_S", "PATIENCE_S", "RATE", "Journal", "heard", "main", "planned", "told_to_end"]

DEADLINE_S = 20.0
"""That a request for a sound names."""
PATIENCE_S = 35.0
"""After which a client stops to wait."""
RATE = 22_050
_SUBJECTS = ("rain on a tin roof", "a bell", "wind", "a creaking door", "footsteps on gravel", "a drum", "waves")
_WINDOW = 3
_ERRORS_TOLD = 200


class Journal:
    """What one client writes down."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.by: str = plan["name"]
        self._file = Path(plan["journal"]).open("a", buffering=1)  # noqa: SIM115

    def note(self, event: str, **what: Any) -> None:
        self._file.write(json.dumps({"t": round(time.monotonic(), 4), "e": event, "by": self.by, **what}) + "\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def heard(metadata: Any, data: bytes | None) -> dict[str, Any]:
    """What the journal has of a sound: whether it is whole, and what it is."""
    warnings = [one.split(":")[0] for one in metadata["warnings"]]
    said = {
        "prompt": metadata["prompt"],
        "entry": metadata["entry_id"],
        "cached": metadata["cached"],
        "how": metadata["cache_type"],
        "warnings": warnings,
        "kept_not": "not_kept" in warnings,
    }
    try:
        assert data is not None, "neither path nor bytes"
        sound, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        said["sha256"] = hashlib.sha256(data).hexdigest()
        if rate != metadata["sample_rate"] or abs(len(sound) / rate - metadata["duration_s"]) > 0.002:
            said["broken"] = f"{len(sound)} frames at {rate} for {metadata['duration_s']} s"
    except (AssertionError, RuntimeError) as exc:
        said["broken"] = f"{type(exc).__name__}: {exc}"
    return said


@dataclass(slots=True)
class Asked:
    """A request on its way."""

    id: str
    kind: str
    message: dict[str, Any]
    heads: list[str]
    """It may still be asked there, in this order."""
    about: dict[str, Any]
    """What the journal has of it beside."""
    sent_at: float = 0.0
    tries: int = 0


@dataclass(slots=True)
class Head:
    """A connection to one."""

    name: str
    endpoint: str
    socket: Any = None
    monitor: Any = None
    up: bool = False
    waiting: dict[str, Asked] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    """What nobody waits for any more, and may be in flight there still."""


class Client:
    """Asks until it is told to end, and then waits for what is under way."""

    def __init__(self, plan: dict[str, Any], journal: Journal) -> None:
        self.name: str = plan["name"]
        self.note = journal.note
        self.durable: bool = plan["durable"]
        self.pause_s: float = plan["pause_s"]
        self.dice = random.Random(f"{plan['seed']} {self.name}")
        self.heads = {name: Head(name, endpoint) for name, endpoint in plan["heads"].items()}
        self.number = 0
        self.told_to_end = told_to_end()
        self.known: list[dict[str, Any]] = []
        """Recipes that were kept by an answer to this client, and not asked to be removed by it."""
        self.unsent: deque[Asked] = deque()
        self.later: list[tuple[float, Asked]] = []
        self.finals: Counter[str] = Counter()

    # -- connections

    def connect(self, head: Head) -> None:
        if head.socket is not None:
            head.socket.disable_monitor()
            head.monitor.close(0)
            head.socket.close(0)
        head.socket = zmq.Context.instance().socket(zmq.DEALER)
        head.socket.setsockopt(zmq.LINGER, 0)
        head.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        head.monitor = head.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        head.socket.connect(head.endpoint)
        head.up = False
        head.given_up.clear()

    def look(self, head: Head) -> None:
        """Take what the connection tells of itself."""
        while head.monitor.poll(0):
            event = recv_monitor_message(head.monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                head.up = True
                continue
            self.take_all(head)  # what came before it broke
            lost, head.waiting = head.waiting, {}
            for asked in lost.values():
                self.note("gone", id=asked.id, head=head.name)
                self.elsewhere(asked, head.name)
            # anew: what libzmq still held of it would be sent to the next server there
            self.connect(head)
            return

    def elsewhere(self, asked: Asked, not_at: str) -> None:
        asked.heads = [name for name in self.heads if name != not_at] + [not_at]
        if asked.tries < 6:
            self.unsent.append(asked)
        else:
            self.note("gave up", id=asked.id)

    def send(self, asked: Asked) -> bool:
        for name in asked.heads:
            head = self.heads[name]
            if head.up and asked.id not in head.waiting and asked.id not in head.given_up:
                asked.sent_at, asked.tries = time.monotonic(), asked.tries + 1
                self.note("ask", id=asked.id, head=name, kind=asked.kind, **asked.about)
                head.socket.send(msgpack.packb({"v": 1, "request_id": asked.id, **asked.message}))
                head.waiting[asked.id] = asked
                return True
        return False

    # -- answers

    def take_all(self, head: Head) -> None:
        while head.socket.poll(0):
            frames = head.socket.recv_multipart()
            self.take(head, msgpack.unpackb(frames[0]), frames[1] if len(frames) > 1 else None)

    def take(self, head: Head, told: dict[str, Any], data: bytes | None) -> None:
        if told["type"] in ("accepted", "progress"):
            return
        asked = head.waiting.pop(told["request_id"], None)
        said: dict[str, Any] = {"id": told["request_id"], "head": head.name, "type": told["type"]}
        if asked is None:
            head.given_up.discard(told["request_id"])
            self.note("unasked", **said)  # a second answer, or one that came after the patience had ended
            return
        if told["type"] != "result":
            error = told["error"]
            said |= {"code": error["code"], "message": error["message"][:_ERRORS_TOLD]}
        elif asked.kind == "remove":
            said["entry"] = asked.about["entry"]
        else:
            try:
                data = data or Path(told["path"]).read_bytes()
            except OSError as exc:
                said["broken"] = f"{type(exc).__name__}: {exc}"
            else:
                said |= heard(told["metadata"], data)
        self.note("end", kind=asked.kind, **said)
        if (
            asked.kind == "remove" and told["type"] == "result"
        ):  # at once here, and elsewhere when it must be known there
            prompt, seed, now = asked.about["prompt"], asked.about["seed"], time.monotonic()
            for other in self.heads:
                again = self.sound(f"{asked.id}-{other}", "removed", prompt, seed, [other])
                self.later.append((now + (0.0 if other == head.name else 1.05), again))
        if asked.kind not in ("remove", "near") and said.get("entry") and not said.get("kept_not"):
            self.known.append({**asked.about, "entry": said["entry"]})
            del self.known[:-60]

    # -- what is asked

    def request(self, prompt: str, **fields: Any) -> dict[str, Any]:
        # flac of 24 bits is the kept file itself, so its bytes can be compared
        usual = {"duration_s": 0.5, "sample_rate": RATE, "format": "flac", "bit_depth": 24}
        request = {"prompt": prompt, "deadline_ms": int(DEADLINE_S * 1000), **usual, **fields}
        return {"type": "generate", "request": request}

    def draw(self) -> list[Asked]:
        """What is asked next: one request, or the same one at both heads."""
        self.number += 1
        number, dice = self.number, self.dice
        name = f"{self.name}-{number}"
        heads = dice.sample(sorted(self.heads), len(self.heads))
        drawn = dice.random()
        if drawn < 0.30 and self.known:
            recipe = dice.choice(self.known)
            return [self.sound(name, "repeat", recipe["prompt"], recipe["seed"], heads)]
        if drawn < 0.38 and self.known:
            recipe = self.known.pop(dice.randrange(len(self.known)))
            about = {"entry": recipe["entry"], "prompt": recipe["prompt"], "seed": recipe["seed"]}
            self.known = [one for one in self.known if one["entry"] != recipe["entry"]]
            return [Asked(name, "remove", {"type": "remove", "entry": recipe["entry"]}, heads, about)]
        if drawn < 0.48:
            prompt = f"the sound of {_SUBJECTS[dice.randrange(len(_SUBJECTS))]}"
            about = {"prompt": prompt, "seed": None}
            return [Asked(name, "near", self.request(prompt), heads, about)]
        if drawn < 0.62:
            common = int(time.monotonic() / 1.5)  # the clients of this machine ask for the same at the same time
            return [self.sound(name, "common", f"{_SUBJECTS[common % 7]} number {common}", common, heads)]
        prompt = f"{_SUBJECTS[number % 7]} number {number} of {self.name}"
        if drawn < 0.72:
            return [self.sound(f"{name}-{head}", "twin", prompt, number, [head]) for head in heads]
        if drawn < 0.82 and self.durable:
            return [self.sound(name, "durable", prompt, number, heads, durable=True)]
        inline = {"delivery": "inline"} if dice.random() < 0.3 else {}
        return [self.sound(name, "fresh", prompt, number, heads, **inline)]

    def sound(self, name: str, kind: str, prompt: str, seed: int, heads: list[str], **fields: Any) -> Asked:
        about = {"prompt": prompt, "seed": seed}
        return Asked(name, kind, self.request(prompt, seed=seed, **fields), heads, about)

    # -- its life

    def run(self) -> None:
        for head in self.heads.values():
            self.connect(head)
        next_at, end_by = 0.0, float("inf")
        while True:
            now, ending = time.monotonic(), self.told_to_end.is_set()
            if ending and end_by == float("inf"):
                end_by = now + PATIENCE_S + DEADLINE_S
            waiting = sum(len(head.waiting) for head in self.heads.values())
            if (ending and not waiting and not self.unsent) or now > end_by:
                break
            self.unsent.extend(asked for at, asked in self.later if at <= now)
            self.later = [(at, asked) for at, asked in self.later if at > now]
            for _ in range(len(self.unsent)):
                asked = self.unsent.popleft()
                if not self.send(asked):
                    self.unsent.append(asked)
            if not ending and now > next_at and waiting < _WINDOW and any(h.up for h in self.heads.values()):
                self.unsent.extend(self.draw())
                next_at = now + self.dice.expovariate(1 / self.pause_s)
            self.listen()
        for asked in self.unsent:
            self.note("never sent", id=asked.id)
        self.note("over", asked=self.number)

    def listen(self) -> None:
        poller = zmq.Poller()
        for head in self.heads.values():
            poller.register(head.socket, zmq.POLLIN)
            poller.register(head.monitor, zmq.POLLIN)
        poller.poll(20)
        now = time.monotonic()
        for head in self.heads.values():
            self.take_all(head)
            self.look(head)
            for asked in [one for one in head.waiting.values() if now - one.sent_at > PATIENCE_S]:
                del head.waiting[asked.id]
                head.given_up.add(asked.id)
                self.note("none", id=asked.id, head=head.name, kind=asked.kind)
                self.elsewhere(asked, head.name)


def planned() -> dict[str, Any]:
    """The plan that the command names."""
    found: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return found


def told_to_end() -> threading.Event:
    """What is set when this process is told to end."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return ending


def main() -> None:
    plan = planned()
    with Journal(plan) as journal:
        Client(plan, journal).run()


if __name__ == "__main__":
    main()
