"""Stable Audio Open on a tiny random checkpoint in its official layout, against the plain library pipeline."""

from __future__ import annotations

from tests.engines.diffusion_contract import Contract, item


class TestStableAudio(Contract):
    name = "stable_audio"

    def test_durations_share_a_pass(self, engine):
        """The model always makes its whole length, so sounds of any length fit one batch."""
        seen = []
        engine.generate([item(duration_s=0.2), item(duration_s=1.4)], lambda *at: seen.append(at))
        assert len(seen) == 4
