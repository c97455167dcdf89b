"""AudioLDM on a tiny random checkpoint in its official layout, against the plain library pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engines.diffusion_contract import Contract, item
from tests.engines.sound_from_sound import FromSound
from tests.engines.windows_contract import ShortMel
from tests.support import checkpoints

from audio_pool.errors import NotSupported


class TestAudioLDM(FromSound, Contract):
    name = "audioldm"
    option = ("eta", 0.7)

    def test_beyond_its_training_length_is_said(self, engine):
        (said,) = engine.notes(item(duration_s=20.0)).warnings
        assert said.startswith("beyond_training_length: ")

    def test_what_one_sampler_alone_knows_is_refused_to_the_others(self, engine):
        with pytest.raises(NotSupported, match=r"eta belongs to the sampler 'ddim'; scheduler='euler' has none"):
            engine.notes(item(options={"scheduler": "euler", "eta": 0.5}))
        own, asked = item(options={"eta": 0.5}), item(options={"scheduler": "ddim", "eta": 0.5})
        np.testing.assert_array_equal(*engine.latents([own, asked]))

    @pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m_sde"])
    def test_a_given_sound_goes_with_any_sampler(self, engine, sampler):
        tone = np.sin(np.arange(16000, dtype=np.float32) / 8)[None] / 3

        def made(strength: float) -> np.ndarray:
            asked = item(init_audio=tone, init_strength=strength, steps=10, options={"scheduler": sampler})
            return engine.latents([asked])[0]

        apart = [float(np.abs(made(strength) - made(0.0)).mean()) for strength in (0.2, 0.5, 0.8)]
        assert 0 < apart[0] < apart[1] < apart[2]


class TestLongAndLooped(ShortMel):
    name = "audioldm"
    build = staticmethod(checkpoints.audioldm)
