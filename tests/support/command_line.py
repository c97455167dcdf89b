"""The command ``audio-pool``, run as a process."""

from __future__ import annotations

import subprocess
import sys

from tests.support.waiting import PATIENCE_S


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "audio_pool.cli", *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )
