"""Edges of a one-shot: faded where they would click.

Owns: how short a fade is, and where none is needed.
Must not know: what follows.
"""

from __future__ import annotations

import numpy as np

from audio_pool.audio import Audio
from audio_pool.audio.kernels import moments

__all__ = ["AT_REST", "FADE_IN_S", "FADE_OUT_S", "fade_ramp", "faded"]

FADE_IN_S = 0.002
FADE_OUT_S = 0.01
AT_REST = 10 ** (-60 / 20)
"""An edge of a one-shot 60 dB under its own peak needs no fade."""


def faded(audio: Audio, sample_rate: int) -> Audio:
    """Fade an edge where the sound starts or ends in mid-swing, which would click; leave the others as they are.

    Args:
        audio: float32 [C, T], changed in place.
    """
    at_rest = AT_REST * float(moments(audio).tops.max())
    for frames, edge in ((round(FADE_IN_S * sample_rate), 0), (round(FADE_OUT_S * sample_rate), -1)):
        frames = min(frames, audio.shape[1] // 4)
        if frames < 2 or float(np.abs(audio[:, edge]).max()) <= at_rest:
            continue
        ramp = fade_ramp(frames)
        if edge == 0:
            audio[:, :frames] *= ramp
        else:
            audio[:, -frames:] *= ramp[::-1]
    return audio


def fade_ramp(frames: int) -> Audio:
    """Return a rise from 0 towards 1: half a cosine, float32 [frames]."""
    ramp: Audio = (0.5 - 0.5 * np.cos(np.pi * np.arange(frames) / frames)).astype(np.float32)
    return ramp
