"""Sounds that are kept and registered as a pool keeps them, without a pool."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import soundfile
from tests.support.cache_sounds import sound

from audio_pool.audio import Audio
from audio_pool.audio.fingerprint import fingerprint
from audio_pool.cache.entry import Entry
from audio_pool.cache.recognition import Recognition
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.heard import Compared, Heard
from audio_pool.inscription import comment_of
from audio_pool.origin import VerifyReport
from audio_pool.roots import ANYWHERE
from audio_pool.worker import recognizing

RATE = 44_100


def bursts(seed: int, seconds: float = 2.0, channels: int = 1) -> Audio:
    """Tones and noise in pieces: what a door, fire and footsteps have in common."""
    dice = np.random.default_rng(seed)
    length = round(seconds * RATE)
    made = np.zeros((channels, length))
    for _ in range(max(4, round(12 * seconds))):
        start, size = int(dice.integers(0, length)), int(dice.integers(RATE // 50, RATE // 4))
        tone = np.sin(2 * np.pi * float(np.exp(dice.uniform(5, 8.3))) * np.arange(size) / RATE)
        part = (tone + dice.normal(0, 0.4, (channels, size))) * np.exp(-np.arange(size) / (size / 4))
        made[:, start : start + size] += part[:, : length - start]
    return (0.5 * made / np.abs(made).max()).astype(np.float32)


def keep(cache: SoundCache, audio: Audio, prompt: str, *, seed: int = 1, loop: bool = False, **changes: str) -> Entry:
    """Keep a sound as a worker would hand it over."""
    facts = {
        "sample_rate": RATE, "channels": len(audio), "duration_s": audio.shape[1] / RATE, "is_loop": loop,
        "loudness_lufs": -23.0, "licence": "MIT",
    }  # fmt: skip
    made = sound(cache.incoming, prompt, seed=seed, loop=loop, metadata=facts, **changes)
    write(Path(made.path), audio, comment=comment_of(made.recipe, made.metadata))
    marks = fingerprint(audio, RATE, loop=loop).to_bytes()
    return cache.put(msgspec.structs.replace(made, fingerprint=marks), {})


def write(path: Path, audio: Audio, rate: int = RATE, *, comment: str = "", subtype: str = "PCM_24") -> Path:
    """Write a file; with a comment as ours have it."""
    with soundfile.SoundFile(path, "w", rate, len(audio), subtype) as file:
        if comment:
            file.comment = comment
        file.write(audio.T)
    return path


def report_of(recognition: Recognition, path: Path, *, namespace: str | None = None) -> VerifyReport:
    """Verify a file as a command does."""
    heard, compared = found_in(recognition, path, namespace)
    return recognition.report(heard, recognition.suspects(heard, namespace), compared, namespace=namespace)


def found_in(
    recognition: Recognition, path: Path, namespace: str | None = None
) -> tuple[Heard, list[Compared]]:
    heard = recognizing.heard(str(path), ANYWHERE, path.name)
    against = [one.against for one in recognition.suspects(heard, namespace) if one.against is not None]
    return heard, recognizing.compared(str(path), ANYWHERE, path.name, against)
