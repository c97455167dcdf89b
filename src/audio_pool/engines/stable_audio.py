"""Stable Audio Open 1.0: text to 44.1 kHz stereo, through diffusers' StableAudioPipeline.

Owns: what is particular to this model: seconds are part of its condition, its sampler draws noise at
every step, and it always denoises its whole length.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo, OptionInfo
from audio_pool.engines import _oobleck
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._opening import Opened, load_pipeline, open_model
from audio_pool.engines._samplers import COSINE, sampler_option
from audio_pool.engines._texts import bound_tokens, truncations
from audio_pool.engines._torch import TorchSettings
from audio_pool.engines._windowed import Decoding, WindowedDiffusion
from audio_pool.engines._windows import Layout
from audio_pool.engines._wording import TAGS

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "Settings", "StableAudio", "load"]

_SAMPLER = sampler_option(COSINE)
_SIGMA_MAX = OptionInfo(
    name="sigma_max",
    type="float",
    low=1.0,
    high=1000.0,
    summary="Noise level that sampling starts from; unset: the model's own (500). Lower: plainer, closer to its mean",
)

INFO = EngineInfo(
    name="stable_audio",
    role="generator",
    kinds=("effects", "ambience", "music"),
    languages=("en",),
    model="stabilityai/stable-audio-open-1.0",
    licence="Stability AI Community License (commercial use below a yearly revenue of 1 M USD)",
    commercial_use=False,
    sample_rate=44_100,
    channels=2,
    shortest_s=0.05,
    window_s=47.5,
    longest_s=600.0,
    steps=100,
    guidance_scale=7.0,
    negative_prompt=True,
    init_audio=True,
    inpaint=True,
    extend=True,
    loop=True,
    streams=True,
    options=(_SAMPLER, _SIGMA_MAX),
    requires=("torch", "diffusers", "transformers", "torchsde"),
    extra="diffusers",
    parameters=1_320_000_000,
    wording=TAGS,
    tips=(
        'Details of production help: instruments, tempo ("120 BPM"), "field recording", "stereo".',
        'negative_prompt = "low quality" makes it clearer.',
    ),
    summary="Sound effects, loops and production elements, 44.1 kHz stereo; gated on the hub.",
)

_TEXT_LONGEST = 128
"""Tokens that the model was trained to read; each text is padded to as many."""


Settings = TorchSettings


def load(info: EngineInfo, settings: TorchSettings) -> StableAudio:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from diffusers import StableAudioPipeline

    opened = open_model(info, settings, working_bytes=2 * 2**30)
    with _oobleck.legacy_weight_norm():
        pipe = load_pipeline(info, StableAudioPipeline, opened)
    engine = StableAudio(info, settings, opened, pipe)
    engine._warm()
    return engine


class StableAudio(WindowedDiffusion):
    """Latents are float32 [C, L], always of the model's whole length."""

    never_quantized = frozenset({"projection_model"})
    samplers = COSINE

    def __init__(self, info: EngineInfo, settings: TorchSettings, opened: Opened, pipe: Any) -> None:
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        self.pipe = pipe
        bound_tokens(pipe.tokenizer, _TEXT_LONGEST)
        _oobleck.decoder_only(pipe.vae, keep_encoder=True)
        self._shape = (pipe.transformer.config.in_channels, int(pipe.transformer.config.sample_size))
        # the transformer puts one token for the seconds before the sound's
        cosines, sines = get_1d_rotary_pos_embed(
            pipe.rotary_embed_dim, self._shape[1] + 1, use_real=True, repeat_interleave_real=False
        )
        self._rotary = (cosines.to(opened.device), sines.to(opened.device))
        rate = pipe.vae.config.sampling_rate
        # a checkpoint may bring another sampler
        takes_sigma = {"sigma_min", "sigma_max"} <= set(pipe.scheduler.config)
        cosine = type(pipe.scheduler).__name__ == COSINE["dpmpp_sde"].cls
        fits = {_SIGMA_MAX.name: takes_sigma, _SAMPLER.name: cosine}
        info = structs.replace(
            info,
            options=tuple(one for one in info.options if fits[one.name]),
            sample_rate=rate,
            channels=pipe.vae.config.audio_channels,
            window_s=self._shape[1] * pipe.vae.hop_length / rate,
        )
        stages = {
            "encoder": {"text_encoder": pipe.text_encoder, "projection_model": pipe.projection_model},
            "denoiser": {"transformer": pipe.transformer},
            "decoder": {"vae": pipe.vae},
        }
        super().__init__(info, settings, opened, stages, pipe.scheduler)
        self._limit_to_one_pass()

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return projected text [1, N, D]; with a negative prompt [2, N, D], the negative first."""
        twice = bool(negative) and guided
        rows = self.pipe.encode_prompt([prompt], self._device, twice, [negative] if twice else None)
        return {"text": rows}

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """Return text and seconds; without a negative prompt the unconditional row is all zero."""
        import torch

        starts, ends = zip(*(self._seconds(job) for job in jobs), strict=True)
        with self._placement.stage("encoder"):
            start, end = self.pipe.encode_duration(list(starts), list(ends), self._device, False, len(jobs))
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

    def _seconds(self, job: Job) -> tuple[float, float]:
        """Return where a pass starts in its sound, and where that ends: as the model's training crops were told.

        Longer sounds than those are told on their scale, for all their end would be one and the same.
        """
        start, left = self._span(job)
        scale = min(1.0, self.pipe.projection_model.config.max_value / (start + left)) if job.window else 1.0
        return start * scale, (start + left) * scale

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        return self.pipe.transformer(
            rows,
            t.unsqueeze(0),
            encoder_hidden_states=condition["text"],
            global_hidden_states=condition["spans"],
            rotary_embedding=self._rotary,
            return_dict=False,
        )[0]

    def _step(
        self,
        scheduler: Any,
        pred: torch.Tensor,
        t: torch.Tensor,
        latents: torch.Tensor,
        generators: list[torch.Generator],
        job: Job,
    ) -> torch.Tensor:
        with warnings.catch_warnings():
            # the last step goes to sigma 0, below the sampler's declared interval; torchsde says so each time
            warnings.filterwarnings("ignore", r"Should have t[ab][<>]=t[01]", UserWarning)
            return super()._step(scheduler, pred, t, latents, generators, job)

    def _seed_sampler(self, scheduler: Any, jobs: Sequence[Job], noise: torch.Tensor) -> None:
        """Let the sampler draw on the CPU: left to itself it draws on the device, each kind its own noise."""
        if not hasattr(scheduler, "noise_sampler"):
            return
        from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

        draw = BrownianTreeNoiseSampler(
            noise.cpu(),
            sigma_min=scheduler.config.sigma_min,
            sigma_max=scheduler.config.sigma_max,
            seed=[self._pass_seed(job) for job in jobs],
        )
        lowest = scheduler.config.sigma_min

        def placed(*sigmas: torch.Tensor) -> torch.Tensor:
            found = draw(*(_not_above(lowest, sigma) for sigma in sigmas))
            if self._device.type != "cuda":
                return found
            # a copy from pageable memory would wait, at every step, until the GPU has done all that is queued
            return found.pin_memory().to(self._device, non_blocking=True)

        scheduler.noise_sampler = placed

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        return self._shape

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        rows = latents.to(next(self.pipe.vae.decoder.parameters()).dtype)
        chunked = self.settings.chunked_decode
        whole = self.settings.compile and not chunked
        return _oobleck.decode(self.pipe.vae, rows, frames, chunked=chunked, whole=whole)

    def _layout(self) -> Layout | None:
        return _oobleck.layout(self.pipe.vae, self._shape[1], self._shape[1])

    def _decoding(self) -> Decoding:
        return _oobleck.Decoding(self.pipe.vae, time_axis=self.time_axis, chunked=self.settings.chunked_decode)

    def _decode_turn(self, latents: torch.Tensor) -> torch.Tensor:
        chunked = self.settings.chunked_decode
        return _oobleck.decode_turn(self.pipe.vae, latents, time_axis=self.time_axis, chunked=chunked)

    def _text_warnings(self, job: Job) -> list[str]:
        return truncations(job, self.pipe.tokenizer)

    # -- audio-to-audio: the highest noise level is the strength --------------------------------------

    def _scheduler_settings(self, job: Job) -> dict[str, float]:
        """Strength 0..1 spans the noise levels up to the highest evenly as angles, the given sound's level being 1.

        Evenly in their logarithm, half of them would leave nothing of the sound.
        """
        highest = job.number(_SIGMA_MAX.name)
        if job.strength < 1:
            config = self._scheduler.config
            least, most = math.atan(config.sigma_min), math.atan(highest or config.sigma_max)
            highest = math.tan(least + (most - least) * job.strength)
        return {} if highest is None else {"sigma_max": highest}

    def _schedule(self, job: Job) -> tuple[Any, torch.Tensor]:
        scheduler, timesteps = super()._schedule(job)
        # at strength 0 all levels are one, between which this sampler divides by zero
        return scheduler, timesteps[:0] if job.unchanged else timesteps

    def _start(
        self, jobs: Sequence[Job], noise: torch.Tensor, scheduler: Any, timesteps: torch.Tensor
    ) -> torch.Tensor:
        self._seed_sampler(scheduler, jobs, noise)
        return super()._start(jobs, noise, scheduler, timesteps)

    def _latent_samples(self) -> int:
        return int(self.pipe.vae.hop_length)

    def _sound_latents(self, job: Job, length: int) -> torch.Tensor:
        assert job.item.init_audio is not None, "asked for where there is a given sound"
        vae = self.pipe.vae
        return _oobleck.encode(vae, vae.encoder, job.item.init_audio, self.info.channels, length, self._device)


def _not_above(lowest: float, sigma: torch.Tensor) -> torch.Tensor:
    """Return a noise level, just below the lowest where it is that but for its rounding.

    Between a level just above it and the end torchsde finds no number to halve at, and halves for ever.
    """
    if float(sigma.new_tensor(lowest)) < float(sigma) < lowest * (1 + 1e-5):
        return sigma.new_tensor(lowest * (1 - 1e-6))
    return sigma
