"""AudioLDM2 on a tiny random checkpoint in its official layout, against the plain library pipeline."""

from __future__ import annotations

from tests.engines.diffusion_contract import Contract, item
from tests.engines.sound_from_sound import FromSound
from tests.engines.windows_contract import ShortMel
from tests.support import checkpoints


class TestAudioLDM2(FromSound, Contract):
    name = "audioldm2"
    option = ("eta", 0.7)

    def test_beyond_its_training_length_is_said(self, engine):
        (said,) = engine.notes(item(duration_s=20.0)).warnings
        assert said.startswith("beyond_training_length: ")

    def test_a_negative_prompt_longer_than_the_prompt_is_said(self, engine):
        (said,) = engine.notes(item("dog", negative_prompt="the low wind on the sea")).warnings
        assert said.startswith("negative_prompt_truncated: ")


class TestLongAndLooped(ShortMel):
    name = "audioldm2"
    build = staticmethod(checkpoints.audioldm2)
