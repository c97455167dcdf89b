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

    def test_any_sampler_starts_from_a_sound_at_any_strength(self, engine):
        """Karras' levels miss the ends of their interval by a rounding, which torchsde halved without end."""
        sound = np.sin(np.arange(44_100, dtype=np.float32) / 8)[None].repeat(2, 0) / 3

        def made(sampler: str, strength: float) -> np.ndarray:
            options = {"scheduler": sampler}
            return engine.latents([item(init_audio=sound, init_strength=strength, options=options)])[0]

        for sampler in engine.samplers:
            kept = made(sampler, 0.0)
            away = [float(np.abs(made(sampler, strength) - kept).mean()) for strength in (0.02, 0.3, 0.9)]
            assert 0 < away[0] < away[1] < away[2], sampler


class TestLongAndLooped(Windowed):
    name = "stable_audio"
    build = staticmethod(checkpoints.stable_audio)
    long_s = 3.4
    loops_s = (0.37, 1.48, 2.5)
