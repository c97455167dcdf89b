"""``audio-pool cache rebuild`` with the configuration's encoder, so that what is made is found by meaning as well.

Owns: loading the encoder, and giving it prompts.
Must not know: the terminal; how rows are made (cache/sqlite/rebuild.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_pool.cache.sqlite.rebuild import as_json, rebuild
from audio_pool.cli.explaining import loaded
from audio_pool.config import load_config
from audio_pool.engines import Embedder
from audio_pool.models.encoders import pick_encoder
from audio_pool.pool.plan import encoder_infos, vector_space

__all__ = ["rebuilt"]


def rebuilt(directory: Path, encoder: str, config_path: str | None) -> dict[str, Any]:  # JSON, see docs/manager.md
    """Make rows of a cache's masters.

    Args:
        directory: the cache directory.
        encoder: ``auto``, ``off`` or an embedder engine's name.
        config_path: the configuration that a server would use; None: the built-in default.
    """
    config = load_config(config_path)
    name = None
    if encoder != "off":
        wanted = config.cache.encoder if encoder == "auto" else encoder
        name = pick_encoder(wanted, encoder_infos(config), models_dir=config.policy.models_dir)
    if name is None:
        return as_json(rebuild(directory))
    space, embedder = vector_space(name, config), loaded(name, config)
    assert isinstance(embedder, Embedder), "pick_encoder names no other"

    def embed(prompts: Sequence[str]) -> list[Mapping[str, np.ndarray]]:
        return [{space: vector} for vector in embedder.embed(list(prompts))]

    try:
        return as_json(rebuild(directory, embed=embed))
    finally:
        embedder.close()
