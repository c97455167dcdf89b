"""MusicGen (small, medium, large; stereo): text to 32 kHz music, on transformers' modules.

Owns: reading the official layout as transformers has it, and what is particular to this model.
Must not know: the pool. Heavy imports happen inside load().

Paper: Copet et al., "Simple and Controllable Music Generation", 2023.
"""

from __future__ import annotations

from typing import Any

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._autoregressive import AutoregressiveEngine, TokenModel, token_options
from audio_pool.engines._opening import Opened, open_model
from audio_pool.engines._torch import TorchSettings, no_bars
from audio_pool.models.weights import missing_model

__all__ = ["INFO", "MusicGen", "Settings", "load"]

INFO = EngineInfo(
    name="musicgen",
    role="generator",
    kinds=("music",),
    languages=("en",),
    model="facebook/musicgen-small",
    licence="CC-BY-NC-4.0",
    commercial_use=False,
    sample_rate=32_000,
    channels=1,
    shortest_s=0.05,
    longest_s=600.0,
    window_s=30.0,
    guidance_scale=3.0,
    streams=True,
    options=token_options(),
    requires=("torch", "transformers", "sentencepiece"),
    extra="musicgen",
    files=(
        "config.json",
        "generation_config.json",
        "model*.safetensors*",
        "tokenizer*",
        "special_tokens_map.json",
        "spiece.model",
        "README.md",
    ),
    tips=(
        "Name the style, the instruments, the tempo and the mood: 'slow lo-fi hip hop, warm electric piano, 80 bpm'.",
        "It makes music without words: sung or spoken lyrics come out as gibberish.",
        "Greater guidance_scale follows the prompt more closely, at the price of variety; 3 is what it was tuned for.",
    ),
    summary="Music up to 10 minutes, 32 kHz; models small, medium, large and stereo.",
)

_WORKING_BYTES = 3 * 2**29
"""Keys and values of thirty guided seconds, and the decoding of ten."""

Settings = TorchSettings


def load(info: EngineInfo, settings: TorchSettings) -> MusicGen:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from transformers import AutoTokenizer

    opened = open_model(info, settings, _WORKING_BYTES)
    model = _read(info, opened)
    tokenizer = AutoTokenizer.from_pretrained(str(opened.directory), local_files_only=True)
    parts = TokenModel(
        tokenizer=tokenizer,
        text_encoder=model.text_encoder,
        projection=getattr(model, "enc_to_dec_proj", None),
        language_model=model.decoder,
        codec=model.audio_encoder,
        channels=model.decoder.config.audio_channels,
    )
    engine = MusicGen(info, settings, opened, parts)
    engine._warm()
    return engine


def _read(info: EngineInfo, opened: Opened) -> Any:
    """Read the whole model onto the CPU.

    Raises:
        EngineUnavailable: it is not there, or not this model.
    """
    import torch
    from transformers import MusicgenForConditionalGeneration

    directory = str(opened.directory)
    wide = ["audio_encoder"] if opened.wave_dtype == torch.float32 else []
    if opened.dtype == torch.float16:
        wide.append("text_encoder")  # T5 overflows in it

    class Model(MusicgenForConditionalGeneration):  # type: ignore[misc]
        _keep_in_fp32_modules_strict = wide

    try:
        with no_bars():
            model = Model.from_pretrained(directory, dtype=opened.dtype, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise missing_model(info.implementation, f"{directory!r} does not load as its model: {exc}") from exc
    return model


class MusicGen(AutoregressiveEngine):
    """Latents are codes, [K, frames], 50 frames a second."""
