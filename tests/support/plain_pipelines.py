"""The plain libraries' own way from an item to a sound, one at a time: what the engines are measured against.

``PLAIN[name](model, device, dtype)`` gives a function of an Item that returns float32 [C, T].
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from tests.support.tangoflux_reference import Reference

from audio_pool.engines import Item
from audio_pool.engines._oobleck import legacy_weight_norm
from audio_pool.engines._samplers import numpy_copies

Sound = Callable[[Item], np.ndarray]


def _options(item: Item, guidance: float) -> dict[str, Any]:
    return {
        "prompt": item.prompt,
        "negative_prompt": item.negative_prompt or None,
        "num_inference_steps": item.steps,
        "guidance_scale": guidance if item.guidance_scale is None else item.guidance_scale,
        "generator": torch.Generator().manual_seed(item.seed),
        **({"eta": item.options["eta"]} if "eta" in item.options else {}),
    }


# -- read from a checkpoint's directory ------------------------------------------------------------------


def audioldm(model: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sound:
    from diffusers import AudioLDMPipeline

    return audioldm_sound(AudioLDMPipeline.from_pretrained(str(model), dtype=dtype).to(device))


def audioldm2(model: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sound:
    from diffusers import AudioLDM2Pipeline
    from transformers import GPT2LMHeadModel

    language = GPT2LMHeadModel.from_pretrained(str(model), subfolder="language_model", dtype=dtype)
    pipe = AudioLDM2Pipeline.from_pretrained(str(model), language_model=language, dtype=dtype)
    return audioldm2_sound(pipe.to(device))


def stable_audio(model: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sound:
    from diffusers import StableAudioPipeline

    with legacy_weight_norm():
        return stable_audio_sound(StableAudioPipeline.from_pretrained(str(model), dtype=dtype).to(device))


def stable_audio_3(model: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sound:
    from diffusers import StableAudio3Pipeline

    with legacy_weight_norm():
        return stable_audio_3_sound(StableAudio3Pipeline.from_pretrained(str(model), dtype=dtype).to(device))


def ace_step(model: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sound:
    from diffusers import AceStepPipeline

    with legacy_weight_norm():
        return ace_step_sound(AceStepPipeline.from_pretrained(str(model), dtype=dtype).to(device))


def longcat(model: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sound:
    from diffusers import LongCatAudioDiTPipeline

    with legacy_weight_norm():
        return longcat_sound(LongCatAudioDiTPipeline.from_pretrained(str(model), dtype=dtype).to(device))


def tangoflux(model: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sound:
    return tangoflux_sound(Reference.read(model, model.parent / "flan-t5-large", device, dtype))


# -- of a loaded pipeline --------------------------------------------------------------------------------


SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""As diffusers' own guide changes a pipeline's scheduler."""


def _mel_sound(pipe: Any, guidance: float) -> Sound:
    pipe.set_progress_bar_config(disable=True)
    as_saved = pipe.scheduler

    def sound(item: Item) -> np.ndarray:
        name, changes = SCHEDULERS.get(str(item.options.get("scheduler")), (type(as_saved).__name__, {}))
        with numpy_copies():
            pipe.scheduler = getattr(diffusers, name).from_config(as_saved.config, **changes)
            return pipe(audio_length_in_s=item.duration_s, **_options(item, guidance)).audios

    return sound


def audioldm_sound(pipe: Any) -> Sound:
    return _mel_sound(pipe, 2.5)


def audioldm2_sound(pipe: Any) -> Sound:
    return _mel_sound(pipe, 3.5)


STABLE_AUDIO_SCHEDULERS: dict[str, dict[str, Any]] = {
    "dpmpp_2m_sde_karras": {"sigma_schedule": "karras"},
    "dpmpp_sde": {"solver_order": 1},
}


