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
from audio_pool.pool.device_keys import CARD, DEVICE_VARIABLE, LOGICAL
from audio_pool.pool.machine import resident_bytes
from audio_pool.scheduler.events import MemoryRead

__all__ = ["MemoryWatch"]

log = logging.getLogger(__name__)

_JOIN_S = 5.0


class MemoryWatch:
    """Looks while it runs; posts what it has seen."""

    def __init__(
        self,
        config: MemoryConfig,
        logical: Mapping[str, DeviceConfig],
        devices: Callable[[], Mapping[str, Sequence[int]]],
        post: Callable[[MemoryRead], None],
    ) -> None:
        """
        Args:
            logical: devices by name.
            devices: keys of those that engines, or workers, come and go on, with the ids of this pool's processes
                there; asked at each look, from another thread.
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
                    self._post(self.look(wanted))
            except Exception:
                log.exception("the devices' memory could not be looked at")
            self._stopped.wait(self._config.read_every_s)

    def look(self, devices: Mapping[str, Sequence[int]]) -> MemoryRead:
        """Return what each device has free beyond the reserve, and who has the rest, as far as anybody can tell."""
        cards = gpu.survey().devices if any(one.startswith(CARD) for one in devices) else ()
        on_cards = gpu.process_bytes() if cards else {}
        taken = taken_by_logical() if any(one.startswith(LOGICAL) for one in devices) else {}
        spare: dict[str, int | None] = dict.fromkeys(devices)
        own: dict[str, int] = {}
        others: dict[str, int] = {}
        for device, pids in devices.items():
            total = free = mine = None
            if device.startswith(LOGICAL):
                name = device.removeprefix(LOGICAL)
                known = self._logical.get(name)
                if known is not None:
                    total, free = known.memory_bytes, known.memory_bytes - taken.get(name, 0)
                    mine = sum(map(resident_bytes, pids))
            elif device.startswith(CARD):
                card = _card_of(device.removeprefix(CARD), cards)
                if card is not None:
                    total, free = card.total_bytes, card.free_bytes
                    by_process = on_cards.get(card.uuid)
                    mine = None if by_process is None else sum(by_process.get(pid, 0) for pid in pids)
            if free is not None:
                spare[device] = free - self._config.reserve_bytes
            if total is not None and free is not None and mine is not None:
                own[device], others[device] = mine, max(0, total - free - mine)
        return MemoryRead(spare_bytes=spare, own_bytes=own, others_bytes=others)


def _card_of(setting: str, cards: Sequence[gpu.Device]) -> gpu.Device | None:
    """Return the first card that a worker sees; None: nobody can tell."""
    of_one_vendor = [card for card in cards if card.vendor == cards[0].vendor]
    try:
        seen = gpu.visible(of_one_vendor, setting or os.environ.get("CUDA_VISIBLE_DEVICES"))
    except InvalidConfig as exc:  # its own start says so
        log.debug("%s", exc)
        return None
    return seen[0] if seen else None


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
