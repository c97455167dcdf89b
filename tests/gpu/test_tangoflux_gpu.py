"""TangoFlux on a GPU."""

from __future__ import annotations

from tests.gpu.contract import Contract


class TestTangoFlux(Contract):
    name = "tangoflux"
