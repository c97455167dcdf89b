"""GPUs as the driver reports them: name, identity and memory, every process counted.

Owns: asking NVIDIA's driver (NVML) and AMD's (sysfs), finding the card that a worker's device number means
under its visible devices, sizes such as "4GB", and the refusal of what will not fit.
Must not know: torch, CUDA contexts, workers.

Nothing here touches a GPU: a process that routes can ask at any time, at no cost in graphics memory.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from audio_pool.errors import InvalidConfig, OutOfMemory

__all__ = [
    "Device",
    "Memory",
    "Survey",
    "amd_devices",
    "amd_memory",
    "nvidia_devices",
    "nvidia_memory",
    "parse_bytes",
    "process_bytes",
    "require_free",
    "shown",
    "survey",
    "visible",
]

logger = logging.getLogger(__name__)

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*$", re.IGNORECASE)

_DRM = Path("/sys/class/drm")
_AMD = "0x1002"


class Device(Struct, frozen=True, kw_only=True):
    """One card. Bytes are the driver's, for all processes together."""

    vendor: Literal["nvidia", "amd"]
    index: int
    """In the driver's order (by PCI address), which CUDA follows where CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    name: str
    uuid: str
    """NVIDIA: ``GPU-...``; AMD: the card's unique id, or its PCI address where it has none."""
    pci_address: str
    """``0000:03:00.0``, lower case."""
    total_bytes: int
    used_bytes: int
    free_bytes: int


class Survey(Struct, frozen=True, kw_only=True):
    """The cards that were found, and why there are no more."""

    devices: tuple[Device, ...]
    notes: tuple[str, ...] = ()
    """One sentence for each driver that could not be asked, or card that did not answer."""


def survey() -> Survey:
    """Ask for every card that a driver of this machine reports. Never raises: what fails becomes a note."""
    nvidia = nvidia_devices()
    amd = amd_devices()
    return Survey(devices=nvidia.devices + amd.devices, notes=nvidia.notes + amd.notes)


def nvidia_devices(nvml: Any = None) -> Survey:
    """Ask for NVIDIA's cards, through NVML.

    Args:
        nvml: the module ``pynvml`` or one that speaks like it; imported where None.
    """
    if nvml is None:
        try:
            import pynvml
        except ImportError:
            return Survey(devices=(), notes=("nvidia: nvidia-ml-py is not installed: pip install 'audio-pool[gpu]'",))
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as exc:
        return Survey(devices=(), notes=(f"nvidia: the driver cannot be asked: {exc}",))
    try:
        return _asked(nvml)
    finally:
        nvml.nvmlShutdown()


