"""What is not imported before it is needed: every command, worker and pool begins with its imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE_S


def told(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_sound_is_filtered_and_measured_without_the_rest_of_scipy() -> None:
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from audio_pool.audio.filter import highpass\n"
        "from audio_pool.audio.loudness import loudness_lufs, true_peak_dbfs\n"
        "sound = highpass(np.random.default_rng(1).standard_normal((2, 44100)).astype(np.float32), 44100, 80.0)\n"
        "loudness_lufs(sound, 44100), true_peak_dbfs(sound, 44100)\n"
        "print([name for name in ('scipy.signal', 'scipy.stats', 'scipy.fft', 'scipy.ndimage') if name in sys.modules])"
    )
    assert told(code) == "[]"


HEAVY = (
    "torch", "faiss", "scipy", "onnxruntime", "tokenizers", "soundfile", "soxr", "spellchecker", "transformers",
    "sentence_transformers", "zmq", "asyncio", "concurrent.futures", "multiprocessing", "urllib.request",
    "audio_pool.pool.pool", "audio_pool.pool.router", "audio_pool.engines.procedural.engine", "audio_pool.client",
    "obstore", "audio_pool.cache.objects.bucket", "audio_pool.cache.objects.upkeep",
)  # fmt: skip
LIBRARIES = {"torch", "scipy", "soundfile", "soxr", "onnxruntime", "tokenizers", "transformers"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with one sound."""
    place = tmp_path_factory.mktemp("start")
    _, imported = ran(place, "generate", "rain on a tin roof", "--duration", "0.5", "--connect", "never")
    assert not imported & {*LIBRARIES, "faiss"}, "among no vectors there is nothing to look for"
    return place


def ran(place: Path, *arguments: str) -> tuple[str, set[str]]:
    """Run the command; return what it said, and which of the heavy modules it imported."""
    code = (
        "import atexit, sys\n"
        f"found = lambda: [name for name in {HEAVY!r} if name in sys.modules]\n"
        "atexit.register(lambda: print('imported', *found(), file=sys.stderr))\n"
        "from audio_pool.cli import main\n"
        f"main({list(arguments)!r})"
    )
    environment = {**os.environ, "AUDIO_POOL_CACHE_DIR": str(place / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=place, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    return done.stdout, set(lines[-1].split()[1:])


def test_an_exact_hit_of_a_command_starts_no_pool_and_imports_nothing_heavy(place: Path) -> None:
    said, imported = ran(place, "generate", "rain on a tin roof", "--duration", "0.5", "-o", "rain.wav")
    assert "from the cache (the same words" in said and (place / "rain.wav").exists()
    assert imported == set()
    said, imported = ran(place, "generate", "The sound of the rain on the tin roof.", "--duration", "0.5", "--json")
    assert '"cache_type": "canonical"' in said
    assert imported == set()


def test_a_new_sound_of_a_command_needs_no_torch_or_scipy_in_its_own_process(place: Path) -> None:
    said, imported = ran(place, "generate", "a loud beep", "--duration", "0.5")
    assert "new, made by procedural" in said
    assert not imported & LIBRARIES
