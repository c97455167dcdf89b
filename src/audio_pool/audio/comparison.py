"""Two sounds compared sample by sample: whether one is the other, and what was done to it since.

Owns: bringing them over one another, and the figures of what differs.
Must not know: files, which sounds these are.

Both are folded to one channel at a low rate. The place is known to some milliseconds; the greatest correlation near it
gives it to a fraction of a sample. What a band of one explains of the other's is their coherence, whatever its gain.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio, filter
from audio_pool.audio.fingerprint import folded

__all__ = ["Difference", "difference"]

_RATE = 16_000
_MOST_S = 12.0
"""Of the overlap that is looked at: of a loop's many turns the first."""
_AROUND_S = 0.02
_BANDS_HZ = (60, 180, 400, 800, 1_400, 2_200, 3_200, 4_600, 6_600)
_COUNTS = 0.003
"""Share of the power from which a band counts."""
_ALIKE = 0.7
"""Explained share from which two are the same sound at another level."""
_FRACTIONS = np.linspace(-0.5, 0.5, 11)

Signal = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a sound is beside another one."""

    explained: float
    """Share of its power that is the other sound, at one gain for each band: 0..1."""
    overlap_s: float
    offset_s: float
    """Where the other begins in it."""
    gain_db: float
    tone_db: float
    """Greatest difference between bands after the gain."""
    residual_db: float
    """Power of what is not explained, against all of it."""


def difference(
    given: Audio, rate: int, kept: Audio, kept_rate: int, *, loop: bool = False, offsets_s: Sequence[float] = ()
) -> Difference | None:
    """Compare a sound with a kept one; None where they do not overlap, or one of them is silent there.

    Args:
        given: float32 [C, T] at ``rate``.
        kept: float32 [C, T] at ``kept_rate``.
        loop: the kept one is a turn of a loop, and goes on.
        offsets_s: where it may begin in the given one; empty: anywhere.
    """
    common = min(_RATE, rate, kept_rate)
    one = filter.resample(folded(given), rate, common)[0].astype(np.float64)
    other = filter.resample(folded(kept), kept_rate, common, circular=loop)[0].astype(np.float64)
    places = [round(at * common) for at in offsets_s] or [_anywhere(one, other)]
    found = [_at(one, other, common, place, loop) for place in places]
    return max((each for each in found if each is not None), key=lambda each: each.explained, default=None)


def _anywhere(one: Signal, other: Signal) -> int:
    size = 1 << (len(one) + len(other)).bit_length()
    product = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)), size)
    place = int(np.argmax(np.abs(product)))
    return place if place < len(one) else place - size


def _at(one: Signal, other: Signal, rate: int, place: int, loop: bool) -> Difference | None:
    around, length = round(_AROUND_S * rate), len(one)
    begin = 0 if loop else max(0, place)
    end = length if loop else min(length, place + len(other))
    end = min(end, begin + round(_MOST_S * rate))
    if end - begin < 32:
        return None
    wanted = np.arange(begin - around, end + around) - place
    if loop:
        near = other[wanted % len(other)]
    else:
        inside = (wanted >= 0) & (wanted < len(other))
        near = np.where(inside, other[np.clip(wanted, 0, len(other) - 1)], 0.0)
    part = one[begin:end]
    size = 1 << len(near).bit_length()
    products = np.fft.irfft(np.conj(np.fft.rfft(part, size)) * np.fft.rfft(near, size), size)[: 2 * around + 1]
    shift = int(np.argmax(np.abs(products)))
    aligned, fraction = _aligned(part, near[shift : shift + len(part)])
    figures = _figures(part, aligned, rate)
    if figures is None:
        return None
    explained, gain_db, tone_db, residual_db = figures
    overlap_s = (length if loop else end - begin) / rate
    if not loop:
        overlap_s = (min(length, place + len(other)) - begin) / rate
    return Difference(
        explained=explained,
        overlap_s=overlap_s,
        offset_s=(place - (shift - around) - fraction) / rate,
        gain_db=gain_db,
        tone_db=tone_db,
        residual_db=residual_db,
    )


def _aligned(part: Signal, near: Signal) -> tuple[Signal, float]:
    """Return a sound moved by the fraction of a sample at which it agrees best with another, and that."""
    spectrum = np.fft.rfft(near)
    turns = -2j * np.pi * np.arange(len(spectrum)) / len(near)
    moved = [np.fft.irfft(spectrum * np.exp(turns * one), len(near)) for one in _FRACTIONS]
    best = int(np.argmax([abs(float(np.dot(part, one))) for one in moved]))
    return moved[best], float(_FRACTIONS[best])


def _figures(part: Signal, other: Signal, rate: int) -> tuple[float, float, float, float] | None:
    size = min(1024, 1 << (max(32, len(part) // 6).bit_length() - 1))
    ours, theirs = _spectra(part, size), _spectra(other, size)
    power, reference = np.square(np.abs(ours)).sum(axis=0), np.square(np.abs(theirs)).sum(axis=0)
    cross = (ours * np.conj(theirs)).sum(axis=0)
    bounds = np.unique(np.clip(np.rint(np.array(_BANDS_HZ) * size / rate), 1, size // 2).astype(int))
    bands = [slice(low, high) for low, high in itertools.pairwise(bounds)]
    powers = np.array([power[band].sum() for band in bands])
    references = np.array([reference[band].sum() for band in bands])
    crossed = np.array([cross[band].sum() for band in bands])
    if not len(bands) or not powers.sum() > 1e-12 or not references.sum() > 1e-12:
        return None
    # a band's phase may be turned by a filter: what counts is that it is turned alike all the time
    told = np.square(np.abs(crossed)) / np.maximum(references, 1e-20)
    explained = float(min(1.0, told.sum() / powers.sum()))
    gains = 20 * np.log10(np.maximum(np.abs(crossed) / np.maximum(references, 1e-20), 1e-9))
    # what a codec leaves out is no loudness; beside something else its own part counts alone
    alike = explained > _ALIKE
    whole = float(np.sqrt(powers.sum() / references.sum()) if alike else np.abs(crossed).sum() / references.sum())
    heard = (references > _COUNTS * references.sum()) & (told > 0.5 * powers)
    tone = float(np.ptp(gains[heard])) if heard.sum() > 1 else 0.0
    residual = 10 * np.log10(max(1e-12, 1.0 - explained))
    return explained, 20 * float(np.log10(max(whole, 1e-9))), tone, float(residual)


def _spectra(signal: Signal, size: int) -> npt.NDArray[np.complex128]:
    if len(signal) < size:
        signal = np.pad(signal, (0, size - len(signal)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[:: size // 2]
    spectra: npt.NDArray[np.complex128] = np.fft.rfft(frames * np.hanning(size))
    return spectra