def stable_audio_sound(pipe: Any) -> Sound:
    pipe.set_progress_bar_config(disable=True)
    as_saved = pipe.scheduler

    def sound(item: Item) -> np.ndarray:
        changes = dict(STABLE_AUDIO_SCHEDULERS.get(str(item.options.get("scheduler")), {}))
        changes |= {"sigma_max": item.options["sigma_max"]} if "sigma_max" in item.options else {}
        pipe.scheduler = type(as_saved).from_config(as_saved.config, **changes)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Should have t", UserWarning)  # torchsde's, about the last step
            made = pipe(audio_end_in_s=item.duration_s, **_options(item, 7.0)).audios[0]
        return made.float().cpu().numpy()

    return sound


def stable_audio_3_sound(pipe: Any) -> Sound:
    """``sound(item, output_type="latent")`` gives its latents."""
    pipe.set_progress_bar_config(disable=True)
    as_saved = pipe.scheduler
    distilled = as_saved.config.stochastic_sampling

    def sound(item: Item, **more: Any) -> np.ndarray:
        # the pipeline passes the levels of its steps, which of diffusers' flow samplers only Euler's takes
        stochastic = {"euler": False, "euler_stochastic": True}.get(str(item.options.get("scheduler")), distilled)
        pipe.scheduler = type(as_saved).from_config(as_saved.config, stochastic_sampling=stochastic)
        levels = {name: item.options[name] for name in ("logsnr_min", "logsnr_max") if name in item.options}
        made = pipe(duration=item.duration_s, **_options(item, 1.0 if distilled else 7.0), **levels, **more).audios[0]
        return made.float().cpu().numpy()

    return sound


def ace_step_sound(pipe: Any) -> Sound:
    """``sound(item, **more)`` passes more on to the pipeline."""
    pipe.set_progress_bar_config(disable=True)

    def sound(item: Item, **more: Any) -> np.ndarray:
        own = {name: value for name, value in item.options.items() if name not in ("scheduler", "lyrics")}
        arguments = _options(item, 7.0)
        del arguments["negative_prompt"]
        arguments |= {"prompt": [item.prompt], "lyrics": [str(item.options.get("lyrics", ""))]}
        made = pipe(audio_duration=item.duration_s, **arguments, **own, **more).audios[0].float().cpu().numpy()
        latent = more.get("output_type") == "latent"
        return made if latent else made[:, : round(item.duration_s * pipe.sample_rate)]

    return sound


def longcat_sound(pipe: Any) -> Sound:
    pipe.set_progress_bar_config(disable=True)
    as_made = pipe.scheduler

    def sound(item: Item, **more: Any) -> np.ndarray:
        # it takes whole latent frames and rounds down: asked for enough, and cut to the length here
        frames = round(item.duration_s * pipe.sample_rate)
        pipe.scheduler = type(as_made).from_config(as_made.config, shift=float(item.options.get("shift", 1.0)))
        whole = math.ceil(frames / pipe.vae_scale_factor) * pipe.vae_scale_factor / pipe.sample_rate
        made = pipe(audio_duration_s=whole + 1e-6, **_options(item, 4.0), **more).audios[0]
        return np.asarray(made) if more else made[:, :frames]

    return sound


def tangoflux_sound(reference: Reference) -> Sound:
    def sound(item: Item) -> np.ndarray:
        guidance = 4.5 if item.guidance_scale is None else item.guidance_scale
        latents = reference.latents(
            item.prompt,
            item.seed,
            item.duration_s,
            item.steps,
            guidance,
            item.negative_prompt,
            shift=float(item.options.get("shift", 1.0)),
            sampler=str(item.options.get("scheduler", "euler")),
        )
        return reference.wave(latents, item.duration_s).float().cpu().numpy()

    return sound


PLAIN: dict[str, Callable[..., Sound]] = {
    "tangoflux": tangoflux,
    "audioldm": audioldm,
    "audioldm2": audioldm2,
    "stable_audio": stable_audio,
    "stable_audio_3": stable_audio_3,
    "longcat": longcat,
    "ace_step": ace_step,
}
