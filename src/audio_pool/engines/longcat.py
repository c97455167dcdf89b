"""LongCat-AudioDiT: words to 24 kHz mono speech with a flow over a waveform's latents, through diffusers' pipeline.

Owns: what is particular to this model: words normalised as it learned them, texts of one length to a pass, a flow that
counts upwards.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _oobleck
from audio_pool.engines._flow import FlowDiffusion
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._opening import Opened, load_pipeline, open_model
from audio_pool.engines._paste import fitted
from audio_pool.engines._samplers import FLOW, SHIFT, sampler_option
from audio_pool.engines._texts import truncations
from audio_pool.engines._torch import TorchSettings
from audio_pool.engines._wording import SPOKEN

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "LongCat", "Settings", "load"]

INFO = EngineInfo(
    name="longcat",
    role="generator",
    kinds=("speech",),
    languages=("zh", "en"),
    model="ruixiangma/LongCat-AudioDiT-1B-Diffusers",
    licence="MIT (meituan-longcat/LongCat-AudioDiT-1B)",
    commercial_use=True,
    sample_rate=24_000,
    channels=1,
    shortest_s=0.05,
    longest_s=30.0,
    steps=16,
    guidance_scale=4.0,
    negative_prompt=True,
    init_audio=True,
    inpaint=True,
    extend=True,
    speech=True,
    options=(sampler_option(FLOW), SHIFT),
    requires=("torch", "diffusers", "transformers"),
    extra="diffusers",
    parameters=1_000_000_000,
    wording=SPOKEN,
    tips=(
        "The prompt is what is said, word for word, in Chinese or English.",
        "A duration is heeded: much less or more than the words take makes hurried or dragging speech.",
    ),
    summary="Speech up to 30 s in Chinese and English, 24 kHz mono; each seed another speaker.",
)

_TEXT_LONGEST = 512
"""Tokens that the model reads, where its tokenizer does not say."""
_PACE = 0.5, 2.0
"""Shares of the seconds that the words take by the model's own estimate, between which they sound natural."""

Settings = TorchSettings


def load(info: EngineInfo, settings: TorchSettings) -> LongCat:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from diffusers import LongCatAudioDiTPipeline

    opened = open_model(info, settings, working_bytes=2**30)
    with _oobleck.legacy_weight_norm():
        pipe = load_pipeline(info, LongCatAudioDiTPipeline, opened)
    engine = LongCat(info, settings, opened, pipe)
    engine._warm()
    return engine


class LongCat(FlowDiffusion):
    """Latents are float32 [L, C], one frame for every 2,048 samples."""

    time_axis = 1
    alike = (*FlowDiffusion.alike, "length")

    def __init__(self, info: EngineInfo, settings: TorchSettings, opened: Opened, pipe: Any) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler

        self.pipe = pipe
        if not 0 < pipe.tokenizer.model_max_length <= 2**15:  # as the pipeline reads it
            pipe.tokenizer.model_max_length = _TEXT_LONGEST
        _oobleck.decoder_only(pipe.vae, keep_encoder=True)
        info = structs.replace(info, sample_rate=pipe.sample_rate, channels=pipe.vae.config.in_channels)
        stages = {
            "encoder": {"text_encoder": pipe.text_encoder},
            "denoiser": {"transformer": pipe.transformer},
            "decoder": {"vae": pipe.vae},
        }
        # the pipeline's own counts from 0 up to 1 and adds what is predicted; this one counts down and takes it away:
        # the same steps, as all other samplers know them
        down = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, invert_sigmas=False)
        super().__init__(info, settings, opened, stages, down)

    def _text_warnings(self, job: Job) -> list[str]:
        from diffusers.pipelines.longcat_audio_dit import pipeline_longcat_audio_dit as library

        warnings = truncations(job, self.pipe.tokenizer)
        natural_s = library._approx_duration_from_text(library._normalize_text(job.item.prompt), math.inf)
        slowest, fastest = (share * natural_s for share in reversed(_PACE))
        if natural_s and not fastest <= job.item.duration_s <= slowest:
            warnings.append(
                f"unnatural_pace: the words take about {natural_s:.1f} s; {job.item.duration_s:g} s were asked for"
            )
        return warnings

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return text [N, D], and where guided the negative [M, D]: without one, zeros of the text's length."""
        import torch
        from diffusers.pipelines.longcat_audio_dit.pipeline_longcat_audio_dit import _normalize_text

        (text,), _ = self.pipe.encode_prompt([_normalize_text(prompt)], self._device)
        if not guided:
            return {"text": text}
        # as the pipeline has it: the words alone are normalised
        without = self.pipe.encode_prompt([negative], self._device)[0][0] if negative else torch.zeros_like(text)
        return {"text": text, "without": without}

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """Return the texts padded to one length, and each one's own."""
        import torch

        rows = [text["text"] for text in texts]
        if jobs[0].guided:
            rows = [text["without"] for text in texts] + rows
        return {
            "text": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "lengths": torch.tensor([len(row) for row in rows]),
        }

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Ask the model for texts of each length by themselves: its convolutions see what they are padded with."""
        import torch

        text, lengths = condition["text"], condition["lengths"]
        found = torch.empty_like(rows)
        for length in lengths.unique().tolist():
            own = (lengths == length).nonzero()[:, 0].to(rows.device)
            some = rows[own]
            reads = torch.ones(len(own), length, dtype=torch.bool, device=rows.device)
            found[own] = self.pipe.transformer(
                hidden_states=some,
                encoder_hidden_states=text[own, :length],
                encoder_attention_mask=reads,
                timestep=(1 - t / self._scheduler.config.num_train_timesteps).expand(len(own)).to(rows.dtype),
                attention_mask=torch.ones(some.shape[:2], dtype=torch.bool, device=rows.device),
                latent_cond=torch.zeros_like(some),
                return_dict=False,
            )[0]
        return -found

    def _scheduler_settings(self, job: Job) -> dict[str, float]:
        shift = job.number(SHIFT.name)
        return {} if shift is None else {"shift": shift}

    def _timesteps(self, scheduler: Any, steps: int) -> None:
        scheduler.set_timesteps(sigmas=[left / steps for left in range(steps, 0, -1)], device="cpu")

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        """Return enough frames for all of the sound: the pipeline rounds down, and leaves its end out."""
        return math.ceil(job.frames / self.pipe.vae_scale_factor), self.pipe.latent_dim

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        wave: torch.Tensor = self.pipe.vae.decode(latents.transpose(1, 2)).sample
        return wave

    def _latent_samples(self) -> int:
        return int(self.pipe.vae_scale_factor)

    def _sound_latents(self, job: Job, length: int) -> torch.Tensor:
        """Return the likeliest of the latents that the encoder gives a spread of: the same ones every time."""
        import torch

        assert job.item.init_audio is not None, "asked for where there is a given sound"
        sound = torch.from_numpy(fitted(job.item.init_audio, self.info.channels, length * self._latent_samples()))
        found: torch.Tensor = self.pipe.vae.encode(sound[None].to(self._device), sample_posterior=False).latents[0]
        return found.transpose(0, 1).float()
