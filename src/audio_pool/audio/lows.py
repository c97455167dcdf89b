"""Whether a sound lives below the usual high-pass: a kick does, the rumble under a voice does not.

Owns: ``lives_low``.
Must not know: words, filters, what cut-off follows; numpy only.
"""

from __future__ import annotations

import numpy as np

from audio_pool.audio import Audio

__all__ = ["lives_low"]

_LOW_HZ = 100.0
_RATE = 1_000
"""Sample rate, about, to which a sound is brought to look at its lows."""
_SHARE = 0.3
_STRIKES = 6.0
"""Loudest tenth of the lows against their median, as power, from which they are strokes."""
_TONE_SHARE = 0.5
_TONE_HZ = 4.0


def lives_low(audio: Audio, sample_rate: int) -> bool:
    """Return whether much of the energy is below 100 Hz, and is a tone or strokes there, no steady rumble.

    Args:
        audio: float32 [C, T], unfiltered.
    """
    step = max(1, sample_rate // _RATE)
    count = audio.shape[1] // step
    if count < 64:
        return False
    rate = sample_rate / step
    # the mean of a block is a low-pass, good enough to tell energies apart
    coarse = np.add.reduceat(audio[:, : count * step], np.arange(0, count * step, step), axis=1) / step
    coarse = coarse - coarse.mean(axis=1, keepdims=True)
    total = float(np.einsum("ct,ct->", audio, audio, dtype=np.float64)) / step
    spectrum = np.fft.rfft(coarse, axis=1)
    hz = np.fft.rfftfreq(count, 1 / rate)
    low = (hz >= 15.0) & (hz <= _LOW_HZ)
    power = np.square(np.abs(spectrum)).sum(axis=0) * 2 / count
    energy = float(power[low].sum())
    if energy < _SHARE * total or total <= 0:
        return False
    width = max(1, round(_TONE_HZ * count / rate))
    around = np.convolve(power * low, np.ones(width), "same")
    if float(around.max()) > _TONE_SHARE * energy:
        return True
    lows = np.fft.irfft(np.where(low, spectrum, 0), count, axis=1)
    frame = max(1, round(0.05 * rate))
    whole = lows[:, : count // frame * frame].reshape(len(lows), -1, frame)
    levels = np.square(whole).sum(axis=(0, 2))
    return bool(np.percentile(levels, 95) > _STRIKES * np.median(levels))
