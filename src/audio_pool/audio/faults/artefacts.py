"""Artefacts of generators and decoders: a whistle, the ringing of a comb, a piece that sticks.

Owns: regularities that no sound of nature has.
Must not know: noise, levels over time as such.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.faults import Fault, Floats, Measured

__all__ = ["comb", "stuck", "whistle"]

_WHISTLE_HZ = 10_000.0
_WHISTLE_DB = 20.0
"""How far a whistle stands over its neighbours."""
_COMB_S = (0.0008, 0.02)
_COMB_HZ = (1_500.0, 14_000.0)
_COMB_SIGMA = 60.0
_LINES_DB = 40.0
"""From the lines of a tone down to what is between them; a comb leaves much more there."""
_STUCK_S = (0.04, 0.13)
"""From the period of the lowest note that a piano has on; what repeats faster than that is a tone."""
_STUCK = 0.995
_NEARLY = 0.35
"""At a lower rate the piece need not be a whole number of samples long."""
_MOST_CHECKED = 40
_USUAL = 0.85
_STILL_DB = 2.5
_CHECK_S = 0.3


Floats32 = npt.NDArray[np.float32]


def whistle(sound: Measured) -> Iterator[Fault]:
    """Detect a steady line above 10 kHz that stands alone, as of a display or a decoder."""
    if not sound.has_spectra or sound.sample_rate < 2.1 * _WHISTLE_HZ:
        return
    power = sound.long.mean(axis=0)
    total = float(power.sum(axis=1).mean())
    high = sound.hz > 0.55 * _WHISTLE_HZ
    level = np.percentile(power[:, high], 25, axis=0)  # three quarters of the time at the least
    width = 24
    padded = np.pad(level, width, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1)
    usual = np.median(around, axis=1)
    is_top = level >= around.max(axis=1)
    lines = is_top & (level > 10 ** (_WHISTLE_DB / 10) * usual) & (3 * level > 1e-6 * total)
    at = np.flatnonzero(lines)
    hz = sound.hz[high][at]
    # the harmonics of a beep are many; a whistle is one line, or two that beat
    if not 1 <= len(at) <= 2 or hz.max() < _WHISTLE_HZ or 3 * float(level[at].sum()) > 0.5 * total:
        return
    yield Fault(name="whistle", penalty=55)


def comb(sound: Measured) -> Iterator[Fault]:
    """Detect resonances at equal distances through the whole spectrum, the mark of a short echo that rings."""
    if not sound.has_spectra:
        return
    power = sound.long.sum(axis=0)
    loud = power.sum(axis=1)
    power = power[loud >= np.median(loud)]
    top = min(_COMB_HZ[1], 0.45 * sound.sample_rate)
    inside = (sound.hz >= _COMB_HZ[0]) & (sound.hz < top)
    logs = 10 * np.log10(power[:, inside]).mean(axis=0)
    size = len(logs)
    if size < 256:
        return
    smooth = np.convolve(np.pad(logs, 64, mode="edge"), np.hanning(129) / np.hanning(129).sum(), "valid")
    ripple = logs - smooth
    depth = float(np.percentile(ripple, 98) - np.percentile(ripple, 5))
    # an echo that rings has peaks; a single reflection has notches
    if depth > _LINES_DB or np.percentile(ripple, 98) < 1.3 * -np.percentile(ripple, 2):
        return
    # a delay of d seconds gives ripples every 1/d Hz
    cepstrum = np.abs(np.fft.rfft(ripple * np.hanning(size), 4 * size))
    delays = np.arange(len(cepstrum)) / (4 * size * (sound.hz[1] - sound.hz[0]))
    asked = (delays >= _COMB_S[0]) & (delays <= _COMB_S[1])
    usual = float(np.median(cepstrum[asked]))
    if float(cepstrum[asked].max()) > _COMB_SIGMA * usual and depth > 6 and _fluctuates(power[:, inside], ripple):
        yield Fault(name="comb_ringing", penalty=55)


def _fluctuates(power: Floats, ripple: Floats) -> bool:
    """Return whether the resonances are driven at random, as noise and strokes do; a beep's partials stand still."""
    tops = power[:, ripple >= np.percentile(ripple, 98)]
    relative = 10 * np.log10(tops / tops.sum(axis=1, keepdims=True))
    return float(np.median(relative.std(axis=0))) > _STILL_DB


def stuck(raw: Audio, sample_rate: int) -> Iterator[Fault]:
    """Detect a piece of 40 to 130 ms that is repeated to the sample in a sound that otherwise does no such thing.

    Args:
        raw: float32 [C, T] as its generator made it: a resampler blurs what is equal to the sample.
    """
    step = max(1, sample_rate // 11_025)
    full = raw.sum(axis=0)
    rate = sample_rate / step
    # the difference: a rumble is like itself wherever one looks
    whole = len(full) // step * step
    mono = np.diff(np.sum([full[at:whole:step] for at in range(step)], axis=0))
    window, longest = round(_CHECK_S * rate), round(_STUCK_S[1] * rate)
    part = window - longest
    if len(mono) < 3 * window:
        return
    places = np.arange(0, len(mono) - window, window // 2)
    blocks = np.lib.stride_tricks.sliding_window_view(mono, window)[places]
    heads = blocks[:, :part]
    size = 1 << (window - 1).bit_length()
    dots = np.fft.irfft(np.fft.rfft(blocks, size) * np.conj(np.fft.rfft(heads, size)), size)[:, : longest + 1]
    running = np.concatenate(
        [np.zeros((len(blocks), 1)), np.cumsum(np.square(blocks, dtype=np.float64), axis=1)], axis=1
    )
    energy = running[:, part : part + longest + 1] - running[:, : longest + 1]
    loud = energy.min(axis=1) > 1e-4 * energy.max()
    rho = dots / np.sqrt(np.maximum(energy[:, :1] * energy, 1e-12))
    first = round(_STUCK_S[0] * rate)
    repeated = rho[:, first:].max(axis=1)
    # a tone, too, is equal to itself a period later: but then also a period of under 40 ms later
    tonal = rho[:, round(0.0025 * rate) : first].max(axis=1) > 0.9
    maybe = np.flatnonzero(loud & (repeated > _NEARLY) & ~tonal)
    maybe = maybe[np.argsort(-repeated[maybe], kind="stable")[:_MOST_CHECKED]]
    lags = rho[maybe, first:].argmax(axis=1) + first
    # under an offset or a deep bass everything is like itself, and beside a whistle so are the differences
    waves = full, np.diff(full)
    found = [
        all(_repeats(wave, int(places[at]) * step, part * step, int(lag) * step, step) for wave in waves)
        for at, lag in zip(maybe, lags, strict=True)
    ]
    # what is like itself everywhere has a period of its own
    if any(found) and float(np.median(repeated)) < _USUAL:
        yield Fault(name="stuck", penalty=60)


def _repeats(wave: Floats32, start: int, size: int, lag: int, reach: int) -> bool:
    """Return whether a stretch is equal to another, one lag later, to the sample."""
    piece = wave[start : start + size]
    for shift in range(-reach, reach + 1):
        other = wave[start + lag + shift :][:size]
        if len(other) < size:
            continue
        energy = float(np.einsum("t,t->", piece, piece)) * float(np.einsum("t,t->", other, other))
        if float(np.einsum("t,t->", piece, other)) > _STUCK * np.sqrt(energy):
            return True
    return False
