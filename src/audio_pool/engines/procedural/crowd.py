"""The recipe of a crowd: forty people who talk, each for themselves.

A talker has a pitch, a pace, pauses, a place and a distance; each syllable is pulses of a larynx on their way from one
vowel to the next, and now and then a consonant's noise. Forty throats would take too long one by one: all pulses that
pass the same vowel of the same size of tract are laid on one line, and each line is filtered once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, formants

_Numbers = npt.NDArray[np.float64]
_TALKERS = 40
_SECTION_S = 12.0
"""They talk in sections of at most so long, faded into each other, so that a long sound needs no more memory."""
_FADE_S = 0.6
_LEVEL = 0.1
"""RMS of a talker close by."""
_BLOCK = 8192
_RING_S = 0.06
_LEAD = 128
"""Frames by which everything comes late."""
_INNER_HZ = 16_000
"""The least rate that the lines of pulses have: speech has little above its half."""
# Formants (Hz) of five vowels, after Peterson & Barney (1952), averaged over speakers.
_VOWELS = ((300, 2300, 3000), (530, 1850, 2500), (730, 1200, 2500), (570, 900, 2450), (320, 900, 2250))
_TRACTS = (1.0, 1.16, 1.3)
"""Men, women, children: how much higher the formants of a shorter tract lie."""
_LINES = len(_VOWELS) * len(_TRACTS) + 2
"""A vowel of a tract each, and two of a consonant's noise."""


@dataclass(frozen=True)
class _Talker:
    pitch: float
    tract: int
    syllables_per_s: float
    gains: tuple[float, float]
    """At the left and at the right, distance included."""
    talking: float
    """The part of the time in which it talks."""


@recipe(
    keys="crowd, murmur, chatter, people talk, people speak, audience, restaurant, cafe, babble, walla, party,"
    "crowd murmur, marketplace, market, people, pub, cafeteria, mall",
    near="man woman male female children person adult human boy girl narrate",
    expects="noise",
    summary="the murmur of a crowd of people talking",
)
def crowd(c: Canvas, p: Character) -> None:
    # those behind those who can be told apart
    c.bed(band(180, 900, tilt_db=-3), Curve(0.016 * c.swells(1.0, 0.2).points), width=0.9)
    c.bed(band(400, 3500, tilt_db=-5), Curve(0.008 * c.swells(0.6, 0.3).points), width=1.0)
    talkers = [_talker(c, p, number) for number in range(max(6, round(_TALKERS * p.intensity**0.7)))]
    count = math.ceil(c.seconds / _SECTION_S)
    hop_s = c.seconds / count
    fade_s = min(_FADE_S, 0.5 * hop_s)
    for section in range(count):
        part = _section(c, talkers, hop_s + fade_s)
        ramp = np.sin(0.5 * np.pi * np.linspace(0, 1, max(2, round(fade_s * c.rate)), dtype=np.float32))
        if section or c.loop:
            part[:, : len(ramp)] *= ramp
        part[:, -len(ramp) :] *= ramp[::-1]
        c.place(part, section * hop_s)
    c.reflect(0.25)


def _talker(c: Canvas, p: Character, number: int) -> _Talker:
    kind = number % 2 if number % 9 else 2  # men and women in turn, and some children
    low, high = ((88, 140), (165, 240), (240, 330))[kind]
    far = float(np.exp(c.rng.uniform(0.0, np.log(7.0))))
    angle = float(c.rng.uniform(0.03, 0.97)) * 0.5 * np.pi
    level = 1.0 / far ** (1.0 + 0.3 * p.distance)
    return _Talker(
        pitch=p.pitch * float(np.exp(c.rng.uniform(np.log(low), np.log(high)))),
        tract=kind,
        syllables_per_s=float(c.rng.uniform(3.6, 6.2)) * p.speed,
        gains=(level * math.cos(angle), level * math.sin(angle)),
        talking=float(c.rng.uniform(0.35, 0.75)),
    )


