"""Phonemes by piper-tts, which is under the GPL and therefore asked over a pipe: this process never imports it.

Owns: the child process (phonemizer_child.py), its start and end, and this half of the protocol.
Must not know: piper, any model.

The protocol, one JSON object a line, UTF-8:

    child, once   {"protocol": 1, "version": "1.8.0"}                   or {"error": "..."} and its end
    parent        {"id": 1, "config": "/voices/X.onnx.json", "text": "One sentence."}
    child         {"id": 1, "ids": [1, 0, 20, 0, 2]}                    or {"id": 1, "error": "..."}

Answers come in the order of the requests. The child ends when its standard input does, so also when this process dies.
A child that dies or says nothing in time is ended and started again, once for a request.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from audio_pool.errors import EngineError, EngineUnavailable

__all__ = ["Phonemizer"]

log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("phonemizer_child.py")
_PROTOCOL = 1
_START_S, _ANSWER_S, _END_S = 60.0, 30.0, 2.0
_LONGEST_LINE = 1 << 20


class Phonemizer:
    """A child process that knows how words are spoken; any thread may ask."""

    def __init__(self, name: str, python: str = "", *, answer_s: float = _ANSWER_S) -> None:
        """
        Args:
            name: the engine's, for messages.
            python: the interpreter that has piper-tts; "": this process's.

        Raises:
            EngineUnavailable: it does not start, or has no piper-tts.
        """
        self._name, self._python, self._answer_s = name, python or sys.executable, answer_s
        self._lock = threading.Lock()
        self._asked = 0
        self._rest = b""
        self._child = self._started()

    @property
    def pid(self) -> int:
        """The child's."""
        return self._child.pid

    def numbers(self, config: Path, text: str) -> list[int]:
        """Return the phoneme numbers of one sentence by a voice's configuration; [] where nothing in it can be said.

        Raises:
            EngineError: the child says why it cannot, or died or was silent twice.
        """
        with self._lock:
            for attempt in (1, 2):
                try:
                    answer = self._answered(config, text)
                    break
                except (OSError, ValueError) as exc:
                    self._end(at_once=True)
                    if attempt == 2:
                        raise EngineError(f"{self._name}: the phonemizer's process failed twice: {exc}") from exc
                    log.warning("%s: the phonemizer's process is started again: %s", self._name, exc)
                    self._child = self._started()
        if "error" in answer:
            raise EngineError(f"{self._name}: the text cannot be turned into phonemes: {str(answer['error'])[:300]}")
        return [int(number) for number in answer["ids"]]

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        self._rest = b""
        try:
            self._child = subprocess.Popen(
                [self._python, "-u", str(_CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as exc:
            raise EngineUnavailable(f"{self._name}: {self._python} cannot be run: {exc}", hint="set python") from exc
        try:
            hello = self._line(_START_S)
        except (OSError, ValueError) as exc:
            hello = {"error": str(exc)}
        if hello.get("protocol") != _PROTOCOL:
            self._end(at_once=True)
            raise EngineUnavailable(
                f"{self._name}: {self._python} has no piper-tts that can be used: {hello.get('error', hello)}",
                hint="pip install 'audio-pool[piper]', or set python to an interpreter that has piper-tts",
            )
        return self._child

    def _answered(self, config: Path, text: str) -> dict[str, Any]:
        """Return what the child answers. Raises OSError, ValueError where it does not, in time or in order."""
        self._asked += 1
        asked = {"id": self._asked, "config": str(config), "text": text}
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(asked).encode() + b"\n")
        answer = self._line(self._answer_s)
        if answer.get("id") != self._asked or not isinstance(answer.get("ids", []), list):
            raise ValueError(f"an answer of another kind: {str(answer)[:200]}")
        return answer

    def _line(self, within_s: float) -> dict[str, Any]:
        assert self._child.stdout is not None
        pipe, until = self._child.stdout.fileno(), time.monotonic() + within_s
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise TimeoutError(f"no answer within {within_s:g} s")
            data = os.read(pipe, 1 << 16)
            if not data:
                raise OSError(f"it ended with exit code {self._child.wait(_END_S)}")
            self._rest += data
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError("an answer without an end")
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError(f"an answer of another kind: {line[:200]!r}")
        return answer

    def _end(self, *, at_once: bool = False) -> None:
        child = self._child
        if at_once:
            child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
