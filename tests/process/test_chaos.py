"""Workers killed at random under a flood of every kind of request: each gets one answer, and nothing is left over."""

from __future__ import annotations

import collections
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

FOR_S = 3.0
WORKERS = [
    {"name": "maker", "engines": ["stage"], "roles": ["generate"], "count": 2, "credit": 2},
    {"name": "master", "engines": [], "roles": ["master"], "count": 2},
]
LIMITS = {"restart_backoff_s": 0.05, "max_restarts": 1000, "max_attempts": 3, "poison_after": 100}


class Client:
    """Asks at random, takes answers now and then, and remembers what it asked."""

    def __init__(self, endpoint: str, number: int) -> None:
        self.endpoint = endpoint
        self.dice = random.Random(number)
        self.asked: list[str] = []
        self.answers: dict[str, list[str]] = {}

    def live(self, stop: threading.Event) -> None:
        with Asker(self.endpoint) as ask:
            while not stop.is_set():
                self._ask(ask)
                while self.dice.random() < 0.8 and ask.socket.poll(50):
                    ask.take()
            for name in self.asked:
                ask.final(name)
            ask.quiet()
            while ask.socket.poll(0):
                ask.take()
            self.answers = {name: [final["type"] for final in finals] for name, finals in ask.finals.items()}

    def _ask(self, ask: Asker) -> None:
        dice, name = self.dice, f"r{len(self.asked)}"
        self.asked.append(name)
        if dice.random() < 0.1:
            ask.send("echo", name, payload=b"x")
            return
        request = {
            "force": dice.random() < 0.3,
            "delivery": dice.choice(["path", "inline"]),
            "format": dice.choice(["wav", "flac", "ogg"]),
            "deadline_ms": dice.choice([None, None, None, 1, 100]),
        }
        ask.generate(name, f"tone of chaos {dice.randrange(30)}", events=dice.random() < 0.3, **request)
        if dice.random() < 0.1:
            self.asked.append(f"{name}-cancel")
            ask.send("cancel", self.asked[-1], target=name)


def kill_now_and_then(server: Served, stop: threading.Event, killed: list[str]) -> None:
    dice = random.Random(0)
    while not stop.wait(dice.random() * 0.5):
        alive = server.workers()
        if alive:
            name = dice.choice(sorted(alive))
            try:
                alive[name].send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            killed.append(name)


def test_every_request_gets_one_answer_whoever_dies(tmp_path: Path) -> None:
    with Served(tmp_path / "s", workers=WORKERS, limits=LIMITS).ready() as server:
        stop, killed = threading.Event(), list[str]()
        clients = [Client(server.endpoint, number) for number in range(4)]
        threads = [threading.Thread(target=client.live, args=(stop,)) for client in clients]
        threads.append(threading.Thread(target=kill_now_and_then, args=(server, stop, killed)))
        for thread in threads:
            thread.start()
        time.sleep(FOR_S)
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        tally: collections.Counter[str] = collections.Counter()
        for client in clients:
            assert set(client.answers) == set(client.asked)
            assert all(len(types) == 1 for types in client.answers.values())
            tally.update(types[0] for types in client.answers.values())
        assert killed and tally["result"] > 20, (killed, tally)
        with Asker(server.endpoint) as ask:
            status = eventually(lambda: _at_rest(ask), "nothing is in flight any more")
            assert status["waiting"] == 0 and status["arena"]["leases"] > 5, status  # and none is leased now
            eventually(lambda: ask.ask("health")["state"] == "ready", "whoever died is back")
            ask.generate("after", "tone after all that")
            assert ask.final("after")["type"] == "result"
        server.signal()
        assert server.wait() == 0
    # what a killed worker left half-made in the cache is no entry, and is swept at the next start
    with Served(tmp_path / "s").ready() as server:
        server.signal()
        assert server.wait() == 0
    command = [sys.executable, "-m", "audio_pool.cli", "cache", "verify", "--cache-dir", str(tmp_path / "s" / "cache")]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert verified.returncode == 0, verified.stdout
    left = [path.name for path in (tmp_path / "s" / "cache" / "incoming").iterdir() if path.name != ".lock"]
    assert not left


def _at_rest(ask: Asker) -> dict[str, object] | None:
    status = ask.ask("status")
    return status if not status["requests"] and not status["arena"]["leased"] else None
