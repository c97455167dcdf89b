"""``audio-pool top`` on a real terminal (a pty), and as JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE_S

COMMAND = [sys.executable, "-m", "audio_pool.cli", "top"]


def test_once_is_plain_text_and_json_is_whole(pool: Any, http: Any) -> None:
    assert http.post("/v1/sounds", json={"prompt": "a click", "duration_s": 0.5}).status_code == 200
    connect = ["--connect", pool.endpoint]
    text = subprocess.run([*COMMAND, "--once", *connect], capture_output=True, text=True, timeout=PATIENCE_S)
    assert text.returncode == 0 and "WORKERS" in text.stdout and "\x1b" not in text.stdout
    assert re.search(r"^built-in +ready +cpu +\d+ MB  idle", text.stdout, re.MULTILINE), text.stdout
    whole = subprocess.run([*COMMAND, "--once", "--json", *connect], capture_output=True, text=True, timeout=PATIENCE_S)
    told = json.loads(whole.stdout)
    assert told["health"]["state"] == "ready" and told["health"]["blockers"] == []
    assert told["numbers"]["worker_bytes"]["built-in"] > 0 and told["numbers"]["requests"]
    nobody = [*COMMAND, "--once", "--connect", "ipc:///nowhere/s"]
    assert subprocess.run(nobody, capture_output=True, timeout=PATIENCE_S).returncode == 1


def test_it_is_drawn_anew_in_the_window_and_leaves_the_terminal_as_it_was(pool: Any, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "44", "LINES": "20", "TERM": "xterm"}
    process = subprocess.Popen(  # as a shell's background job, which ignores Ctrl-C
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND, "--connect", pool.endpoint],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    seen = b""
    try:
        deadline = time.monotonic() + PATIENCE_S
        while seen.count(b"\x1b[H") < 3:
            assert time.monotonic() < deadline, seen
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        while time.monotonic() < deadline:
            try:
                more = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            seen += more
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert seen.startswith(b"\x1b[?1049h\x1b[?25l") and seen.endswith(b"\x1b[?25h\x1b[?1049l")
    frames = seen.decode().split("\x1b[H")[1:]
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in frames[0].split("\r\n")]
    assert "WORKERS" in frames[0] and 1 < len(plain) <= 20
    assert all(len(line) <= 44 for line in plain), plain
