"""Chroma: which of the twelve pitch classes is loudest, frame by frame.

Owns: the tune of a sound as MusicGen's melody models were taught it.
Must not know: any single model's modules, the pool.

transformers' own extractor needs torchaudio, whose wheels break torch's on a CPU; this is its recipe without.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["HOP", "chroma"]

_WINDOW = 16_384
HOP = 4_096
"""Samples between frames."""


@functools.lru_cache(2)
def _filters(rate: int, classes: int) -> torch.Tensor:
    """Float32 [classes, bins]: how much each frequency counts for each pitch class."""
    import torch
    from transformers.audio_utils import chroma_filter_bank

    bank = chroma_filter_bank(sampling_rate=rate, num_frequency_bins=_WINDOW, tuning=0, num_chroma=classes)
    return torch.from_numpy(bank).float()


def chroma(wave: torch.Tensor, rate: int, classes: int) -> torch.Tensor:
    """Return the loudest pitch class of each frame, one-hot: float32 [frames, classes], C first.

    Args:
        wave: float32 [T], one channel.
        rate: of the wave, in Hz.
        classes: pitch classes of an octave.
    """
    import torch
    from torch.nn.functional import normalize, one_hot, pad

    missing = _WINDOW - len(wave)
    if missing > 0:
        wave = pad(wave, (missing // 2, missing - missing // 2))
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(wave, _WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.abs().square() / window.square().sum()
    loudness = normalize(_filters(rate, classes) @ power, p=float("inf"), dim=0, eps=1e-6)
    return one_hot(loudness.argmax(dim=0), classes).float()
