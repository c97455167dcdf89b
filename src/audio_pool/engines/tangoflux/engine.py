"""TangoFlux: text to 44.1 kHz stereo with a rectified-flow transformer, on diffusers' parts.

Owns: the algorithm: how text and duration become conditions, the flow's steps, the decode. Paper: Hung et al.,
"TangoFlux", 2024.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import _oobleck
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._opening import Opened, open_model, reading_errors
from audio_pool.engines._samplers import FLOW, SHIFT
from audio_pool.engines._texts import bound_tokens
from audio_pool.engines._torch import first_line
from audio_pool.engines._windowed import Decoding, WindowedDiffusion
from audio_pool.engines._windows import Layout
from audio_pool.engines.base import Item
from audio_pool.engines.tangoflux.checkpoint import Config, load_parts, load_sound_encoder, read_config, text_directory
from audio_pool.engines.tangoflux.info import INFO, TEXT_ENCODER, Settings
from audio_pool.models.weights import missing_model, require_whole

if TYPE_CHECKING:
    import torch

__all__ = ["TangoFlux", "load"]

_TEXT_BUCKET = 32
"""Compiled, texts are padded (masked) to multiples of this: each length would be its own compilation."""
_TEXT_LONGEST = 512
"""Tokens that the model reads at the most: flan-t5-large's."""
_WORKING_BYTES = 2 * 2**30


def load(info: EngineInfo, settings: Settings) -> TangoFlux:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from transformers import AutoTokenizer

    opened = open_model(info, settings, _WORKING_BYTES)
    config = read_config(opened.directory)
    text_files = text_directory(opened.directory, config, settings)
    require_whole(text_files, engine=INFO.name, weights=False)
    parts = load_parts(opened, config, text_files)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(text_files), local_files_only=True)
    except reading_errors() as exc:
        tried = f"{str(text_files)!r} holds no tokenizer that loads ({first_line(exc)})"
        raise missing_model(INFO.name, tried, TEXT_ENCODER.model) from exc
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
        made_s = self._most_around_s()
        noted = super().notes(item)
        if item.loop and noted.loops:
            return noted
        job = self._job(0, dataclasses.replace(item, loop=False))
        asked_s = job.item.duration_s
        if self._windows(job) or asked_s <= made_s + 0.5 / self.info.sample_rate:
            return noted
        silent = f"silent_end: the model makes {made_s:.3f} s; the last {asked_s - made_s:.3f} s are silent"
        return structs.replace(noted, warnings=(*noted.warnings, silent), made_s=made_s)

    def _most_around_s(self) -> float:
        """Return the seconds that its latents sound for: a little less than the window that it is told of."""
        samples: int = self.config.audio_seq_len * self._vae.hop_length
        return samples / self.info.sample_rate

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
            self._sound_encoder = load_sound_encoder(self._opened)
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
