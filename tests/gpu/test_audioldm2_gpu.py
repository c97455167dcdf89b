"""AudioLDM2 on a GPU."""

from __future__ import annotations

from tests.gpu.contract import Contract


class TestAudioLDM2(Contract):
    name = "audioldm2"
