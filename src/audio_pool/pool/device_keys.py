"""How the devices are called whose memory engines take: cards, and logical devices.

Owns: their keys, and the variable that says in a process's environment which logical device it counts for.
Must not know: how memory is looked at (memory_watch.py).
"""

from __future__ import annotations

__all__ = ["CARD", "DEVICE_VARIABLE", "LOGICAL", "card_key", "logical_key", "remote_key"]

DEVICE_VARIABLE = "AUDIO_POOL_DEVICE"
CARD, LOGICAL = "gpu ", "device "
"""What keys begin with."""


def card_key(setting: str | None) -> str:
    """Return the device of a worker with this ``gpu``: the first card that it sees; "" where that is none."""
    return CARD if setting is None else f"{CARD}{setting.split(',')[0]}" if setting else ""


def logical_key(name: str) -> str:
    """Return a logical device's key among all devices."""
    return f"{LOGICAL}{name}"


def remote_key(worker: str) -> str:
    """Return the device of a worker on another machine: nobody here knows with whom it shares what memory."""
    return f"remote {worker}"
