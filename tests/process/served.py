"""What the tests of a served pool share: a real ``audio-pool serve``, a plain client, and an engine that does
as its prompt says.

The engine is one of another package, as any user may bring: a module and an entry point in a directory on
PYTHONPATH. The client knows zmq and msgpack and nothing of this package, as the protocol's page promises.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import psutil
import zmq

PATIENCE_S = 120.0
"""Longer than anything here takes on a machine that does much else."""

_ENGINE = '''
import os
import time

import numpy as np

from audio_pool.engines.base import EngineInfo, Notes


class Stage:
    def __init__(self, info, diary):
        self.info, self.diary = info, diary

    def notes(self, item):
        return Notes(expects=frozenset({"silence"}))

    def generate(self, items, on_step=None):
        sounds = []
        for item in items:
            verb, _, rest = item.prompt.partition(" ")
            with open(self.diary, "a") as file:  # one line a sound made, in order
                file.write(item.prompt + "\\n")
            if verb == "hold":  # until the file is there; can be cancelled
                while not os.path.exists(rest.split()[0]):
                    on_step and on_step(1, 4)
                    time.sleep(0.02)
            if verb == "fail":
                raise RuntimeError("a gear is broken")
            on_step and on_step(4, 4)
            frames = round(item.duration_s * item.sample_rate)
            wave = 0.3 * np.sin(np.arange(frames) * (0.03 + item.seed % 100 / 1000))
            sounds.append(np.tile(wave.astype(np.float32), (2, 1)))
        return sounds

    def close(self): ...


def info(name):
    return EngineInfo(
        name=name, role="generator", model=name, licence="Apache-2.0", commercial_use=True, sample_rate=44_100,
        channels=2, any_rate=True, gated=False, init_audio=True, summary="does as its prompt says",
    )


def load(name, diary="", gate="", trouble="", **settings):
    while gate and not os.path.exists(gate):
        time.sleep(0.02)
    if trouble:
        raise RuntimeError(trouble)
    return Stage(info(name), diary)
'''


def stage_package(directory: Path) -> Path:
    """Writes the package with the engines ``stage`` and ``second``, both alike."""
    dist = directory / "stage-1.0.dist-info"
    dist.mkdir(parents=True, exist_ok=True)
    (directory / "stage_engine.py").write_text(_ENGINE)
    for name in ("stage", "second"):
        (directory / f"{name}_here.py").write_text(
            f"import stage_engine\nINFO = stage_engine.info({name!r})\n"
            f"def load(**settings): return stage_engine.load({name!r}, **settings)\n"
        )
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: stage\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[audio_pool.engines]\nstage = stage_here\nsecond = second_here\n")
    return directory


def _toml(tree: dict[str, Any]) -> str:
    """Sections, one of them with a nested one each, and the list of workers."""

    def line(key: str, value: Any) -> str:
        if isinstance(value, dict):
            return f"{key} = {{ " + ", ".join(line(k, v) for k, v in value.items()) + " }"
        return f"{key} = {json.dumps(value)}"

    blocks = []
    for section, keys in tree.items():
        for table in keys if isinstance(keys, list) else [keys]:
            head = f"[[{section}]]" if isinstance(keys, list) else f"[{section}]"
            blocks.append("\n".join([head, *(line(key, value) for key, value in table.items())]))
    return "\n\n".join(blocks) + "\n"


class Served:
    """``audio-pool serve`` in a process of its own.

    Args:
        place: everything it writes lies here; the same place again is the same cache and address.
        sections: of the configuration, over those that every test wants.
        arguments: further options of the command.
    """

    def __init__(self, place: Path, *arguments: str, bind: str = "", **sections: Any) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        package = stage_package(place / "package")
        self.diary_file = place / "diary"
        self.bind = bind or f"ipc://{place}/s"
        worker = {"name": "w", "engines": ["stage"], "credit": 1, "env": {"PYTHONPATH": str(package)}}
        tree: dict[str, Any] = {
            "defaults": {"engine": "stage", "duration_s": 0.2},
            "cache": {"encoder": "off"},
            "workers": [worker],
            "engines": {},
        }
        for section, keys in sections.items():
            tree[section] = keys if isinstance(keys, list) else {**tree.get(section, {}), **keys}
        for plan in tree["workers"]:
            plan.setdefault("env", {"PYTHONPATH": str(package)})
        for name in {name for plan in tree["workers"] for name in plan["engines"]}:
            tree["engines"][name] = {"diary": str(self.diary_file), **tree["engines"].get(name, {})}
        (place / "serve.toml").write_text(_toml(tree))
        command = [sys.executable, "-m", "audio_pool.cli", "serve", "--config", str(place / "serve.toml")]
        command += ["--bind", self.bind, "--cache-dir", str(place / "cache"), *arguments]
        with (place / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "PYTHONPATH": str(package)},
            )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def hear(self, word: str) -> str:
        """The next line that begins with ``word``."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self.said and self.said[-1].split()[0] == word):
            try:
                self.said.append(self.lines.get(timeout=max(0.01, min(1.0, deadline - time.monotonic()))))
            except queue.Empty:
                ended = self.process.poll() is not None
                assert not ended and time.monotonic() < deadline, f"no {word!r}; said {self.said}; {self.stderr()}"
        return self.said[-1]

    def ready(self) -> Served:
        """Once it says that it is; ``endpoint`` is then where it listens."""
        self.endpoint = self.hear("ready").split()[1]
        return self

    def stderr(self) -> str:
        return (self.place / "stderr").read_text()[-3000:]

    def diary(self) -> list[str]:
        """The prompts of all sounds made, in order."""
        return self.diary_file.read_text().splitlines() if self.diary_file.exists() else []

    def workers(self) -> dict[str, psutil.Process]:
        """Its living worker processes, by name."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            try:
                command = child.cmdline()
                if child.status() != psutil.STATUS_ZOMBIE and "audio_pool.worker.process" in " ".join(command):
                    found[command[-4]] = child
            except psutil.Error:  # it ended just now
                continue
        return found

    def rss_mb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


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


def eventually(condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """The condition's value once it is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s: {what}")
