"""AudioLDM on a tiny random checkpoint in its official layout, against the plain library pipeline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engines.diffusion_contract import Contract, item


class TestAudioLDM(Contract):
    name = "audioldm"

    @pytest.fixture(scope="class")
    @classmethod
    def plain(cls, model) -> Any:
        from diffusers import AudioLDMPipeline

        pipe = AudioLDMPipeline.from_pretrained(str(model))
        pipe.set_progress_bar_config(disable=True)

        def sound(wanted):
            made = pipe(
                wanted.prompt,
                negative_prompt=wanted.negative_prompt or None,
                audio_length_in_s=wanted.duration_s,
                num_inference_steps=wanted.steps,
                guidance_scale=2.5 if wanted.guidance_scale is None else wanted.guidance_scale,
                generator=torch.Generator().manual_seed(wanted.seed),
            )
            return made.audios

        return sound

    def test_beyond_its_training_length_is_said(self, engine):
        (said,) = engine.notes(item(duration_s=20.0)).warnings
        assert said.startswith("beyond_training_length: ")
