"""The settings that all engines with a model have in common.

Owns: ModelSettings, and the names of devices.
Must not know: any single engine, torch.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from audio_pool.engine_info import EngineInfo
from audio_pool.models import hub
from audio_pool.models.weights import Found

__all__ = ["Device", "ModelSettings"]

Device = Annotated[str, Meta(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")]
"""torch's name; "auto": the first GPU this process sees, else the CPU."""
Path = Annotated[str, Meta(max_length=4096)]


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model that an engine loads, and where it is looked for."""

    model: Path = ""
    """A directory or file, or a hub id; empty: the engine's default."""
    revision: Annotated[str, Meta(max_length=128)] = ""
    """Branch, tag or commit of a hub id; empty: its main branch."""
    models_dir: Path = ""
    """Directory of models, looked in before the hub's cache."""
    offline: bool = True
    """Never download; a model that is not on this machine is an error at load. False: it is fetched at load,
    which acknowledges its licence."""

    def locate(self, info: EngineInfo) -> Found:
        """Return where the model is on this machine.

        Raises:
            EngineUnavailable: it is not here (with the command that fetches it); with ``offline`` false also
                what fetching raises.
        """
        by_default = self.model in ("", info.model)
        return hub.ensure(
            self.model or info.model,
            engine=info.implementation or info.name,
            models_dir=self.models_dir or None,
            revision=self.revision,
            packaged=info.packaged if by_default else "",
            offline=self.offline,
            files=info.files if by_default else (),
        )
