"""How near the built-in engine's sounds come to what they stand for: a listening sheet for each, as numbers.

A sheet (listening_sheets.toml) holds, for one recipe, the usual range of each descriptor of the real thing and where
it is from; which ranges were looked up and which are judgement, it says itself. Ours is measured over several seeds;
the distance of a descriptor is 0 inside its range, and outside in units of about what a listener tells apart: a third
of an octave, 3 dB, a tenth of the energy. The table shows each sheet's mean distance, for looked-up and judged ranges
apart too, its worst descriptor, and what was measured there.

    python -m benchmarks.realism [RECIPE ...]
"""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES

SHEETS = Path(__file__).with_name("listening_sheets.toml")
RATE = 44_100
SECONDS = 8.0
SEEDS = (1, 2, 3)
Wave = npt.NDArray[np.float64]


_SAID = ("source", "looked_up")
"""What a sheet says of its ranges."""


def sheets() -> dict[str, dict[str, Any]]:
    """Recipe -> descriptor -> [lowest, highest]; "source", and "looked_up": the descriptors whose ranges were read."""
    return tomllib.loads(SHEETS.read_text(encoding="utf-8"))


def _spectrum(wave: Wave) -> tuple[Wave, Wave]:
    return np.fft.rfftfreq(len(wave), 1 / RATE), np.abs(np.fft.rfft(wave)) ** 2


def _levels(wave: Wave, step_s: float) -> Wave:
    size = max(1, round(step_s * RATE))
    count = len(wave) // size
    return np.asarray(np.sqrt((wave[: count * size].reshape(count, size) ** 2).mean(axis=1)))


def _centroid(wave: Wave) -> float:
    hz, power = _spectrum(wave)
    return float((hz * power).sum() / power.sum())


def _peak(wave: Wave) -> float:
    hz, power = _spectrum(wave)
    return float(hz[np.argmax(np.where(hz > 25, power, 0))])


def _share(wave: Wave, low_hz: float, high_hz: float) -> float:
    hz, power = _spectrum(wave)
    return float(power[(hz >= low_hz) & (hz < high_hz)].sum() / power.sum())


