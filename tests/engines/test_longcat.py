"""LongCat-AudioDiT on a tiny random checkpoint in diffusers' layout, against the plain library pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.engines.diffusion_contract import Contract, close, item
from tests.engines.sound_from_sound import FromSound
from tests.support import flow_checkpoints


class TestLongCat(Contract, FromSound):
    name = "longcat"
    option = ("shift", 3.0)
    plain_samplers = ("euler",)

    @classmethod
    def build(cls, directory: Path) -> Path:
        return flow_checkpoints.longcat(directory)

    def test_words_of_other_lengths_change_nothing_beside_each_other(self, engine, plain):
        """Its convolutions over the text see padding: padded, the short one's sound would be another."""
        batch = [item("rain on a tin roof"), item("dog", 2), item("the sea", 3, negative_prompt="a dog")]
        for wanted, found in zip(batch, engine.generate(batch), strict=True):
            close(found, plain(wanted), 2e-5)

    def test_its_end_is_made_where_the_pipeline_leaves_it_out(self, engine):
        sound = engine.generate([item(duration_s=0.0639, steps=1)])[0]  # two latent frames and 510 samples of the third
        assert sound.shape == (1, 1534)
        assert np.abs(sound[:, -500:]).max() > 1e-3

    def test_a_pace_that_no_speaker_has_is_said(self, engine):
        words = "the low wind on the sea and rain on a tin roof"
        (said,) = engine.notes(item(words, duration_s=20.0)).warnings
        assert said == "unnatural_pace: the words take about 2.9 s; 20 s were asked for"
        (said,) = engine.notes(item(words, duration_s=0.5)).warnings
        assert said.startswith("unnatural_pace: ")
        assert engine.notes(item(words, duration_s=3.5)).warnings == ()

    @pytest.mark.parametrize("steps", [1, 7])
    def test_counting_down_takes_the_pipelines_own_steps(self, engine, plain, steps):
        close(engine.generate([item(steps=steps)])[0], plain(item(steps=steps)))
