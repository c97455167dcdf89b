"""AudioLDM on a GPU."""

from __future__ import annotations

from tests.gpu.contract import Contract


class TestAudioLDM(Contract):
    name = "audioldm"
