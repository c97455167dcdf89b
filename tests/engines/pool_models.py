"""What the tests of engines inside a pool share: every tiny checkpoint, a pool's configuration, how to ask and look."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tests.support import checkpoints, clap_checkpoints
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool
from audio_pool.audio import codec
from audio_pool.cache.sqlite.store import SqliteStore

PROMPT = "rain on a tin roof"
ENGINES = ("tangoflux", "audioldm", "audioldm2", "stable_audio")


def build(directory: Path, engines: tuple[str, ...] = ENGINES) -> dict[str, str]:
    """Checkpoints by engine's name, CLAP's among them."""
    built = {name: str(getattr(checkpoints, name)(directory / name)) for name in engines}
    clap_checkpoints.save_directory(directory / "clap")
    return {**built, "clap": str(directory / "clap")}


def tight_package(directory: Path) -> Path:
    """Write the package that brings ``tight``; return the directory that PYTHONPATH must name."""
    return engine_package(directory, "tight")


def settings(models: Mapping[str, str], directory: Path, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A maker of sounds and a desk that finishes, embeds and judges, as on a machine with one GPU."""
    engines = [name for name in models if name != "clap"]
    plain = {"device": "cpu", "dtype": "float32"}
    tree: dict[str, Any] = {
        "defaults": {"engine": engines[0], "duration_s": 0.5, "steps": 2, "format": "flac", "bit_depth": 24},
        "cache": {"dir": str(directory / "cache"), "encoder": "off", "scorer": "clap", "tau_accept_new": -1.0},
        "limits": {"embed_timeout_s": 60.0, "max_rounds": 2},
        "server": {"bind": f"ipc://{directory}/pool"},
        "engines": {**{name: {"model": models[name], **plain} for name in engines}, "clap": {"model": models["clap"]}},
        "workers": [
            {"name": "maker", "engines": engines, "roles": ["generate"], "credit": 1, "threads": 1, "gpu": ""},
            {"name": "desk", "roles": ["master", "embed", "score"], "threads": 1, "gpu": ""},
        ],
    }
    for section, keys in sections.items():
        tree[section] = {**tree.get(section, {}), **keys}
    return tree


def hosted_elsewhere(worker: dict[str, Any], package: Path, engine: str) -> None:
    """Makes the worker host an engine that its own interpreter alone knows."""
    worker["engines"] = [*worker["engines"], engine]
    worker |= {"python": sys.executable, "env": {"PYTHONPATH": str(package)}}


def ask(pool: AudioPool, prompt: str = PROMPT, **fields: Any) -> Any:
    return pool.generate(prompt, timeout_s=PATIENCE_S, **fields)


def heard(result: Any) -> np.ndarray:
    """float32 [C, T] of the delivered file."""
    return codec.read(Path(result.path))[0]


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal to two ten-thousandths of the level: 24 bits and the order of sums."""
    return one.shape == other.shape and bool(np.abs(one - other).max() <= 2e-4 * np.abs(other).max())


def kept(pool: AudioPool, namespace: str) -> list[tuple[int, float]]:
    """Id and CLAP similarity of a namespace's entries."""
    store = SqliteStore(pool.config.cache_dir, create=False)
    try:
        items = sorted(store.inventory.items(), key=lambda item: item.id)
        return [(item.id, item.clap_similarity) for item in items if item.namespace == namespace]
    finally:
        store.close()


def vectors(pool: AudioPool, encoder: str, ids: list[int]) -> dict[int, np.ndarray]:
    store = SqliteStore(pool.config.cache_dir, create=False)
    try:
        return {key: np.array(value) for key, value in store.vectors.of(encoder, ids).items()}
    finally:
        store.close()
