"""TangoFlux: text to 44.1 kHz stereo with a rectified-flow transformer, on diffusers' parts.

Owns: reading the official files, and the algorithm: how text and duration become conditions, the
flow's steps, the decode. Paper: Hung et al., "TangoFlux", 2024.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct, structs

from audio_pool.engine_info import CompanionInfo, EngineInfo, Notes
from audio_pool.engines import _oobleck
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._opening import Opened, open_model, reading_errors
from audio_pool.engines._samplers import FLOW, SHIFT, sampler_option
from audio_pool.engines._texts import bound_tokens
from audio_pool.engines._torch import TorchSettings, first_line
from audio_pool.engines._windowed import Decoding, WindowedDiffusion
from audio_pool.engines._windows import Layout
from audio_pool.engines.base import Item
from audio_pool.errors import EngineUnavailable
from audio_pool.models import hub
from audio_pool.models.weights import missing_model, require_whole
from audio_pool.validation import parse

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "Config", "Settings", "TangoFlux", "load"]

# The model's own files have the text encoder's weights, but neither its configuration nor its tokenizer.
_TEXT_ENCODER = CompanionInfo(
    model="google/flan-t5-large",
    files=("config.json", "tokenizer*", "special_tokens_map.json", "spiece.model", "README.md"),
    licence="Apache-2.0",
)

INFO = EngineInfo(
    name="tangoflux",
    role="generator",
    kinds=("effects", "ambience"),
    languages=("en",),
    model="declare-lab/TangoFlux",
    licence="non-commercial research (TangoFlux, Stability AI community licence for its VAE)",
    commercial_use=False,
    sample_rate=44_100,
    channels=2,
    shortest_s=0.05,
    window_s=30.0,
    longest_s=600.0,
    steps=50,
    guidance_scale=4.5,
    negative_prompt=True,
    init_audio=True,
    inpaint=True,
    extend=True,
    loop=True,
    streams=True,
    options=(sampler_option(FLOW), SHIFT),
    companions=(_TEXT_ENCODER,),
    requires=("torch", "diffusers", "transformers", "safetensors"),
    extra="diffusers",
    parameters=1_010_000_000,
    tips=(
        'Short sentences of what is heard, as in captions: "a dog barks while rain falls on a roof".',
        'Two or three events in their order work; more are mixed up.',
    ),
    summary="Sound effects and ambience, 44.1 kHz stereo; fast and close to the prompt.",
)

logger = logging.getLogger(__name__)

_TEXT_BUCKET = 32
"""Compiled, texts are padded (masked) to multiples of this: each length would be its own compilation."""
_TEXT_LONGEST = 512
"""Tokens that the model reads at the most: flan-t5-large's."""
_WORKING_BYTES = 2 * 2**30


class Settings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of TorchSettings, and:"""

    text_encoder: Annotated[str, Meta(max_length=4096)] = ""
    """Directory or hub id of flan-t5-large's config and tokenizer; empty: a directory of that name
    inside or beside the model, else the hub's local cache."""


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
    text_encoder_name: str = _TEXT_ENCODER.model


def load(info: EngineInfo, settings: Settings) -> TangoFlux:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from transformers import AutoTokenizer

    opened = open_model(info, settings, _WORKING_BYTES)
    config = _read_config(opened.directory)
    text_directory = _text_directory(opened.directory, config, settings)
    require_whole(text_directory, engine=INFO.name, weights=False)
    parts = _load_parts(opened, config, text_directory)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(text_directory), local_files_only=True)
    except reading_errors() as exc:
        tried = f"{str(text_directory)!r} holds no tokenizer that loads ({first_line(exc)})"
        raise missing_model(INFO.name, tried, _TEXT_ENCODER.model) from exc
    engine = TangoFlux(info, settings, opened, config, tokenizer, parts)
    engine._warm()
    return engine


