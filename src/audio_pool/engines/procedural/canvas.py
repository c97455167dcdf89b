"""The canvas a recipe paints on: one stereo layer whose time is a circle where a loop is asked for.

Owns: Canvas (beds of noise, placed sounds, steady tones, rhythms) and Curve (slow change).
Must not know: recipes, words, engines.

Noise beds and curves are circular always, placed sounds wrap around the end only in a loop, tones close
on a whole number of cycles there: so every recipe loops without a crossfade. Long sounds are painted in
blocks; beside the layer itself nothing here grows with its length but control points (100 per second).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from audio_pool.engines.procedural.spectra import Floats, Shape

__all__ = ["FIRST_S", "HIGHEST", "Canvas", "Curve", "Level", "audible", "fitted_beat_s", "harmonics"]

FIRST_S = 0.0015
"""When the first event begins: soon enough to be played on a cue, late enough for its attack."""
_BLOCK = 65_536
_OVERLAP = 2_048
_CONTROL_HZ = 100.0
# (delay in s, strength) of the first echoes at the left and at the right.
_ECHOES = (((0.0073, 0.8), (0.0171, 0.5)), ((0.0098, 0.8), (0.0217, 0.5)))
HIGHEST = 0.42
"""Of the sample rate: a pitch that goes higher is faded out."""
_TABLE = 1 << 14
_TABLE_SHIFT = 32 - 14


class Curve:
    """A slow function of time on the circle: control points, evenly spaced, joined by straight lines.

    Args:
        points: float [M]; point m stands at time m/M of the length, and the last leads to the first.
    """

    def __init__(self, points: Floats | Sequence[float]) -> None:
        self.points: Floats = np.asarray(points, dtype=np.float32)

    def part(self, start: int, stop: int, frames: int) -> Floats:
        """Return float32 [stop - start], the values of those frames of ``frames``."""
        count = len(self.points)
        # Read at most every 64th frame and joined by lines: ten times as fast as looking up each frame.
        stride = 1 << int(math.log2(min(64.0, max(1.0, frames / count))))
        coarse = np.arange(start, stop + stride, stride, dtype=np.float64) * (count / frames)
        first = np.floor(coarse).astype(np.int64)
        low, high = self.points[first % count], self.points[(first + 1) % count]
        knots = (low + (high - low) * (coarse - first)).astype(np.float32)
        ramp = np.arange(stride, dtype=np.float32) / np.float32(stride)
        values = knots[:-1, None] + np.diff(knots)[:, None] * ramp
        return values.reshape(-1)[: stop - start]

    def at(self, fraction: float) -> float:
        """Return the value at a fraction 0..1 of the length."""
        position = (fraction % 1.0) * len(self.points)
        first = int(position)
        low, high = self.points[first % len(self.points)], self.points[(first + 1) % len(self.points)]
        return float(low + (high - low) * (position - first))

    def mean(self) -> float:
        return float(self.points.mean())


Level = float | Curve


class Canvas:
    """One layer under the brush: float32 [2, T] in ``sound``, at ``rate``, starting silent.

    ``rng`` decides structure (when, how high, where); noise has a stream of its own, so that the same
    seed gives the same events at every sample rate.
    """

    def __init__(self, frames: int, rate: int, *, loop: bool, seed: Sequence[int], once: bool = False) -> None:
        """``once``: what happens now and then happens a single time, at the start."""
        self.frames = frames
        self.rate = rate
        self.loop = loop
        self.once = once
        self.sound: Floats = np.zeros((2, frames), dtype=np.float32)
        structure, noise = np.random.SeedSequence(list(seed)).spawn(2)
        self.rng = np.random.Generator(np.random.PCG64(structure))
        self.noise = np.random.Generator(np.random.SFC64(noise))

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    @property
    def last_s(self) -> float:
        """When the last of a row of events may begin, in seconds: some of it is still heard."""
        return self.seconds - min(0.05, 0.9 * self.seconds)

    # -- when -----------------------------------------------------------------------------------

    def scatter(self, per_second: float, *, first_s: float | None = None) -> list[float]:
        """Return times in seconds at random, ``per_second`` on average, sorted.

        With ``first_s`` one is there for certain, so that no seed and no length gives silence.
        """
        count = int(self.rng.poisson(per_second * self.seconds))
        times = self.rng.uniform(0.0, self.seconds, count)
        if first_s is not None:
            times = np.append(times[times > first_s + 0.5 / per_second], min(first_s, 0.2 * self.seconds))
        return [float(t) for t in np.sort(times)]

    def pulse(
        self, period_s: float, *, jitter: float = 0.0, start_s: float = 0.0, bar: int = 1
    ) -> list[float]:
        """Regular times in seconds; in a loop the period is fitted so that whole bars of ``bar`` go round.

        ``jitter`` is the deviation of each as a fraction of the period.
        """
        period_s = self.beat_s(period_s, bar=bar)
        count = max(1, math.ceil((self.seconds - start_s) / period_s - 1e-6))
        shifts = self.rng.normal(0.0, 1.0, count).clip(-2, 2) * jitter * period_s
        shifts[0] = 0.0
        return [max(0.0, start_s + k * period_s + float(shift)) for k, shift in enumerate(shifts)]

    def occasions(
        self, every_s: float, count: int | None = None, *, jitter: float = 0.2, start_s: float = FIRST_S,
        lasts_s: float = 0.0,
    ) -> list[float]:
        """When something that happens now and then does so: ``count`` times, or until the time is up.

        Where nothing loops, what lasts ``lasts_s`` begins early enough to end by itself; the first always sounds.
        """
        if self.once and count is None:
            return [start_s]
        if count is not None:
            every_s = min(every_s, (self.seconds - start_s) / count)
        times = self.pulse(every_s, jitter=jitter, start_s=start_s)[:count]
        if self.loop or count is not None:
            return times
        return [at_s for k, at_s in enumerate(times) if k == 0 or at_s + lasts_s <= self.seconds]

    def squeeze(self, natural_s: float) -> float:
        """Return the factor, at most 1, by which something that lasts ``natural_s`` is shortened to fit."""
        return min(1.0, max(0.02, self.seconds - 2 * FIRST_S) / natural_s)

    def beat_s(self, wanted_s: float, *, bar: int = 4) -> float:
        """Return the seconds per beat; in a loop fitted to whole bars."""
        return fitted_beat_s(self.seconds, wanted_s, bar) if self.loop else wanted_s

    def fitted_hz(self, hz: float) -> float:
        """Return the frequency nearest to ``hz`` that closes on a loop; ``hz`` itself where there is none."""
        return max(1, round(hz * self.seconds)) / self.seconds if self.loop else hz

    # -- how it changes ---------------------------------------------------------------------------

    def drift(self, period_s: float, depth: float = 1.0, centre: float = 0.0) -> Curve:
        """Return a smooth random walk round ``centre``: deviation ``depth``, nothing faster than ``period_s``."""
        count = max(8, math.ceil(self.seconds * max(_CONTROL_HZ, 4.0 / period_s)))
        cycles = np.arange(count // 2 + 1) / self.seconds
        weight = np.where((cycles > 0) & (cycles <= 1.0 / period_s), 1.0, 0.0)
        parts = self.rng.normal(size=(2, len(cycles)))
        walk = np.fft.irfft((parts[0] + 1j * parts[1]) * weight, count)
        deviation = walk.std()
        if deviation > 0:
            walk /= deviation
        else:
            walk += self.rng.normal()
        return Curve(centre + depth * walk)

    def swells(self, period_s: float, depth: float = 0.5) -> Curve:
        """Return a gain that breathes: log-normal round 1, never negative."""
        return Curve(np.exp(self.drift(period_s, depth).points.clip(-2.5 * depth, 2.0 * depth)))

    def wave(self, hz: float, depth: float, centre: float = 0.0, phase: float = 0.0) -> Curve:
        """Return a sine of ``hz`` as control curve."""
        hz = self.fitted_hz(hz)
        count = max(8, math.ceil(self.seconds * max(_CONTROL_HZ, 24.0 * hz)))
        turns = np.arange(count) * (self.seconds / count) * hz + phase
        return Curve(centre + depth * np.sin(2 * np.pi * turns))

    def path(self, *points: tuple[float, float]) -> Curve:
        """Straight lines through (time in seconds, value); before the first and after the last it holds."""
        count = max(8, math.ceil(self.seconds * 4 * _CONTROL_HZ))
        times = np.arange(count) * (self.seconds / count)
        return Curve(np.interp(times, [t for t, _ in points], [v for _, v in points]))

    # -- brushes --------------------------------------------------------------------------------

    def bed(self, shape: Shape, gain: Level = 1.0, *, width: float = 0.8, per_second: float = 0.0) -> None:
        """Lay noise of a spectral shape over the whole length.

        Args:
            gain: RMS of the noise, 0..1.
            width: 0 mono .. 1 two independent sides.
            per_second: 0 for smooth noise; else it is made of that many random clicks per second, so that
                it crackles and patters.
        """
        mid, side = math.cos(width * math.pi / 4), math.sin(width * math.pi / 4)
        blocks = list(self._blocks())
        size = 1 << max(8, math.ceil(math.log2(blocks[0][1])))
        amplitude = _amplitudes(shape, size, self.rate)
        for start, length, ramp_in, ramp_out in blocks:
            one = _noise_block(self.noise, amplitude, per_second / self.rate)[:length]
            two = _noise_block(self.noise, amplitude, per_second / self.rate)[:length]
            window = _level_part(gain, start, length, self.frames)
            window[: len(ramp_in)] *= ramp_in
            window[length - len(ramp_out) :] *= ramp_out
            one *= window * np.float32(mid)
            two *= window * np.float32(side)
            self._wrap_add(np.stack([one + two, one - two]), start)

    def place(self, sound: Floats, at_s: float, gain: float = 1.0, pan: float = 0.0) -> None:
        """Add a mono [L] or stereo [2, L] sound at a time; ``pan`` -1 left .. 1 right."""
        start = round(at_s * self.rate)
        angle = (min(1.0, max(-1.0, pan)) + 1) * math.pi / 4
        sides = np.array([[math.cos(angle)], [math.sin(angle)]], dtype=np.float32) * np.float32(gain * 1.41421)
        stop = start + sound.shape[-1]
        if start >= 0 and stop <= self.frames:
            self.sound[:, start:stop] += sides * sound
        elif self.loop:
            self._wrap_add(sides * sound, start)
        elif start < self.frames:
            self.sound[:, start:] += (sides * sound)[:, : self.frames - start]

    def sprinkle(
        self, times: Sequence[float], bank: Sequence[Floats], *, gain: float = 1.0, spread: float = 0.9,
        depth: float = 0.5,
    ) -> None:
        """Place random sounds of a bank, each with its own level (log-normal, ``depth``) and pan."""
        picks = self.rng.integers(0, len(bank), len(times))
        gains = gain * np.exp(self.rng.normal(0, depth, len(times)).clip(-2 * depth, 2 * depth))
        pans = self.rng.uniform(-spread, spread, len(times))
        for at_s, pick, level, pan in zip(times, picks, gains, pans, strict=True):
            self.place(bank[int(pick)], at_s, float(level), float(pan))

    def tone(
        self, hz: Level, gain: Level = 1.0, partials: Sequence[float] = (1.0,), *, pan: float = 0.0,
        phase: float = 0.0,
    ) -> None:
        """Add a steady harmonic tone: ``partials[k]`` is the amplitude of harmonic k + 1.

        Frequency and gain may be curves; harmonics above the Nyquist frequency are left out.
        """
        highest = float(hz.points.max()) if isinstance(hz, Curve) else hz
        table = harmonics(tuple(partials[: max(1, int(0.45 * self.rate / max(highest, 1.0)))]))
        mean = hz.mean() if isinstance(hz, Curve) else hz
        fit = self.fitted_hz(mean) / mean if mean > 0 else 1.0
        angle = (pan + 1) * math.pi / 4
        sides = (np.float32(1.41421 * math.cos(angle)), np.float32(1.41421 * math.sin(angle)))
        turns = phase
        for start in range(0, self.frames, _BLOCK):
            stop = min(start + _BLOCK, self.frames)
            if isinstance(hz, Curve):
                steps = np.cumsum(hz.part(start, stop, self.frames).astype(np.float64)) * (fit / self.rate)
                wave = table[((turns + steps) * _TABLE).astype(np.int64) & (_TABLE - 1)]
                if highest > HIGHEST * self.rate:
                    wave = wave * audible(hz.part(start, stop, self.frames).astype(np.float64), self.rate)
                turns = (turns + float(steps[-1])) % 1.0
            else:
                # Phase as an unsigned 32-bit fraction of a turn wraps by itself; block starts are exact.
                step = np.uint32(round(hz * fit / self.rate * 2**32) % 2**32)
                begin = np.uint32(int((phase + hz * fit * start / self.rate) % 1.0 * 2**32) % 2**32)
                wave = table[(np.arange(stop - start, dtype=np.uint32) * step + begin) >> np.uint32(_TABLE_SHIFT)]
            wave = wave * _level_part(gain, start, stop - start, self.frames)
            for side in (0, 1):
                self.sound[side, start:stop] += sides[side] * wave

    def reflect(self, level: float = 0.2) -> None:
        """Add the first echoes of unlike walls at either side, so that a single point has room round it."""
        for channel, echoes in zip(self.sound, _ECHOES, strict=True):
            lates = [min(self.frames, round(delay_s * self.rate)) for delay_s, _ in echoes]
            reach = max(lates)
            # What comes before the first frame: in a loop its end, else nothing.
            before = channel[-reach:].copy() if self.loop else np.zeros(reach, dtype=np.float32)
            # From the end backwards, so that every block still finds dry sound in front of it.
            for start in reversed(range(0, self.frames, _BLOCK)):
                stop = min(start + _BLOCK, self.frames)
                lead = channel[start - reach : start] if start else before
                dry = np.concatenate([lead, channel[start:stop]])
                for late, (_, strength) in zip(lates, echoes, strict=True):
                    channel[start:stop] += np.float32(level * strength) * dry[reach - late : len(dry) - late]

    def _blocks(self) -> Iterator[tuple[int, int, Floats, Floats]]:
        """(start, length, fade-in, fade-out) of overlapping blocks that go once round the circle."""
        overlap = min(_OVERLAP, self.frames // 2)
        count = math.ceil(self.frames / (_BLOCK - overlap))
        hop = math.ceil(self.frames / count)
        # Equal power: the blocks are independent, so their powers add. The angle itself starts and ends
        # gently, lest a kink be heard in low noise.
        angle = 0.5 * np.pi * np.sin((np.arange(overlap) + 0.5) * (0.5 * np.pi / max(1, overlap))) ** 2
        ramps = (np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32))
        for start in range(0, self.frames, hop):
            yield start, min(hop, self.frames - start) + overlap, *ramps

    def _wrap_add(self, sound: Floats, start: int) -> None:
        done = 0
        start %= self.frames
        while done < sound.shape[-1]:
            count = min(sound.shape[-1] - done, self.frames - start)
            self.sound[:, start : start + count] += sound[:, done : done + count]
            done += count
            start = 0


def fitted_beat_s(seconds: float, wanted_s: float, bar: int) -> float:
    """Return the seconds per beat, nearest to the wanted, with which whole bars of ``bar`` beats fill the time.

    Where not even three quarters of a bar fit: whole beats.
    """
    if seconds < 0.75 * bar * wanted_s:
        return seconds / max(1, round(seconds / wanted_s))
    return seconds / (bar * max(1, round(seconds / (bar * wanted_s))))


def _level_part(level: Level, start: int, length: int, frames: int) -> Floats:
    if isinstance(level, Curve):
        return level.part(start, start + length, frames)
    return np.full(length, level, dtype=np.float32)


def _noise_block(rng: np.random.Generator, amplitude: Floats, clicks_per_frame: float) -> Floats:
    """Return float32 [2 (F - 1)], RMS 1, its end joining its start, from amplitudes [F] of mean square 1."""
    size = 2 * (len(amplitude) - 1)
    if clicks_per_frame > 0:
        clicks = np.zeros(size, dtype=np.float32)
        count = max(1, round(clicks_per_frame * size))
        np.add.at(clicks, rng.integers(0, size, count), rng.standard_normal(count, dtype=np.float32))
        spectrum = np.fft.rfft(clicks) * (amplitude / np.float32(math.sqrt(count / size)))
    else:
        # White noise may as well be drawn as its own spectrum: one transform saved. Evenly spread parts
        # (cheaper than normal ones) sum to normal samples all the same.
        parts = rng.random(2 * len(amplitude), dtype=np.float32)
        parts -= np.float32(0.5)
        spectrum = parts.view(np.complex64) * (amplitude * np.float32(math.sqrt(6 * size)))
    return np.fft.irfft(spectrum, size).astype(np.float32, copy=False)


def _amplitudes(shape: Shape, size: int, rate: int) -> Floats:
    """Return the shape on the bins of a transform, scaled so that white noise of RMS 1 keeps its RMS."""
    hz = np.fft.rfftfreq(size, 1 / rate).astype(np.float32)
    amplitude = shape(hz)
    amplitude[hz > 0.48 * rate] = 0.0
    amplitude[0] = 0.0
    rms = math.sqrt(float(np.mean(amplitude.astype(np.float64) ** 2)))
    return np.asarray(amplitude / rms if rms > 0 else amplitude, dtype=np.float32)



def audible(hz: npt.NDArray[np.float64], rate: int) -> Floats:
    """Return a gain that fades a pitch out before half the sample rate, beyond which it would come back down."""
    return np.asarray(np.clip((0.48 * rate - hz) / ((0.48 - HIGHEST) * rate), 0, 1), dtype=np.float32)



@lru_cache(maxsize=32)
def harmonics(partials: tuple[float, ...]) -> Floats:
    """Return one cycle of a tone, float32 [16384], from its harmonics' amplitudes; its peak is their worst case."""
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=np.complex128)
    spectrum[1 : len(partials) + 1] = -1j * np.asarray(partials) * (_TABLE / 2)
    return np.fft.irfft(spectrum, _TABLE).astype(np.float32)
