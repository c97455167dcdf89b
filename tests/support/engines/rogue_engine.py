"""``rogue``: does to its worker whatever an engine's author can get wrong. The prompt's first word says what.

A verb with a path does it only where there is no file yet, so that a second try succeeds.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scripted_engine import ScriptedEngine

from audio_pool.engines.base import EngineInfo, Item, Notes, OnStep
from audio_pool.errors import EngineError

INFO = EngineInfo(
    name="rogue", role="generator", model="rogue", licence="Apache-2.0", commercial_use=True,
    sample_rate=44_100, channels=2, any_rate=True, gated=False, summary="does what nobody should",
)  # fmt: skip
LONG_S = 3000
RETURNED = {
    "short": lambda sound: sound[:, :10],
    "wide": lambda sound: np.broadcast_to(sound[:1], (8820, sound.shape[1])),
    "turned": lambda sound: sound.T,
    "double": lambda sound: sound.astype(np.float64),
    "torn": lambda sound: sound * np.float32("nan"),
    "nothing": lambda sound: None,
}


class Rogue(ScriptedEngine):
    verbs = (
        "leave", "interrupt", "close", "end", "fault", "freeze", "hold", "sleep", "spin", "starve", "flood", "print",
        "surrogate", "unprintable", "numbered", "child", "wait", "loop",
    )  # fmt: skip

    def notes(self, item: Item) -> Notes:
        if item.prompt.startswith("noted"):
            torn = "torn \udcff text"
            return Notes(warnings=(f"torn: {torn}",), details={torn: [torn], "pid": os.getpid()})
        return Notes(details={"pid": os.getpid()})

    def sound(self, item: Item, on_step: OnStep):  # type: ignore[no-untyped-def]
        verb, _, path = item.prompt.partition(" ")
        if verb in RETURNED:
            return RETURNED[verb](super().sound(item, on_step))
        if verb in self.verbs and path.startswith("/") and verb != "wait":
            if os.path.exists(path):
                return super().sound(_replaced(item), on_step)
            open(path, "w").close()
        return super().sound(item, on_step)

    # -- exceptions that are none of Exception -----------------------------------------------------

    def leave(self, path: str, on_step: OnStep) -> None:
        sys.exit("goodbye")

    def interrupt(self, path: str, on_step: OnStep) -> None:
        raise KeyboardInterrupt

    def close(self, path: str = "", on_step: OnStep | None = None) -> None:
        if on_step is not None:
            raise GeneratorExit("closed")

    # -- deaths ------------------------------------------------------------------------------------

    def end(self, path: str, on_step: OnStep) -> None:
        os._exit(7)

    def fault(self, path: str, on_step: OnStep) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def starve(self, path: str, on_step: OnStep) -> None:
        """Runs into RLIMIT_AS."""
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), hard))
        try:
            bytearray(1 << 30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    # -- hangs -------------------------------------------------------------------------------------

    def freeze(self, path: str, on_step: OnStep) -> None:
        """Stops the whole process."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def hold(self, path: str, on_step: OnStep) -> None:
        """Sleeps in C and keeps the interpreter's lock: no other thread of the process runs."""
        ctypes.PyDLL(None).sleep(LONG_S)

    def sleep(self, path: str, on_step: OnStep) -> None:
        """Sleeps in C; everything else goes on."""
        time.sleep(LONG_S)

    def loop(self, path: str, on_step: OnStep) -> None:
        """Never ends, and reports nothing."""
        while True:
            pass

    def spin(self, path: str, on_step: OnStep) -> None:
        """Never ends, and hears of nothing."""
        while True:
            try:
                on_step(1, 2)
            except Exception:
                pass

    def wait(self, path: str, on_step: OnStep) -> None:
        """Until the file is there; can be cancelled."""
        open(path + ".started", "w").close()
        while not os.path.exists(path):
            on_step(1, 2)
            time.sleep(0.02)

    # -- words -------------------------------------------------------------------------------------

    def flood(self, path: str, on_step: OnStep) -> None:
        for _ in range(2000):
            sys.stderr.write("x" * 1023 + "\n")

    def print(self, path: str, on_step: OnStep) -> None:
        print("torn \udcff text", flush=True)

    def surrogate(self, path: str, on_step: OnStep) -> None:
        raise RuntimeError("torn \udcff text")

    def unprintable(self, path: str, on_step: OnStep) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise ValueError("not even that")

        raise Unprintable

    def numbered(self, path: str, on_step: OnStep) -> None:
        raise EngineError(5)  # type: ignore[arg-type]

    def child(self, path: str, on_step: OnStep) -> None:
        """Leaves a process of its own behind."""
        subprocess.Popen(["sleep", str(LONG_S)])


def _replaced(item: Item) -> Item:
    import dataclasses

    return dataclasses.replace(item, prompt="tone")


def load(*, trouble: str = "", **settings: object) -> Rogue:
    match trouble:
        case "leave":
            sys.exit("not today")
        case "interrupt":
            raise KeyboardInterrupt
        case "surrogate":
            raise RuntimeError("torn \udcff text")
        case "end":
            os._exit(7)
        case "child":
            subprocess.Popen(["sleep", str(LONG_S)])
    return Rogue(INFO)
