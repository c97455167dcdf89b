"""MusicGen (small, medium, large; melody; stereo): text to 32 kHz music, on transformers' modules.

Owns: reading the official layout as transformers has it, and what is particular to this model.
Must not know: the pool. Heavy imports happen inside load().

Paper: Copet et al., "Simple and Controllable Music Generation", 2023.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._autoregressive import AutoregressiveEngine, TokenModel, token_options
from audio_pool.engines._chroma import chroma
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._opening import Opened, open_model, reading_errors
from audio_pool.engines._token_drawing import Window
from audio_pool.engines._told import part_config
from audio_pool.engines._torch import TorchSettings, no_bars
from audio_pool.engines._wording import MUSIC
from audio_pool.models.weights import missing_model

if TYPE_CHECKING:
    import torch

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
    init_audio=True,
    extend=True,
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
    parameters=590_000_000,
    wording=MUSIC,
    tips=(
        "Name the style, the instruments, the tempo and the mood: 'slow lo-fi hip hop, warm electric piano, 80 bpm'.",
        "It makes music without words: sung or spoken lyrics come out as gibberish.",
        "The melody model follows the tune of init_audio: a hummed or played line without drums works best.",
        "Greater guidance_scale follows the prompt more closely, at the price of variety; 3 is what it was tuned for.",
    ),
    summary="Music up to 10 minutes, 32 kHz; models small, medium, large, melody and stereo.",
)

_TUNE_S = 30.0
"""Of a tune the models were taught as much."""
_WINDOW_FRAMES = 1500
_TEXT = 64
"""Tokens of a usual prompt."""

Settings = TorchSettings


def load(info: EngineInfo, settings: TorchSettings) -> MusicGen:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    opened = open_model(info, settings, working_bytes(settings.locate(info).path))
    model, tokenizer = _read(info, opened)
    parts = TokenModel(
        tokenizer=tokenizer,
        text_encoder=model.text_encoder,
        projection=getattr(model, "enc_to_dec_proj", None),
        language_model=model.decoder,
        codec=model.audio_encoder,
        channels=model.decoder.config.audio_channels,
    )
    engine: MusicGen
    if _is_melody(model.config):
        tune = getattr(model, "audio_enc_to_dec_proj", None)
        engine = MusicGenMelody(info, settings, opened, parts, tune, model.config)
    else:
        engine = MusicGen(info, settings, opened, parts)
    engine._warm()
    return engine


def described(info: EngineInfo, settings: TorchSettings, path: Path) -> EngineInfo:
    """Return the info with whether the model at ``path`` follows tunes."""
    kind = part_config(path, "").get("model_type", "musicgen_melody")
    return structs.replace(info, init_audio=kind == "musicgen_melody")


def working_bytes(directory: Path) -> int:
    """Return what thirty seconds take beside the weights, at two bytes a number.

    That is twice the keys and values of both rows of guidance, which the sampler has a half of; decoding, in pieces
    of ten seconds, takes less.
    """
    try:
        config = json.loads((directory / "config.json").read_text())
        decoder = config["decoder"]
        positions = _WINDOW_FRAMES + int(config.get("chroma_length", 0)) + _TEXT
        caches = 2 * 2 * int(decoder["num_hidden_layers"]) * int(decoder["hidden_size"]) * positions
    except (OSError, ValueError, KeyError, TypeError):  # reading the model says what is wrong
        return 2**30
    return 2 * 2 * caches


def _is_melody(config: Any) -> bool:
    return bool(config.model_type == "musicgen_melody")


def _read(info: EngineInfo, opened: Opened) -> tuple[Any, Any]:
    """Read the whole model and its tokenizer onto the CPU.

    Raises:
        EngineUnavailable: it is not there, or not this model.
    """
    import torch
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        MusicgenForConditionalGeneration,
        MusicgenMelodyForConditionalGeneration,
    )

    directory = str(opened.directory)
    wide = ["audio_encoder"] if opened.wave_dtype == torch.float32 else []
    if opened.dtype == torch.float16:
        wide.append("text_encoder")  # T5 overflows in it
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        if config.model_type not in ("musicgen", "musicgen_melody"):
            raise ValueError(f"its config.json is that of a {config.model_type!r}")
        cls = MusicgenMelodyForConditionalGeneration if _is_melody(config) else MusicgenForConditionalGeneration
        model_class: Any = type(cls.__name__, (cls,), {"_keep_in_fp32_modules_strict": wide})
        with no_bars():
            model, report = model_class.from_pretrained(
                directory, dtype=opened.dtype, local_files_only=True, output_loading_info=True
            )
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except reading_errors() as exc:
        raise missing_model(info.implementation, f"{directory!r} does not load as its model: {exc}") from exc
    missing = sorted(report["missing_keys"])
    if missing:
        lacks = f"the weights in {directory!r} are not this model's: {len(missing)} of its tensors are missing"
        raise missing_model(info.implementation, f"{lacks} ({', '.join(missing[:3])})")
    return model, tokenizer


class MusicGen(AutoregressiveEngine):
    """Latents are codes, [K, frames], 50 frames a second."""


class MusicGenMelody(MusicGen):
    """Before the tokens stand the tune, 235 frames of chroma, and the text: self-attention sees it all."""

    takes_tune = True
    _time_axis = 1

    def __init__(
        self,
        info: EngineInfo,
        settings: TorchSettings,
        opened: Opened,
        model: TokenModel,
        tune: Any,
        config: Any,
    ) -> None:
        """
        Args:
            info, settings, opened, model: as of every such engine.
            tune: the projection from chroma to the decoder's width; None where they are alike.
            config: the whole model's.
        """
        self._tune, self._config = tune, config
        super().__init__(info, settings, opened, model)

    def _conditioners(self) -> dict[str, torch.nn.Module]:
        return {} if self._tune is None else {"tune": self._tune}

    def _prefix_room(self) -> int:
        return int(self._config.chroma_length + self._tokenizer.model_max_length)

    def _text_warnings(self, job: Job) -> list[str]:
        warnings = super()._text_warnings(job)
        sound, heard_s = job.item.init_audio, max(_TUNE_S, job.item.duration_s)
        if sound is not None and job.item.extend_s is None and sound.shape[1] > heard_s * self._rate:
            warnings.append(
                f"init_audio_cut: {sound.shape[1] / self._rate:.1f} s were given; the tune of the first "
                f"{heard_s:g} s is heard"
            )
        return warnings

    def _compatible(self, job: Job) -> tuple[Hashable, ...]:
        """Text is part of the sequence here, and padding would be heard: rows have texts of one length."""
        most = self._tokenizer.model_max_length
        length = len(self._tokenizer(job.item.prompt, max_length=most, truncation=True).input_ids)
        return *super()._compatible(job), length

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition], window: Window) -> Condition:
        import torch

        states = torch.cat([text["states"] for text in texts])
        tunes = torch.stack([self._tune_of(job, window) for job in jobs])
        if jobs[0].guided:
            states = torch.cat([torch.zeros_like(states), states])
            none = torch.stack([self._no_tune()] * len(jobs))
            tunes = torch.cat([none, tunes])
        tunes = tunes.to(self._device, self.dtype)
        if self._tune is not None:
            tunes = self._tune(tunes)
        return {"states": torch.cat([tunes.to(self.dtype), states], dim=1)}

    def _first(self, condition: Condition) -> dict[str, torch.Tensor]:
        return {"encoder_hidden_states": condition["states"]}

    def _later(self, condition: Condition) -> dict[str, torch.Tensor]:
        return {}

    def _no_tune(self) -> torch.Tensor:
        """Return what stands for no tune: the first pitch class throughout."""
        import torch

        tune = torch.zeros(self._config.chroma_length, self._config.num_chroma)
        tune[:, 0] = 1.0
        return tune

    def _tune_of(self, job: Job, window: Window) -> torch.Tensor:
        """Return the chroma of a job's tune from where the window begins, over and over to the model's length."""
        import torch

        sound = job.item.init_audio
        if sound is None or job.item.extend_s is not None:
            return self._no_tune()
        wave = torch.from_numpy(sound).float().mean(dim=0).roll(-window.begin * self._samples)
        frames = chroma(wave[: round(_TUNE_S * self._rate)], self._rate, self._config.num_chroma)
        length = self._config.chroma_length
        return frames.repeat(-(-length // len(frames)), 1)[:length]
