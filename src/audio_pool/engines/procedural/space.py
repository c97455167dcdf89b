"""Places sounds: distance, rooms, water, walls, metal and wood as one impulse response.

Owns: ``surround``, which turns those into one impulse response and folds a layer with it; ``coloured``.
Must not know: recipes, words.
"""

from __future__ import annotations

import math

import numpy as np

from audio_pool.engines.procedural.recipe import Character
from audio_pool.engines.procedural.spectra import Floats, Shape, lowpass

__all__ = ["coloured", "surround"]

# Frequencies (Hz) relative to the first and decays (s) of what the sound rings through.
_BODIES = {
    "metal": (320.0, (1.0, 1.59, 2.14, 2.65, 3.42, 4.17, 5.43, 6.79, 8.21), 0.22),
    "wood": (180.0, (1.0, 1.83, 2.71, 3.9, 5.2), 0.03),
}
# Reverberation time to -60 dB (s) and level of the reverberation against the direct sound.
_ROOMS = {"room": (0.45, 0.5), "hall": (2.2, 0.7), "open": (0.9, 0.35)}


def surround(sound: Floats, rate: int, character: Character, *, loop: bool) -> Floats:
    """Put the layer, in place, where its adjectives say; return float32 [2, T], the same array."""
    response = _response(rate, character)
    return sound if response is None else _fold(sound, response, loop=loop)


def coloured(sound: Floats, rate: int, tilt_db: float, *, loop: bool) -> Floats:
    """Make the layer, in place, brighter (above 0) or duller by so many dB per octave, from 60 Hz to 12 kHz."""

    def shape(hz: Floats) -> Floats:
        return np.asarray((np.clip(hz, 60.0, 12_000.0) / 1000.0) ** (tilt_db / 6.0206), dtype=np.float32)

    response = _minimum_phase(rate, shape)[: max(64, round(0.01 * rate))]
    return _fold(sound, np.tile(response, (2, 1)), loop=loop)


def _response(rate: int, character: Character) -> Floats | None:
    """Return float32 [2, L]: everything in the way, as one impulse response; None where the air is clear."""
    cutoff = character.cutoff_hz
    if character.distance > 0:
        # Air and ground take the highs first: some 900 Hz are left at the far end of the scale.
        cutoff = min(cutoff or math.inf, 6000.0 * 0.15**character.distance)
    room = character.room or ("open" if character.distance > 0.3 else "")
    if cutoff is None and not room and not character.material:
        return None
    rng = np.random.Generator(np.random.PCG64(7))  # the room is the same for every seed
    response = np.zeros((2, 1), dtype=np.float32)
    response[:, 0] = 1.0
    if character.material in _BODIES:
        response = _added(0.35 * response, _body(rng, rate, *_BODIES[character.material], character.size))
    if room:
        response = _folded_pair(response, _room(rng, rate, *_ROOMS[room], character.distance))
    if cutoff is not None:
        response = _folded_pair(response, _lowpass_response(rate, cutoff))
    return response


def _body(
    rng: np.random.Generator, rate: int, base_hz: float, ratios: tuple[float, ...], decay_s: float, size: float
) -> Floats:
    t = np.arange(round(rate * 5 * decay_s), dtype=np.float32) / np.float32(rate)
    total = np.zeros((2, len(t)), dtype=np.float32)
    for ratio in ratios:
        hz = base_hz * ratio / size
        if hz > 0.45 * rate:
            continue
        # one phase for both sides, lest they cancel in mono; each side hears every mode at its own strength
        turn = rng.uniform(0, 2 * np.pi)
        for side in (0, 1):
            total[side] += rng.uniform(0.7, 1.0) * np.exp(-t * ratio**0.5 / decay_s) * np.sin(2 * np.pi * hz * t + turn)
    return np.asarray(total * np.float32(1.2 / math.sqrt(np.sum(total[0] ** 2))), dtype=np.float32)


def _room(rng: np.random.Generator, rate: int, reverb_s: float, level: float, distance: float) -> Floats:
    """Direct sound, then noise that decays to -60 dB in ``reverb_s`` and darkens on its way."""
    count = round(rate * reverb_s)
    t = np.arange(count, dtype=np.float32) / np.float32(rate)
    tail = rng.standard_normal((2, count), dtype=np.float32)
    smooth = np.array([0.25, 0.5, 0.25], dtype=np.float32)
    dark = np.stack([np.convolve(np.convolve(side, smooth, "same"), smooth, "same") for side in tail])
    fade = np.minimum(1.0, t / (0.25 * reverb_s))
    tail = (tail * (1 - fade) + 1.6 * dark * fade) * np.exp(-6.9 * t / reverb_s)
    tail[:, : round(rate * 0.006)] = 0.0
    tail *= level / np.sqrt(np.sum(tail**2, axis=1, keepdims=True) + 1e-12)
    tail[:, 0] = 1.0 - 0.7 * distance
    return np.asarray(tail, dtype=np.float32)


def _lowpass_response(rate: int, cutoff_hz: float) -> Floats:
    """Return a low-pass, 12 dB per octave, for both sides."""
    return np.tile(_minimum_phase(rate, lowpass(cutoff_hz, 2.0)), (2, 1))


def _minimum_phase(rate: int, shape: Shape) -> Floats:
    """Return the impulse response, float32 [2048], of a shape: no pre-echo before a knock or a bang."""
    size = 4096
    hz = np.fft.rfftfreq(size, 1 / rate).astype(np.float32)
    log = np.log(np.maximum(shape(hz), 1e-5))
    # Folding the real cepstrum gives the minimum phase (Oppenheim & Schafer, "Discrete-Time Signal
    # Processing", chapter on cepstrum analysis).
    cepstrum = np.fft.irfft(log, size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: size // 2].astype(np.float32)


def _added(one: Floats, two: Floats) -> Floats:
    total = np.zeros((2, max(one.shape[1], two.shape[1])), dtype=np.float32)
    total[:, : one.shape[1]] += one
    total[:, : two.shape[1]] += two
    return total


def _folded_pair(one: Floats, two: Floats) -> Floats:
    length = one.shape[1] + two.shape[1] - 1
    size = 1 << math.ceil(math.log2(max(2, length)))
    spectrum = np.fft.rfft(one, size) * np.fft.rfft(two, size)
    return np.fft.irfft(spectrum, size)[:, :length].astype(np.float32)


def _fold(sound: Floats, response: Floats, *, loop: bool) -> Floats:
    """Convolve by overlap-add, in blocks and in place; what rings past the end wraps round in a loop, else is cut."""
    frames, length = sound.shape[1], response.shape[1]
    size = 1 << math.ceil(math.log2(max(4 * length, min(65_536, frames + length))))
    hop = size - length + 1
    spectrum = np.fft.rfft(response, size)
    beyond: list[Floats] = []
    # from the end backwards: a block's answer reaches only into what has been answered already
    for start in reversed(range(0, frames, hop)):
        count = min(hop, frames - start)
        block = np.fft.irfft(np.fft.rfft(sound[:, start : start + count], size) * spectrum, size)
        block = block[:, : count + length - 1].astype(np.float32)
        sound[:, start : start + count] = block[:, :count]
        rest = block[:, count:]
        inside = min(rest.shape[1], frames - start - count)
        sound[:, start + count : start + count + inside] += rest[:, :inside]
        if loop and inside < rest.shape[1]:
            beyond.append(rest[:, inside:].copy())
    for late in beyond:
        for done in range(0, late.shape[1], frames):
            part: Floats = late[:, done : done + frames]
            sound[:, : part.shape[1]] += part
    return sound
