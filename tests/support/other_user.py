"""Another user of the machine, who knows zmq and msgpack and tries what he likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.support.waiting import PATIENCE_S

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

_PROGRAM = f"""
import json, os, sys
import msgpack, zmq  # while its files can be read

endpoint, messages = json.loads(sys.stdin.read())
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
socket = zmq.Context.instance().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
socket.connect(endpoint)
for number, message in enumerate(messages):
    socket.send(msgpack.packb({{"v": 1, "request_id": f"nobody-{{number}}", **message}}))
answers = {{}}
patience_ms = int(sys.argv[1])
while len(answers) < len(messages) and socket.poll(patience_ms):
    answer = msgpack.unpackb(socket.recv_multipart()[0])
    if answer["type"] not in ("accepted", "progress"):
        answers[answer["request_id"]] = answer
print(json.dumps([answers.get(message.get("request_id", f"nobody-{{n}}")) for n, message in enumerate(messages)]))
socket.close(0)
"""


def as_nobody(endpoint: str, *messages: dict[str, Any], patience_s: float = PATIENCE_S) -> list[dict[str, Any] | None]:
    """What the server answers to another user's messages, in their order; None: nothing in that time."""
    made = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(int(patience_s * 1000))],
        input=json.dumps([endpoint, messages]),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S + patience_s,
        check=True,
    )
    answers: list[dict[str, Any] | None] = json.loads(made.stdout)
    return answers
