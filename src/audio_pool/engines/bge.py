"""BGE (BAAI general embedding): small, base and large, by hub id or local directory.

Owns: its INFO.
Must not know: what its vectors are used for.

No instruction is put before a text: BGE's is for a short query against long passages; here both sides are
prompts.
"""

from __future__ import annotations

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._sentence import EncoderSettings, load_encoder

__all__ = ["INFO", "Settings", "load"]

INFO = EngineInfo(
    name="bge",
    role="embedder",
    languages=("en",),
    model="BAAI/bge-small-en-v1.5",
    licence="MIT",
    commercial_use=True,
    dimensions=384,
    requires=("torch", "sentence_transformers"),
    extra="encoders",
    preference=10,
    summary="BGE: finds cached sounds by the meaning of a prompt; also bge-base-en-v1.5 and bge-large-en-v1.5",
)

Settings = EncoderSettings
load = load_encoder
