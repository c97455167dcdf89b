"""``bench``, the engine of pools inside the test's process: waits, hangs, dies, freezes and fails as it is asked to."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
from scripted_engine import ScriptedEngine

from audio_pool.engines.base import EngineInfo, Item, Notes, OnStep

INFO = EngineInfo(
    name="bench", role="generator", model="bench", licence="Apache-2.0", commercial_use=True,
    sample_rate=44_100, channels=2, any_rate=True, gated=False, summary="does as its prompt says",
)  # fmt: skip


class Bench(ScriptedEngine):
    verbs = ("wait", "hang", "die", "once", "freeze", "fail", "starve")

    def notes(self, item: Item) -> Notes:
        odd = {"odd": np.float32(1)} if item.prompt.startswith("odd") else {}
        return Notes(details={"pid": os.getpid(), **odd})

    def begin(self, item: Item) -> None:
        print("bench: asked to", item.prompt, flush=True)

    def wait(self, path: str, on_step: OnStep) -> None:
        """Until the file is there; can be cancelled."""
        open(path + ".started", "w").close()
        while not os.path.exists(path):
            on_step(1, 2)
            time.sleep(0.02)

    def hang(self, path: str, on_step: OnStep) -> None:
        """As a library that never comes back."""
        open(path + ".started", "w").close()
        while not os.path.exists(path):
            time.sleep(0.02)

    def die(self, path: str, on_step: OnStep) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def once(self, path: str, on_step: OnStep) -> None:
        """Dies the first time."""
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

    def freeze(self, path: str, on_step: OnStep) -> None:
        """Stops the whole process the first time."""
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGSTOP)

    def fail(self, path: str, on_step: OnStep) -> None:
        raise RuntimeError("a gear is broken")

    def starve(self, path: str, on_step: OnStep) -> None:
        raise MemoryError


def _leave(path: str) -> None:
    """End the process once the file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)
    os._exit(9)


def load(*, trouble: str = "", **settings: object) -> Bench:
    if trouble == "raise":
        raise RuntimeError("the weights are torn")
    if trouble == "exit":
        print("bench: these are my last words", flush=True)
        os._exit(7)
    if trouble.startswith("leave "):
        threading.Thread(target=_leave, args=(trouble.partition(" ")[2],), daemon=True).start()
    return Bench(INFO)
