"""The program that turns text into phoneme numbers by piper-tts: run as a process of its own, imported by nobody.

Owns: its half of the pipe's protocol (phonemizer.py has the other half and describes it).
Must not know: audio_pool. Only the standard library and ``piper`` are imported, so that any interpreter that has
piper-tts can run this file.

piper-tts and the espeak-ng inside it are licensed under the GPL, version 3 or later. This process is where they are
used; what goes over the pipe are texts and numbers.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

PROTOCOL = 1
_STOPS = frozenset(".!?。！？")


def main() -> None:
    """Answer requests until the pipe is closed."""
    # espeak-ng writes where it likes: the answers get a descriptor of their own
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != folder]
    try:
        from importlib.metadata import version

        from piper.config import PiperConfig
        from piper.voice import PiperVoice
    except Exception as exc:  # whatever is wrong with the installation
        _say(answers, {"error": f"{type(exc).__name__}: {exc}"})
        return
    _say(answers, {"protocol": PROTOCOL, "version": version("piper-tts")})
    voices: dict[str, Any] = {}
    for line in sys.stdin:
        request: dict[str, Any] = {}
        try:
            request = json.loads(line)
            config = request["config"]
            if config not in voices:
                with open(config, encoding="utf-8") as file:
                    # no session: the voice's model is not run here
                    voices[config] = PiperVoice(session=None, config=PiperConfig.from_dict(json.load(file)))
            answer: dict[str, Any] = {"ids": _numbers(voices[config], request["text"])}
        except Exception as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        _say(answers, {"id": request.get("id"), **answer})


def _numbers(voice: Any, text: str) -> list[int]:
    """Return the numbers of one sentence; [] where nothing in it can be said.

    Where espeak-ng ends a sentence inside ("Nr. 5"), it goes on: the text was split before it came here.
    """
    parts = [part for part in voice.phonemize(text) if part]
    said: list[str] = []
    for place, part in enumerate(parts):
        if place + 1 < len(parts):
            while part and part[-1] in _STOPS:
                part = part[:-1]
            part = [*part, " "]
        said += part
    if not any(one.isalnum() for one in said):
        return []
    return [int(number) for number in voice.phonemes_to_ids(said)]


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