class TangoFlux(WindowedDiffusion):
    """Latents are float32 [audio_seq_len, in_channels]."""

    time_axis = 1
    never_quantized = frozenset({"fc", "duration"})
    samplers = FLOW

    def __init__(
        self,
        info: EngineInfo,
        settings: Settings,
        opened: Opened,
        config: Config,
        tokenizer: Any,
        parts: Mapping[str, Any],
    ) -> None:
        """
        Args:
            info, settings, opened: as of every engine.
            config: the model's.
            tokenizer: the text encoder's.
            parts: the modules text_encoder, fc, duration, transformer and vae.
        """
        from diffusers import FlowMatchEulerDiscreteScheduler

        self.config = config
        self._opened = opened
        self._sound_encoder: torch.nn.Module | None = None
        self._tokenizer = tokenizer
        bound_tokens(tokenizer, _TEXT_LONGEST)
        self._text_encoder, self._fc = parts["text_encoder"], parts["fc"]
        self._duration, self._transformer, self._vae = parts["duration"], parts["transformer"], parts["vae"]
        info = structs.replace(
            info,
            sample_rate=self._vae.config.sampling_rate,
            channels=self._vae.config.audio_channels,
            window_s=float(self.config.max_duration),
        )
        encoder = {name: parts[name] for name in ("text_encoder", "fc", "duration")}
        stages = {
            "encoder": encoder,
            "denoiser": {"transformer": self._transformer},
            "decoder": {"vae": self._vae},
        }
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
        super().__init__(info, settings, opened, stages, scheduler)
        self._limit_to_one_pass()

    def notes(self, item: Item) -> Notes:
        made_s = self.config.audio_seq_len * self._vae.hop_length / self.info.sample_rate
        noted = super().notes(item)
        if item.loop and noted.loops:
            return noted
        job = self._job(0, dataclasses.replace(item, loop=False))
        asked_s = job.item.duration_s
        if self._windows(job) or asked_s <= made_s + 0.5 / self.info.sample_rate:
            return noted
        silent = f"silent_end: the model makes {made_s:.3f} s; the last {asked_s - made_s:.3f} s are silent"
        return structs.replace(noted, warnings=(*noted.warnings, silent), made_s=made_s)

    def _text_warnings(self, job: Job) -> list[str]:
        warnings = []
        length, most = len(self._tokenizer(job.item.prompt).input_ids), self._tokenizer.model_max_length
        if length > most:
            warnings.append(f"prompt_truncated: {length} tokens, of which the model reads {most}")
        if job.guided and job.item.negative_prompt:
            negative, most = len(self._tokenizer(job.item.negative_prompt).input_ids), min(length, most)
            if negative > most:
                warnings.append(
                    f"negative_prompt_truncated: {negative} tokens, of which the model reads {most}, "
                    "as many as the prompt has"
                )
        return warnings

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return text states [L, D] and pooled [D], the negative's too where guided.

        The negative ("" where none) is padded to the prompt's length; the transformer sees that padding
        as text, the pooled mean does not: that is how the model was trained.
        """
        states, pooled = self._text(prompt, self._tokenizer.model_max_length, padding=False)
        if not guided:
            return {"states": states, "pooled": pooled}
        negative_states, negative_pooled = self._text(negative, len(states), padding="max_length")
        return {
            "states": states,
            "pooled": pooled,
            "negative_states": negative_states,
            "negative_pooled": negative_pooled,
        }

    def _text(self, text: str, length: int, padding: bool | str) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self._tokenizer(text, max_length=length, padding=padding, truncation=True, return_tensors="pt")
        ids, mask = tokens.input_ids.to(self._device), tokens.attention_mask.to(self._device)
        states = self._text_encoder(input_ids=ids, attention_mask=mask)[0][0].to(self.dtype)
        pooled = self._fc(states[mask[0] == 1].mean(dim=0))
        return states, pooled

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """Pad rows to one length; a mask hides each row's padding where lengths differ.

        Text positions are all zero in this model, so the duration's token may stand after the padding.
        """
        import torch

        states = [text["states"] for text in texts]
        pooled = [text["pooled"] for text in texts]
        durations = self._durations(jobs)
        if jobs[0].guided:
            states = [text["negative_states"] for text in texts] + states
            pooled = [text["negative_pooled"] for text in texts] + pooled
            durations = torch.cat([durations, durations])
        lengths = torch.tensor([len(rows) for rows in states])
        longest = int(lengths.max())
        if self.settings.compile:
            longest = math.ceil(longest / _TEXT_BUCKET) * _TEXT_BUCKET
        padded = torch.zeros(len(states), longest, states[0].shape[-1], dtype=self.dtype, device=self._device)
        for row, state in zip(padded, states, strict=True):
            row[: len(state)] = state
        condition = {
            "states": torch.cat([padded, durations[:, None]], dim=1),
            "pooled": torch.stack(pooled),
        }
        if self.settings.compile or int(lengths.min()) < longest:
            mask = torch.ones(len(states), longest + 1 + self.config.audio_seq_len, dtype=torch.bool)
            mask[:, :longest] = torch.arange(longest) < lengths[:, None]
            condition["mask"] = mask[:, None, None].to(self._device)
        return condition

    def _durations(self, jobs: Sequence[Job]) -> torch.Tensor:
        """Return the duration's token [B, D]."""
        import torch

        most = self.config.max_duration
        seconds = torch.tensor([self._span(job)[1] for job in jobs], dtype=torch.float32)
        token: torch.Tensor = self._duration(seconds.clamp(0.0, most) / most)
        return token.to(self._device, self.dtype)

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        import torch

        states, mask = condition["states"], condition.get("mask")
        image_ids = torch.arange(rows.shape[1], device=rows.device)[:, None].expand(-1, 3)
        return self._transformer(
            hidden_states=rows,
            timestep=(t / 1000).expand(len(rows)),
            pooled_projections=condition["pooled"],
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3, device=rows.device),
            img_ids=image_ids,
            joint_attention_kwargs=None if mask is None else {"attention_mask": mask},
            return_dict=False,
        )[0]

    def _scheduler_settings(self, job: Job) -> dict[str, float]:
        shift = job.number(SHIFT.name)
        return {} if shift is None else {"shift": shift}

    def _timesteps(self, scheduler: Any, steps: int) -> None:
        import numpy as np

        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), device="cpu")

    def _start(
        self, jobs: Sequence[Job], noise: torch.Tensor, scheduler: Any, timesteps: torch.Tensor
    ) -> torch.Tensor:
        scheduler.set_begin_index(0)
        return noise

    def _scaled(self, scheduler: Any, rows: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return rows

    # -- from a sound: the flow is entered where it is noised to the strength ---------------------------

    def _schedule(self, job: Job) -> tuple[Any, torch.Tensor]:
        if job.strength == 1:
            return super()._schedule(job)
        steps = max(1, round(job.steps * job.strength))
        scheduler, timesteps = super()._schedule(dataclasses.replace(job, steps=steps))
        if job.unchanged:
            return scheduler, timesteps[:0]
        scheduler.sigmas, scheduler.timesteps = scheduler.sigmas * job.strength, timesteps * job.strength
        return scheduler, scheduler.timesteps

    def _noised(
        self, scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor:
        level = float(timestep) / 1000
        return (1 - level) * latents + level * noise

    def _latent_samples(self) -> int:
        return int(self._vae.hop_length)

    def _sound_latents(self, job: Job, length: int) -> torch.Tensor:
        assert job.item.init_audio is not None, "asked for where there is a given sound"
        if self._sound_encoder is None:
            self._sound_encoder = _load_sound_encoder(self._opened)
        try:
            encoder = self._sound_encoder.to(self._device)
            channels, sound = self.info.channels, job.item.init_audio
            return _oobleck.encode(self._vae, encoder, sound, channels, length, self._device).transpose(0, 1)
        finally:
            # on the device only while it works: few requests start from a sound
            self._sound_encoder.to("cpu")

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        return self.config.audio_seq_len, self.config.in_channels

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        rows = latents.transpose(1, 2).to(next(self._vae.decoder.parameters()).dtype)
        chunked = self.settings.chunked_decode
        whole = self.settings.compile and not chunked
        return _oobleck.decode(self._vae, rows, frames, chunked=chunked, whole=whole)

    def _layout(self) -> Layout | None:
        window = self.config.audio_seq_len
        longest = math.ceil(self.config.max_duration * self.info.sample_rate / self._vae.hop_length)
        return _oobleck.layout(self._vae, window, max(window, longest))

    def _decoding(self) -> Decoding:
        return _oobleck.Decoding(self._vae, time_axis=self.time_axis, chunked=self.settings.chunked_decode)

    def _decode_turn(self, latents: torch.Tensor) -> torch.Tensor:
        chunked = self.settings.chunked_decode
        return _oobleck.decode_turn(self._vae, latents, time_axis=self.time_axis, chunked=chunked)


def _read_config(directory: Path) -> Config:
    try:
        given = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError) as exc:
        raise missing_model(INFO.name, f"{str(directory / 'config.json')!r} cannot be read ({exc})") from exc
    return parse(Config, given, error=EngineUnavailable, what="TangoFlux's config.json")


def _text_directory(directory: Path, config: Config, settings: Settings) -> Path:
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
            files=_TEXT_ENCODER.files if name == _TEXT_ENCODER.model else (),
        ).path
    except EngineUnavailable as exc:
        if settings.text_encoder:
            raise
        raise missing_model(
            INFO.name,
            f"the config and tokenizer of {name!r} are neither at {str(directory / leaf)!r} nor at "
            f"{str(directory.parent / leaf)!r} nor in the hub's local cache (setting text_encoder names another)",
        ) from exc


def _load_parts(opened: Opened, config: Config, text_directory: Path) -> dict[str, Any]:
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


def _load_sound_encoder(opened: Opened) -> torch.nn.Module:
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
