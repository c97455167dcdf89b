"""Sentence encoders: a directory in sentence-transformers' layout as an Embedder, in torch or ONNX Runtime.

Owns: EncoderSettings, loading such a directory, and embedding with it.
Must not know: any single model, what the vectors are used for.

A directory without ``modules.json`` is refused: sentence-transformers would guess how to pool, and a wrong
guess gives vectors that look right and are not.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._memory import give_back
from audio_pool.engines._onnx_encoder import OnnxEncoder
from audio_pool.engines._settings import Device, ModelSettings
from audio_pool.engines._torch import first_line, no_bars, settle_device
from audio_pool.engines.base import Vectors
from audio_pool.errors import EngineError, EngineUnavailable, InvalidConfig, OutOfMemory

__all__ = ["EncoderSettings", "SentenceEmbedder", "load_encoder"]

_BATCH = 32


class EncoderSettings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of every sentence encoder."""

    device: Device = "cpu"
    """Only the CPU for ONNX."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Only float32 for ONNX, where ``quantization`` or the file says more."""
    backend: Literal["torch", "onnx"] = "torch"
    """sentence-transformers, or ONNX Runtime, which needs no torch."""
    quantization: Literal["auto", "none", "int8"] = "auto"
    """Of the weights, for ONNX. ``int8`` makes its file of the weights. ``auto``: as this engine is best run."""
    onnx_file: Annotated[str, Meta(max_length=4096)] = ""
    """In the model's directory; empty: ``onnx/model.onnx`` or ``model.onnx``, or one that is made of the weights."""
    rounded: ClassVar[bool] = False
    """What ``auto`` means for ONNX: True is ``int8``."""

    @property
    def int8(self) -> bool:
        """The weights are rounded to eight bits by us."""
        auto = self.rounded and self.backend == "onnx" and not self.onnx_file
        return self.quantization == "int8" or (self.quantization == "auto" and auto)

    @property
    def needs(self) -> tuple[tuple[str, ...], str]:
        """The modules that must be importable, and the extra that brings them."""
        if self.backend == "onnx":
            return ("onnxruntime", "tokenizers"), "semantic"
        return ("torch", "sentence_transformers"), "encoders"

    @property
    def precision(self) -> str:
        """What its vectors depend on beside the model; "" for float32, whoever computes it: equal to 2e-7."""
        if self.onnx_file:
            return self.onnx_file.rsplit("/", 1)[-1].removesuffix(".onnx").replace("@", "_")
        if self.int8:
            return "int8"
        return "" if self.dtype == "float32" else self.dtype


class _Encoder(Protocol):
    dimensions: int

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]: ...


class SentenceEmbedder:
    """A loaded sentence encoder (engines.base.Embedder)."""

    def __init__(self, info: EngineInfo, encoder: _Encoder, device: str) -> None:
        self.info = info
        self.device = device
        self._encoder: _Encoder | None = encoder
        # a worker embeds on one thread and generates on another, and a tokenizer is one thread's at a time
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length.

        Raises:
            OutOfMemory, EngineError.
        """
        if self._encoder is None:
            raise EngineError(f"{self.info.name} was closed")
        if not texts:
            return np.zeros((0, self.info.dimensions), np.float32)
        with self._lock:
            rows = np.asarray(self._encoder.encode(list(texts)), np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise EngineError(f"{self.info.name} gave a vector that is not finite or has no length")
        unit: Vectors = rows / lengths
        return unit

    def close(self) -> None:
        """Give memory back."""
        self._encoder = None
        give_back(self.device)


def load_encoder(info: EngineInfo, settings: EncoderSettings) -> SentenceEmbedder:
    """Load an embedder from a directory in sentence-transformers' layout.

    Such a directory has ``modules.json``, ``tokenizer.json`` and the weights. The result's dimensions are
    those of the model.

    Raises:
        EngineUnavailable: a library or part of the model is missing, or it would not load.
        InvalidConfig: settings that do not go together.
    """
    if settings.backend == "onnx" and (settings.device not in ("cpu", "auto") or settings.dtype != "float32"):
        raise InvalidConfig(
            f"{info.name}: with backend 'onnx', device {settings.device!r} and dtype {settings.dtype!r} were given; "
            "allowed is cpu and float32"
        )
    if settings.quantization == "int8" and (settings.backend != "onnx" or settings.onnx_file):
        raise InvalidConfig(
            f"{info.name}: quantization 'int8' was given with backend {settings.backend!r}, "
            f"onnx_file {settings.onnx_file!r}; allowed is backend 'onnx' without a file, which is made of the weights"
        )
    if settings.onnx_file and settings.backend != "onnx":
        raise InvalidConfig(
            f"{info.name}: onnx_file {settings.onnx_file!r} does nothing with backend {settings.backend!r}: set "
            "backend = 'onnx', or leave it out"
        )
    found = settings.locate(info)
    path = found.path
    if not (path / "modules.json").is_file():
        raise EngineUnavailable(
            f"{info.name}: {path} has no modules.json, so how its tokens become one vector is unknown",
            hint="give a directory in sentence-transformers' layout, as the hub has it",
        )
    encoder: _Encoder
    if settings.backend == "onnx":
        device = "cpu"
        encoder = OnnxEncoder(info.name, path, file=settings.onnx_file, int8=settings.int8)
    else:
        device = str(settle_device(settings.device))
        encoder = _TorchEncoder(info.name, path, device, settings.dtype)
    loaded = msgspec.structs.replace(
        info,
        model=settings.model or info.model,
        model_revision=found.revision or settings.revision or _revision_of(path),
        dimensions=encoder.dimensions,
        dtype=settings.dtype,
        quantization=(settings.precision or "none") if settings.backend == "onnx" else "none",
    )
    return SentenceEmbedder(loaded, encoder, device)


def _revision_of(path: Path) -> str:
    """Return the start of the weights' SHA-256, which tells a plain directory's from others'."""
    weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin")) or sorted(path.rglob("*.onnx"))
    if not weights:
        return ""
    with weights[0].open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()[:12]


class _TorchEncoder:
    def __init__(self, name: str, path: Path, device: str, dtype: str) -> None:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as exc:
            raise EngineUnavailable(
                f"{name} needs sentence-transformers, which cannot be imported: {exc}",
                hint="pip install 'audio-pool[encoders]'",
            ) from exc
        try:
            with no_bars():
                self._model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
        except Exception as exc:  # what damage raises depends on where it is: safetensors has its own root class
            raise EngineUnavailable(f"{name}: {path} does not load: {first_line(exc)}") from exc
        try:
            self._model = self._model.to(device=torch.device(device), dtype=getattr(torch, dtype)).eval()
        except torch.OutOfMemoryError as exc:
            raise OutOfMemory(f"{name} does not fit on {device}: {first_line(exc)}", hint="device = 'cpu'") from exc
        except (RuntimeError, AssertionError) as exc:
            raise EngineUnavailable(f"{name} cannot use device {device!r}: {first_line(exc)}") from exc
        self._out_of_memory = torch.OutOfMemoryError
        self.dimensions = len(self.encode(["."])[0])

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        try:
            rows = self._model.encode(list(texts), batch_size=_BATCH, show_progress_bar=False, convert_to_tensor=True)
        except self._out_of_memory as exc:
            raise OutOfMemory(f"no memory to embed {len(texts)} texts: {first_line(exc)}") from exc
        out: npt.NDArray[np.float32] = rows.float().cpu().numpy()
        return out
