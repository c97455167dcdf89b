"""``weighty``: a tone generator that takes so many megabytes, in blocks that the C library keeps on its heap.

``broken`` says how its load ends: "memory" as on a full device, "error", or "exit" with its process; a file named
``mended`` cures it. A model whose name ends with "/broken" cannot be loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import mock
from audio_pool.errors import EngineError, OutOfMemory

INFO = msgspec.structs.replace(mock.INFO, name="weighty", implementation="weighty", model="weighty")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    megabytes: int = 40
    broken: str = ""
    mended: str = ""
    model: str = "weighty"
    journal: str = ""
    """A file that gets a line for each load and each unload."""


class Weighty(mock.MockEngine):
    def __init__(self, info: EngineInfo, settings: Settings) -> None:
        super().__init__(msgspec.structs.replace(info, model=settings.model))
        self.settings = settings
        # smaller than what the C library maps by itself: freed, they lie on its heap until that is trimmed
        self.weights = [np.ones(64 << 10, np.uint8) for _ in range(16 * settings.megabytes)]
        self._note("load")

    def close(self) -> None:
        self.weights = []
        self._note("unload")

    def _note(self, what: str) -> None:
        if self.settings.journal:
            with open(self.settings.journal, "a", encoding="utf-8") as file:
                file.write(f"{what} {self.info.name} {self.info.model}\n")


def load(info: EngineInfo, settings: Settings) -> Weighty:
    if settings.model.endswith("/broken"):
        raise EngineError(f"{settings.model} has no weights")
    if settings.broken and not (settings.mended and Path(settings.mended).exists()):
        weights = [np.ones(64 << 10, np.uint8) for _ in range(16 * settings.megabytes)]
        if settings.broken == "exit":
            os._exit(77)
        error = OutOfMemory if settings.broken == "memory" else EngineError
        raise error(f"{len(weights)} blocks are too many")
    return Weighty(info, settings)
