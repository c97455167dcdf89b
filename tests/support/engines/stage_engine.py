"""``stage``, the engine of served pools: waits for files, fails, and keeps a diary of what it was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from scripted_engine import ScriptedEngine

from audio_pool.engines.base import EngineInfo, Item, Notes, OnStep


class Stage(ScriptedEngine):
    verbs = ("hold", "fail", "murder", "take", "breed")

    def __init__(self, info: EngineInfo, diary: str) -> None:
        super().__init__(info)
        self.diary = diary

    def notes(self, item: Item) -> Notes:
        return Notes(expects=frozenset({"silence"}))

    def begin(self, item: Item) -> None:
        with open(self.diary, "a") as file:  # one line per sound made, in order
            file.write(item.prompt + "\n")

    def tone(self, argument: str, on_step: OnStep) -> None:
        on_step(4, 4)

    def hold(self, argument: str, on_step: OnStep) -> None:
        """Until the file is there; can be cancelled."""
        while not os.path.exists(argument.split()[0]):
            on_step(1, 4)
            time.sleep(0.02)
        on_step(4, 4)

    def take(self, argument: str, on_step: OnStep) -> None:
        """So many seconds."""
        until = time.monotonic() + float(argument.split()[0])
        while time.monotonic() < until:
            on_step(1, 4)
            time.sleep(0.005)
        on_step(4, 4)

    def murder(self, path: str, on_step: OnStep) -> None:
        """The server dies of it, unless the file is there."""
        on_step(1, 4)
        time.sleep(0.3)  # longer than the server takes to note that it has begun
        if not os.path.exists(path):
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)

    def breed(self, argument: str, on_step: OnStep) -> None:
        """Leave a process in a session of its own, and its child, behind; their ids go to the file."""
        command = 'sleep 3000 & echo $$ $! > "$0.new"; mv "$0.new" "$0"; wait'
        subprocess.Popen(["sh", "-c", command, argument.split()[0]], start_new_session=True)
        while not os.path.exists(argument.split()[0]):
            time.sleep(0.01)
        on_step(4, 4)

    def fail(self, argument: str, on_step: OnStep) -> None:
        raise RuntimeError("a gear is broken")


def info(name: str) -> EngineInfo:
    return EngineInfo(
        name=name, role="generator", model=name, licence="Apache-2.0", commercial_use=True, sample_rate=44_100,
        channels=2, any_rate=True, gated=False, init_audio=True, summary="does as its prompt says",
    )  # fmt: skip


INFO = info("stage")


def load(name: str = "stage", diary: str = "", gate: str = "", trouble: str = "", **settings: object) -> Stage:
    """Wait for the file ``gate`` to appear, then fail with ``trouble`` or be ready."""
    while gate and not os.path.exists(gate):
        time.sleep(0.02)
    if trouble:
        raise RuntimeError(trouble)
    return Stage(info(name), diary)
