"""What ``audio-pool cache explain`` needs to ask: the request settled as a server would, and its vectors.

Owns: loading encoder and scorer for one prompt, and the explanation as JSON.
Must not know: the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_pool.cache.entry import SOUND_PREFIX
from audio_pool.cache.explain import explain
from audio_pool.cache.policy import fallback_warning
from audio_pool.cache.sound_cache import SoundCache, encoder_of
from audio_pool.config import Config, load_config
from audio_pool.engines import engine_info, load_engine
from audio_pool.engines._encoders import pick_encoder
from audio_pool.errors import EngineError
from audio_pool.pool.plan import vector_space
from audio_pool.pool.resolve import settle
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["explained"]


def explained(
    directory: Path, request: Mapping[str, Any], encoder: str, config_path: str | None
) -> dict[str, Any]:
    """The entries that are offered or came near, best first.

    Args:
        directory: an existing cache directory.
        request: fields of an AudioRequest.
        encoder: ``auto``, ``off`` or an embedder engine's name.
        config_path: the configuration that a server would use; None: the built-in default.

    Returns:
        hit, encoder ("" where there is none), warnings, entries (id, prompt, accepted, stage, reason,
        cosine, clap).
    """
    config = load_config(config_path)
    asked = parse(AudioRequest, dict(request))
    name = asked.engine or config.defaults.engine
    settled = settle(asked, config, {name: engine_info(name)})
    cache = SoundCache(directory, create=False)
    try:
        used, vectors, warnings = _vectors(cache, asked.prompt, encoder, config)
        vectors |= _scorers(cache, asked.prompt, config)
        try:
            found = explain(cache, settled.recipe, settled.query, vectors)
        except EngineError as exc:  # no faiss
            warnings, used = [*warnings, exc.message], ""
            found = explain(cache, settled.recipe, settled.query, {})
    finally:
        cache.close()
    entries = [{"id": one.entry_id, **asdict(one)} for one in found]
    for entry in entries:
        del entry["entry_id"]
    return {
        "hit": any(one.accepted for one in found),
        "encoder": used,
        "warnings": [*settled.warnings, *warnings],
        "entries": entries,
    }


def _vectors(
    cache: SoundCache, prompt: str, encoder: str, config: Config
) -> tuple[str, dict[str, npt.NDArray[np.float32]], list[str]]:
    """The prompt's vector, where the cache has any to compare it with and the encoder can be loaded."""
    models_dir = config.policy.models_dir
    name = pick_encoder(config.cache.encoder if encoder == "auto" else encoder, models_dir=models_dir)
    if encoder == "off":
        return "", {}, []
    if name is None:
        return "", {}, ["no encoder is installed and local, so only words were compared"]
    space = vector_space(name, config)
    if not cache.store.has_space(space):
        return "", {}, [f"the cache has no vectors of {name!r}, so only words were compared"]
    embedder = load_engine(name, **{"models_dir": models_dir, **config.engines.get(name, {})})
    try:
        vector = embedder.embed([prompt])[0]
    finally:
        embedder.close()
    warning = fallback_warning(encoder_of(name))
    return name, {space: vector}, [warning] if warning else []


def _scorers(cache: SoundCache, prompt: str, config: Config) -> dict[str, npt.NDArray[np.float32]]:
    """The prompt's vector from the configured scorer, where the cache knows what it heard."""
    name = config.cache.scorer
    space = vector_space(name, config)
    if name == "off" or not cache.store.has_space(SOUND_PREFIX + space):
        return {}
    scorer = load_engine(name, **{"models_dir": config.policy.models_dir, **config.engines.get(name, {})})
    try:
        return {space: scorer.embed_text([prompt])[0]}
    finally:
        scorer.close()
