"""Stable Audio Open 1.0: text to 44.1 kHz stereo, through diffusers' StableAudioPipeline.

Owns: what is particular to this model: seconds are part of its condition, its sampler draws noise at
every step, and it always denoises its whole length.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _diffusion, _oobleck, _opening

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "StableAudio", "load"]

INFO = EngineInfo(
    name="stable_audio",
    role="generator",
    model="stabilityai/stable-audio-open-1.0",
    licence="Stability AI Community License (commercial use below a yearly revenue of 1 M USD)",
    commercial_use=False,
    sample_rate=44_100,
    channels=2,
    shortest_s=0.05,
    longest_s=47.5,
    steps=100,
    guidance_scale=7.0,
    negative_prompt=True,
    init_audio=True,
    requires=("torch", "diffusers", "transformers", "torchsde"),
    extra="diffusers",
    summary="Sound effects, loops and production elements up to 47 s, 44.1 kHz stereo; gated on the hub.",
)


def load(**settings: Any) -> StableAudio:
    """The engine, ready.

    Args:
        settings: the fields of DiffusionSettings.

    Raises:
        InvalidConfig, EngineUnavailable, OutOfMemory.
    """
    from diffusers import StableAudioPipeline

    chosen = _opening.settings_of(_opening.DiffusionSettings, INFO.name, settings)
    opened = _opening.open_model(INFO, chosen, working_bytes=2 * 2**30)
    with _oobleck.legacy_weight_norm():
        pipe = _opening.load_pipeline(INFO, StableAudioPipeline, opened)
    engine = StableAudio(chosen, opened, pipe)
    engine._warm()
    return engine


class StableAudio(_diffusion.DiffusionEngine):
    """Latents are float32 [C, L], always of the model's whole length."""

    never_quantized = frozenset({"projection_model"})

    def __init__(self, settings: _opening.DiffusionSettings, opened: _opening.Opened, pipe: Any) -> None:
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        self.pipe = pipe
        _oobleck.decoder_only(pipe.vae, keep_encoder=True)
        self._shape = (pipe.transformer.config.in_channels, int(pipe.transformer.config.sample_size))
        # the transformer puts one token for the seconds before the sound's
        cosines, sines = get_1d_rotary_pos_embed(
            pipe.rotary_embed_dim, self._shape[1] + 1, use_real=True, repeat_interleave_real=False
        )
        self._rotary = (cosines.to(opened.device), sines.to(opened.device))
        rate = pipe.vae.config.sampling_rate
        info = structs.replace(
            INFO,
            sample_rate=rate,
            channels=pipe.vae.config.audio_channels,
            longest_s=self._shape[1] * pipe.vae.hop_length / rate,
        )
        stages = {
            "encoder": {"text_encoder": pipe.text_encoder, "projection_model": pipe.projection_model},
            "denoiser": {"transformer": pipe.transformer},
            "decoder": {"vae": pipe.vae},
        }
        super().__init__(info, settings, opened, stages, pipe.scheduler)

    def _encode(self, prompt: str, negative: str, guided: bool) -> _diffusion.Condition:
        """Projected text [1, N, D]; with a negative prompt [2, N, D], the negative first."""
        twice = bool(negative) and guided
        rows = self.pipe.encode_prompt([prompt], self.device, twice, [negative] if twice else None)
        return {"text": rows}

    def _condition(
        self, jobs: Sequence[_diffusion.Job], texts: Sequence[_diffusion.Condition]
    ) -> _diffusion.Condition:
        """Text and seconds; without a negative prompt the unconditional row is all zero."""
        import torch

        seconds = [job.item.duration_s for job in jobs]
        with self._placement.stage("encoder"):
            start, end = self.pipe.encode_duration(0.0, seconds, self.device, False, len(jobs))
        rows, empty = [], []
        for text, first, last in zip(texts, start, end, strict=True):
            rows.append(torch.cat([text["text"][-1], first, last]))
            if len(text["text"]) == 2:
                empty.append(torch.cat([text["text"][0], first, last]))
            else:
                empty.append(torch.zeros_like(rows[-1]))
        spans = torch.cat([start, end], dim=2)
        if jobs[0].guided:
            return {"text": torch.stack(empty + rows), "spans": torch.cat([spans, spans])}
        return {"text": torch.stack(rows), "spans": spans}

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: _diffusion.Condition) -> torch.Tensor:
        return self.pipe.transformer(
            rows,
            t.unsqueeze(0),
            encoder_hidden_states=condition["text"],
            global_hidden_states=condition["spans"],
            rotary_embedding=self._rotary,
            return_dict=False,
        )[0]

    def _step(
        self, scheduler: Any, pred: Any, t: Any, latents: Any, generators: list[torch.Generator]
    ) -> torch.Tensor:
        with warnings.catch_warnings():
            # the last step goes to sigma 0, below the sampler's declared interval; torchsde says so each time
            warnings.filterwarnings("ignore", r"Should have t[ab][<>]=t[01]", UserWarning)
            return super()._step(scheduler, pred, t, latents, generators)

    def _seed_sampler(self, scheduler: Any, jobs: Sequence[_diffusion.Job], noise: torch.Tensor) -> None:
        """Lets the sampler draw on the CPU: left to itself it draws on the device, each kind its own noise."""
        if not hasattr(scheduler, "noise_sampler"):
            return
        from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

        scheduler.noise_sampler = BrownianTreeNoiseSampler(
            noise.cpu(),
            sigma_min=scheduler.config.sigma_min,
            sigma_max=scheduler.config.sigma_max,
            seed=[job.item.seed for job in jobs],
        )

    def _noise_shape(self, job: _diffusion.Job) -> tuple[int, ...]:
        return self._shape

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        rows = latents.to(next(self.pipe.vae.decoder.parameters()).dtype)
        chunked = self.settings.chunked_decode
        whole = self.settings.compile and not chunked
        return _oobleck.decode(self.pipe.vae, rows, frames, chunked=chunked, whole=whole)

    def _text_warnings(self, job: _diffusion.Job) -> list[str]:
        return _diffusion.truncations(job, self.pipe.tokenizer)

    # -- audio-to-audio: the highest noise level is the strength --------------------------------------

    def _kind(self, job: _diffusion.Job) -> Any:
        return *super()._kind(job), self._strength(job)

    def _strength(self, job: _diffusion.Job) -> float | None:
        """None where the item starts from noise alone: without a sound, or with one it shall ignore."""
        strength = 0.5 if job.item.init_strength is None else job.item.init_strength
        return None if job.item.init_audio is None or strength >= 1.0 else strength

    def _schedule(self, job: _diffusion.Job) -> tuple[Any, torch.Tensor]:
        """Strength 0..1 spans the model's noise levels evenly in their logarithm."""
        strength = self._strength(job)
        if strength is None:
            return super()._schedule(job)
        config = self._scheduler.config
        highest = config.sigma_min * (config.sigma_max / config.sigma_min) ** strength
        scheduler = type(self._scheduler).from_config(config, sigma_max=highest)
        self._timesteps(scheduler, job.steps)
        # at strength 0 all levels are one, between which this sampler divides by zero
        return scheduler, scheduler.timesteps if strength > 0 else scheduler.timesteps[:0]

    def _start(
        self, jobs: Sequence[_diffusion.Job], noise: torch.Tensor, scheduler: Any, timesteps: torch.Tensor
    ) -> torch.Tensor:
        import torch

        self._seed_sampler(scheduler, jobs, noise)
        noisy = super()._start(jobs, noise, scheduler, timesteps)
        if self._strength(jobs[0]) is None:
            return noisy
        with self._placement.stage("decoder"):
            given = torch.cat([self._sound_latents(job) for job in jobs])
        return given + noisy if len(timesteps) else given

    def _sound_latents(self, job: _diffusion.Job) -> torch.Tensor:
        """float32 [1, C, L] of the item's sound, cut or padded with silence to the model's length."""
        import torch

        vae = self.pipe.vae
        sound = torch.from_numpy(job.item.init_audio).float()[:, : self._shape[1] * vae.hop_length]
        if len(sound) != self.info.channels:
            sound = sound.mean(dim=0, keepdim=True).expand(self.info.channels, -1)
        whole = torch.zeros(1, self.info.channels, self._shape[1] * vae.hop_length)
        whole[0, :, : sound.shape[1]] = sound
        weight = next(vae.encoder.parameters())
        return vae.encode(whole.to(weight.device, weight.dtype)).latent_dist.mode().float()
