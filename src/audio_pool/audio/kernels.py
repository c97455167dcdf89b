"""The loops that every sound is finished with: filters in sections, powers, real Fourier transforms.

Owns: each of them once through the compiled library and once without it; how scipy's compiled loops are reached
without the rest of scipy; a Butterworth filter's sections.
Must not know: what is filtered or transformed, and why.

``import scipy.signal`` takes half a second, for statistics and optimisers that nobody here uses; every worker would
begin with it. The two compiled files are loaded by themselves; where another scipy has them elsewhere, through its
front door. The results are the same, to the bit.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio, native
from audio_pool.audio.native import address

__all__ = [
    "Moments",
    "add_band_powers",
    "filtered",
    "filtered_powers",
    "highpass_sections",
    "in_24_bits",
    "irfft",
    "moments",
    "powers_between",
    "rfft",
    "rfft_of_sound",
    "sosfilt",
    "sosfilt_on",
    "window_powers",
]

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]
Places = npt.NDArray[np.int64]

_CACHED = 1 << 16
"""Samples in hand at a time."""
_BACKWARD, _FORWARD = 0, 2
"""pocketfft's numbers: as it is, and divided by the length."""


@functools.cache
def _compiled(package: str, name: str) -> ModuleType | None:
    """Return a compiled module of scipy, without its package; None: it is not where it was."""
    scipy = importlib.util.find_spec("scipy")
    if scipy is None or scipy.origin is None:
        return None
    found = sorted(Path(scipy.origin).parent.joinpath(*package.split(".")).glob(f"{name}.*so"))
    spec = importlib.util.spec_from_file_location(f"scipy.{package}.{name}", found[0]) if found else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sosfilt(sections: Doubles, signal: Doubles | Floats, overwrite: bool = False) -> Doubles:
    """Filter a signal [T] from rest, by sections [N, 6] of second order; like ``scipy.signal.sosfilt`` in float64.

    Args:
        overwrite: a float64 signal may be changed in place.
    """
    kernel = getattr(_compiled("signal", "_sosfilt"), "_sosfilt", None)
    if kernel is None:
        import scipy.signal

        filtered: Doubles = scipy.signal.sosfilt(sections, np.asarray(signal, np.float64))
        return filtered
    out: Doubles = np.asarray(signal, np.float64) if overwrite else np.array(signal, np.float64)
    kernel(np.ascontiguousarray(sections, np.float64), out[np.newaxis], np.zeros((1, len(sections), 2)))
    return out


def sosfilt_on(sections: Doubles, signal: Doubles, state: Doubles) -> Doubles:
    """Filter the next piece of a signal, float64 [T], in place.

    Args:
        state: [1, N, 2], of the pieces before; zeros at rest. Changed in place.
    """
    kernel = getattr(_compiled("signal", "_sosfilt"), "_sosfilt", None)
    if kernel is None:
        import scipy.signal

        signal[:], after = scipy.signal.sosfilt(sections, signal, zi=state[0])
        state[0] = after
        return signal
    kernel(np.ascontiguousarray(sections, np.float64), signal[np.newaxis], state)
    return signal


def filtered(sections: Doubles, audio: Audio, offsets: Doubles, warm: int = 0) -> Audio:
    """Filter every channel from rest, in float64.

    Args:
        audio: float32 [C, T].
        offsets: [C], subtracted before.
        warm: as many frames of the sound's end, as it would come again and again in a loop, are run through before.

    Returns:
        float32 [C, T].
    """
    audio = np.ascontiguousarray(audio, np.float32)
    out = np.empty_like(audio)
    library = native.library()
    if library is not None and len(sections) <= native.MOST_SECTIONS:
        sections, offsets = (np.ascontiguousarray(one, np.float64) for one in (sections, offsets))
        library.filter_sound(
            address(sections), len(sections), address(audio), *audio.shape, warm, address(offsets), address(out)
        )
        return out
    for channel, source, offset in zip(out, audio, offsets, strict=True):  # ten minutes in float64 are heavy
        signal = _warmed(source, warm).astype(np.float64)
        signal -= offset
        channel[:] = sosfilt(sections, signal, overwrite=True)[warm:]
    return out


