"""What is free of the devices' memory, looked at again and again for the scheduler.

Owns: when it is looked at, and what is free of a device: a card as its driver tells it, every program counted; a
logical device by what the processes have in memory that its name is in the environment of.
Must not know: which engines come and go, what is made of it.

A thread of its own looks: a driver takes milliseconds, and so do a machine's processes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from audio_pool import gpu
from audio_pool.config import DeviceConfig, MemoryConfig
from audio_pool.errors import InvalidConfig
from audio_pool.pool.machine import resident_bytes
from audio_pool.scheduler.events import MemoryRead

__all__ = ["DEVICE_VARIABLE", "MemoryWatch", "card_key", "logical_key"]

log = logging.getLogger(__name__)

DEVICE_VARIABLE = "AUDIO_POOL_DEVICE"
_CARD, _LOGICAL = "gpu ", "device "
_JOIN_S = 5.0


def card_key(setting: str | None) -> str:
    """Return the device of a worker with this ``gpu``: the first card that it sees; "" where that is none."""
    return _CARD if setting is None else f"{_CARD}{setting.split(',')[0]}" if setting else ""


def logical_key(name: str) -> str:
    """Return a logical device's key among all devices."""
    return f"{_LOGICAL}{name}"


class MemoryWatch:
    """Looks while it runs; posts what it has seen."""

    def __init__(
        self,
        config: MemoryConfig,
        logical: Mapping[str, DeviceConfig],
        devices: Callable[[], Sequence[str]],
        post: Callable[[MemoryRead], None],
    ) -> None:
        """
        Args:
            logical: devices by name.
            devices: keys of those that engines come and go on; asked at each look, from another thread.
        """
        self._config = config
        self._logical = logical
        self._devices = devices
        self._post = post
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audio-pool-memory", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                wanted = self._devices()
                if wanted:
                    self._post(MemoryRead(spare_bytes=self.look(wanted)))
            except Exception:
                log.exception("the devices' memory could not be looked at")
            self._stopped.wait(self._config.read_every_s)

    def look(self, devices: Sequence[str]) -> dict[str, int | None]:
        """Return what each device has free beyond the reserve; None: nobody can tell."""
        cards = gpu.survey().devices if any(one.startswith(_CARD) for one in devices) else ()
        taken = taken_by_logical() if any(one.startswith(_LOGICAL) for one in devices) else {}
        return {device: self._spare(device, cards, taken) for device in devices}

    def _spare(self, device: str, cards: Sequence[gpu.Device], taken: Mapping[str, int]) -> int | None:
        if device.startswith(_LOGICAL):
            name = device.removeprefix(_LOGICAL)
            known = self._logical.get(name)
            free = None if known is None else known.memory_bytes - taken.get(name, 0)
        elif device.startswith(_CARD):
            free = _free_of_card(device.removeprefix(_CARD), cards)
        else:
            free = None
        return None if free is None else free - self._config.reserve_bytes


def _free_of_card(setting: str, cards: Sequence[gpu.Device]) -> int | None:
    """Return what is free on the first card that a worker sees."""
    of_one_vendor = [card for card in cards if card.vendor == cards[0].vendor]
    try:
        seen = gpu.visible(of_one_vendor, setting or os.environ.get("CUDA_VISIBLE_DEVICES"))
    except InvalidConfig as exc:  # its own start says so
        log.debug("%s", exc)
        return None
    return seen[0].free_bytes if seen else None


def taken_by_logical(proc: Path = Path("/proc")) -> dict[str, int]:
    """Return what processes with the variable in their environment have in memory, by its value."""
    taken: dict[str, int] = {}
    mark = f"{DEVICE_VARIABLE}=".encode()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes()
        except OSError:  # another user's, or gone
            continue
        if mark not in variables:
            continue
        for one in variables.split(b"\0"):
            if one.startswith(mark):
                name = one.removeprefix(mark).decode(errors="replace")
                taken[name] = taken.get(name, 0) + resident_bytes(int(entry.name))
    return taken
