"""The official files of TangoFlux, read: its configuration, its modules with their weights.

Owns: which file and which key holds what.
Must not know: how a sound is made with them. Heavy imports happen inside the functions.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from audio_pool.engines import _oobleck
from audio_pool.engines._opening import Opened, reading_errors
from audio_pool.engines.tangoflux.info import INFO, TEXT_ENCODER, Settings
from audio_pool.errors import EngineUnavailable
from audio_pool.models import hub
from audio_pool.models.weights import missing_model
from audio_pool.validation import parse

if TYPE_CHECKING:
    import torch

__all__ = ["Config", "duration_embedder", "load_parts", "load_sound_encoder", "read_config", "text_directory"]

logger = logging.getLogger(__name__)


class Config(Struct, frozen=True, kw_only=True):
    """The keys of config.json that the model is built from; others are upstream's for training."""

    num_layers: int = 6
    num_single_layers: int = 18
    in_channels: int = 64
    attention_head_dim: int = 128
    joint_attention_dim: int = 1024
    num_attention_heads: int = 8
    audio_seq_len: int = 645
    max_duration: float = 30.0
    text_encoder_name: str = TEXT_ENCODER.model


def read_config(directory: Path) -> Config:
    try:
        given = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError) as exc:
        raise missing_model(INFO.name, f"{str(directory / 'config.json')!r} cannot be read ({exc})") from exc
    return parse(Config, given, error=EngineUnavailable, what="TangoFlux's config.json")


def text_directory(directory: Path, config: Config, settings: Settings) -> Path:
    """Return where the text encoder's config and tokenizer are."""
    name = settings.text_encoder or config.text_encoder_name
    leaf = name.rstrip("/").rsplit("/", 1)[-1]
    if not settings.text_encoder:
        for found in (directory / leaf, directory / name, directory / "text_encoder", directory.parent / leaf,
                      directory.parent / name):  # fmt: skip
            if (found / "config.json").is_file():
                return found
    try:
        return hub.ensure(
            name,
            engine=INFO.name,
            models_dir=settings.models_dir or None,
            offline=settings.offline,
            files=TEXT_ENCODER.files if name == TEXT_ENCODER.model else (),
        ).path
    except EngineUnavailable as exc:
        if settings.text_encoder:
            raise
        raise missing_model(
            INFO.name,
            f"the config and tokenizer of {name!r} are neither at {str(directory / leaf)!r} nor at "
            f"{str(directory.parent / leaf)!r} nor in the hub's local cache (setting text_encoder names another)",
        ) from exc


def load_parts(opened: Opened, config: Config, text_directory: Path) -> dict[str, Any]:
    """Return the modules with their weights, on the CPU: text_encoder, fc, duration, transformer, vae."""
    import torch
    from diffusers import FluxTransformer2DModel
    from transformers import AutoConfig, T5EncoderModel

    weights = _weights(opened.directory / "tangoflux.safetensors")
    duration_weights = weights.pop("duration_emebdder.time_positional_embedding.0.weights", None)
    if duration_weights is None:
        raise _wrong_weights(opened.directory, ["duration_emebdder.time_positional_embedding.0.weights"])
    text_config = AutoConfig.from_pretrained(str(text_directory), local_files_only=True)
    width = text_config.d_model
    with torch.device("meta"):
        text_encoder = T5EncoderModel(text_config)
        fc = torch.nn.Sequential(torch.nn.Linear(width, config.joint_attention_dim), torch.nn.ReLU())
        linear = torch.nn.Linear(2 * len(duration_weights) + 1, width)
        transformer = FluxTransformer2DModel(
            in_channels=config.in_channels,
            num_layers=config.num_layers,
            num_single_layers=config.num_single_layers,
            attention_head_dim=config.attention_head_dim,
            num_attention_heads=config.num_attention_heads,
            joint_attention_dim=config.joint_attention_dim,
            pooled_projection_dim=width,
            guidance_embeds=False,
        )
    shared = weights.pop("text_encoder.encoder.embed_tokens.weight", None)
    shared = weights.pop("text_encoder.shared.weight", shared)
    if shared is not None:
        weights["text_encoder.shared.weight"] = weights["text_encoder.encoder.embed_tokens.weight"] = shared
    prefixes = {
        "text_encoder.": text_encoder,
        "fc.": fc,
        "duration_emebdder.time_positional_embedding.1.": linear,
        "transformer.": transformer,
    }
    _fill(opened.directory, prefixes, weights, opened.dtype)
    # one tensor again, not two copies of it after the cast
    text_encoder.set_input_embeddings(text_encoder.shared)
    for name, module in text_encoder.named_modules():
        if opened.dtype == torch.float16 and name.endswith(".wo"):
            module.float()  # T5 overflows in float16 there
    return {
        "text_encoder": text_encoder,
        "fc": fc,
        "duration": duration_embedder(duration_weights.float(), linear.float()),
        "transformer": transformer,
        "vae": _load_vae(opened),
    }


