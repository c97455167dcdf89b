"""``import audio_pool`` costs next to nothing, and every public name is there when it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import audio_pool

_LOADED = """
import json, sys
before = set(sys.modules)
import audio_pool
print(json.dumps(sorted(set(sys.modules) - before)))
"""
HEAVY = {"torch", "zmq", "numpy", "msgspec", "msgpack", "scipy", "faiss", "soundfile", "asyncio", "sqlite3"}


def run(script: str) -> str:
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True, timeout=120
    )
    return told.stdout


def test_importing_loads_nothing_but_the_package() -> None:
    loaded = json.loads(run(_LOADED))
    assert not HEAVY & set(loaded)
    assert [name for name in loaded if name.startswith("audio_pool")] == ["audio_pool"]


def test_the_vocabulary_alone_is_light() -> None:
    loaded = json.loads(run(_LOADED.replace("import audio_pool", "from audio_pool import AudioRequest")))
    assert not (HEAVY - {"msgspec"}) & set(loaded)


@pytest.mark.parametrize("name", audio_pool.__all__)
def test_every_public_name_is_there(name: str) -> None:
    told = run(f"import audio_pool; print(audio_pool.{name}.__name__)")
    assert told.strip() == name


def test_public_names_are_listed_and_others_are_refused() -> None:
    assert audio_pool.__all__ == sorted(audio_pool.__all__)
    assert set(audio_pool.__all__) <= set(dir(audio_pool))
    with pytest.raises(AttributeError, match="has no attribute 'AudioPol'"):
        audio_pool.AudioPol  # noqa: B018


def test_importing_the_index_does_not_import_faiss() -> None:
    assert run("import sys, audio_pool.cache.index; print('faiss' in sys.modules)").strip() == "False"


def test_without_faiss_only_the_use_fails_and_says_what_to_install() -> None:
    told = run(
        "import sys; sys.modules['faiss'] = None\n"
        "from audio_pool.cache.index import VectorIndex\n"
        "from audio_pool.errors import EngineUnavailable\n"
        "try: VectorIndex(3)\n"
        "except EngineUnavailable as exc: print(exc.hint)\n"
    )
    assert told.strip() == "pip install 'audio-pool[semantic]'"


def test_the_index_says_nothing_of_what_its_library_tried_to_load() -> None:
    script = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG, stream=sys.stdout); "
        "from audio_pool.cache.faiss_library import faiss_here; faiss_here()"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert told.stdout + told.stderr == ""
