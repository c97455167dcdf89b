"""The recipe of songbirds: each a syrinx of two halves, a species' phrase, and a bird's own way with it.

The two halves of a syrinx sing for themselves: in most notes one is silent, in some both sound and are no octave apart,
and a fast tremor of one makes a buzz (Greenewalt, "Bird Song: Acoustics and Physiology", 1968; Suthers, "Contributions
to birdsong from the left and right sides of the intact syrinx", Nature 347, 1990). Phrases have the shapes that
field guides tell of; a seed, or the species' name, chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, audible
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band

_Phrase = list[tuple[float, Floats]]
"""(start in seconds, note) each."""


class _Bird:
    """One bird: its pitch, its pace, and the notes that its syrinx sings."""

    def __init__(self, c: Canvas, p: Character) -> None:
        self.rng = c.rng
        self.rate = c.rate
        self.pitch = p.low(1) * float(np.exp(c.rng.normal(0, 0.09)))
        self.pace = p.speed * float(np.exp(c.rng.normal(0, 0.1)))

    def note(
        self, seconds: float, hz: Sequence[float], *, second: float = 0.0, buzz_hz: float = 0.0, buzz: float = 0.0,
        overtone: float = 0.06, swell: float = 0.6,
    ) -> Floats:
        """Return one note, float32 [L], peak about 1.

        Args:
            hz: its pitch at even steps from start to end, joined smoothly.
            second: pitch of the other half over that of the first; 0: it is silent.
            buzz_hz, buzz: rate and depth (of the pitch) of a tremor.
            swell: where in the note it is loudest, 0..1.
        """
        count = max(8, round(seconds / self.pace * self.rate))
        x = np.linspace(0, 1, count)
        knots = np.linspace(0, 1, 97)
        contour = np.exp(np.interp(knots, np.linspace(0, 1, len(hz)), np.log(np.asarray(hz) * self.pitch)))
        if len(hz) > 2:  # a muscle has no corners
            width = 97 // (3 * len(hz)) | 1
            kernel = np.hanning(width + 2)[1:-1]
            contour = np.convolve(np.pad(contour, width // 2, "edge"), kernel / kernel.sum(), "valid")
        line = np.interp(x, knots, contour)
        t = np.arange(count) / self.rate
        tremor = np.sin(2 * np.pi * buzz_hz * self.pace * t)
        line = line * (1 + buzz * tremor)
        turns = np.cumsum(line) / self.rate
        wave = np.sin(2 * np.pi * turns) * audible(line, self.rate)
        if overtone:
            wave += overtone * np.sin(4 * np.pi * turns) * audible(2 * line, self.rate)
        if second:
            other = line * second
            wave = 0.62 * wave + 0.5 * np.sin(2 * np.pi * turns * second + 1.0) * audible(other, self.rate)
        # pressure follows pitch a little, and the bronchus opens and shuts in some milliseconds
        rise = np.minimum(1, x / max(0.08, min(swell, 0.35))) ** 0.8
        fall = np.minimum(1, (1 - x) / max(0.12, 1 - max(swell, 0.7))) ** 0.9
        loud = rise * fall * (1 - 0.5 * buzz / 0.2 * (0.5 - 0.5 * tremor) if buzz else 1.0)
        edge = max(2, min(count // 3, round(0.004 * self.rate)))
        loud[:edge] *= np.linspace(0, 1, edge)
        loud[-edge:] *= np.linspace(1, 0, edge)
        return np.asarray(wave * loud, dtype=np.float32)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))


def _blackbird(b: _Bird) -> _Phrase:
    """Slow, fluting whistles, and a scratchy twitter at the end."""
    notes, at_s, hz = [], 0.0, b.between(1900, 2300)
    for _ in range(int(b.rng.integers(4, 7))):
        onward = hz * float(np.exp(b.rng.choice([-0.22, -0.12, 0.12, 0.2, 0.3])))
        onward = min(2900.0, max(1650.0, onward))
        length = b.between(0.14, 0.34)
        notes.append((at_s, b.note(length, [hz, hz * 1.02, onward, onward], overtone=0.1)))
        at_s += (length + b.between(0.01, 0.09)) / b.pace
        hz = onward
    for _ in range(int(b.rng.integers(3, 7))):
        hz = b.between(4200, 6800)
        notes.append((at_s, 0.3 * b.note(0.05, [hz, 1.2 * hz, 0.9 * hz], second=1.31, buzz_hz=150, buzz=0.05)))
        at_s += 0.07 / b.pace
    return notes


def _chaffinch(b: _Bird) -> _Phrase:
    """A trill that gathers pace as it falls, and a flourish."""
    notes, at_s, gap = [], 0.0, 0.17
    count = int(b.rng.integers(9, 14))
    for k in range(count):
        hz = 5600 - 2300 * k / count
        notes.append((at_s, b.note(0.6 * gap, [1.25 * hz, 0.8 * hz, 0.86 * hz], swell=0.3)))
        at_s += gap / b.pace
        gap = max(0.075, gap * 0.92)
    for hz, length in ((2600, 0.07), (3300, 0.06), (4700, 0.13), (2900, 0.18)):
        notes.append((at_s, b.note(length, [hz, 1.25 * hz, 0.8 * hz], second=1.18 if length > 0.1 else 0.0)))
        at_s += (length + 0.02) / b.pace
    return notes


def _great_tit(b: _Bird) -> _Phrase:
    """Two notes like a seesaw, over and over."""
    high, low = b.between(4300, 5400), b.between(3000, 3800)
    period = b.between(0.28, 0.4)
    notes = []
    for k in range(int(b.rng.integers(4, 8))):
        at_s = k * period / b.pace
        notes.append((at_s, b.note(0.4 * period, [high, 0.99 * high, 0.97 * high], swell=0.4)))
        notes.append((at_s + 0.5 * period / b.pace, b.note(0.42 * period, [low, 1.01 * low, low], overtone=0.12)))
    return notes


def _robin(b: _Bird) -> _Phrase:
    """A silvery cascade: thin high notes, sudden runs, long slides down."""
    notes, at_s = [], 0.0
    for _ in range(int(b.rng.integers(4, 8))):
        kind = int(b.rng.integers(3))
        if kind == 0:
            hz = b.between(4200, 7200)
            length = b.between(0.18, 0.4)
            notes.append((at_s, 0.8 * b.note(length, [hz, hz * b.between(0.85, 1.1), hz * b.between(0.55, 0.8)])))
            at_s += (length + 0.03) / b.pace
        elif kind == 1:
            hz, length = b.between(3000, 5200), b.between(0.05, 0.09)
            for k in range(int(b.rng.integers(4, 9))):
                step = hz * (1 - 0.03 * k)
                notes.append((at_s, b.note(length, [1.2 * step, 0.85 * step], swell=0.3)))
                at_s += 1.25 * length / b.pace
        else:
            hz = b.between(2600, 3600)
            notes.append((at_s, b.note(0.22, [hz, 1.3 * hz, 1.1 * hz, 1.5 * hz], second=1.43, overtone=0.02)))
            at_s += 0.27 / b.pace
        at_s += b.between(0.02, 0.12) / b.pace
    return notes


def _thrush(b: _Bird) -> _Phrase:
    """A short motif, said three or four times, then another."""
    notes, at_s = [], 0.0
    for _ in range(2):
        motif = [
            (b.between(0.07, 0.2), np.array([1.0, b.between(0.7, 1.5), b.between(0.7, 1.4)]) * b.between(2200, 4200))
            for _ in range(int(b.rng.integers(1, 4)))
        ]
        second = float(b.rng.choice([0.0, 0.0, 1.26, 0.71]))
        for _ in range(int(b.rng.integers(2, 5))):
            for length, contour in motif:
                notes.append((at_s, b.note(length, contour.tolist(), second=second)))
                at_s += (length + 0.025) / b.pace
            at_s += 0.07 / b.pace
        at_s += 0.15 / b.pace
    return notes


def _willow_warbler(b: _Bird) -> _Phrase:
    """A run of soft notes that falls and dies away."""
    notes, at_s, count = [], 0.0, int(b.rng.integers(11, 17))
    for k in range(count):
        x = k / count
        hz = 5000 * (1 - 0.42 * x) * b.between(0.96, 1.04)
        length = 0.075 + 0.06 * x
        loud = np.float32(min(1.0, 0.35 + 2 * x) * (1.25 - x))
        notes.append((at_s, loud * b.note(length, [1.18 * hz, hz, 0.9 * hz], swell=0.35)))
        at_s += (length + 0.03) / b.pace
    return notes


def _sparrow(b: _Bird) -> _Phrase:
    """Chirps: a quick arch with a burr in it, at even gaps."""
    notes, at_s = [], 0.0
    for _ in range(int(b.rng.integers(3, 7))):
        hz = b.between(2900, 3600)
        contour = [hz, 1.45 * hz, 1.3 * hz, 0.9 * hz]
        notes.append((at_s, b.note(b.between(0.08, 0.13), contour, second=1.37, buzz_hz=110, buzz=0.06, overtone=0.2)))
        at_s += b.between(0.25, 0.5) / b.pace
    return notes


def _greenfinch(b: _Bird) -> _Phrase:
    """Trills of three tempos, and a long wheeze of both halves."""
    notes, at_s = [], 0.0
    for _ in range(2):
        hz, gap = b.between(3100, 4800), b.between(0.05, 0.1)
        for _ in range(int(b.rng.integers(6, 12))):
            notes.append((at_s, b.note(0.75 * gap, [0.9 * hz, 1.1 * hz, 0.95 * hz])))
            at_s += gap / b.pace
        at_s += 0.06 / b.pace
    hz = b.between(3300, 4100)
    notes.append((at_s, 0.7 * b.note(0.5, [1.15 * hz, hz, 0.85 * hz], second=1.22, buzz_hz=95, buzz=0.1)))
    return notes


_SPECIES: dict[str, Callable[[_Bird], _Phrase]] = {
    "blackbird": _blackbird,
    "chaffinch": _chaffinch,
    "great tit": _great_tit,
    "robin": _robin,
    "thrush": _thrush,
    "willow warbler": _willow_warbler,
    "sparrow": _sparrow,
    "greenfinch": _greenfinch,
}


@recipe(
    keys="bird, birdsong, chirp, tweet, songbird, sparrow, robin, canary, warble, nightingale, blackbird, finch,"
    "thrush, great tit, wren, dawn chorus, chaffinch",
    near="whistle animal morning spring nest tree",
    summary="birds singing in the trees",
)
def birds(c: Canvas, p: Character) -> None:
    c.bed(band(300, 4000, tilt_db=-4), 0.003, width=1.0)
    count = p.count or (1 if p.kind and not p.several else round(2 + 2 * p.intensity))
    # neighbours of several kinds; the first is near, the others answer from farther off
    kinds = [p.kind] if p.kind else [list(_SPECIES)[int(k)] for k in c.rng.permutation(len(_SPECIES))]
    for number in range(count):
        near = 1.0 if number == 0 else float(c.rng.uniform(0.12, 0.42))
        pan = float(c.rng.uniform(-0.9, 0.9)) if number else 0.15
        bird = _Bird(c, p)
        species = _SPECIES[kinds[number % len(kinds)]]
        songs = [species(bird) for _ in range(2 if c.seconds > 4 else 1)]
        lasts = max(at_s + len(note) / c.rate for song in songs for at_s, note in song)
        every = lasts + float(c.rng.uniform(1.0, 2.6)) / p.speed
        start = 0.02 if number == 0 else float(c.rng.uniform(0.3, min(every, 0.3 + 0.7 * c.seconds)))
        for turn, at_s in enumerate(c.pulse(every, jitter=0.1, start_s=start)):
            song = songs[turn % len(songs)]
            loud = 0.3 * near * float(c.rng.uniform(0.8, 1.0))
            for delay, note in song[: max(2, len(song) - int(c.rng.integers(0, 3)))]:
                if c.loop or at_s + delay < c.seconds:
                    c.place(note, at_s + delay, loud, pan)
    c.reflect(0.2)
