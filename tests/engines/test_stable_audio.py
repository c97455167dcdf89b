"""Stable Audio Open on a tiny random checkpoint in its official layout, against the plain library pipeline."""

from __future__ import annotations

import numpy as np
from tests.engines.diffusion_contract import Contract, item
from tests.engines.sound_from_sound import FromSound
from tests.engines.windows_contract import Windowed
from tests.support import checkpoints


class TestStableAudio(FromSound, Contract):
    name = "stable_audio"
    option = ("sigma_max", 80.0)

    def test_durations_share_a_pass(self, engine):
        """The model always makes its whole length, so sounds of any length fit one batch."""
        seen = []
        batch = [item(duration_s=0.2), item(duration_s=1.4)]
        short, long = engine.latents(batch, lambda *at: seen.append(at))
        assert len(seen) == 4
        # seconds are part of what the model is told, so the two differ, each as it is alone
        assert np.abs(short - long).max() > 1e-2
        np.testing.assert_allclose(engine.latents(batch[1:])[0], long, atol=1e-4)


class TestLongAndLooped(Windowed):
    name = "stable_audio"
    build = staticmethod(checkpoints.stable_audio)
    long_s = 3.4
    loops_s = (0.37, 1.48, 2.5)
