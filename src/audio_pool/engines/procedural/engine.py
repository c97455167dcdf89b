"""The built-in engine at work: sounds made from words by synthesis, without weights, a GPU or a download.

Owns: the mixing of a prompt's layers.
Must not know: how a prompt is read (words.py) or a sound is painted (the recipes).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines._item import check_item
from audio_pool.engines._paste import Stretch, fades_of, fitted, placed, stretch_of
from audio_pool.engines.base import Audio, Embedder, Item, OnStep, Vectors
from audio_pool.engines.options import option_values
from audio_pool.engines.procedural import (
    animals,
    appliances,
    birds,
    crowd,
    devices,
    engines,
    footsteps,
    household,
    insects,
    instruments,
    interface,
    machines,
    music,
    nature,
    noises,
    people,
    rain,
    signals,
    songbirds,
    struck,
    voices,
    water,
    weapons,
    weather,
)
from audio_pool.engines.procedural.canvas import Canvas, fitted_beat_s
from audio_pool.engines.procedural.info import INFO, LAYERS, MOST_LAYERS, SPACE
from audio_pool.engines.procedural.recipe import RECIPES, Character
from audio_pool.engines.procedural.space import coloured, surround
from audio_pool.engines.procedural.words import Layer, Reading, read
from audio_pool.errors import NotSupported
from audio_pool.types import frames_of

__all__ = ["ProceduralEngine"]

# Importing a file of recipes registers them.
_FILES = (
    rain, weather, nature, water, animals, insects, birds, songbirds, footsteps, people, crowd, voices, household,
    appliances, devices, machines, engines, weapons, signals, interface, struck, music, instruments, noises,
)  # fmt: skip

# A layer's loudest 400 ms get this RMS unless its peak would pass the other: what is steady and what
# is sudden then stand beside each other about as they do outdoors.
_LEVEL = 0.12
_PEAK = 0.6
_FADE_S = 0.06
_TILT_DB = 1.8
"""Greatest difference per octave between two specimens of one thing, either way."""
_HIGHEST = 0.4
"""Of the sample rate: the highest pitch that is played."""


class ProceduralEngine:
    """A Generator over the registered recipes, and a ReadsMeaning."""

    device = "cpu"

    def __init__(self, info: EngineInfo = INFO) -> None:
        self.info = info
        self._meaning: _Meaning | None = None

    def use_encoder(self, encoder: Embedder) -> None:
        """Choose the nearest recipe by meaning from now on, where no word of a prompt fits one."""
        self._meaning = _Meaning(encoder)

    def notes(self, item: Item) -> Notes:
        """Return what the prompt's words come to: recipes, what is left out, what the quality gate may expect.

        Raises:
            NotSupported: a length outside the limits.
            InvalidRequest: a field or an option out of bounds.
        """
        reading = self._read(item)
        recipes = [layer.recipe for layer in reading.layers]
        # What one layer expects excuses the mix only as far as it can be heard through the others.
        steady = all("silence" not in recipe.expects for recipe in recipes)
        expects = frozenset().union(*(recipe.expects for recipe in recipes))
        if len(recipes) > 1 and steady:
            expects -= {"silence"}
        return Notes(
            # a given sound is closed like any other
            loops=self._stretch(item) is None,
            expects=expects,
            highpass_hz=min(recipe.highpass_hz for recipe in recipes),
            warnings=reading.warnings
            + _limits(reading, item.sample_rate or self.info.sample_rate)
            + _tempos(reading, item),
            details={"recipes": [_described(layer) for layer in reading.layers], "unused_words": list(reading.unused)},
        )

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """Return one float32 [2, T] per item; each layer of each item is a step."""
        readings = [self._read(item) for item in items]
        total = sum(len(reading.layers) for reading in readings)
        done = 0
        sounds: list[Audio] = []
        for whole, reading in zip(items, readings, strict=True):
            rate, stretch = whole.sample_rate or self.info.sample_rate, self._stretch(whole)
            item = whole if stretch is None else _part(whole, stretch, rate)
            mix: Audio | None = None
            for layer in reading.layers:
                sound = _painted(layer, item, rate)
                if mix is None:
                    mix = sound
                else:
                    mix += sound
                done += 1
                if on_step is not None:
                    on_step(done, total)
            assert mix is not None, "a reading has at least one layer"
            sound = _finished(mix, rate, loop=item.loop)
            sounds.append(sound if stretch is None else _in_place(sound, whole, stretch, rate))
        return sounds

    def close(self) -> None:
        """Nothing is held."""

    def _stretch(self, item: Item) -> Stretch | None:
        """Return which part of a given sound is to be made; None where there is none."""
        info = self.info
        found = stretch_of(item, info.name, item.sample_rate or info.sample_rate, info.longest_s, info.longest_s)
        if item.init_audio is not None and found is None:
            raise NotSupported(f"{info.name} makes no sound like another one (init_audio without mask or extend_s)")
        return found

    def _read(self, item: Item) -> Reading:
        info = self.info
        check_item(info.name, item)
        self._stretch(item)
        # a length counts whole frames: at 11,025 Hz there is no 0.05 s, only a little less
        frame_s = 1 / (item.sample_rate or info.sample_rate)
        if not info.shortest_s - frame_s < item.duration_s < info.longest_s + frame_s:
            raise NotSupported(
                f"{info.name}: duration_s is {item.duration_s:g}; allowed are "
                f"{info.shortest_s:g} to {info.longest_s:g} seconds"
            )
        options = option_values(info, item.options)
        nearest = self._meaning.nearest if self._meaning is not None else None
        reading = read(item.prompt, RECIPES, negative_prompt=item.negative_prompt, nearest=nearest)
        reading = _limited(reading, int(options[LAYERS.name] or MOST_LAYERS))
        space = options[SPACE.name]
        return _placed(reading, space) if isinstance(space, str) else reading


def _part(item: Item, stretch: Stretch, rate: int) -> Item:
    """Return the item of the new part alone, with its crossfades, and with more where its end is none of its own."""
    left, right = fades_of(stretch, rate)
    seconds = (stretch.end - stretch.start + left + right) / rate + (_FADE_S if right else 0.0)
    return replace(
        item, duration_s=max(seconds, INFO.shortest_s), loop=False, init_audio=None, mask=None, extend_s=None
    )


def _in_place(sound: Audio, item: Item, stretch: Stretch, rate: int) -> Audio:
    """Return the given sound with the new part in it."""
    assert item.init_audio is not None, "there is no part of nothing"
    new = sound[:, : stretch.end - stretch.start + sum(fades_of(stretch, rate))]
    return placed(new, fitted(item.init_audio, len(sound), stretch.total), stretch, rate)


class _Meaning:
    """Every recipe's words as vectors, made when a prompt first needs them."""

    def __init__(self, encoder: Embedder) -> None:
        self._encoder = encoder

    @cached_property
    def _words(self) -> tuple[list[str], Vectors]:
        """Recipe names [N] and vectors float32 [N, D]: one per summary, key and related word.

        One vector for a recipe's whole description blurs it: that chose well for 18 of 31 trial prompts
        against 24 with a vector per text.
        """
        pairs = [
            (recipe.name, text) for recipe in RECIPES.values() for text in (recipe.summary, *recipe.keys, *recipe.near)
        ]
        return [name for name, _ in pairs], self._encoder.embed([text for _, text in pairs])

    def nearest(self, prompt: str, ruled_out: Collection[str]) -> str | None:
        names, vectors = self._words
        likeness = vectors @ self._encoder.embed([prompt])[0]
        order = np.argsort(-likeness, kind="stable")
        return next((names[int(k)] for k in order if names[int(k)] not in ruled_out), None)


