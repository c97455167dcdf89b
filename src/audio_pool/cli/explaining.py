"""The inputs of ``audio-pool cache explain``: the request resolved as a server would, and its prompt's vectors.

Owns: loading the configuration, and encoder and scorer for one prompt.
Must not know: the terminal; what counts as a hit (cache/explain.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from audio_pool.cache.explain import explain, knows_space
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config, EngineConfig, load_config
from audio_pool.engines import Embedder, Engine, Scorer, load_engine
from audio_pool.models.encoders import pick_encoder
from audio_pool.pool.metadata import present_settings
from audio_pool.pool.plan import configured, encoder_infos, hosted_infos, vector_space, workers_of
from audio_pool.pool.preset_book import PresetBook, presets_of
from audio_pool.pool.resolve import resolve
from audio_pool.tasks import SOUND_PREFIX
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["explained", "loaded", "meaning_of"]

Vectors = dict[str, npt.NDArray[np.float32]]
"""float32 [D] by space."""


def explained(
    directory: Path,
    request: Mapping[str, Any],  # fields of an AudioRequest, not checked yet
    encoder: str,
    config_path: str | None,
) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    """Return the entries that are offered or came near, best first.

    Args:
        directory: an existing cache directory.
        request: fields of an AudioRequest.
        encoder: ``auto``, ``off`` or an embedder engine's name.
        config_path: the configuration that a server would use; None: the built-in default.

    Returns:
        hit, encoder ("" where there is none), warnings, entries (id, prompt, accepted, stage, rule, reason,
        cosine, clap), made (what the one that is offered was made with), present_settings.
    """
    config = load_config(config_path)
    asked = parse(AudioRequest, dict(request))
    name = asked.engine or config.defaults.engine
    infos = hosted_infos(workers_of(config), config)
    if not name.startswith("kind:") and name not in infos:  # asked what if a worker had it
        infos[name] = configured(name, config)
    cache = SoundCache(directory, create=False)
    try:
        presets = PresetBook(presets_of(config), lambda: cache.store.presets).named(asked.presets)
        resolved = resolve(asked, config, infos, presets=presets)
        prompt = resolved.recipe.prompt
        used, vectors, warnings = _vectors(cache, prompt, encoder, config)
        vectors |= _scorers(cache, prompt, config)
        found = explain(cache, resolved.recipe, resolved.query, vectors)
    finally:
        cache.close()
    return {
        "hit": found.hit,
        "encoder": used if found.encoder else "",
        "warnings": [*resolved.warnings, *warnings, *found.warnings],
        "entries": msgspec.to_builtins(found.entries),
        "made": msgspec.to_builtins(found.made),
        "present_settings": msgspec.to_builtins(present_settings(resolved)),
    }


def meaning_of(directory: Path, words: str, encoder: str, config_path: str | None) -> tuple[Vectors, list[str]]:
    """Return the vectors of a meaning that a cache's sounds can be compared with, and why others are missing."""
    config = load_config(config_path)
    cache = SoundCache(directory, create=False)
    try:
        _, vectors, warnings = _vectors(cache, words, encoder, config)
        return vectors or _scorers(cache, words, config), warnings
    finally:
        cache.close()


def _vectors(cache: SoundCache, prompt: str, encoder: str, config: Config) -> tuple[str, Vectors, list[str]]:
    """Return the prompt's vector, where the cache has any to compare it with and the encoder can be loaded."""
    if encoder == "off":
        return "", {}, []
    wanted = config.cache.encoder if encoder == "auto" else encoder
    name = pick_encoder(wanted, encoder_infos(config), models_dir=config.policy.models_dir)
    if name is None:
        return "", {}, ["no encoder is installed and local, so only words were compared"]
    space = vector_space(name, config)
    if not knows_space(cache, space):
        return "", {}, [f"the cache has no vectors of {name!r}, so only words were compared"]
    embedder = loaded(name, config)
    assert isinstance(embedder, Embedder), "pick_encoder names no other"
    try:
        vector = embedder.embed([prompt])[0]
    finally:
        embedder.close()
    return name, {space: vector}, []


def _scorers(cache: SoundCache, prompt: str, config: Config) -> Vectors:
    """Return the prompt's vector from the configured scorer, where the cache has its vectors of sounds."""
    name = config.cache.scorer
    space = vector_space(name, config)
    if name == "off" or not knows_space(cache, SOUND_PREFIX + space):
        return {}
    scorer = loaded(name, config)
    assert isinstance(scorer, Scorer), "a pool with another does not start"
    try:
        return {space: scorer.embed_text([prompt])[0]}
    finally:
        scorer.close()


def loaded(name: str, config: Config) -> Engine:
    """Return an engine of the configuration, loaded into this process."""
    own = config.engines.get(name, EngineConfig())
    return load_engine(own.implementation or name, own.settings, name=name, models_dir=config.policy.models_dir)
