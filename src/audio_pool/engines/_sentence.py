"""Sentence encoders: a directory in sentence-transformers' layout as an Embedder, in torch or ONNX Runtime.

Owns: EncoderSettings, loading such a directory, and embedding with it.
Must not know: any single model, what the vectors are used for.

A directory without ``modules.json`` is refused: sentence-transformers would guess how to pool, and a wrong
guess gives vectors that look right and are not.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._settings import Device, ModelSettings
from audio_pool.engines._torch import first_line, no_bars, settle_device
from audio_pool.engines.base import Vectors
from audio_pool.errors import EngineError, EngineUnavailable, InvalidConfig, OutOfMemory

__all__ = ["EncoderSettings", "SentenceEmbedder", "load_encoder"]

_ONNX_FILES = ("onnx/model.onnx", "model.onnx")
_BATCH = 32


class EncoderSettings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of every sentence encoder."""

    device: Device = "cpu"
    """Only the CPU for ONNX."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Only float32 for ONNX: a quantised file brings its own."""
    backend: Literal["torch", "onnx"] = "torch"
    """sentence-transformers, or ONNX Runtime, which needs no torch."""
    onnx_file: Annotated[str, Meta(max_length=4096)] = ""
    """In the model's directory; empty: ``onnx/model.onnx`` or ``model.onnx``."""


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
        encoder = _OnnxEncoder(info.name, path, settings.onnx_file)
    else:
        device = str(settle_device(settings.device))
        encoder = _TorchEncoder(info.name, path, device, settings.dtype)
    loaded = msgspec.structs.replace(
        info,
        model=settings.model or info.model,
        model_revision=found.revision or settings.revision or _revision_of(path),
        dimensions=encoder.dimensions,
        dtype=settings.dtype,
        quantization="none",
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
                hint="pip install 'audio-pool[semantic]'",
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


class _OnnxEncoder:
    """The same model run by ONNX Runtime from a file that the directory already has: no torch needed."""

    def __init__(self, name: str, path: Path, onnx_file: str) -> None:
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as exc:
            raise EngineUnavailable(
                f"{name} with backend 'onnx' needs onnxruntime and tokenizers: {exc}",
                hint="pip install 'audio-pool[onnx]'",
            ) from exc
        names = (onnx_file,) if onnx_file else _ONNX_FILES
        file = next((path / one for one in names if (path / one).is_file()), None)
        if file is None:
            raise EngineUnavailable(
                f"{name}: {path} has none of {', '.join(names)}",
                hint="use a model directory that has one, as the hub's have, or backend = 'torch'",
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
            options = onnxruntime.SessionOptions()
            # its threads would otherwise burn a core waiting for the next prompt
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # both libraries raise their own C++ exceptions, without a common class
            raise EngineUnavailable(f"{name}: {file} or its tokenizer does not load: {first_line(exc)}") from exc
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_longest(path))
        self._inputs = {one.name for one in self._session.get_inputs()}
        self._cls = _pools_first_token(name, path)
        self.dimensions = self.encode(["."]).shape[1]

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode the texts one at a time: nothing is padded, so a text's vector cannot depend on its neighbours."""
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> npt.NDArray[np.float32]:
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        tokens = self._session.run(None, {key: value for key, value in given.items() if key in self._inputs})[0][0]
        pooled: npt.NDArray[np.float32] = np.asarray(tokens[0] if self._cls else tokens.mean(axis=0), np.float32)
        return pooled


def _longest(path: Path) -> int:
    settings = path / "sentence_bert_config.json"
    return int(_json(settings).get("max_seq_length") or 512) if settings.is_file() else 512


def _pools_first_token(name: str, path: Path) -> bool:
    """Return True where the first token's vector is the text's, False where the mean of all is.

    Raises:
        EngineUnavailable: pooled in another way.
    """
    found = sorted(path.glob("*_Pooling/config.json"))
    config = _json(found[0]) if found else {}
    modes = {key for key, value in config.items() if key.startswith("pooling_mode_") and value is True}
    if config.get("pooling_mode"):
        modes = {str(config["pooling_mode"])}
    if modes in ({"pooling_mode_cls_token"}, {"cls"}):
        return True
    if modes in ({"pooling_mode_mean_tokens"}, {"mean"}):
        return False
    raise EngineUnavailable(f"{name}: {path} pools by {sorted(modes) or 'nothing known'}; allowed is mean or cls")


def _json(file: Path) -> dict[str, Any]:
    read = json.loads(file.read_text("utf-8"))
    return read if isinstance(read, dict) else {}