def filtered_powers(sections: Doubles, audio: Audio, bounds: Places, warm: int = 0) -> Doubles:
    """Filter every channel from rest and add up the squares of all between bounds.

    Args:
        audio: float32 [C, T].
        bounds: int64 [N + 1] in order, within 0..T.
        warm: as in ``filtered``.

    Returns:
        [N].
    """
    audio = np.ascontiguousarray(audio, np.float32)
    library = native.library()
    if library is not None and len(sections) <= native.MOST_SECTIONS:
        sections, bounds = np.ascontiguousarray(sections, np.float64), np.ascontiguousarray(bounds, np.int64)
        sums = np.empty(len(bounds) - 1)
        library.filtered_powers(
            address(sections), len(sections), address(audio), *audio.shape, warm,
            address(bounds), len(sums), address(sums),
        )  # fmt: skip
        return sums
    if not len(sections):
        return _powers_between(audio, bounds)
    power = np.zeros(audio.shape[1])
    for channel in audio:
        weighted = sosfilt(sections, _warmed(channel, warm))[warm:]
        power += np.square(weighted, out=weighted)
    found: Doubles = np.add.reduceat(power[: bounds[-1]], bounds[:-1])
    return found


def _powers_between(audio: Audio, bounds: Places) -> Doubles:
    found: Doubles = np.zeros(len(bounds) - 1)
    for index, (first, end) in enumerate(pairwise(bounds.tolist())):
        part = audio[:, first:end]
        found[index] = np.einsum("ct,ct->", part, part, dtype=np.float64)
    return found


def powers_between(audio: Audio, bounds: Places) -> Doubles:
    """Add up the squares of all channels, float32 [C, T], between bounds [N + 1] in order: [N]."""
    return filtered_powers(np.zeros((0, 6)), audio, bounds)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What is added up over a sound's frames, C channels."""

    sums: Doubles
    """[C]"""
    squares: Doubles
    """[C]"""
    product: float
    """Of the first two channels; of the only one with itself."""
    tops: Floats
    """[C], the highest sample of each, whatever its sign."""


def moments(audio: Audio) -> Moments:
    """Add up a sound, float32 [C, T] with C at least 1, in one pass."""
    channels = len(audio)
    library = native.library()
    if library is None or audio.dtype != np.float32:
        other = audio[min(1, channels - 1)]
        return Moments(
            sums=audio.sum(axis=1, dtype=np.float64),
            squares=np.einsum("ct,ct->c", audio, audio, dtype=np.float64),
            product=float(np.einsum("t,t->", audio[0], other, dtype=np.float64)),
            tops=np.abs(audio).max(axis=1, initial=0.0),
        )
    audio = np.ascontiguousarray(audio)
    sums, squares, tops = np.empty(channels), np.empty(channels), np.empty(channels, np.float32)
    out, pair = np.empty(5), np.empty(2, np.float32)
    product = 0.0
    for one in range(0, channels, 2):
        other = min(one + 1, channels - 1)
        library.moments(address(audio[one]), address(audio[other]), audio.shape[1], address(out), address(pair))
        sums[[one, other]], squares[[one, other]], tops[[one, other]] = out[:2], out[2:4], pair
        product = float(out[4]) if one == 0 else product
    return Moments(sums=sums, squares=squares, product=product, tops=tops)


