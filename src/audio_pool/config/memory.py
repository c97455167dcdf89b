"""``[memory]`` and ``[devices.NAME]``: the memory that engines share with other programs.

Owns: these sections' keys, their defaults and bounds.
Must not know: who looks at a device's memory, which engines come and go.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["DeviceConfig", "MemoryConfig"]


class MemoryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The memory of devices that engines share with other programs, where any of them come and go."""

    reserve_bytes: Annotated[int, Meta(ge=0)] = 512 << 20
    """What engines leave free on each device: nothing is loaded into it, and where others take it, what nobody waits
    for is taken out."""
    read_every_s: Annotated[float, Meta(ge=0.05, le=3600.0)] = 1.0
    """Between two looks at what is free."""
    leave_after_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] | None = None
    """A device of which other programs have taken the reserve, for so long, is left by its workers' processes; None:
    never."""
    take_back_after_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 30.0
    """It is taken back when what they had on it has been free, beside the reserve, for so long."""


class DeviceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A logical device: so much of the machine's memory for the workers on it, as a card has its own."""

    memory_bytes: Annotated[int, Meta(ge=1 << 20)]
    """What all processes with AUDIO_POOL_DEVICE=NAME in their environment may have in memory together: its workers
    (each gets the variable), and whoever else is to be counted."""
