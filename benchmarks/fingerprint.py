"""How surely an edited sound is known again, and how seldom another is taken for it.

Sounds of the built-in engine, of all lengths, loops among them, each prompt with two seeds, are edited by ffmpeg and by
arithmetic, and looked for among all of them. A miss: it is not found. A false match: another one is. Those of the same
prompt with another seed are the hard ones. Chromaprint is asked beside ours where its library is installed, of the
sounds that are long enough for it.

    python -m benchmarks.fingerprint [--prompts N] [--folder RECORDINGS]
    python -m benchmarks.fingerprint --scale 100000

``--folder``: recordings are looked for instead. ``--scale``: time and memory of a search among so many made-up sounds.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from audio_pool.audio import Audio, filter
from audio_pool.audio.chromaprint import Raw, bit_error_rate, chromaprint, is_installed
from audio_pool.audio.fingerprint import fingerprint, probe
from audio_pool.audio.fingerprint_index import FingerprintIndex
from audio_pool.audio.marks import Fingerprint
from audio_pool.audio.overlay import FEWEST_MARKS, Likeness, every_offset, likeness
from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES

RATE = 44_100
LENGTHS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SHORT_S = 0.5
FAR_ENOUGH = 0.20
"""Chromaprint's bit error rate under which it is the same sound: the greatest that gives no false match here."""
NULL_PAIRS = 60
"""Other sounds that each probe is laid over at every offset."""


class Sound(NamedTuple):
    """A kept one."""

    name: str
    loop: bool
    audio: Audio
    rate: int


@dataclass
class Kept:
    sound: Sound
    marks: Fingerprint
    chroma: Raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=len(RECIPES))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--scale", type=int)
    arguments = parser.parse_args()
    if arguments.scale:
        print(scaled(arguments.scale))
        return
    sounds = recordings(arguments.folder) if arguments.folder else made(arguments.prompts)
    kept = [
        Kept(one, fingerprint(one.audio, one.rate, loop=one.loop), chromaprint(one.audio, one.rate)) for one in sounds
    ]
    from benchmarks.__main__ import table

    edited, chance = measured(kept)
    print("\n".join(table(edited)), "\n")
    print("\n".join(table(chance)))


def made(prompts: int) -> list[Sound]:
    """Return two sounds of each prompt; no two have a seed in common, for equal seeds share their noise."""
    dice, engine, found = random.Random(11), ProceduralEngine(), []
    for number, name in enumerate(list(RECIPES)[:prompts]):
        seconds = LENGTHS[number % len(LENGTHS)]
        loop = seconds >= 1 and dice.random() < 0.35
        for seed in (90_000 + 2 * number, 90_001 + 2 * number):
            item = Item(prompt=name.replace("_", " "), seed=seed, duration_s=seconds, sample_rate=RATE, loop=loop)
            audio = np.ascontiguousarray(engine.generate([item])[0], np.float32)
            found.append(Sound(name, loop, audio * np.float32(0.5 / max(1e-6, np.abs(audio).max())), RATE))
    return found


def recordings(folder: Path) -> list[Sound]:
    """Return the first ten seconds of every WAV, FLAC and OGG file in a folder."""
    found = []
    for path in sorted(one for one in folder.rglob("*") if one.suffix in (".wav", ".flac", ".ogg")):
        audio, rate = soundfile.read(path, frames=10 * 48_000, dtype="float32", always_2d=True)
        if len(audio) > 0.05 * rate:
            found.append(Sound(path.stem, False, np.ascontiguousarray(audio.T), rate))
    return found


# ------------------------------------------------------------------------------------------------- edits


