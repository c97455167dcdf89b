"""Which encoder the setting ``encoder`` means on this machine.

Owns: ``pick_encoder``.
Must not know: the cache, the pool. Imports no heavy library: the routing process asks this at its start.
"""

from __future__ import annotations

from audio_pool.engines import engine_info, minilm, missing_modules
from audio_pool.engines.bge import INFO as BGE
from audio_pool.errors import InvalidConfig
from audio_pool.models.weights import find

__all__ = ["pick_encoder"]


def pick_encoder(encoder: str = "auto", *, models_dir: str = "") -> str | None:
    """The name of the embedder engine to load, or None: no look-ups by meaning.

    ``auto`` takes what is installed and local, never what would have to be fetched: MiniLM where its package
    is, because its thresholds are measured; else BGE where its default model is; else none.

    Args:
        encoder: ``auto``, ``off``, or an engine's name, which is taken whether or not it can be loaded:
            loading it then says what is missing.
        models_dir: directory of models, looked in before the hub's cache.

    Raises:
        UnknownEngine: no such engine.
        InvalidConfig: an engine that does not embed texts.
    """
    if encoder == "off":
        return None
    if encoder != "auto":
        info = engine_info(encoder)
        if info.role != "embedder":
            raise InvalidConfig(
                f"encoder {encoder!r} is a {info.role}; allowed is auto, off or an embedder such as minilm or bge"
            )
        return encoder
    if not missing_modules(minilm.INFO) and minilm.packaged() is not None:
        return minilm.INFO.name
    if not missing_modules(BGE) and find(BGE.model, models_dir=models_dir or None) is not None:
        return BGE.name
    return None