def _limited(reading: Reading, most: int) -> Reading:
    """Return the reading with at most so many layers, and a warning of those left out."""
    if len(reading.layers) <= most:
        return reading
    left = ", ".join(layer.recipe.name for layer in reading.layers[most:])
    warning = f"layers_left_out: at most {most} sound{'' if most == 1 else 's'} at once; left out {left}"
    return replace(reading, layers=reading.layers[:most], warnings=(*reading.warnings, warning))


def _placed(reading: Reading, space: str) -> Reading:
    """Return the reading with every layer in the same space."""
    layers = tuple(replace(layer, character=replace(layer.character, room=space)) for layer in reading.layers)
    return replace(reading, layers=layers)


def _described(layer: Layer) -> dict[str, str | list[str]]:
    return {
        "name": layer.recipe.name,
        "matched_words": list(layer.words),
        "adjectives": list(layer.adjectives),
        "matched_by": layer.by,
    }


def _painted(layer: Layer, item: Item, rate: int) -> Audio:
    """Return one layer at its level, float32 [2, T]; it depends on nothing but its recipe, adjectives and seed."""
    seed = (item.seed, zlib.crc32(layer.recipe.name.encode()))
    once = layer.recipe.once and not item.loop and not layer.character.several
    canvas = Canvas(frames_of(item.duration_s, rate), rate, loop=item.loop, seed=seed, once=once)
    specimen = np.random.default_rng((*seed, 1))
    layer.recipe.paint(canvas, _playable(_specimen(layer, specimen), rate))
    sound = canvas.sound
    if not layer.recipe.exact:
        sound = coloured(sound, rate, float(specimen.uniform(-_TILT_DB, _TILT_DB)), loop=item.loop)
    sound = surround(sound, rate, layer.character, loop=item.loop)
    if once:
        _let_end(sound, rate)
    loudest, peak = _loudest_rms(sound, rate), _peak(sound)
    if peak > 0:
        character = layer.character
        wanted = character.gain * character.intensity**0.35 * (1 - 0.6 * character.distance)
        sound *= np.float32(wanted * min(_LEVEL / loudest, _PEAK / peak))
    return sound