def _asked(nvml: Any) -> Survey:
    devices: list[Device] = []
    notes: list[str] = []
    try:
        count = int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError as exc:
        return Survey(devices=(), notes=(f"nvidia: the driver does not say how many cards there are: {exc}",))
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            devices.append(
                Device(
                    vendor="nvidia",
                    index=index,
                    name=_text(nvml.nvmlDeviceGetName(handle)),
                    uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
                    pci_address=_pci(_text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
                    total_bytes=int(memory.total),
                    used_bytes=int(memory.used),
                    free_bytes=int(memory.free),
                )
            )
        except nvml.NVMLError as exc:
            # A card that fell off the bus must not hide the others.
            notes.append(f"nvidia: card {index} does not answer: {exc}")
    return Survey(devices=tuple(devices), notes=tuple(notes))


def process_bytes(nvml: Any = None) -> dict[str, dict[int, int]]:
    """Return what each process has on each of NVIDIA's cards, by UUID and process id; without the cards that cannot
    tell (drivers of some systems do not, and none tells one container of another's processes).

    Args:
        nvml: the module ``pynvml`` or one that speaks like it; imported where None.
    """
    if nvml is None:
        try:
            import pynvml
        except ImportError:
            return {}
        nvml = pynvml
    found: dict[str, dict[int, int]] = {}
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return {}
    try:
        for index in range(int(nvml.nvmlDeviceGetCount())):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            try:
                running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except nvml.NVMLError as exc:
                logger.debug("card %d does not tell its processes: %s", index, exc)
                continue
            if all(one.usedGpuMemory is not None for one in running):
                uuid = _text(nvml.nvmlDeviceGetUUID(handle))
                found[uuid] = {int(one.pid): int(one.usedGpuMemory) for one in running}
    except nvml.NVMLError as exc:
        logger.debug("the cards' processes cannot be asked for: %s", exc)
    finally:
        nvml.nvmlShutdown()
    return found


def _text(value: Any) -> str:
    """Return text: NVML's older bindings give bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _pci(address: str) -> str:
    """NVML writes the domain with eight digits, the kernel with four."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def amd_devices(drm: Path = _DRM) -> Survey:
    """Ask for AMD's cards, from the files of the amdgpu driver; needs no ROCm library.

    Args:
        drm: the kernel's directory of graphics cards.
    """
    found: list[tuple[str, Path]] = []
    for card in drm.glob("card[0-9]*"):
        device = card / "device"
        # "card0-DP-1" are the sockets of card0.
        if "-" in card.name or _read(device / "vendor") != _AMD:
            continue
        found.append((device.resolve().name, device))
    devices: list[Device] = []
    notes: list[str] = []
    for index, (address, device) in enumerate(sorted(found)):
        total, used = _read(device / "mem_info_vram_total"), _read(device / "mem_info_vram_used")
        if not (total.isdigit() and used.isdigit()):
            notes.append(f"amd: the card at {address} does not report its memory: is the amdgpu driver loaded?")
            continue
        devices.append(
            Device(
                vendor="amd",
                index=index,
                name=_read(device / "product_name") or f"AMD {_read(device / 'device') or 'GPU'}",
                uuid=_read(device / "unique_id") or address,
                pci_address=address.lower(),
                total_bytes=int(total),
                used_bytes=int(used),
                free_bytes=max(0, int(total) - int(used)),
            )
        )
    return Survey(devices=tuple(devices), notes=tuple(notes))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def visible(devices: Sequence[Device], setting: str | None) -> list[Device]:
    """Return the cards that a process with this CUDA_VISIBLE_DEVICES (HIP_VISIBLE_DEVICES) sees, in its order.

    Its ``cuda:0`` is the first of them. The order of numbers is the driver's only where
    CUDA_DEVICE_ORDER=PCI_BUS_ID is set too, as it is for our workers.

    Args:
        devices: of one vendor, in the driver's order.
        setting: None leaves all visible, "" hides all; else numbers, or beginnings of UUIDs.

    Raises:
        InvalidConfig: an entry names no card, or a card is named twice.
    """
    if setting is None:
        return list(devices)
    chosen: list[Device] = []
    for entry in (part.strip() for part in setting.split(",") if part.strip()):
        if entry == "-1":
            break  # CUDA's own rule: what comes after an invalid number is hidden
        matching = [device for device in devices if _means(entry, device)]
        if len(matching) != 1:
            reason = f"{len(matching)} cards have" if matching else "no card has"
            there = ", ".join(f"{device.index} ({device.uuid})" for device in devices) or "no card"
            raise InvalidConfig(f"gpu {setting!r}: {reason} {entry!r}; there is {there}")
        if matching[0] in chosen:
            raise InvalidConfig(f"gpu {setting!r}: names {matching[0].name} ({entry}) twice")
        chosen.append(matching[0])
    return chosen


def _means(entry: str, device: Device) -> bool:
    return device.index == int(entry) if entry.isdigit() else device.uuid.startswith(entry)


# -- memory of one card --------------------------------------------------------------------------------


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes of one card, as ``source`` counts them."""

    free_bytes: int
    total_bytes: int
    source: str
    """NVML and amdgpu count all processes together."""


def nvidia_memory(uuid: str, nvml: Any = None) -> Memory | None:
    """Return the memory of the NVIDIA card with this UUID ("GPU-..."); None where NVML cannot tell.

    By UUID, not by index: CUDA_VISIBLE_DEVICES renumbers torch's devices, NVML's stay as they are.
    """
    return _memory_of(nvidia_devices(nvml), "NVML", lambda device: device.uuid == uuid)


def amd_memory(pci_address: str, drm: Path = _DRM) -> Memory | None:
    """Return the memory of the AMD card at this PCI address ("0000:03:00.0"); None where there is no such card."""
    return _memory_of(amd_devices(drm), "amdgpu", lambda device: device.pci_address == pci_address.lower())


def _memory_of(found: Survey, source: str, is_meant: Callable[[Device], bool]) -> Memory | None:
    for note in found.notes:
        logger.info("%s", note)
    device = next((device for device in found.devices if is_meant(device)), None)
    if device is None:
        return None
    return Memory(free_bytes=device.free_bytes, total_bytes=device.total_bytes, source=source)


def parse_bytes(text: str, field: str = "max_memory") -> int:
    """Return the bytes of a size such as "4GB", "512MB" or "6.5 GiB" (units of 1,024: graphics cards are sold so).

    Raises:
        InvalidConfig: where the text is no size.
    """
    found = _SIZE.match(text)
    size = float(found.group(1)) * _UNITS[found.group(2).upper()] if found else 0.0
    if size <= 0:
        raise InvalidConfig(f"{field}: given {text!r}, allowed is a size like '4GB' or '512MB'")
    return int(size)


def shown(size_bytes: float) -> str:
    """Return a size for people: "3.2 GB"."""
    return f"{size_bytes / 2**30:.1f} GB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MB"


def require_free(
    engine: str, device: str, needed_bytes: int, memory: Memory | None, advice: str = ""
) -> None:
    """Refuse to load what will not fit.

    Args:
        engine: its name, for the message.
        device: such as "cuda:0", for the message.
        needed_bytes: an estimate of weights and one sound's working memory.
        memory: what the driver found; None (nobody can tell) lets everything pass.
        advice: what would take less memory and is not done yet.

    Raises:
        OutOfMemory: with the figure needed, the figure found and what to change.
    """
    if memory is None:
        logger.info("%s: free memory of %s cannot be read; loading unchecked", engine, device)
        return
    if needed_bytes > memory.free_bytes:
        raise OutOfMemory(
            f"{engine} needs about {shown(needed_bytes)} on {device}; {shown(memory.free_bytes)} of "
            f"{shown(memory.total_bytes)} are free there, all processes counted ({memory.source})",
            hint=f"{advice or 'free that device'}; docs/small-gpus.md tells what fits",
        )