def duration_embedder(weights: torch.Tensor, linear: torch.nn.Linear) -> torch.nn.Module:
    """Return the module that embeds [B] fractions of the longest duration as [B, D].

    It computes in float32, as a step of 1/1000 must not be lost.
    """
    import torch

    class DurationEmbedder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frequencies", weights)
            self.linear = linear

        def forward(self, fractions: torch.Tensor) -> torch.Tensor:
            fractions = fractions.to(self.frequencies.device)[:, None]
            phase = fractions * self.frequencies[None] * 2 * math.pi
            return self.linear(torch.cat([fractions, phase.sin(), phase.cos()], dim=-1))

    return DurationEmbedder()


def _load_vae(opened: Opened) -> Any:
    vae = _new_vae(opened)
    _fill(opened.directory, {"": vae}, _weights(opened.directory / "vae.safetensors"), opened.wave_dtype)
    return _oobleck.decoder_only(vae)


def load_sound_encoder(opened: Opened) -> torch.nn.Module:
    """Return the autoencoder's other half, which only sounds made of given ones need, on the CPU."""
    vae = _new_vae(opened)
    weights = _weights(opened.directory / "vae.safetensors")
    _fill(opened.directory, {"encoder.": vae.encoder}, weights, opened.wave_dtype)
    encoder: torch.nn.Module = _oobleck.decoder_only(vae, keep_encoder=True).encoder
    return encoder.eval().requires_grad_(False)


def _new_vae(opened: Opened) -> Any:
    """Return the autoencoder without its weights."""
    from diffusers import AutoencoderOobleck

    path = opened.directory / "vae_config.json"
    arguments = {}
    if path.is_file():
        given = json.loads(path.read_text())
        arguments = {key: value for key, value in given.items() if not key.startswith("_")}
    try:
        with _oobleck.legacy_weight_norm():
            return AutoencoderOobleck(**arguments)
    except TypeError as exc:
        raise EngineUnavailable(f"{INFO.name}: {str(path)!r}: {exc}") from exc


def _weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except reading_errors() as exc:
        raise missing_model(INFO.name, f"{str(path)!r} cannot be read ({exc})") from exc
    return weights


def _fill(
    directory: Path, modules: dict[str, Any], weights: dict[str, torch.Tensor], dtype: torch.dtype
) -> None:
    """Give every module the weights under its prefix, in ``dtype``; every one that it needs must be there."""
    for prefix, module in modules.items():
        own = {name[len(prefix) :]: value.to(dtype) for name, value in weights.items() if name.startswith(prefix)}
        try:
            missing, unexpected = module.load_state_dict(own, strict=False, assign=True)
        except RuntimeError as exc:  # a shape that differs
            raise _wrong_weights(directory, [str(exc)]) from exc
        if missing:
            raise _wrong_weights(directory, [f"{prefix}{name} is missing" for name in missing])
        if unexpected:
            logger.warning("%s: weights that the model has no place for: %s", directory, ", ".join(unexpected[:5]))


def _wrong_weights(directory: Path, names: list[str]) -> EngineUnavailable:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return EngineUnavailable(
        f"{INFO.name}: the weights in {str(directory)!r} are not those of this model: {shown}",
        hint=f"audio-pool models verify {INFO.name}",
    )
