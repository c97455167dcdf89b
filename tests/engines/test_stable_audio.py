"""Stable Audio Open on a tiny random checkpoint in its official layout, against the plain library pipeline."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from tests.engines.diffusion_contract import Contract, item

from audio_pool.engines._oobleck import legacy_weight_norm


class TestStableAudio(Contract):
    name = "stable_audio"

    @pytest.fixture(scope="class")
    @classmethod
    def plain(cls, model) -> Any:
        from diffusers import StableAudioPipeline

        with legacy_weight_norm():
            pipe = StableAudioPipeline.from_pretrained(str(model))
        pipe.set_progress_bar_config(disable=True)

        def sound(wanted):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torchsde's, about the last step
                made = pipe(
                    wanted.prompt,
                    negative_prompt=wanted.negative_prompt or None,
                    audio_end_in_s=wanted.duration_s,
                    num_inference_steps=wanted.steps,
                    guidance_scale=7.0 if wanted.guidance_scale is None else wanted.guidance_scale,
                    generator=torch.Generator().manual_seed(wanted.seed),
                )
            return made.audios[0].numpy() if torch.is_tensor(made.audios[0]) else made.audios[0]

        return sound

    def test_durations_share_a_pass(self, engine):
        """The model always makes its whole length, so sounds of any length fit one batch."""
        seen = []
        engine.generate([item(duration_s=0.2), item(duration_s=1.4)], lambda *at: seen.append(at))
        assert len(seen) == 4
