"""Chooses the embedder that the setting ``encoder`` means on this machine.

Owns: ``pick_encoder``, ``is_here``.
Must not know: any single engine, the cache, the pool. Imports no heavy library: the routing process asks
this at its start.
"""

from __future__ import annotations

from collections.abc import Iterable

from audio_pool.engine_info import EngineInfo, missing_modules
from audio_pool.errors import InvalidConfig, UnknownEngine, nearest_name
from audio_pool.models.weights import find

__all__ = ["is_here", "pick_encoder"]


def pick_encoder(encoder: str, infos: Iterable[EngineInfo], *, models_dir: str = "") -> str | None:
    """Return the name of the embedder to load, or None: no look-ups by meaning.

    ``auto`` takes what is installed and on this machine, never what would have to be fetched: of those the
    one with the greatest ``preference``.

    Args:
        encoder: ``auto``, ``off``, or an engine's name, which is taken whether or not it can be loaded:
            loading it then says what is missing.
        infos: of the engines that can be named, as configured.
        models_dir: directory of models, looked in before the hub's cache.

    Raises:
        UnknownEngine: no such engine.
        InvalidConfig: an engine that does not embed texts.
    """
    if encoder == "off":
        return None
    known = {info.name: info for info in infos}
    embedders = sorted(
        (info for info in known.values() if info.role == "embedder"), key=lambda info: (-info.preference, info.name)
    )
    if encoder == "auto":
        candidates = (info for info in embedders if info.preference > 0)
        return next((info.name for info in candidates if is_here(info, models_dir)), None)
    names = [info.name for info in embedders]
    if encoder not in known:
        near = nearest_name(encoder, names)
        hint = f"did you mean {near!r}?" if near else f"known embedders: {', '.join(names) or 'none'}"
        raise UnknownEngine(f"unknown engine {encoder!r}; {hint}")
    if known[encoder].role != "embedder":
        raise InvalidConfig(
            f"encoder {encoder!r} is a {known[encoder].role}; allowed is auto, off or an embedder: {', '.join(names)}"
        )
    return encoder


def is_here(info: EngineInfo, models_dir: str) -> bool:
    """Return True where an engine can be loaded without fetching anything."""
    if missing_modules(info):
        return False
    return find(info.model, models_dir=models_dir or None, packaged=info.packaged) is not None
