"""Noise that nobody asked for: white hiss, hiss in a band of its own, a floor under sparse events.

Owns: how added noise is told from sounds that are noise by nature.
Must not know: tones, levels over time as such.

Rain, fires and vacuum cleaners are noise, too. Theirs falls towards high frequencies, or flutters, or fills the
whole sound; added noise is white, or stands above its neighbouring bands, and never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from audio_pool.audio.faults import Fault, Floats, Measured

__all__ = ["noise"]

_FLAT = 0.4
"""Geometric over arithmetic mean of a noise's power spectrum is exp(-0.577) = 0.56; partials are far less flat."""
_WHITE_DB = 1.5
_BANDS_HZ = np.geomspace(300, 18_100, 18)
_UPPER_HZ = 3_500.0
"""Above, most sounds have pauses, at least between two partials."""
_SHARE_HISS = 2e-3
_SHARE_BAND = 5e-4
_OWN_SHARE = 0.2
"""Noise of a band that is so much of a sound is the sound itself: steam, a cicada."""
_OWN_WHITE_SHARE = 0.33
"""As loud as the sound itself and white up to 18 kHz, it is still an addition."""
_BAND_HZ = 5_000.0
_RISE_DB = 5.0
"""How far hiss in a band of its own stands over the bands below it."""
_HIGH_HZ = 12_500.0
"""Above, steady noise that stands out is no part of any sound, however loud."""
_WHITE_WINDOWS = 0.6
_HEARD_HZ = 16_000.0


def noise(sound: Measured) -> Iterator[Fault]:
    """Detect the worst of: white hiss throughout, hiss in a band, white noise for most of the time, a noise floor."""
    if not sound.has_spectra:
        return
    bands = _Bands(sound)
    if len(bands.low_hz) < 4:
        return
    found = [*_white_floor(sound, bands), *_band_hiss(bands), *_mostly_white(sound, bands)]
    if found:
        yield max(found, key=lambda fault: (fault.severe, fault.penalty))


class _Bands:
    """A sound's bands of a third of an octave from 300 Hz, as far as it has any: levels [N, B], all channels."""

    def __init__(self, sound: Measured) -> None:
        power, hz = sound.long, sound.hz
        self.total = power[:, :, hz < _HEARD_HZ].sum(axis=(0, 2))
        """Of each window."""
        self.heard = float(self.total.mean())
        top_hz = _top_hz(sound)
        edges = [(low, high) for low, high in pairwise(_BANDS_HZ) if high <= top_hz]
        self.low_hz = np.array([low for low, _ in edges])
        bounds = [slice(*np.searchsorted(hz, edge)) for edge in edges]
        count = power.shape[1]
        self.levels = np.array([power[:, :, bins].sum(axis=(0, 2)) for bins in bounds]).reshape(-1, count).T
        geometric = [np.exp(np.log(power[:, :, bins]).mean(axis=2)) for bins in bounds]
        flatness = [mean / power[:, :, bins].mean(axis=2) for mean, bins in zip(geometric, bounds, strict=True)]
        self.flatness = np.array(flatness).reshape(-1, len(power), count).mean(axis=1).T
        self.widths = np.array([bins.stop - bins.start for bins in bounds])
        mean = self.levels.mean(axis=0)
        quiet = self.levels <= np.percentile(self.levels, 30, axis=0)
        self.floor = np.percentile(self.levels, 10, axis=0)
        """Level that is there nearly always."""
        self.floor_db = _density_db(self.floor, self.widths)
        flat = np.nanmedian(np.where(quiet, self.flatness, np.nan), axis=0) > _FLAT
        self.noisy = flat & (mean > 1e-7 * self.heard)
        """The floor is noise."""
        self.steady = self.floor > 0.3 * mean


def _top_hz(sound: Measured) -> float:
    """Return up to where a sound has a band at all: one brought up from a lower rate is empty above."""
    power = sound.long.mean(axis=(0, 1))
    heard = np.flatnonzero(power > 1e-7 * power.max())
    return min(1.02 * float(sound.hz[heard[-1]]), 0.47 * sound.sample_rate)


def _density_db(levels: Floats, widths: npt.NDArray[np.int64]) -> Floats:
    density: Floats = 10 * np.log10(levels / np.maximum(widths, 1) + 1e-30)
    return density


