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
_RINGS = 4.0
"""So much more in a quarter of the time than in a tenth: what rings between blows dies away, a whistle does not."""
_COMB_S = (0.0008, 0.02)
_COMB_HZ = (1_500.0, 14_000.0)
_COMB_SIGMA = 60.0
_LINES_DB = 40.0
"""From the lines of a tone down to what is between them; a comb leaves much more there."""
_DEEP_DB = 25.0
"""Of an echo that comes back at nine tenths: ripples that are deeper must be the more regular to be one."""
_STUCK_S = (0.04, 0.3)
"""From the period of the lowest note that a piano has on; what repeats faster than that is a tone."""
_STUCK_BLOCK_S = 0.003
_MOST_CHECKED = 400
_WHOLE = 0.9
_USUAL = 0.5
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Odd numbers that scatter bits: three samples become one key."""
_STILL_DB = 2.5


Floats32 = npt.NDArray[np.float32]


def whistle(sound: Measured) -> Iterator[Fault]:
    """Detect a steady line above 10 kHz that stands alone, as of a display or a decoder."""
    if not sound.has_spectra or sound.sample_rate < 2.1 * _WHISTLE_HZ:
        return
    power = sound.long.mean(axis=0)
    total = float(power.sum(axis=1).mean())
    high = sound.hz > 0.55 * _WHISTLE_HZ
    level = _percentile(power[:, high], 25)  # three quarters of the time at the least
    width = 24
    padded = np.pad(level, width, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1)
    tops = np.flatnonzero((3 * level > 1e-6 * total) & (level >= around.max(axis=1)))
    # medians are dear, and asked for where there may be a line alone
    at = tops[level[tops] > 10 ** (_WHISTLE_DB / 10) * np.median(around[tops], axis=1)]
    hz = sound.hz[high][at]
    # the harmonics of a beep are many; a whistle is one line, or two that beat
    steady = level[at] < _RINGS * _percentile(power[:, high][:, at], 10)
    if not 1 <= len(at) <= 2 or not steady.any() or hz.max() < _WHISTLE_HZ or 3 * float(level[at].sum()) > 0.5 * total:
        return
    yield Fault(name="whistle", penalty=55)


def _percentile(rows: Floats, percent: float) -> Floats:
    """Find a percentile of each column of [N, F], as numpy does in ten times the time."""
    at, rest = divmod((len(rows) - 1) * percent / 100, 1.0)
    low = int(at)
    high = min(low + 1, len(rows) - 1)
    ordered = np.sort(rows, axis=0)
    found: Floats = ordered[low] + rest * (ordered[high] - ordered[low])
    return found


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
    least = _COMB_SIGMA * max(1.0, depth / _DEEP_DB)
    if float(cepstrum[asked].max()) > least * usual and depth > 6 and _fluctuates(power[:, inside], ripple):
        yield Fault(name="comb_ringing", penalty=55)


def _fluctuates(power: Floats, ripple: Floats) -> bool:
    """Return whether the resonances are driven at random, as noise and strokes do; a beep's partials stand still.

    By the median distance, which the windows at a beep's ends do not change.
    """
    tops = power[:, ripple >= np.percentile(ripple, 98)]
    relative = 10 * np.log10(tops / tops.sum(axis=1, keepdims=True))
    away = 1.4826 * np.median(np.abs(relative - np.median(relative, axis=0)), axis=0)
    return float(np.median(away)) > _STILL_DB


def stuck(raw: Audio, sample_rate: int) -> Iterator[Fault]:
    """Detect a piece of 40 to 300 ms that is repeated to the sample in a sound that otherwise does no such thing.

    The highest sample of every few milliseconds, with its neighbours, is looked for again: what is equal there is
    compared in full. No search by correlation: it costs ten times as much, and cannot tell a piece that is repeated
    from a tone, or from one that is too quiet to count.

    Args:
        raw: float32 [C, T] as its generator made it: a resampler blurs what is equal to the sample.
    """
    wave: Floats32 = raw[0] if len(raw) == 1 else raw.sum(axis=0)
    block = max(8, round(_STUCK_BLOCK_S * sample_rate))
    count = len(wave) // block
    if count < 8:
        return
    blocks = np.abs(wave[: count * block]).reshape(count, block)
    at = blocks.argmax(axis=1) + block * np.arange(count)
    tops = np.abs(wave[at])
    is_top = (tops[1:-1] >= tops[:-2]) & (tops[1:-1] >= tops[2:]) & (tops[1:-1] > 0)
    at = at[1:-1][is_top]
    bits = wave.view(np.uint32)
    key = sum(bits[at + side].astype(np.uint64) * np.uint64(odd) for side, odd in zip((-1, 0, 1), _ODD, strict=True))
    order = np.argsort(key, kind="stable")
    lags = np.diff(at[order])
    shortest, longest = (round(end * sample_rate) for end in _STUCK_S)
    # equal neighbours in this order are equal samples next in time: what repeats faster is a tone
    pairs = np.flatnonzero((np.diff(key[order]) == 0) & (lags >= shortest) & (lags <= longest))
    repeated = np.zeros(count + 1, bool)
    for place, lag in sorted(zip(at[order][pairs].tolist(), lags[pairs].tolist(), strict=True))[:_MOST_CHECKED]:
        if not repeated[place // block]:
            first, end = _repeated(wave, place, lag)
            repeated[first // block : end // block + 1] = end > first
    # what is like itself everywhere has a period of its own
    if repeated.any() and float(repeated.mean()) < _USUAL:
        yield Fault(name="stuck", penalty=60)


def _repeated(wave: Floats32, place: int, lag: int) -> tuple[int, int]:
    """Return from where to where a wave is equal, to the sample, to itself one lag later; nothing if it is not.

    Two pieces with pauses of digital silence are beeps.
    """
    first = max(0, place - lag)
    here = wave[first : place + lag]
    there = wave[first + lag : place + 2 * lag]
    differs = np.flatnonzero(here[: len(there)] != there)
    split = int(np.searchsorted(differs, place - first))
    start = int(differs[split - 1]) + 1 if split else 0
    end = int(differs[split]) if split < len(differs) else len(there)
    piece = here[start:end]
    if len(piece) < _WHOLE * lag or np.count_nonzero(piece) < _WHOLE * len(piece):
        return place, place
    return first + start, first + end + lag
