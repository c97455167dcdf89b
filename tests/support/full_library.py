"""A cache with very many sounds, filled within seconds: a few real files, copied, under prompts drawn from a word list.

Owns: ``fill``. Not a cache to be trusted with anybody's sounds: nothing is flushed to the disk while it is filled.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np
import soundfile
from numpy.typing import NDArray
from tests.support.cache_sounds import recipe

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.library import SoundMarks
from audio_pool.results import FinishedSound, SoundMetadata

__all__ = ["RATE", "fill", "heard_of"]

RATE = 22_050
_THINGS = (
    "rain on a tin roof", "a door slams", "footsteps on gravel", "wind in pines", "a dog barks", "a bell rings",
    "thunder far away", "waves on a beach", "a match is struck", "an old engine idles", "a crowd murmurs",
    "a page turns",
)  # fmt: skip
_WHERE = ("", "in a hall", "at night", "outside", "close by", "under water", "behind a wall", "in the distance")
_HOW = ("", "softly", "loudly", "twice", "slowly", "again and again")


def fill(place: Path, count: int) -> list[int]:
    """Make a cache of so many sounds; return their ids, the oldest first. Each hundredth is rated and tagged.

    Each is a second long; a third are loops. Of the first forty each second one has the bytes of the one before.
    """
    files = [_file(number) for number in range(len(_THINGS))]
    prompts = _prompts()
    ids = []
    with mock.patch.object(os, "fsync", return_value=None), contextlib.closing(SoundCache(place)) as cache:
        with cache.store.database.writing("filling") as db:
            db.execute("PRAGMA synchronous = OFF")
        for number in range(count):
            thing = (number - number % 2 if number < 40 else number) % len(_THINGS)
            path = cache.incoming / f"{number}.flac"
            path.write_bytes(_numbered(files[thing], number - number % 2 if number < 40 else number))
            loop = number % 3 == 0
            prompt = next(prompts)
            made = recipe(prompt, seed=number, duration_s=1.0, sample_rate=RATE, loop=loop)
            known = {
                "prompt": prompt, "engine": "procedural", "implementation": "procedural", "duration_s": 1.0,
                "sample_rate": RATE, "channels": 1, "format": "flac", "bit_depth": 24, "is_loop": loop,
                "quality": {"score": 60 + number % 40, "issues": []}, "loudness_lufs": -23.0, "true_peak_dbfs": -3.0,
                "tags": ["hundredth"] if number % 100 == 0 else [], "generation_timestamp": 1.7e9,
            }  # fmt: skip
            metadata = msgspec.convert(known, SoundMetadata)
            kept = cache.put(FinishedSound(path=str(path), recipe=made, metadata=metadata, accepted=True), {})
            assert kept.id is not None
            ids.append(kept.id)
        cache.store.marks.mark_many(ids[::100], SoundMarks(rating=4, favourite=True))
    return ids


def _prompts() -> Iterator[str]:
    drawn = random.Random(1)
    for number in itertools.count():
        said = (_THINGS[number % len(_THINGS)], drawn.choice(_WHERE), drawn.choice(_HOW), f"take {number}")
        yield " ".join(part for part in said if part)


def _numbered(flac: bytes, number: int) -> bytes:
    """The same sound in other bytes: with an APPLICATION block behind its STREAMINFO (xiph.org, "FLAC format")."""
    return flac[:42] + b"\x02\0\0\x08test" + number.to_bytes(4, "big") + flac[42:]


def _file(number: int) -> bytes:
    """A second of a tone that rises, with noise: each looks and sounds another way."""
    t = np.arange(RATE) / RATE
    drawn = np.random.default_rng(number)
    tone = 0.3 * np.sin(2 * np.pi * (200 + 150 * number + 400 * (number % 4) * t) * t) * np.exp(-t * (number % 5))
    noise = 0.2 * drawn.standard_normal(RATE) * np.abs(np.sin(np.pi * t * (1 + number % 6)))
    written = io.BytesIO()
    soundfile.write(written, np.clip(tone + noise, -1, 1), RATE, subtype="PCM_24", format="FLAC")
    return written.getvalue()


def heard_of(number: int) -> NDArray[np.float32]:
    """The samples of one of the sounds, float32 [T], as its file gives them back."""
    samples, _ = soundfile.read(io.BytesIO(_file(number % len(_THINGS))), dtype="float32")
    return np.asarray(samples, np.float32)
