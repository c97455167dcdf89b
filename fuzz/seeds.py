"""Inputs to begin with, a few for each target: valid ones, and the faults that were found once.

Owns: ``fuzz/corpus``, which ``python -m fuzz.seeds`` makes anew. Inputs that found a fault are added to ``FOUND``.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import soundfile

from audio_pool.results import Failure
from audio_pool.transport import packing, tensors
from audio_pool.transport.worker_messages import TaskFailed

CORPUS = Path(__file__).with_name("corpus")

REQUEST: dict[str, Any] = {
    "prompt": "distant thunder, then no rain", "negative_prompt": "birds", "duration_s": 2.5, "loop": True, "seed": 7,
    "format": "flac", "bit_depth": 24, "tags": ["a"], "labels": {"n": 1}, "match": "tolerant", "deadline_ms": 500,
    "delivery": "inline", "priority": "background", "options": {"layers": 2}, "metadata": {"a": [1, {"b": None}]},
}  # fmt: skip
PROMPTS = (
    "rain", "gentle rain on a tin roof, without thunder", "two dogs bark and then a door slams shut",
    "Regen auf dem Dach", "\u96e8", "a\u0301 \ufb01re \u2014 \u201ccrackling\u201d", "not not no never rain", "!!!",
    " ",
    "3.5 crows 1,000 times; 12th bell", "the sound of the sound of a", "x" * 300, "rain-rain'rain's rains' rain",
)  # fmt: skip


def _messages() -> list[bytes]:
    def message(kind: str, **fields: Any) -> bytes:
        return bytes(msgpack.packb({"v": 1, "type": kind, "request_id": "r1", **fields}))

    return [
        message("generate", request=REQUEST, events=True),
        message("generate", request={"prompt": "rain"}),
        message("cancel", target="r0"),
        message("feedback", target="r0", verdict="good", comment="line\n\x1b[31m"),
        message("echo", payload=b"\0\xff", worker="w"),
        message("clap", operation="zero-shot", texts=["rain"], paths=["/a.wav"]),
        message("status"),
        message("status", x="y" * 70_000),
        b"\x82\xaarequest_id\xa1a\xaarequest_id\xa1b",
        b"\x82\xa1x" + b"\x91" * 900 + b"\xc0\xaarequest_id\xa1a",
    ]


def _sounds() -> list[bytes]:
    found = []
    tone = np.sin(np.arange(2000) / 20)[:, None] * np.ones((1, 2)) * 0.5
    for kind, subtype in (
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None),
    ):  # fmt: skip
        file = io.BytesIO()
        soundfile.write(file, tone, 44_100, format=kind, subtype=subtype)
        found.append(file.getvalue())
    wav, flac = bytearray(found[0]), bytearray(found[3])
    flac[21:26] = bytes([flac[21] & 0xF0]) + b"\0\0\0\0"  # does not say how long it is
    found.append(bytes(flac))
    flac[21:26] = bytes([flac[21] | 0x0F]) + b"\xff\xff\xff\xff"  # says far too much
    found.append(bytes(flac))
    wav += b"smpl" + struct.pack("<I", 60) + bytes(60) + b"apRc" + struct.pack("<I", 2) + b"{}"
    found.append(bytes(wav))
    found.append(bytes(wav + b"junk\xff\xff\xff\x7f"))
    return found


def _tensors() -> list[bytes]:
    header, payload = tensors.to_frames(np.ones((2, 8), np.float32), "r1")
    whole = header + bytes(payload)
    return [whole, whole.replace(b"[2,8]", b"[4,4]"), whole.replace(b"F32", b"F64"), whole[:4096], whole[:100]]


def _worker_messages() -> list[bytes]:
    failed = TaskFailed(incarnation=1, task_id=2, attempt=1, failure=Failure(message="x"))
    return [packing.pack(failed), packing.pack({"type": "done", "parts": 5}), packing.pack({}), b"\x91\x01"]


FOUND: dict[str, list[bytes]] = {}
"""Inputs that found a fault, by target."""


def seeds() -> dict[str, list[bytes]]:
    """Return every target's inputs."""
    asked = {"type": "AudioRenderRequest", "request_id": "i1", "prompt": "rain", "duration_s": 2}
    usual = {
        "client_message": _messages(),
        "image_message": [json.dumps(asked).encode(), b'{"type": 1}', b"{", b'{"a": "\\ud800"}'],
        "worker_message": _worker_messages(),
        "packed": _messages(),
        "sound_file": _sounds(),
        "tensor": _tensors(),
        "prompt": [text.encode() for text in PROMPTS],
    }
    return {name: inputs + FOUND.get(name, []) for name, inputs in usual.items()}


def main() -> None:
    """Write the corpus."""
    for name, inputs in seeds().items():
        place = CORPUS / name
        place.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (place / f"seed-{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
