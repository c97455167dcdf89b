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
from audio_pool.engines._diffusion import stacked
from audio_pool.engines._generation import Condition, Job
from audio_pool.engines._mel_diffusion import ETA, MelDiffusion
from audio_pool.engines._opening import Opened, load_pipeline, open_model, reading_errors
from audio_pool.engines._samplers import NOISE, sampler_option
from audio_pool.engines._texts import bound_tokens
from audio_pool.engines._torch import TorchSettings, no_bars
from audio_pool.engines._wording import QUALITY_CAPTION
from audio_pool.errors import EngineUnavailable
from audio_pool.models.weights import missing_model

if TYPE_CHECKING:
    import torch

__all__ = ["INFO", "AudioLDM2", "Settings", "load"]

INFO = EngineInfo(
    name="audioldm2",
    role="generator",
    kinds=("effects", "ambience", "music"),
    languages=("en",),
    model="cvssp/audioldm2",
    licence="CC-BY-NC-SA-4.0",
    commercial_use=False,
    sample_rate=16_000,
    channels=1,
    shortest_s=0.05,
    window_s=30.0,
    longest_s=600.0,
    steps=200,
    guidance_scale=3.5,
    negative_prompt=True,
    init_audio=True,
    inpaint=True,
    extend=True,
    loop=True,
    streams=True,
    options=(sampler_option(NOISE), ETA),
    requires=("torch", "diffusers", "transformers"),
    extra="diffusers",
    parameters=1_100_000_000,
    wording=QUALITY_CAPTION,
    tips=(
        'Name the source and the place: "a car engine idling in a garage".',
        'negative_prompt = "low quality, average quality" makes it clearer.',
    ),
    summary="Sound effects and music, 16 kHz mono; models base, large and music.",
)

_TEXT_BUCKET = 16
"""Compiled, texts are padded (masked) to multiples of this: each length would be its own compilation."""

_NEW_TOKENS = 8
"""States that the language model makes of a prompt, where its configuration does not say."""


Settings = TorchSettings


def load(info: EngineInfo, settings: TorchSettings) -> AudioLDM2:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    from diffusers import AudioLDM2Pipeline

    opened = open_model(info, settings, working_bytes=2**30, whole_s=MelDiffusion.trained_s)
    pipe = load_pipeline(info, AudioLDM2Pipeline, opened, language_model=_language_model(info, opened))
    if "vits" in type(pipe.text_encoder_2).__name__.lower():
        raise EngineUnavailable(
            f"{info.name}: {str(opened.directory)!r} is one of AudioLDM2's speech models; this engine runs base, "
            "large and music"
        )
    engine = AudioLDM2(info, settings, opened, pipe)
    engine._warm()
    return engine


def _language_model(info: EngineInfo, opened: Opened) -> Any:
    """Read the language model: the official layout names GPT2Model, which today's transformers cannot generate with."""
    from transformers import GPT2LMHeadModel

    directory = str(opened.directory)
    try:
        with no_bars():
            model, report = GPT2LMHeadModel.from_pretrained(
                directory,
                subfolder="language_model",
                dtype=opened.dtype,
                local_files_only=True,
                output_loading_info=True,
            )
    except reading_errors() as exc:
        raise missing_model(info.implementation, f"{directory!r} has no language_model that loads ({exc})") from exc
    missing = sorted(set(report["missing_keys"]) - {"lm_head.weight"})  # which is the embedding's own
    if missing:
        lacks = f"{directory!r}: language_model lacks {len(missing)} of its tensors ({', '.join(missing[:3])})"
        raise missing_model(info.implementation, lacks)
    return model


class AudioLDM2(MelDiffusion):
    """Latents are float32 [C, time, mel]."""

    encoder_parts = ("text_encoder", "text_encoder_2", "projection_model", "language_model")
    never_quantized = frozenset({"projection_model"})

    def __init__(self, info: EngineInfo, settings: TorchSettings, opened: Opened, pipe: Any) -> None:
        import torch

        # the sound half of its CLAP only ranks finished sounds, which is not done here
        pipe.text_encoder.audio_model = torch.nn.Identity()
        # the language model goes on from both texts: one vector of CLAP's and T5's states, each between two marks; of
        # what it makes itself it reads all but the last
        language = pipe.language_model.config
        made = int(getattr(language, "max_new_tokens", None) or _NEW_TOKENS)
        bound_tokens(pipe.tokenizer_2, int(language.max_position_embeddings) - (made - 1) - 1 - 2 * 2)
        super().__init__(info, settings, opened, pipe)

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """By itself: encoded together, prompts of other lengths would change the language model's states."""
        text, mask, generated = self.pipe.encode_prompt(
            [prompt],
            self._device,
            1,
            guided,
            negative_prompt=[negative] if guided else None,
            max_new_tokens=getattr(self.pipe.language_model.config, "max_new_tokens", None) or _NEW_TOKENS,
        )
        return {"text": text, "mask": mask, "generated": generated}

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """Return text states zero-padded to one length; the mask hides the padding."""
        from torch.nn.functional import pad

        longest = max(text["text"].shape[1] for text in texts)
        if self.settings.compile:
            longest = math.ceil(longest / _TEXT_BUCKET) * _TEXT_BUCKET
        missing = [longest - text["text"].shape[1] for text in texts]
        padded = zip(texts, missing, strict=True)
        masked = zip(texts, missing, strict=True)
        return {
            "text": stacked([pad(text["text"], (0, 0, 0, more)) for text, more in padded]),
            "mask": stacked([pad(text["mask"], (0, more)) for text, more in masked]),
            "generated": stacked([text["generated"] for text in texts]),
        }

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        return self.pipe.unet(
            rows,
            t,
            encoder_hidden_states=condition["generated"],
            encoder_hidden_states_1=condition["text"],
            encoder_attention_mask_1=condition["mask"],
            return_dict=False,
        )[0]

    def _text_warnings(self, job: Job) -> list[str]:
        warnings = super()._text_warnings(job)
        second, most = len(self.pipe.tokenizer_2(job.item.prompt).input_ids), self.pipe.tokenizer_2.model_max_length
        if second > most:
            warnings.append(
                f"prompt_truncated: {second} tokens, of which one of the model's two text encoders reads {most}"
            )
        if job.guided and job.item.negative_prompt:
            most = min(second, most)
            given = len(self.pipe.tokenizer_2(job.item.negative_prompt).input_ids)
            if given > most:
                warnings.append(
                    f"negative_prompt_truncated: {given} tokens, of which one of the model's two text "
                    f"encoders reads {most}, as many as the prompt has"
                )
        return warnings
