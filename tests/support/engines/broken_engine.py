"""``broken``: an engine whose loading goes wrong for as long as a file says so, in the directory ``control``.

``dies`` ends the process while it loads, ``slow`` keeps it loading, ``flighty`` ends it right after it is ready.
"""

from __future__ import annotations

import os
import threading
import time

from scripted_engine import ScriptedEngine

from audio_pool.engines.base import EngineInfo

INFO = EngineInfo(
    name="broken", role="generator", model="broken", licence="Apache-2.0", commercial_use=True,
    sample_rate=44_100, channels=2, any_rate=True, gated=False, summary="loads when it may",
)  # fmt: skip


def load(*, control: str, **settings: object) -> ScriptedEngine:
    def said(word: str) -> bool:
        return os.path.exists(os.path.join(control, word))

    if said("dies"):
        print("broken: there is no weight in these weights", flush=True)
        os._exit(9)
    while said("slow"):
        time.sleep(0.02)
    if said("flighty"):
        timer = threading.Timer(0.2, os._exit, (11,))
        timer.daemon = True
        timer.start()
    return ScriptedEngine(INFO)