def edits(sound: Sound, ambience: Audio) -> Iterator[tuple[str, Audio, int]]:
    """Yield what becomes of a sound by each edit."""
    audio, rate = sound.audio, sound.rate
    length = audio.shape[1]
    yield "as it is", audio, rate
    yield "-12 dB", audio * np.float32(0.25), rate
    yield "+12 dB, clipped", np.clip(audio * 4, -1, 1), rate
    for share in (0.1, 0.25, 0.5):
        yield f"first {share:.0%} off", audio[:, round(share * length) :], rate
    for share in (0.1, 0.5):
        yield f"last {share:.0%} off", audio[:, : length - round(share * length)], rate
    yield "MP3, 64 kb/s", *_coded(audio, rate, "-c:a", "libmp3lame", "-b:a", "64k", "-f", "mp3")
    yield "Opus, 48 kb/s", *_coded(audio, rate, "-c:a", "libopus", "-b:a", "48k", "-f", "ogg")
    yield "22.05 kHz", filter.resample(audio, rate, 22_050), 22_050
    yield "16 kHz", filter.resample(audio, rate, 16_000), 16_000
    yield "mono", audio.mean(axis=0, keepdims=True), rate
    under = np.resize(ambience, (1, length))
    under = under * np.sqrt(np.square(audio).mean() / max(1e-12, np.square(under).mean())) * 0.1
    yield "ambience at -20 dB", audio + under.astype(np.float32), rate
    cut = audio[:, length // 10 : length - length // 5] * np.float32(0.5)
    yield "cut, -6 dB, 22.05 kHz, MP3", *_coded(
        filter.resample(cut, rate, 22_050), 22_050, "-c:a", "libmp3lame", "-b:a", "64k", "-f", "mp3"
    )
    if sound.loop:
        turned = np.roll(audio, length // 3, axis=1)
        yield "loop, rotated", turned, rate
        yield "loop, 2.3 turns", np.concatenate([audio, audio, audio[:, : length // 3]], axis=1), rate
        yield "loop, rotated, 2 turns, MP3", *_coded(
            np.tile(turned, 2), rate, "-c:a", "libmp3lame", "-b:a", "64k", "-f", "mp3"
        )


def _coded(audio: Audio, rate: int, *form: str) -> tuple[Audio, int]:
    """Encode a sound and decode it again, by ffmpeg."""
    plain = io.BytesIO()
    soundfile.write(plain, audio.T, rate, format="WAV", subtype="FLOAT")
    ffmpeg = ["ffmpeg", "-v", "error", "-i", "-"]
    coded = subprocess.run([*ffmpeg, *form, "-"], input=plain.getvalue(), capture_output=True, check=True).stdout
    decoded = subprocess.run(
        [*ffmpeg, "-c:a", "pcm_f32le", "-f", "wav", "-"], input=coded, capture_output=True, check=True
    ).stdout
    back, rate = soundfile.read(io.BytesIO(decoded), dtype="float32", always_2d=True)
    return np.ascontiguousarray(back.T), rate


# ---------------------------------------------------------------------------------------------- measured


def measured(kept: list[Kept]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a row for each edit, and one for each length of what chance gives."""
    index = FingerprintIndex()
    index.add(range(len(kept)), [one.marks for one in kept])
    item = Item(prompt="rain", seed=5, duration_s=10.0, sample_rate=RATE)
    ambience = ProceduralEngine().generate([item])[0].mean(axis=0, keepdims=True)
    dice = random.Random(3)
    found: dict[str, list[tuple[float, bool, bool, bool, bool, float]]] = defaultdict(list)
    chance: dict[float, list[float]] = defaultdict(list)
    for number, one in enumerate(kept):
        if number % 2:
            continue  # the twin, by which false matches are counted
        seconds = one.sound.audio.shape[1] / one.sound.rate
        for edit, audio, rate in edits(one.sound, ambience):
            asked = probe(audio, rate)
            likely, other, twin = False, False, False
            for candidate in index.candidates(asked):
                against = kept[candidate.number]
                best = likeness(against.marks, asked, [at + by for at in candidate.offsets for by in range(-3, 4)])
                if best.sure and against is not one:
                    twin |= against.sound.name == one.sound.name
                    other |= against.sound.name != one.sound.name
                likely |= best.likely and against is one
            heard = chromaprint(audio, rate)
            rate_of_errors = bit_error_rate(one.chroma, heard) if len(one.chroma) else 1.0
            told = one.marks.count >= FEWEST_MARKS
            found[edit].append((seconds, likely, other, twin, told, rate_of_errors))
            if edit in ("as it is", "MP3, 64 kb/s"):
                for against in dice.sample(kept, min(NULL_PAIRS, len(kept))):
                    if against.sound.name != one.sound.name:
                        best = likeness(against.marks, asked, every_offset(against.marks, asked))
                        chance[seconds].append(_strength(best))
    return [_row(edit, rows) for edit, rows in found.items()], [_chance(*one) for one in sorted(chance.items())]


def _strength(best: Likeness) -> float:
    return best.strength if best.marks >= FEWEST_MARKS else 0.0


def _row(edit: str, rows: list[tuple[float, bool, bool, bool, bool, float]]) -> dict[str, Any]:
    """Return shares in per cent."""

    def missed(chosen: list[Any]) -> str:
        return f"{100 * sum(not one[1] for one in chosen) / len(chosen):.1f}" if chosen else "–"

    musical = [one for one in rows if one[5] < 1]
    row = {
        "edit": edit,
        "sounds": len(rows),
        "missed, %": missed(rows),
        f"up to {SHORT_S} s": missed([one for one in rows if one[0] <= SHORT_S]),
        "longer": missed([one for one in rows if one[0] > SHORT_S]),
        "another sound, %": f"{100 * sum(one[2] for one in rows) / len(rows):.1f}",
        "another seed, %": f"{100 * sum(one[3] for one in rows) / len(rows):.1f}",
    }
    if is_installed():
        over = sum(one[5] > FAR_ENOUGH for one in musical)
        row["chromaprint missed, %"] = f"{100 * over / max(1, len(musical)):.1f} of {len(musical)}"
        row["ours of those"] = missed(musical)
    return row


def _chance(seconds: float, strengths: list[float]) -> dict[str, Any]:
    return {
        "sound of": f"{seconds:g} s",
        "pairs of different sounds": len(strengths),
        "median": round(float(np.median(strengths)), 2),
        "99 %": round(float(np.percentile(strengths, 99)), 2),
        "99.9 %": round(float(np.percentile(strengths, 99.9)), 2),
        "greatest": round(max(strengths), 2),
    }


# ------------------------------------------------------------------------------------------------- scale


def scaled(count: int) -> str:
    """Return what a search among so many sounds takes. Their marks are those of real ones, shuffled in time."""
    bed = [fingerprint(one.audio, one.rate, loop=one.loop) for one in made(len(RECIPES))]
    bed = [one for one in bed if one.count]
    dice = np.random.default_rng(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    index, started = FingerprintIndex(), time.perf_counter()
    for first in range(0, count, 2_000):
        numbers = range(first, min(first + 2_000, count))
        index.add(numbers, [_shuffled(bed[number % len(bed)], dice) for number in numbers])
    built = time.perf_counter() - started
    item = Item(prompt="rain on a tin roof", seed=3, duration_s=8.0, sample_rate=RATE)
    lines = [
        f"{count:,} sounds, {len(index):,} words: built in {built:.1f} s, {index.size_bytes / 1e6:.0f} MB",
        f"process grew by {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3:.0f} MB at the most",
    ]
    for seconds in (0.25, 2.0, 8.0, 60.0):
        audio = ProceduralEngine().generate([Item(prompt=item.prompt, seed=3, duration_s=seconds, sample_rate=RATE)])[0]
        asked = probe(audio, RATE)
        started = time.perf_counter()
        found = index.candidates(asked)
        spent_ms = 1000 * (time.perf_counter() - started)
        lines.append(f"{seconds:g} s looked for: {spent_ms:.0f} ms, {len(found)} candidates")
    return "\n".join(lines)


def _shuffled(marks: Fingerprint, dice: np.random.Generator) -> Fingerprint:
    order = dice.permutation(len(marks.rises))
    return Fingerprint(rises=marks.rises[order], falls=marks.falls[order])


if __name__ == "__main__":
    main()
