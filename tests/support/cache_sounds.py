"""Small finished sounds for the cache's tests: real FLAC files with a recipe and metadata."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soundfile

from audio_pool.cache.store import Store
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import Recipe

RATE = 44_100


def recipe(
    prompt: str = "rain on a tin roof", *, duration_s: float = 2.0, seed: int | None = None, **changes: Any
) -> Recipe:
    rate = changes.pop("sample_rate", RATE)
    settled: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": "",
        "engine": "procedural",
        "model": "procedural",
        "implementation": "procedural",
        "frames": round(duration_s * rate),
        "sample_rate": rate,
        "loop": False,
        "seed": seed,
        "steps": None,
        "guidance_scale": None,
        "candidates": 1,
        "voice": None,
        "init_audio_sha256": None,
        "init_strength": None,
        "namespace": "default",
    }
    if "engine" in changes and "implementation" not in changes:
        settled["implementation"] = changes["engine"]
    return Recipe(**{**settled, **changes})


def write_flac(path: Path, seed: int = 0, frames: int = 400) -> Path:
    """A short noise, fsynced, as a mastering worker leaves it."""
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (frames, 2))
    soundfile.write(path, noise, RATE, subtype="PCM_24", format="FLAC")
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


def sound(
    incoming: Path,
    prompt: str = "rain on a tin roof",
    *,
    seed: int = 1,
    accepted: bool = True,
    metadata: dict[str, Any] | None = None,
    **changes: Any,
) -> FinishedSound:
    made = recipe(prompt, seed=seed, **changes)
    path = write_flac(incoming / f"{os.urandom(6).hex()}.flac", seed)
    known = {
        "prompt": prompt,
        "seed": seed,
        "engine": made.engine,
        "implementation": made.implementation or made.engine,
        "quality": {"score": 0.9, "issues": []},
        **(metadata or {}),
    }
    return FinishedSound(
        path=str(path), recipe=made, metadata=msgspec.convert(known, SoundMetadata), accepted=accepted
    )


def harm(cache: Path, *statements: str) -> None:
    """Change a cache's rows behind its back, as a foreign tool or a crash would."""
    with contextlib.closing(sqlite3.connect(cache / "cache.sqlite3", isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def ids_in(store: Store) -> set[int]:
    """The entries that a store has."""
    return {item.id for item in store.inventory.items()}
