"""AudioLDM2 (base, large, music): text to 16 kHz mono, through diffusers' AudioLDM2Pipeline.

Owns: what is particular to this model: two text encoders and a language model make its condition.
Must not know: the pool. Heavy imports happen inside load().

The three official models differ by their id alone: cvssp/audioldm2, audioldm2-large, audioldm2-music.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _diffusion, _opening
from audio_pool.engines._bars import no_bars
from audio_pool.engines._locate import missing_model
from audio_pool.engines._mel_diffusion import MelDiffusion
from audio_pool.errors import EngineUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "AudioLDM2", "load"]

INFO = EngineInfo(
    name="audioldm2",
    role="generator",
    model="cvssp/audioldm2",
    licence="CC-BY-NC-SA-4.0",
    commercial_use=False,
    sample_rate=16_000,
    channels=1,
    shortest_s=0.05,
    longest_s=30.0,
    steps=200,
    guidance_scale=3.5,
    negative_prompt=True,
    init_audio=True,
    requires=("torch", "diffusers", "transformers"),
    extra="diffusers",
    summary="Sound effects and music, 16 kHz mono; models base, large and music.",
)

_TEXT_BUCKET = 16
"""Compiled, texts are padded (masked) to multiples of this: each length would be its own compilation."""


def load(**settings: Any) -> AudioLDM2:
    """The engine, ready.

    Args:
        settings: the fields of DiffusionSettings.

    Raises:
        InvalidConfig, EngineUnavailable, OutOfMemory.
    """
    import torch
    from diffusers import AudioLDM2Pipeline

    chosen = _opening.settings_of(_opening.DiffusionSettings, INFO.name, settings)
    opened = _opening.open_model(INFO, chosen, working_bytes=2**30)
    pipe = _opening.load_pipeline(INFO, AudioLDM2Pipeline, opened, language_model=_language_model(opened))
    if "vits" in type(pipe.text_encoder_2).__name__.lower():
        raise EngineUnavailable(
            f"{INFO.name}: {str(opened.directory)!r} is one of AudioLDM2's speech models; this engine runs base, "
            "large and music"
        )
    # CLAP's hearing half only ranks finished sounds, which is not done here
    pipe.text_encoder.audio_model = torch.nn.Identity()
    engine = AudioLDM2(INFO, chosen, opened, pipe)
    engine._warm()
    return engine


def _language_model(opened: _opening.Opened) -> Any:
    """The official layout names GPT2Model, which today's transformers cannot generate with."""
    from transformers import GPT2LMHeadModel

    directory = str(opened.directory)
    try:
        with no_bars():
            return GPT2LMHeadModel.from_pretrained(
                directory, subfolder="language_model", dtype=opened.dtype, local_files_only=True
            )
    except (OSError, ValueError) as exc:
        raise missing_model(INFO.name, f"{directory!r} has no language_model that loads ({exc})") from exc


class AudioLDM2(MelDiffusion):
    """Latents are float32 [C, time, mel]."""

    encoder_parts = ("text_encoder", "text_encoder_2", "projection_model", "language_model")
    never_quantized = frozenset({"projection_model"})

    def _encode(self, prompt: str, negative: str, guided: bool) -> _diffusion.Condition:
        """By itself: encoded together, prompts of other lengths would change the language model's states."""
        text, mask, generated = self.pipe.encode_prompt(
            [prompt], self.device, 1, guided, negative_prompt=[negative] if guided else None
        )
        return {"text": text, "mask": mask, "generated": generated}

    def _condition(
        self, jobs: Sequence[_diffusion.Job], texts: Sequence[_diffusion.Condition]
    ) -> _diffusion.Condition:
        """Text states zero-padded to one length; the mask hides the padding."""
        from torch.nn.functional import pad

        longest = max(text["text"].shape[1] for text in texts)
        if self.settings.compile:
            longest = math.ceil(longest / _TEXT_BUCKET) * _TEXT_BUCKET
        missing = [longest - text["text"].shape[1] for text in texts]
        padded = zip(texts, missing, strict=True)
        masked = zip(texts, missing, strict=True)
        return {
            "text": _diffusion.stacked([pad(text["text"], (0, 0, 0, more)) for text, more in padded]),
            "mask": _diffusion.stacked([pad(text["mask"], (0, more)) for text, more in masked]),
            "generated": _diffusion.stacked([text["generated"] for text in texts]),
        }

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: _diffusion.Condition) -> torch.Tensor:
        return self.pipe.unet(
            rows,
            t,
            encoder_hidden_states=condition["generated"],
            encoder_hidden_states_1=condition["text"],
            encoder_attention_mask_1=condition["mask"],
            return_dict=False,
        )[0]

    def _text_warnings(self, job: _diffusion.Job) -> list[str]:
        said = super()._text_warnings(job)
        if job.guided and job.item.negative_prompt:
            most = len(self.pipe.tokenizer_2(job.item.prompt).input_ids)
            given = len(self.pipe.tokenizer_2(job.item.negative_prompt).input_ids)
            if given > most:
                said.append(
                    f"negative_prompt_truncated: {given} tokens, of which one of the model's two text "
                    f"encoders reads {most}, as many as the prompt has"
                )
        return said
