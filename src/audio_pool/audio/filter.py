"""High-pass filter and resampler, for finite sounds and for endless loops.

Owns: changes of a sound's band and rate.
Must not know: where the sound comes from or goes to.

``circular=True`` treats the array as one turn of an endless loop: the result is again exactly one turn,
without a start and an end at which a filter could ring.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import soxr

from audio_pool.audio import Audio
from audio_pool.audio.kernels import filtered, highpass_sections
from audio_pool.audio.loop import resample_periodic
from audio_pool.errors import InvalidRequest

__all__ = ["QUALITY", "checked_sections", "highpass", "offset_of", "resample"]

_SETTLED = math.log(1e8)
"""Warm-up of a circular filter in time constants: its transient has decayed by 160 dB."""
QUALITY = "VHQ"
"""soxr's name for how well is resampled: what is mirrored at the old rate's half lies 180 dB down, and costs a
tenth more than at 136 dB."""
_START_S = 0.005
"""What a sound starts from."""


def highpass(audio: Audio, sample_rate: int, cutoff_hz: float, order: int = 4, circular: bool = False) -> Audio:
    """Apply a Butterworth high-pass, -3 dB at ``cutoff_hz``.

    Causal: run forwards and backwards it would ring before every click. A finite sound is filtered from rest,
    after its mean is subtracted (which the filter removes anyway), so that an offset does not become a thump. Where
    the sound starts nearer to zero than to its mean, it is left there: silence before a rumble stays silence.

    Args:
        audio: float32 [C, T] at ``sample_rate``.
        cutoff_hz: 0 returns the sound unchanged; otherwise below half the rate.
        order: 1..12; 6 dB per octave each.

    Raises:
        InvalidRequest: cut-off or order out of range.
    """
    if cutoff_hz <= 0 or audio.shape[1] == 0:
        return audio
    sos = checked_sections(sample_rate, cutoff_hz, order)
    slowest = 2 * math.pi * cutoff_hz * math.sin(math.pi / (2 * order))
    warm = math.ceil(sample_rate * _SETTLED / slowest) if circular else 0
    offsets = np.zeros(len(audio))
    for number, channel in enumerate(audio):
        offsets[number] = channel.mean(dtype=np.float64) if circular else offset_of(channel, sample_rate)
    return filtered(sos, audio, offsets, warm)


def checked_sections(sample_rate: int, cutoff_hz: float, order: int) -> npt.NDArray[np.float64]:
    """Return a high-pass's sections [N, 6]. Raises InvalidRequest."""
    if cutoff_hz >= sample_rate / 2:
        raise InvalidRequest(
            f"high-pass: given {cutoff_hz:g} Hz, allowed is below half the sample rate, {sample_rate / 2:g} Hz"
        )
    if not 1 <= order <= 12:
        raise InvalidRequest(f"high-pass: given order {order}, allowed is 1..12")
    return highpass_sections(order, cutoff_hz, sample_rate)


def offset_of(channel: Audio, sample_rate: int) -> float:
    """Return the mean of a channel, float32 [T], that starts nearer to it than to zero; else 0."""
    mean = channel.mean(dtype=np.float64)
    start = channel[: max(1, round(_START_S * sample_rate))].mean(dtype=np.float64)
    return float(mean) if abs(start - mean) < abs(start) else 0.0


def resample(audio: Audio, from_rate: int, to_rate: int, circular: bool = False, frames: int | None = None) -> Audio:
    """Resample a sound to another rate.

    Args:
        audio: float32 [C, T] at ``from_rate``.
        circular: the array is one turn of a loop: interpolated in the frequency domain, so that any
            ratio gives exactly one turn again.
        frames: exact length of the result; round(T * to_rate / from_rate) where None. A finite sound is
            trimmed or zero-padded by the odd frame, a loop is stretched (by less than one frame).

    Returns:
        float32 [C, frames] at ``to_rate``.
    """
    length = audio.shape[1]
    wanted = round(length * to_rate / from_rate) if frames is None else frames
    if circular:
        return resample_periodic(audio, wanted)
    if from_rate != to_rate and length:
        audio = np.ascontiguousarray(soxr.resample(audio.T, from_rate, to_rate, quality=QUALITY).T)
    if audio.shape[1] < wanted:
        return np.pad(audio, ((0, 0), (0, wanted - audio.shape[1])))
    return audio[:, :wanted]
