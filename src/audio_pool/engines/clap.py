"""CLAP through transformers: texts and sounds as unit vectors of one space.

Owns: loading a ClapModel (hub id, directory, or one of LAION's ``630k-*.pt``) and embedding with it.
Must not know: what its vectors are used for.

The same text or sound gives the same vector alone or among others, on every call: windows are cut at
fixed places, texts of one length are batched without padding, and checkpoints with feature fusion,
which mix the sounds of a batch, are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._clap import RATE, WINDOW, ClapSettings, Mono, embed_windows, unit_rows
from audio_pool.engines._laion_checkpoint import checkpoint_in, clap_model, tokenizer_of
from audio_pool.engines._memory import give_back
from audio_pool.engines._opening import reading_errors
from audio_pool.engines._torch import device_at_work, first_line, settle_device
from audio_pool.engines.base import Audio, Vectors
from audio_pool.errors import EngineError, EngineUnavailable, InvalidConfig, OutOfMemory

__all__ = ["INFO", "ClapScorer", "Settings", "load"]

logger = logging.getLogger(__name__)

INFO = EngineInfo(
    name="clap",
    role="scorer",
    languages=("en",),
    model="laion/clap-htsat-unfused",
    licence="Apache-2.0",
    commercial_use=True,
    sample_rate=RATE,
    channels=1,
    any_rate=True,
    dimensions=512,
    requires=("torch", "transformers", "soxr"),
    extra="clap",
    preference=10,
    summary="CLAP (LAION, HTSAT + RoBERTa): how well a sound fits words, and how alike two sounds are",
)

_TOKENS = 77
"""LAION trained on texts cut at 77 tokens, the start and end marks counted; its own package cuts there too."""


Settings = ClapSettings


def load(info: EngineInfo, settings: ClapSettings) -> ClapScorer:
    """Load the model.

    Raises:
        EngineUnavailable: not on this machine (with the command to run), or no such model or device.
        InvalidConfig: settings that do not go together, or a checkpoint with feature fusion.
    """
    found = settings.locate(info)
    device = settle_device(settings.device)
    if found.path.is_file() or not (found.path / "config.json").exists():
        clap, extractor, tokenizer = _from_laion(info, checkpoint_in(found.path), settings)
    elif settings.text_model:
        raise InvalidConfig(
            f"engine {info.name!r}: text_model is for LAION's .pt files; {found.path} has its own tokenizer"
        )
    else:
        clap, extractor, tokenizer = _from_directory(info, found.path)
    loaded = msgspec.structs.replace(
        info,
        model=settings.model or info.model,
        model_revision=found.revision or settings.revision,
        dimensions=int(clap.config.projection_dim),
        dtype=settings.dtype,
        quantization="none",
    )
    placed = _placed(info, clap, device, settings.dtype)
    return ClapScorer(loaded, placed, extractor, tokenizer, settings.batch_size)


def _from_directory(info: EngineInfo, path: Path) -> tuple[Any, Any, Any]:
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    try:
        clap, report = ClapModel.from_pretrained(path, local_files_only=True, output_loading_info=True)
        extractor = ClapFeatureExtractor.from_pretrained(path, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except reading_errors() as exc:
        raise EngineUnavailable(
            f"{info.name}: {path} does not load as a ClapModel with processor and tokenizer: {first_line(exc)}",
            hint=f"check it with 'audio-pool models verify {info.implementation}'",
        ) from exc
    missing = sorted(report["missing_keys"])
    if missing:
        raise EngineUnavailable(
            f"{info.name}: {path} lacks {len(missing)} of the model's tensors ({', '.join(missing[:3])}); "
            "their values would be random"
        )
    if clap.config.audio_config.enable_fusion:
        raise InvalidConfig(
            f"{info.name}: {path} is a CLAP with feature fusion: a vector depends on the sounds beside it",
            hint=f"use an unfused one, e.g. {INFO.model}",
        )
    return clap.eval(), extractor, tokenizer


def _from_laion(info: EngineInfo, path: Path, settings: ClapSettings) -> tuple[Any, Any, Any]:
    from transformers import ClapFeatureExtractor

    tokenizer = tokenizer_of(path, settings.text_model, settings.models_dir, engine=info.implementation)
    # LAION's spectrogram starts at 50 Hz; the class's own default is 0.
    return clap_model(path, engine=info.implementation), ClapFeatureExtractor(frequency_min=50), tokenizer


def _placed(info: EngineInfo, clap: Any, device: Any, dtype: str) -> Any:
    import torch

    try:
        return clap.to(device=device, dtype=getattr(torch, dtype))
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory(f"{info.name} does not fit on {device}: {first_line(exc)}", hint="device = 'cpu'") from exc


class ClapScorer:
    """A loaded CLAP (engines.base.Scorer)."""

    def __init__(self, info: EngineInfo, clap: Any, extractor: Any, tokenizer: Any, batch_size: int) -> None:
        self.info = info
        self.device = str(clap.device)
        self._clap = clap
        self._extractor = extractor
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        text = clap.config.text_config
        # RoBERTa counts positions from its padding mark's number on.
        self._tokens = min(_TOKENS, int(text.max_position_embeddings) - int(text.pad_token_id or 0) - 1)

    @property
    def logit_scale(self) -> float:
        """Return the factor of cosines before a softmax over labels, as the model learned it."""
        return float(self._clap.logit_scale_a.detach().float().exp())

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length. Texts over 77 tokens are cut there, with a logged warning.

        Raises:
            OutOfMemory, EngineError.
        """
        ids = [self._token_ids(text) for text in texts]
        vectors = np.zeros((len(ids), self.info.dimensions), np.float32)
        by_length: dict[int, list[int]] = {}
        for row, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(row)
        for rows in by_length.values():
            for start in range(0, len(rows), self._batch_size):
                some = rows[start : start + self._batch_size]
                vectors[some] = self._forward(tokens=[ids[row] for row in some])
        return vectors

    def _token_ids(self, text: str) -> list[int]:
        if self._tokenizer is None:
            raise EngineError(f"{self.info.name} was closed")
        whole = self._tokenizer(text)["input_ids"]
        if len(whole) <= self._tokens:
            return list(whole)
        logger.warning("a text of %d tokens is cut at %d for CLAP", len(whole), self._tokens)
        return list(self._tokenizer(text, truncation=True, max_length=self._tokens)["input_ids"])

    def embed_audio(self, sounds: Sequence[Audio], sample_rate: int) -> Vectors:
        """Return float32 [N, D], rows of unit length, for float32 [C, T] sounds at ``sample_rate`` (Hz).

        Of a sound longer than 10 s its start, middle and end are taken.

        Raises:
            InvalidAudio, OutOfMemory, EngineError; EngineUnavailable: soxr is needed and missing.
        """
        return embed_windows(
            sounds,
            sample_rate,
            dimensions=self.info.dimensions,
            batch_size=self._batch_size,
            embed=lambda batch: self._forward(sounds=batch),
        )

    def _forward(self, *, tokens: list[list[int]] | None = None, sounds: Sequence[Mono] | None = None) -> Vectors:
        import torch

        clap = self._clap
        if clap is None:
            raise EngineError(f"{self.info.name} was closed")
        try:
            with device_at_work(self.info.name, clap.device), torch.inference_mode():
                if sounds is not None:
                    # No window is longer than the extractor's, so that it never draws one of its own.
                    features = self._extractor(
                        list(sounds),
                        sampling_rate=RATE,
                        max_length=WINDOW,
                        truncation="rand_trunc",
                        padding="repeatpad",
                        return_tensors="pt",
                    )["input_features"]
                    found = clap.get_audio_features(input_features=features.to(clap.device, clap.dtype))
                else:
                    found = clap.get_text_features(input_ids=torch.tensor(tokens, device=clap.device))
                vectors: Vectors = found.pooler_output.float().cpu().numpy()
        except torch.OutOfMemoryError as exc:
            raise OutOfMemory(
                f"{self.info.name} ran out of memory on {clap.device}: {first_line(exc)}",
                hint="lower batch_size" if self._batch_size > 1 else "device = 'cpu'",
            ) from exc
        except RuntimeError as exc:
            raise EngineError(f"{self.info.name} failed: {first_line(exc)}") from exc
        return unit_rows(vectors)

    def close(self) -> None:
        """Give the model's memory back."""
        self._clap = self._extractor = self._tokenizer = None
        give_back(self.device)
