"""A generating worker whose references lead nowhere good; the prompt's first word says how. Run as ``python``."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from lying_worker import LyingWorker, raw

from audio_pool.tasks import Grant
from audio_pool.transport.tensors import HEADER_BYTES, SlotWriter


class TornWorker(LyingWorker):
    def run_task(self, thread: str, message: dict[str, Any]) -> None:
        part = message["task"]["parts"][0]
        word = part["recipe"]["prompt"].split()[0]
        grant = Grant(**message["grants"][0])
        sound = np.full((2, 8820), 0.1, np.float32)
        if word == "nan":
            sound[:] = np.nan
        if word == "flat":
            sound = sound[0]
        written = SlotWriter(os.path.dirname(grant.path)).write(grant, sound, "x")
        tensor = {name: getattr(written, name) for name in written.__struct_fields__}
        room = grant.slot_bytes - HEADER_BYTES
        match word:
            case "missing":
                os.unlink(grant.path)
            case "truncated":
                os.truncate(grant.path, 1000)
            case "oversized":
                tensor |= {"length": room + 4, "shape": [2, (room + 4) // 8]}
            case "overstated":
                tensor |= {"shape": [2, 10**9]}
            case "foreign":
                tensor |= {"path": "/etc/passwd"}
            case "owned":
                tensor |= {"owner": "arena-1-000000000000"}
            case "stale":
                tensor |= {"generation": grant.generation + 1}
            case "garbage":
                with open(grant.path, "r+b") as file:
                    file.write(os.urandom(HEADER_BYTES))
            case "junk":
                for _ in range(3):
                    self.sockets[thread].send_multipart([os.urandom(2000), b"", os.urandom(10)])
        self.send(
            thread, "done", task_id=message["task_id"], attempt=message["attempt"],
            results={part["job"]: raw(tensor=tensor)},
        )  # fmt: skip


if __name__ == "__main__":
    first = next(number for number, argument in enumerate(sys.argv) if "://" in argument)
    TornWorker(sys.argv[first], sys.argv[first + 1], int(sys.argv[first + 2]), sys.stdin.readline().strip()).run()
