"""AudioLDM: text to 16 kHz mono, through diffusers' AudioLDMPipeline.

Owns: what is particular to this model: its condition is one CLAP text vector.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audio_pool.engine_info import EngineInfo
from audio_pool.engines._diffusion import stacked
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._mel_diffusion import ETA, MelDiffusion
from audio_pool.engines._opening import load_pipeline, open_model
from audio_pool.engines._samplers import NOISE, sampler_option
from audio_pool.engines._torch import TorchSettings
from audio_pool.engines._wording import QUALITY_CAPTION

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "AudioLDM", "Settings", "load"]

INFO = EngineInfo(
    name="audioldm",
    role="generator",
    kinds=("effects", "ambience"),
    languages=("en",),
    model="cvssp/audioldm-s-full-v2",
    licence="CC-BY-NC-SA-4.0",
    commercial_use=False,
    sample_rate=16_000,
    channels=1,
    shortest_s=0.05,
    window_s=30.0,
    longest_s=600.0,
    steps=100,
    guidance_scale=2.5,
    negative_prompt=True,
    init_audio=True,
    inpaint=True,
    extend=True,
    loop=True,
    streams=True,
    options=(sampler_option(NOISE), ETA),
    requires=("torch", "diffusers", "transformers"),
    extra="diffusers",
    parameters=400_000_000,
    wording=QUALITY_CAPTION,
    tips=(
        'Name the source and the place: "a car engine idling in a garage".',
        '"high quality" and "clear" in the prompt help, "low quality" in negative_prompt, too.',
    ),
    summary="Sound effects and ambience, 16 kHz mono; small.",
)


Settings = TorchSettings


def load(info: EngineInfo, settings: TorchSettings) -> AudioLDM:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from diffusers import AudioLDMPipeline

    opened = open_model(info, settings, working_bytes=2**30, whole_s=MelDiffusion.trained_s)
    engine = AudioLDM(info, settings, opened, load_pipeline(info, AudioLDMPipeline, opened))
    engine._warm()
    return engine


class AudioLDM(MelDiffusion):
    """Latents are float32 [C, time, mel]."""

    encoder_parts = ("text_encoder",)

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        rows = self.pipe._encode_prompt([prompt], self._device, 1, guided, [negative])
        return {"labels": rows}

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        return {"labels": stacked([text["labels"] for text in texts])}

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        return self.pipe.unet(
            rows, t, encoder_hidden_states=None, class_labels=condition["labels"], return_dict=False
        )[0]