def _section(c: Canvas, talkers: list[_Talker], seconds: float) -> Floats:
    """Return all of them talking for a while, float32 [2, T]."""
    step = max(1, c.rate // _INNER_HZ)
    rate = c.rate / step
    answers = _answers(rate)
    hop = _BLOCK - round(_RING_S * rate)
    count = math.ceil((seconds * rate + 2) / hop)
    lines = np.zeros((2, _LINES, count * hop), dtype=np.float32)
    for talker in talkers:
        _speak(c, talker, lines, rate, seconds)
    frames = round(seconds * c.rate)
    sound = np.zeros((2, (count - 1) * hop * step + _BLOCK * step), dtype=np.float32)
    for side in (0, 1):
        total = np.zeros((count, _BLOCK * step // 2 + 1), dtype=np.complex64)  # above the inner rate's half: nothing
        for line, answer in zip(lines[side], answers, strict=True):
            total[:, : len(answer)] += np.fft.rfft(line.reshape(count, hop), _BLOCK) * answer
        for number, block in enumerate(np.fft.irfft(total, _BLOCK * step)):
            sound[side, number * hop * step :][: _BLOCK * step] += block * np.float32(step * _LEVEL * math.sqrt(rate))
    return sound[:, :frames]


@lru_cache(maxsize=4)
def _answers(rate: float) -> tuple[npt.NDArray[np.complex64], ...]:
    """Return what each line is filtered with: a glottis' fall over a tract's formants, or a fricative's band."""
    hz = np.fft.rfftfreq(_BLOCK, 1 / rate)
    edge = np.minimum(1, (0.47 * rate - hz) / 600).clip(0)
    glottis = hz / (hz + 60.0) / (1 + (hz / 450.0) ** 2) ** 0.5 * edge
    answers = []
    for factor in _TRACTS:
        for first, second, third in _VOWELS:
            poles = ((first, 80), (second, 110), (third, 170), (3600, 260))
            answer = glottis.astype(np.complex128)
            for hz_of_man, width in poles:
                centre = factor * hz_of_man
                # one resonance: unity far below it, its quality at the centre, 12 dB per octave down above
                answer *= centre**2 / (centre**2 - hz**2 + 1j * hz * width * factor)
                answer *= 1 + 0.5 * hz / (hz + centre)  # the poles left out above lift the top
            answers.append(_of_energy_1(answer))
    for low, high in ((3600, 7000), (1900, 5200)):
        noise = formants((math.sqrt(low * high), high - low, 1.0))(hz.astype(np.float32)) * edge
        answers.append(_of_energy_1(noise.astype(np.complex128)))
    return tuple(answers)


def _of_energy_1(answer: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex64]:
    # what the smooth edges ring before their time comes after the start, not at the block's other end
    late = np.exp(-2j * np.pi * _LEAD * np.arange(len(answer)) / _BLOCK)
    energy = math.sqrt(float(np.mean(np.abs(answer) ** 2)))
    return np.asarray(answer * late / energy, dtype=np.complex64)


def _speak(c: Canvas, talker: _Talker, lines: Floats, rate: float, seconds: float) -> None:
    """Lay one talker's pulses and hisses on the lines."""
    rng = c.rng
    count = max(3, math.ceil(1.3 * seconds * talker.syllables_per_s))
    lengths = np.exp(rng.normal(0, 0.3, count)) / talker.syllables_per_s
    # phrases of some eight syllables, then a pause that gives the wanted share of talk
    ends = rng.random(count) < 1 / 8
    pauses = ends * rng.exponential(8.0 / talker.syllables_per_s * (1 / talker.talking - 1), count)
    begins = np.concatenate([[0.0], np.cumsum(lengths + pauses)[:-1]]) - float(rng.uniform(0, 1.5))
    phrase = np.concatenate([[0], np.cumsum(ends)[:-1]])
    since = np.arange(count) - np.maximum.accumulate(np.where(np.concatenate([[True], ends[:-1]]), np.arange(count), 0))
    accents = np.exp(rng.normal(0, 0.08, count)) * np.exp(-0.028 * since) * np.where(rng.random(count) < 0.2, 1.2, 1.0)
    vowels = rng.integers(0, len(_VOWELS), count + 1)
    loud = np.exp(rng.normal(0, 0.25, count)) * np.exp(rng.normal(0, 0.2, int(phrase[-1]) + 1))[phrase]
    # the larynx: its rate over time, from syllable to syllable
    grid = np.arange(0.0, seconds, 0.004)
    pitch = talker.pitch * np.interp(grid, begins + 0.4 * lengths, accents)
    turns = np.cumsum(pitch) * 0.004
    times = np.interp(np.arange(1, int(turns[-1])), turns, grid)
    times += rng.normal(0, 0.01, len(times)) / talker.pitch
    which = np.clip(np.searchsorted(begins, times, "right") - 1, 0, count - 1)
    inside = (times - begins[which]) / lengths[which]
    contour = np.interp(inside, [0.0, 0.12, 0.3, 0.75, 1.0], [0.0, 0.3, 1.0, 0.8, 0.0]) * (times >= begins[0])
    strengths = contour * loud[which] * np.exp(rng.normal(0, 0.06, len(times))) / math.sqrt(talker.pitch)
    turning = np.clip((inside - 0.45) / 0.6, 0, 0.85)  # on the way to the next vowel
    base = talker.tract * len(_VOWELS)
    for vowel, share in ((vowels[which], 1 - turning), (vowels[which + 1], turning)):
        _lay(lines, base + vowel, times, strengths * share, talker, rate)
    hissing = np.flatnonzero(rng.random(count) < 0.45)
    grains = round(0.07 * 2600)
    onsets = np.repeat(begins[hissing], grains) + rng.normal(-0.02, 0.022, grains * len(hissing))
    kinds = np.repeat(_LINES - 2 + rng.integers(0, 2, len(hissing)), grains)
    levels = np.repeat(loud[hissing] * rng.uniform(0.3, 1.0, len(hissing)), grains)
    _lay(lines, kinds, onsets, levels * rng.normal(0, 0.004, len(onsets)), talker, rate)


def _lay(
    lines: Floats, line: npt.NDArray[np.int64], times: _Numbers, strengths: _Numbers, talker: _Talker, rate: float
) -> None:
    """Add pulses at times between frames: each shared by the two frames beside it."""
    spots = times * rate
    first = np.floor(spots).astype(np.int64)
    fits = (first >= 0) & (first + 1 < lines.shape[2]) & (strengths != 0)
    first, line, strengths, spots = first[fits], line[fits], strengths[fits], spots[fits]
    late = spots - first
    for side, gain in enumerate(talker.gains):
        flat = lines[side].reshape(-1)
        start = line * lines.shape[2] + first
        np.add.at(flat, start, (gain * strengths * (1 - late)).astype(np.float32))
        np.add.at(flat, start + 1, (gain * strengths * late).astype(np.float32))
