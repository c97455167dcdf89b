"""Writes docs/sounds.md and the spectrogram of every recipe of the built-in engine.

    python scripts/sound_gallery.py [DIRECTORY]      # default: docs

Needs nothing but the package: the pictures are small PNGs of sixteen colours.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from audio_pool.audio import png
from audio_pool.audio.spectrogram import FLAME
from audio_pool.engines.base import Item
from audio_pool.engines.procedural.adjectives import ADJECTIVES, KINDS, SCENES
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES, Recipe
from audio_pool.engines.procedural.stand_ins import STAND_INS

SECONDS = 8.0
RATE = 44_100
WIDTH, HEIGHT = 320, 120
LOW_HZ, HIGH_HZ = 30.0, 20_000.0
RANGE_DB = 72.0

HEAD = """# The sounds of the built-in engine

The engine `procedural` makes these by synthesis: no weights, no GPU, no download; stereo, at any sample
rate, 0.05 to 600 s, the same for the same seed, and every one of them as a loop without a crossfade.

A prompt may name several ("heavy rain with distant thunder"): each becomes a layer with its own adjectives.
A verb belongs to its subject ("crickets chirping" are no birds), spelling is corrected as the cache corrects it.
A single event ("an explosion", "a bell") sounds once and has died away at the end; "explosions", "three bells" and
loops repeat. Loops of what has a tempo hold whole bars: a stated tempo that does not fit is told as `tempo_fitted`.
Words that stand together under "asked for by" may come in any order, a few words apart.
"no", "not" and "without" rule a sound out, and so does the negative prompt. A prompt that names none gets the
nearest one that is not ruled out, with the warning `nearest_recipe`, which also tells of what another sound only
stands in for (a goat asked for is a sheep heard); every word that named nothing beside others is told in the warning
`not_heard`. A noun before a noun says what kind it is: a tram bell is a bell, a notification chime is no wind chime.
The words are English: a prompt that looks like another language gets the
warning `not_english`. What was understood stands in the metadata under `engine_details`.

How near each comes to what it stands for says `python -m benchmarks.realism`, from a listening sheet for each
(`benchmarks/listening_sheets.toml`): usual ranges of pitch, rate, length and spectrum. A sheet marks which of them
were looked up, and where; the others are judgement.

This page and its pictures are made by `python scripts/sound_gallery.py`. A picture shows eight seconds from
left to right (a tick below each), 30 Hz to 20 kHz from bottom to top (lines at 100 Hz, 1 kHz and 10 kHz),
and 72 dB from dark to bright.
"""


def picture(sound: np.ndarray) -> bytes:
    """A PNG of WIDTH x HEIGHT: the spectrogram of float32 [2, T] at RATE."""
    size = 4096
    wave = np.concatenate([np.zeros(size // 2), sound.mean(axis=0), np.zeros(size)])
    starts = np.linspace(0, sound.shape[1] - 1, WIDTH * 2).astype(int)
    window = np.hanning(size)
    power = np.stack([np.abs(np.fft.rfft(wave[s : s + size] * window)) ** 2 for s in starts])
    power = power.reshape(WIDTH, 2, -1).mean(axis=1)
    edges = np.geomspace(LOW_HZ, HIGH_HZ, HEIGHT + 1) * size / RATE
    rows = []
    for low, high in pairwise(edges):
        first, last = int(low), max(int(low) + 1, int(np.ceil(high)))
        rows.append(power[:, first:last].max(axis=1))
    level = 10 * np.log10(np.stack(rows)[::-1] + 1e-12)
    scaled = (level - level.max()) / RANGE_DB * 16 + 16
    pixels = np.clip(scaled, 0, 15).astype(np.uint8)
    for hz in (100, 1000, 10_000):
        row = HEIGHT - 1 - int(HEIGHT * np.log(hz / LOW_HZ) / np.log(HIGH_HZ / LOW_HZ))
        pixels[row, ::4] = np.where(pixels[row, ::4] < 8, 10, 2)
    for second in range(1, int(SECONDS)):
        pixels[-4:, round(second * WIDTH / SECONDS)] = 15
    return png.encode(pixels, FLAME)


def prompt_of(recipe: Recipe) -> str:
    """What is asked to show a recipe: its first key."""
    return recipe.keys[0]


def sound_of(recipe: Recipe) -> np.ndarray:
    """float32 [2, T]: eight seconds of a recipe."""
    item = Item(prompt=prompt_of(recipe), seed=1, duration_s=SECONDS, sample_rate=RATE)
    return ProceduralEngine().generate([item])[0]


def page() -> str:
    """The text of docs/sounds.md."""
    parts = [HEAD, "## Adjectives\n", "| words | effect |", "| --- | --- |"]
    parts += [f"| {', '.join(words.split())} | {_effect(change)} |" for words, change in ADJECTIVES]
    parts += ["\nKinds of a thing, which differ from the usual one:\n", "| names | effect |", "| --- | --- |"]
    parts += [f"| {names} | {_effect(change)} |" for names, change in KINDS]
    parts.append(
        "\nNumbers: `120 BPM` sets the tempo of what has one, `440 Hz` the pitch of what has one, and `three` "
        "the count of single events (\"three knocks\")."
    )
    parts.append("\nScenes stand for several sounds: " + "; ".join(
        f"*{name}* ({', '.join(recipes)})" for name, recipes in SCENES.items()
    ) + ".\n")
    parts.append(f"## The {len(RECIPES)} sounds\n")
    for module, recipes in groupby(RECIPES.values(), key=lambda recipe: recipe.paint.__module__):
        parts.append(f"### {module.rpartition('.')[2].capitalize()}\n")
        for recipe in recipes:
            keys = ", ".join(recipe.keys)
            parts.append(f"**{recipe.name}**: {recipe.summary}. Asked for by: {keys}.\n")
            parts.append(f"![{recipe.name}](sounds/{recipe.name}.png)\n")
    parts += ["## What only stands in\n", "Asked for these the engine makes the sound at the left, with the warning"]
    parts += ["`nearest_recipe`; words that belong together may come in any order.\n", "| sound | stands in for |"]
    parts.append("| --- | --- |")
    for name, texts in STAND_INS.items():
        parts.append(f"| {name} | {', '.join(text.strip() for text in texts.split(','))} |")
    return "\n".join(parts) + "\n"


def _effect(change: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_shown(name, value)}" for name, value in change.items())


def _shown(name: str, value: object) -> str:
    if name in ("intensity", "speed", "pitch", "size", "gain"):
        return f"× {value}"
    if name == "cutoff_hz":
        return f"{value:g} Hz"
    return str(value)


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    (directory / "sounds").mkdir(parents=True, exist_ok=True)
    total = 0
    for recipe in RECIPES.values():
        data = picture(sound_of(recipe))
        (directory / "sounds" / f"{recipe.name}.png").write_bytes(data)
        total += len(data)
    (directory / "sounds.md").write_text(page(), encoding="utf-8")
    print(f"{len(RECIPES)} pictures, {total / 1000:.0f} kB, in {directory / 'sounds'}")


if __name__ == "__main__":
    main()