def _pitch(wave: Wave) -> float:
    """Median over the loud windows of the period that the sound repeats with, 50 Hz to 4 kHz."""
    size = 4096
    starts = range(0, max(1, len(wave) - size), size // 2)
    loudest = max(float(np.vdot(wave[s : s + size], wave[s : s + size])) for s in starts)
    found = []
    for s in starts:
        part = wave[s : s + size]
        if len(part) < size or float(np.vdot(part, part)) < 0.05 * loudest:
            continue
        spectrum = np.abs(np.fft.rfft(part * np.hanning(size), 2 * size)) ** 2
        likeness = np.fft.irfft(spectrum)[: size // 2]
        likeness /= likeness[0] * (1 - np.arange(size // 2) / size)  # the window's own fall
        low, high = max(RATE // 4000, int(np.argmax(likeness < 0.2))), RATE // 50  # past the peak of no delay
        inside = likeness[low:high]
        first = int(np.argmax(inside > 0.93 * inside.max()))
        # the first peak that is nearly as high as the highest: not an octave below
        while first + 1 < len(inside) and inside[first + 1] > inside[first]:
            first += 1
        found.append(RATE / (low + first))
    return float(np.median(found)) if found else math.nan


def _events(wave: Wave) -> Wave:
    """Times (s) at which the level of 5 ms rises past a quarter of its maximum, 40 ms apart at least."""
    levels = _levels(wave, 0.005)
    held = np.max([np.roll(levels, k) for k in range(5)], axis=0)  # what is low dips between its own half waves
    loud = held > 0.25 * levels.max()
    rises = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]])) * 0.005
    kept: list[float] = []
    for at_s in rises:
        if not kept or at_s - kept[-1] >= 0.04:
            kept.append(float(at_s))
    return np.array(kept)


def _event_s(wave: Wave) -> float:
    """Length of what stands above -20 dB of the loudest 5 ms, gaps under 80 ms closed: the median, by length."""
    levels = _levels(wave, 0.005)
    loud = np.flatnonzero(levels > 0.1 * levels.max())
    breaks = np.flatnonzero(np.diff(loud) > 16)
    starts, ends = loud[np.concatenate([[0], breaks + 1])], loud[np.concatenate([breaks, [len(loud) - 1]])]
    lengths = np.sort(ends - starts + 1)
    return float(lengths[np.searchsorted(np.cumsum(lengths), 0.5 * lengths.sum())] * 0.005)


def _decay(wave: Wave) -> float:
    """Seconds in which the sound after its loudest moment would fall by 60 dB, from its first 20 (Schroeder's sum)."""
    begin = int(np.argmax(_levels(wave, 0.005))) * round(0.005 * RATE)
    energy = np.cumsum(wave[begin:][::-1] ** 2)[::-1]
    fallen = np.flatnonzero(energy < 0.01 * energy[0])
    return float(3 * fallen[0] / RATE) if len(fallen) else math.inf


def _rate(wave: Wave, low_hz: float, high_hz: float) -> float:
    """The strongest modulation of the level from half the sheet's lowest rate to twice its highest, in Hz."""
    step_s = min(0.05, 0.1 / high_hz)
    levels = _levels(wave, step_s)
    power = np.abs(np.fft.rfft((levels - levels.mean()) * np.hanning(len(levels)), 4 * len(levels)))
    hz = np.fft.rfftfreq(4 * len(levels), step_s)
    inside = (hz >= 0.5 * low_hz) & (hz <= 2 * high_hz)
    return float(hz[inside][np.argmax(power[inside])])


def _slope(wave: Wave) -> float:
    """dB per octave of the spectrum's level from 80 Hz to 10 kHz, in thirds of octaves."""
    hz, power = _spectrum(wave)
    edges = np.geomspace(80, 10_000, 22)
    density = [10 * np.log10(power[(hz >= low) & (hz < high)].mean() + 1e-20) for low, high in pairwise(edges)]
    octaves = np.log2(np.sqrt(edges[:-1] * edges[1:]))
    return float(np.polyfit(octaves, density, 1)[0])


def _unevenness(wave: Wave) -> float:
    levels = _levels(wave, 0.25)
    return float(levels.std() / levels.mean())


def _crest(wave: Wave) -> float:
    return float(20 * np.log10(np.abs(wave).max() / np.sqrt(np.mean(wave**2))))


DESCRIPTORS: dict[str, tuple[Callable[[Wave, float, float], float], str]] = {
    "centroid_hz": (lambda wave, *_: _centroid(wave), "octaves"),
    "peak_hz": (lambda wave, *_: _peak(wave), "octaves"),
    "pitch_hz": (lambda wave, *_: _pitch(wave), "octaves"),
    "event_s": (lambda wave, *_: _event_s(wave), "octaves"),
    "events_per_s": (lambda wave, *_: len(_events(wave)) / (len(wave) / RATE), "octaves"),
    "decay_s": (lambda wave, *_: _decay(wave), "octaves"),
    "rate_hz": (lambda wave, low, high: _rate(wave, low, high), "octaves"),
    "below_200": (lambda wave, *_: _share(wave, 0, 200), "share"),
    "above_4k": (lambda wave, *_: _share(wave, 4000, RATE / 2), "share"),
    "unevenness": (lambda wave, *_: _unevenness(wave), "share"),
    "slope_db": (lambda wave, *_: _slope(wave), "db"),
    "crest_db": (lambda wave, *_: _crest(wave), "db"),
}
"""Name -> how it is measured (wave, the range's ends), and the scale of its distance."""


def distance(scale: str, value: float, low: float, high: float) -> float:
    """Return 0 inside the range, else how far outside in units that a listener tells apart."""
    if math.isnan(value):
        return 10.0
    if low <= value <= high:
        return 0.0
    edge = low if value < low else high
    if scale == "octaves":
        return min(10.0, 3 * abs(math.log2(max(value, 1e-6) / max(edge, 1e-6))))
    return min(10.0, abs(value - edge) / (0.1 if scale == "share" else 3.0))


def measured(recipe: str, descriptors: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each descriptor over the seeds."""
    engine = ProceduralEngine()
    values: dict[str, list[float]] = {name: [] for name in descriptors}
    for seed in SEEDS:
        item = Item(prompt=RECIPES[recipe].keys[0], seed=seed, duration_s=SECONDS, sample_rate=RATE)
        wave = engine.generate([item])[0].mean(axis=0).astype(np.float64)
        for name, (low, high) in descriptors.items():
            values[name].append(DESCRIPTORS[name][0](wave, low, high))
    return {name: float(np.median(found)) for name, found in values.items()}


def row(recipe: str, sheet: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table."""
    ranges = {name: bounds for name, bounds in sheet.items() if name not in _SAID}
    looked_up = set(sheet.get("looked_up", ()))
    values = measured(recipe, ranges)
    distances = {name: distance(DESCRIPTORS[name][1], values[name], *ranges[name]) for name in ranges}
    worst = max(distances, key=lambda name: distances[name])
    low, high = ranges[worst]
    return {
        "recipe": recipe,
        "distance": round(_mean(distances.values()), 2),
        "looked up": _rounded(far for name, far in distances.items() if name in looked_up),
        "judged": _rounded(far for name, far in distances.items() if name not in looked_up),
        "of": len(ranges),
        "worst": worst,
        "ours": values[worst],
        "usual": f"{low:g} to {high:g}",
    }


def _mean(distances: Iterable[float]) -> float:
    found = list(distances)
    return sum(found) / len(found) if found else math.nan


def _rounded(distances: Iterable[float], digits: int = 2) -> float | str:
    mean = _mean(distances)
    return "" if math.isnan(mean) else round(mean, digits)


def rows(asked: list[str] | None = None) -> list[dict[str, Any]]:
    """One line a sheet, the farthest first, and the means of all: for looked-up and judged ranges apart too."""
    found = [row(name, sheet) for name, sheet in sheets().items() if not asked or name in asked]
    found.sort(key=lambda one: -one["distance"])
    means = {
        group: _rounded((one[group] for one in found if one[group] != ""), 3)
        for group in ("distance", "looked up", "judged")
    }
    return [*found, {"recipe": "mean of all", **means, "of": len(found)}]


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print("\n".join(table(rows(sys.argv[1:]))))