def _white(density_db: Floats, tolerance_db: float = _WHITE_DB) -> npt.NDArray[np.bool_]:
    """Return whether bands [..., B] are equally dense; one may be half empty, where a sound once had a lower rate."""
    away = np.abs(density_db - np.median(density_db, axis=-1, keepdims=True))
    found: npt.NDArray[np.bool_] = np.percentile(away, 90 if away.shape[-1] > 8 else 75, axis=-1) < tolerance_db
    return found


def _white_floor(sound: Measured, bands: _Bands) -> Iterator[Fault]:
    """Detect white noise that is always there, under whatever else comes and goes."""
    lowest = _UPPER_HZ if sound.sample_rate > 6 * _UPPER_HZ else sound.sample_rate / 8
    upper = (bands.low_hz >= lowest) & (bands.low_hz < _HIGH_HZ)
    share = float(bands.floor[upper].sum()) / bands.heard
    if upper.sum() < 3 or share < _SHARE_HISS or bands.noisy[upper].sum() < upper.sum() - 1:
        return
    if not _white(bands.floor_db[upper]) or _pauses(sound, lowest, float(bands.floor[bands.low_hz >= lowest].sum())):
        return
    whole = bands.low_hz < _HIGH_HZ
    everywhere = (bands.noisy & bands.steady)[whole].all() and _white(bands.floor_db[whole])
    # what is white up to the very top is hardly a kettle
    own = _OWN_WHITE_SHARE if _white(bands.floor_db[bands.low_hz >= lowest]) else _OWN_SHARE
    if share > own and not everywhere:
        return
    penalty = min(70.0, 45 + 3 * (27 + 10 * np.log10(share)))
    yield Fault(name="hiss", penalty=float(penalty), severe=bool(everywhere and share > 0.3))


def _band_hiss(bands: _Bands) -> Iterator[Fault]:
    """Detect steady noise in one or a few upper bands that stands out above the bands below."""
    rises = bands.floor_db[2:] - np.minimum(bands.floor_db[1:-1], bands.floor_db[:-2])
    for first in np.flatnonzero(rises > _RISE_DB) + 2:
        if bands.low_hz[first] < _BAND_HZ or not bands.noisy[first]:
            continue
        last = first
        while (
            last + 1 < len(rises) + 2 and bands.noisy[last + 1] and bands.floor_db[last + 1] > bands.floor_db[first] - 6
        ):
            last += 1
        share = float(bands.floor[first : last + 1].sum()) / bands.heard
        if share > _SHARE_BAND and (bands.low_hz[first] >= _HIGH_HZ or share < _OWN_SHARE):
            yield Fault(name="hiss", penalty=min(70.0, 52 + 10 * share))
            return


def _mostly_white(sound: Measured, bands: _Bands) -> Iterator[Fault]:
    """Detect white noise for most of the time, whatever the rest is."""
    whole = (bands.low_hz >= 450) & (bands.low_hz < _HIGH_HZ)  # narrower bands waver in so short a window
    if whole.sum() < 4:
        return
    density = _density_db(bands.levels[:, whole], bands.widths[whole])
    flat = _white(density, 1.3 * _WHITE_DB)
    flat &= np.median(bands.flatness[:, whole], axis=1) > _FLAT
    noise_share = bands.levels[:, whole].sum(axis=1) / bands.total
    loud = bands.total > 0.03 * bands.total.mean()
    share = float((flat & loud & (noise_share > 0.3) & _lasting(sound)).mean())
    if share > _WHITE_WINDOWS:
        yield Fault(name="hiss", penalty=70, severe=True)


def _lasting(sound: Measured) -> npt.NDArray[np.bool_]:
    """Return for each long window whether its level lasts throughout: a click is as white as hiss is."""
    frame = round(0.02 * sound.sample_rate)
    per = sound.long_size // frame
    first = np.minimum(sound.long_places // frame, len(sound.levels) - per)
    inside = np.lib.stride_tricks.sliding_window_view(sound.levels, per)[np.maximum(first, 0)]
    lasting: npt.NDArray[np.bool_] = inside.min(axis=1) > 0.6 * inside.max(axis=1)
    return lasting


def _pauses(sound: Measured, lowest_hz: float, floor: float) -> bool:
    """Return whether the upper bands are empty at times: fast clicks look like steady noise in a long spectrum."""
    level = sound.short[:, :, sound.short_hz >= lowest_hz].sum(axis=(0, 2)) * 16**2
    return bool(np.percentile(level, 10) < 0.2 * floor)
