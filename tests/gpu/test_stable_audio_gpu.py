"""StableAudio on a GPU."""

from __future__ import annotations

from tests.gpu.contract import Contract


class TestStableAudio(Contract):
    name = "stable_audio"