def in_24_bits(audio: Audio) -> npt.NDArray[np.int32]:
    """Round a sound, float32 [C, T], to 24 bits: int32 [T, C], in the topmost bits as libsndfile expects."""
    library = native.library()
    if library is not None and audio.dtype == np.float32 and audio.strides[1] == audio.itemsize:
        out = np.empty(audio.shape[::-1], np.int32)
        channels, frames = audio.shape
        library.round_to_24_bits(audio.ctypes.data, channels, audio.strides[0] // 4, frames, address(out))
        return out
    full = np.float32(1 << 23)
    steps = np.multiply(audio.T, full, order="C")
    np.clip(np.rint(steps, out=steps), -full, full - 1, out=steps)
    # a float32 holds 24 bits: shifting them up by a factor loses nothing
    steps *= np.float32(1 << 8)
    return steps.astype(np.int32)


def _warmed(channel: Audio, warm: int) -> Audio:
    return np.take(channel, np.arange(-warm, len(channel)), mode="wrap") if warm else channel


def rfft(rows: Floats) -> Spectrum:
    """Transform the last axis of [..., T]; like ``scipy.fft.rfft``, a quarter of the time that numpy's takes."""
    transform = getattr(_pocketfft(), "r2c", None)
    if transform is None:
        import scipy.fft

        return np.asarray(scipy.fft.rfft(rows, axis=-1), np.complex64)
    return np.asarray(transform(rows, (rows.ndim - 1,), True, _BACKWARD, None, 1), np.complex64)


def rfft_of_sound(audio: Audio) -> Spectrum:
    """Transform the channels of a long sound, [C, T], in float64; two go through one complex transform as its parts.

    That halves what a length takes that is no product of small primes; in float32 such a length would cost a sound's
    last bit. A silent channel stays silent: it is not mixed with another.
    """
    transform = getattr(_pocketfft(), "c2c", None)
    if transform is None or len(audio) != 2 or not audio.any(axis=1).all():
        return np.asarray(np.fft.rfft(audio.astype(np.float64)), np.complex64)
    length = audio.shape[1]
    both = np.empty(length, np.complex128)
    both.real, both.imag = audio
    mixed = transform(both, (0,), True, _BACKWARD, None, 1)
    bins = length // 2 + 1
    mirrored = np.conj(mixed[-np.arange(bins) % length])
    spectra = np.empty((2, bins), np.complex64)
    spectra[0] = (mixed[:bins] + mirrored) * 0.5
    spectra[1] = (mixed[:bins] - mirrored) * -0.5j
    return spectra


def window_powers(audio: Audio, places: Places, window: Floats, bounds: Places) -> Doubles:
    """Sum the spectra of windows of a sound, all channels together, between bounds.

    Args:
        audio: float32 [C, T].
        places: int64 [N]: where each window begins; all lie within the sound.
        window: [S], float32.
        bounds: int64 [B + 1], bins in order.

    Returns:
        [N, B].
    """
    sums = np.zeros((len(places), len(bounds) - 1))
    # as many windows at a time as stay in the processor's cache
    rows = max(1, _CACHED // len(window))
    for channel in audio:
        every = np.lib.stride_tricks.sliding_window_view(channel, len(window))
        for first in range(0, len(places), rows):
            spectra = rfft(every[places[first : first + rows]] * window)
            add_band_powers(spectra, bounds, sums[first : first + rows])
    return sums


def add_band_powers(spectra: Spectrum, bounds: Places, sums: Doubles) -> None:
    """Add the power of each spectrum [N, F] between bounds [B + 1], bins in order, to ``sums`` [N, B].

    Raises:
        ValueError: bounds lie beyond the spectrum.
    """
    if bounds[0] < 0 or bounds[-1] > spectra.shape[1]:  # what lies there is not ours to read
        raise ValueError(f"bounds: given {bounds[0]}..{bounds[-1]}, allowed is 0..{spectra.shape[1]}")
    library = native.library()
    if library is not None:
        spectra, bounds = np.ascontiguousarray(spectra, np.complex64), np.ascontiguousarray(bounds, np.int64)
        library.add_band_powers(address(spectra), *spectra.shape, address(bounds), len(bounds) - 1, address(sums))
        return
    power = np.square(spectra.real) + np.square(spectra.imag)
    below = np.zeros((len(power), power.shape[1] + 1))
    np.cumsum(power, axis=1, dtype=np.float64, out=below[:, 1:])
    sums += np.diff(below[:, bounds], axis=1)


def irfft(spectrum: Spectrum, length: int) -> Floats:
    """Transform each row of [N, F] back into ``length`` samples; a longer length interpolates between the samples."""
    transform = getattr(_pocketfft(), "c2r", None)
    if transform is None:
        import scipy.fft

        return np.asarray(scipy.fft.irfft(spectrum, length, axis=1), np.float32)
    wide = np.zeros((len(spectrum), length // 2 + 1), np.complex64)
    kept = min(wide.shape[1], spectrum.shape[1])
    wide[:, :kept] = spectrum[:, :kept]
    return np.asarray(transform(wide, (1,), length, False, _FORWARD, None, 1), np.float32)


def _pocketfft() -> ModuleType | None:
    return _compiled("fft._pocketfft", "pypocketfft")


def highpass_sections(order: int, cutoff_hz: float, sample_rate: int) -> Doubles:
    """Design a Butterworth high-pass by the bilinear transform: sections [N, 6], the least resonant first."""
    k = math.tan(math.pi * cutoff_hz / sample_rate)
    sections = []
    if order % 2:
        norm = 1 / (1 + k)
        sections.append([norm, -norm, 0.0, 1.0, (k - 1) * norm, 0.0])
    # damping 2 sin(angle) of the prototype's pole pairs, from the real axis on
    for number in reversed(range(order // 2)):
        damping = 2 * math.sin((2 * number + 1) * math.pi / (2 * order))
        norm = 1 / (1 + damping * k + k * k)
        sections.append([norm, -2 * norm, norm, 1.0, 2 * (k * k - 1) * norm, (1 - damping * k + k * k) * norm])
    return np.array(sections)
