"""Stable Audio 3: text to 44.1 kHz stereo with a rectified-flow transformer, through diffusers' StableAudio3Pipeline.

Owns: what is particular to this model: its levels lie evenly in their log-SNR, seconds are part of its condition,
and it is either distilled (8 steps that draw new noise, no guidance) or not (100 plain ones, guided).
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo, Notes, OptionInfo
from audio_pool.engines import _oobleck
from audio_pool.engines._flow import FlowDiffusion
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._opening import Opened, load_pipeline, open_model
from audio_pool.engines._paste import fitted
from audio_pool.engines._same import Same
from audio_pool.engines._samplers import FLOW, sampler_option
from audio_pool.engines._texts import truncations
from audio_pool.engines._told import part_config
from audio_pool.engines._torch import TorchSettings
from audio_pool.engines._wording import TAGS
from audio_pool.engines.base import Item
from audio_pool.errors import EngineUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "Settings", "StableAudio3", "load"]

_LOGSNR_MIN = OptionInfo(
    name="logsnr_min",
    type="float",
    default=-6.2,
    low=-20.0,
    high=0.0,
    summary="Log of signal to noise at the first step; lower: more of the steps at much noise",
)
_LOGSNR_MAX = OptionInfo(
    name="logsnr_max",
    type="float",
    default=2.0,
    low=0.0,
    high=20.0,
    summary="Log of signal to noise at the last step; higher: more of the steps at little noise",
)

INFO = EngineInfo(
    name="stable_audio_3",
    role="generator",
    kinds=("effects", "ambience", "music"),
    languages=("en",),
    model="stabilityai/stable-audio-3-medium",
    licence="Stability AI Community License (commercial use below a yearly revenue of 1 M USD); its text encoder under "
    "the Gemma Terms of Use",
    commercial_use=False,
    sample_rate=44_100,
    channels=2,
    shortest_s=0.05,
    longest_s=380.0,
    steps=8,
    guidance_scale=1.0,
    negative_prompt=True,
    init_audio=True,
    inpaint=True,
    extend=True,
    options=(sampler_option(FLOW), _LOGSNR_MIN, _LOGSNR_MAX),
    requires=("torch", "diffusers", "transformers"),
    extra="diffusers",
    parameters=2_000_000_000,
    wording=TAGS,
    tips=(
        "Name genre, instruments, mood and tempo in BPM for music; source, action and place for effects.",
        "The distilled model has its guidance built in: leave guidance_scale at 1 and steps at 8.",
    ),
    summary="Music, effects and ambience up to 380 s, 44.1 kHz stereo; gated on the hub.",
)

_BASE_STEPS, _BASE_GUIDANCE = 100, 7.0
"""Of the undistilled checkpoints, as their pipeline and their card have it."""
_TEXT_LONGEST = 256
"""Tokens that the model reads, whatever its tokenizer says."""

Settings = TorchSettings


def described(info: EngineInfo, settings: TorchSettings, path: Path) -> EngineInfo:
    """Return the info with what the model at ``path`` can do, and how it is sampled."""
    scheduler = part_config(path, "scheduler", "scheduler_config.json")
    return _of_checkpoint(
        info,
        distilled=bool(scheduler.get("stochastic_sampling", not scheduler)),
        patch=part_config(path, "transformer").get("patch_size", 1),
        longest_s=part_config(path, "duration_embedder").get("max_val", info.longest_s),
    )


def _of_checkpoint(info: EngineInfo, *, distilled: bool, patch: int, longest_s: float) -> EngineInfo:
    if not distilled:
        info = structs.replace(info, steps=_BASE_STEPS, guidance_scale=_BASE_GUIDANCE)
    paints = patch == 1
    return structs.replace(info, inpaint=paints, extend=paints, longest_s=min(info.longest_s, float(longest_s)))


def load(info: EngineInfo, settings: TorchSettings) -> StableAudio3:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from diffusers import StableAudio3Pipeline

    opened = open_model(info, settings, working_bytes=2 * 2**30)
    original = opened.directory / "model_config.json"
    if original.is_file() and not (opened.directory / "model_index.json").is_file():
        raise EngineUnavailable(
            f"{info.name}: {str(opened.directory)!r} is the model as it was released; allowed is diffusers' layout",
            hint="make it with scripts/convert_stable_audio_3_to_diffusers.py of the diffusers repository, and set "
            f"engines.{info.name}.model to the directory that it wrote",
        )
    with _oobleck.legacy_weight_norm():
        pipe = load_pipeline(info, StableAudio3Pipeline, opened)
    engine = StableAudio3(info, settings, opened, pipe)
    engine._warm()
    return engine


class StableAudio3(FlowDiffusion):
    """Latents are float32 [C, L], one frame for every 4,096 samples."""

    never_quantized = frozenset({"duration_embedder"})
    alike = (*FlowDiffusion.alike, "length")

    def __init__(self, info: EngineInfo, settings: TorchSettings, opened: Opened, pipe: Any) -> None:
        self.pipe = pipe
        pipe.tokenizer.model_max_length = min(pipe.tokenizer.model_max_length, _TEXT_LONGEST)
        self._same = Same(pipe.vae, opened.device)
        self._distilled = bool(pipe.scheduler.config.stochastic_sampling)
        info = structs.replace(
            _of_checkpoint(
                info,
                distilled=self._distilled,
                patch=pipe.transformer.config.patch_size,
                longest_s=pipe.duration_embedder.config.max_val,
            ),
            sample_rate=pipe.vae.config.sampling_rate,
            channels=pipe.vae.config.audio_channels,
        )
        stages = {
            "encoder": {"text_encoder": pipe.text_encoder, "duration_embedder": pipe.duration_embedder},
            "denoiser": {"transformer": pipe.transformer},
            "decoder": {"vae": pipe.vae},
        }
        super().__init__(info, settings, opened, stages, pipe.scheduler)

    def notes(self, item: Item) -> Notes:
        noted = super().notes(item)
        if not (self._distilled and self._job(0, item).guided):
            return noted
        twice = "guidance_distilled: this checkpoint's guidance is built in; more of it is heard as harshness"
        return structs.replace(noted, warnings=(*noted.warnings, twice))

    def _text_warnings(self, job: Job) -> list[str]:
        return truncations(job, self.pipe.tokenizer)

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return text [R, N, D] and its mask [R, N], the negative ("" where there is none) first."""
        texts = [negative, prompt] if guided else [prompt]
        rows, mask = self.pipe.encode_prompt(texts, self._device, 1)
        return {"text": rows, "mask": mask}

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """Return text with the seconds as its last token, the seconds alone, and what lies around a new part."""
        import torch

        seconds = torch.tensor([job.item.duration_s for job in jobs], dtype=torch.float32, device=self._device)
        with self._placement.stage("encoder"):
            spans = self.pipe.duration_embedder(seconds)
        spans = torch.cat([spans] * 2) if jobs[0].guided else spans
        rows = torch.stack([text["text"] for text in texts], dim=1).flatten(0, 1)
        masks = torch.stack([text["mask"] for text in texts], dim=1).flatten(0, 1)
        rows, masks = self.pipe.prepare_cross_attention(rows, masks, spans)
        condition = {"text": rows, "mask": masks, "spans": spans}
        given, self._around = self._around, None
        if given is not None and jobs[0].stretch is not None:
            stays = (~super()._new(jobs, given)).float()
            around = torch.cat([stays, given * stays], dim=1)
            condition["around"] = (torch.cat([around] * 2) if jobs[0].guided else around).to(self.dtype)
        return condition

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        return self.pipe.transformer(
            rows,
            t.expand(len(rows)),
            encoder_hidden_states=condition["text"],
            global_hidden_states=condition["spans"],
            encoder_attention_mask=condition["mask"],
            local_add_cond=condition.get("around"),
            return_dict=False,
        )[0]

    def _set_steps(self, scheduler: Any, job: Job) -> None:
        from diffusers.pipelines.stable_audio_3.pipeline_stable_audio_3 import logsnr_sigma_schedule

        lowest, highest = job.number(_LOGSNR_MIN.name), job.number(_LOGSNR_MAX.name)
        levels = logsnr_sigma_schedule(job.steps, lowest, highest, sigma_max=job.strength)
        scheduler.set_timesteps(sigmas=levels, device="cpu")

    def _schedule(self, job: Job) -> tuple[Any, torch.Tensor]:
        """Return as many steps at any strength: this model was trained to take them all."""
        scheduler, timesteps = super(FlowDiffusion, self)._schedule(job)
        return scheduler, timesteps[:0] if job.unchanged else timesteps

    def _new(self, jobs: Sequence[Job], latents: torch.Tensor) -> torch.Tensor:
        """Return that all is free: the model is told what lies around the new part, and makes it with that."""
        import torch

        return torch.ones_like(latents[:, :1], dtype=torch.bool)

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        frames = math.ceil(job.item.duration_s * self.info.sample_rate / self._same.hop)
        return int(self.pipe.vae.config.latent_dim), frames

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        return self._same.decode(latents, frames).clamp(-1.0, 1.0)

    def _latent_samples(self) -> int:
        return self._same.hop

    def _sound_latents(self, job: Job, length: int) -> torch.Tensor:
        import torch

        assert job.item.init_audio is not None, "asked for where there is a given sound"
        sound = torch.from_numpy(fitted(job.item.init_audio, self.info.channels, length * self._same.hop))
        return self._same.encode(sound[None].to(self._device))[0]