def _specimen(layer: Layer, rng: np.random.Generator) -> Character:
    """Return the character of this seed's specimen: a little larger or smaller, higher or lower, slower or quicker.

    Tempo is left alone where there is one, and pitch where several may play together.
    """
    pitch, size, speed = np.exp(rng.normal(0.0, 1.0, 3).clip(-1.6, 1.6) * (0.07, 0.1, 0.06))
    recipe, character = layer.recipe, layer.character
    if recipe.exact:
        return character
    if recipe.bar:
        speed = 1.0
    if recipe.bar == 4:
        pitch = 1.0
    return replace(
        character,
        pitch=character.pitch * float(pitch),
        size=character.size * float(size),
        speed=character.speed * float(speed),
    )


def _playable(character: Character, rate: int) -> Character:
    """Return a pitch that the rate can carry with room for an overtone's edge."""
    if character.hz is None or character.hz <= _HIGHEST * rate:
        return character
    return replace(character, hz=_HIGHEST * rate)


def _limits(reading: Reading, rate: int) -> tuple[str, ...]:
    return tuple(
        f"pitch_lowered: {layer.character.hz:g} Hz is too high for {rate} Hz; used {_HIGHEST * rate:g} Hz"
        for layer in reading.layers
        if layer.character.hz is not None and layer.character.hz > _HIGHEST * rate
    )


def _tempos(reading: Reading, item: Item) -> tuple[str, ...]:
    """Warn of a stated tempo that does not fill a loop with whole bars."""
    warnings = []
    for layer in reading.layers:
        bpm, bar = layer.character.bpm, layer.recipe.bar
        if not item.loop or bpm is None or not bar:
            continue
        used = 60.0 / fitted_beat_s(item.duration_s, 60.0 / bpm, bar)
        if abs(used / bpm - 1) > 0.001:
            whole = "bars" if bar > 1 else "beats"
            warnings.append(
                f"tempo_fitted: asked for {bpm:g} BPM; used {used:.4g} BPM, so that the loop has whole {whole}"
            )
    return tuple(warnings)


def _let_end(sound: Audio, rate: int) -> None:
    """Damp the tail of a single event, in place, so that it has died away (-60 dB) where the sound ends."""
    block = max(1, round(0.01 * rate))
    count = sound.shape[1] // block
    if count < 4:
        return
    levels = np.sqrt(np.mean(sound[:, : count * block].reshape(2, count, block) ** 2, axis=(0, 2)))
    loudest = int(np.argmax(levels))
    last = float(levels[-2:].max())
    if loudest >= count - 2 or last <= 1e-3 * levels[loudest]:
        return
    missing_db = 60 + 20 * math.log10(last / levels[loudest])
    begin = (loudest + 1) * block
    x = np.linspace(0.0, 1.0, sound.shape[1] - begin, dtype=np.float32)
    sound[:, begin:] *= 10 ** (np.float32(-missing_db / 20) * x**1.5)


def _loudest_rms(sound: Audio, rate: int) -> float:
    """RMS over both channels of the loudest 400 ms."""
    window = max(1, round(0.4 * rate))
    sums = [float(np.vdot(part, part)) / part.size for part in _windows(sound, window)]
    return math.sqrt(max(sums)) or 1e-9


def _windows(sound: Audio, window: int) -> list[Audio]:
    frames = sound.shape[1]
    if frames <= window:
        return [sound]
    return [sound[:, start : start + window] for start in range(0, frames - window + 1, window)]


def _peak(sound: Audio) -> float:
    return max(float(sound.max()), -float(sound.min()))


def _finished(mix: Audio, rate: int, *, loop: bool) -> Audio:
    """Kept below full scale; where it does not loop, begun and ended without a click."""
    peak = _peak(mix)
    if peak > 0.98:
        mix *= np.float32(0.98 / peak)
    if not loop:
        frames = mix.shape[1]
        rise = min(round(0.001 * rate), frames // 8)
        fall = min(round(_FADE_S * rate), frames // 8)
        mix[:, :rise] *= np.linspace(0, 1, rise, endpoint=False, dtype=np.float32)
        mix[:, frames - fall :] *= np.cos(np.linspace(0, 0.5 * np.pi, fall, dtype=np.float32))
    return mix
