"""AudioLDM: text to 16 kHz mono, through diffusers' AudioLDMPipeline.

Owns: what is particular to this model: its condition is one CLAP text vector.
Must not know: the pool. Heavy imports happen inside load().
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _diffusion, _opening
from audio_pool.engines._mel_diffusion import MelDiffusion

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "AudioLDM", "load"]

INFO = EngineInfo(
    name="audioldm",
    role="generator",
    model="cvssp/audioldm-s-full-v2",
    licence="CC-BY-NC-SA-4.0",
    commercial_use=False,
    sample_rate=16_000,
    channels=1,
    shortest_s=0.05,
    longest_s=30.0,
    steps=100,
    guidance_scale=2.5,
    negative_prompt=True,
    init_audio=True,
    requires=("torch", "diffusers", "transformers"),
    extra="diffusers",
    summary="Sound effects and ambience, 16 kHz mono; small.",
)


def load(**settings: Any) -> AudioLDM:
    """The engine, ready.

    Args:
        settings: the fields of DiffusionSettings.

    Raises:
        InvalidConfig, EngineUnavailable, OutOfMemory.
    """
    from diffusers import AudioLDMPipeline

    chosen = _opening.settings_of(_opening.DiffusionSettings, INFO.name, settings)
    opened = _opening.open_model(INFO, chosen, working_bytes=2**30)
    engine = AudioLDM(INFO, chosen, opened, _opening.load_pipeline(INFO, AudioLDMPipeline, opened))
    engine._warm()
    return engine


class AudioLDM(MelDiffusion):
    """Latents are float32 [C, time, mel]."""

    encoder_parts = ("text_encoder",)

    def _encode(self, prompt: str, negative: str, guided: bool) -> _diffusion.Condition:
        rows = self.pipe._encode_prompt([prompt], self.device, 1, guided, [negative])
        return {"labels": rows}

    def _condition(
        self, jobs: Sequence[_diffusion.Job], texts: Sequence[_diffusion.Condition]
    ) -> _diffusion.Condition:
        return {"labels": _diffusion.stacked([text["labels"] for text in texts])}

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: _diffusion.Condition) -> torch.Tensor:
        return self.pipe.unet(
            rows, t, encoder_hidden_states=None, class_labels=condition["labels"], return_dict=False
        )[0]
