"""A WAV file of 32-bit floats as ComfyUI's AUDIO: waveform float32 [B, C, T], -1..1, and its sample rate."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import torch

_FLOAT, _EXTENSIBLE = 3, 0xFFFE


def audio_of(data: bytes) -> dict[str, Any]:
    """Return AUDIO. Raises ValueError for anything else than such a file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError(f"not a WAV file: it begins with {data[:12]!r}")
    channels = rate = 0
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"fmt ":
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at)
            if kind == _EXTENSIBLE:
                (kind,) = struct.unpack_from("<H", data, at + 24)
            if (kind, bits) != (_FLOAT, 32):
                raise ValueError(f"WAV of kind {kind} with {bits} bits; 32-bit floats were asked for")
        elif name == b"data":
            if not channels:
                raise ValueError("WAV without a format before its samples")
            samples = np.frombuffer(data[at : at + size], "<f4")
            frames = samples[: len(samples) // channels * channels].reshape(-1, channels)
            waveform = torch.from_numpy(np.ascontiguousarray(frames.T, np.float32)).unsqueeze(0)
            return {"waveform": waveform, "sample_rate": rate}
        at += size + size % 2
    raise ValueError("WAV without samples")
