"""How much memory a device has left, and how much a model will need: figures before anything is loaded.

Owns: the reading of free memory on a GPU, all processes counted (NVML; ROCm's sysfs files), sizes
such as "4GB", the size of weight files, and the refusal when they do not fit.
Must not know: torch, any single engine, the pool.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from audio_pool.errors import InvalidConfig, OutOfMemory

__all__ = ["DeviceMemory", "amd_memory", "nvidia_memory", "parse_bytes", "require_free", "shown", "weight_elements"]

logger = logging.getLogger(__name__)

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Bytes of one device, as the driver counts them for all processes together."""

    free_bytes: int
    total_bytes: int
    source: str


def parse_bytes(text: str) -> int:
    """Bytes of a size such as "4GB", "512MB" or "6.5 GiB" (units of 1,024: graphics cards are sold so).

    Raises:
        InvalidConfig: where the text is no size.
    """
    found = _SIZE.match(text)
    size = float(found.group(1)) * _UNITS[found.group(2).upper()] if found else 0.0
    if size <= 0:
        raise InvalidConfig(f"max_memory: given {text!r}, allowed is a size like '4GB' or '512MB'")
    return int(size)


def shown(size_bytes: float) -> str:
    """A size for people: "3.2 GB"."""
    return f"{size_bytes / 2**30:.1f} GB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MB"


def nvidia_memory(uuid: str) -> DeviceMemory | None:
    """Free and total memory of the NVIDIA card with this UUID ("GPU-..."); None where NVML cannot tell.

    By UUID, not by index: CUDA_VISIBLE_DEVICES renumbers torch's devices, NVML's stay as they are.
    """
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as exc:
        logger.info("NVML is not usable: %s", exc)
        return None
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return DeviceMemory(free_bytes=int(memory.free), total_bytes=int(memory.total), source="NVML")
    except pynvml.NVMLError as exc:
        logger.info("NVML knows no device %s: %s", uuid, exc)
        return None
    finally:
        pynvml.nvmlShutdown()


def amd_memory(pci_address: str, root: Path = Path("/sys/bus/pci/devices")) -> DeviceMemory | None:
    """Free and total memory of the AMD card at this PCI address ("0000:03:00.0"), from the amdgpu driver.

    Returns:
        None where the driver exposes no such device.
    """
    device = root / pci_address
    try:
        total = int((device / "mem_info_vram_total").read_text())
        used = int((device / "mem_info_vram_used").read_text())
    except (OSError, ValueError):
        return None
    return DeviceMemory(free_bytes=max(0, total - used), total_bytes=total, source="amdgpu")


def weight_elements(path: Path) -> int:
    """The number of parameters in a weight file, read from its header alone.

    safetensors files say it exactly. Pickled ones (``.bin``) are taken as four bytes a parameter, two
    where their name says fp16.
    """
    if path.suffix != ".safetensors":
        return path.stat().st_size // (2 if "fp16" in path.name else 4)
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    count = 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = 1
            for length in entry["shape"]:
                size *= length
            count += size
    return count


def require_free(engine: str, device: str, needed_bytes: int, memory: DeviceMemory | None) -> None:
    """Refuses to load what will not fit.

    Args:
        engine: its name, for the message.
        device: such as "cuda:0", for the message.
        needed_bytes: an estimate of weights and one sound's working memory.
        memory: what the driver found; None (nobody can tell) lets everything pass.

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
            hint="free that device, or set quantization = '8bit' or '4bit', offload = 'model' or "
            "'sequential', or dtype = 'float16'; docs/small-gpus.md tells what fits",
        )
