"""AudioLDM2 on a tiny random checkpoint in its official layout, against the plain library pipeline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engines.diffusion_contract import Contract, item


class TestAudioLDM2(Contract):
    name = "audioldm2"

    @pytest.fixture(scope="class")
    @classmethod
    def plain(cls, model) -> Any:
        from diffusers import AudioLDM2Pipeline
        from transformers import GPT2LMHeadModel

        language = GPT2LMHeadModel.from_pretrained(str(model), subfolder="language_model")
        pipe = AudioLDM2Pipeline.from_pretrained(str(model), language_model=language)
        pipe.set_progress_bar_config(disable=True)

        def sound(wanted):
            made = pipe(
                wanted.prompt,
                negative_prompt=wanted.negative_prompt or None,
                audio_length_in_s=wanted.duration_s,
                num_inference_steps=wanted.steps,
                guidance_scale=3.5 if wanted.guidance_scale is None else wanted.guidance_scale,
                generator=torch.Generator().manual_seed(wanted.seed),
            )
            return made.audios

        return sound

    def test_beyond_its_training_length_is_said(self, engine):
        (said,) = engine.notes(item(duration_s=20.0)).warnings
        assert said.startswith("beyond_training_length: ")

    def test_a_negative_prompt_longer_than_the_prompt_is_said(self, engine):
        (said,) = engine.notes(item("dog", negative_prompt="the low wind on the sea")).warnings
        assert said.startswith("negative_prompt_truncated: ")
