"""Cards as drivers report them: NVML's answers and failures, amdgpu's files, what a worker sees of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from audio_pool.errors import InvalidConfig
from audio_pool.gpu import (
    Memory,
    amd_devices,
    amd_memory,
    nvidia_devices,
    nvidia_memory,
    process_bytes,
    survey,
    visible,
)

GIB = 1 << 30


class Driver:
    """Speaks like pynvml for a machine with the cards given; a card of None has fallen off the bus."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *cards: tuple[str, str, int, int] | None) -> None:
        self.cards = cards
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> tuple[str, str, int, int]:  # noqa: N802
        assert self.open == 1
        card = self.cards[index]
        if card is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return card

    def nvmlDeviceGetMemoryInfo(self, card) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=card[2], used=card[3], free=card[2] - card[3])

    def nvmlDeviceGetName(self, card) -> str:  # noqa: N802
        return card[0]

    def nvmlDeviceGetUUID(self, card) -> bytes:  # noqa: N802
        return card[1].encode()

    def nvmlDeviceGetPciInfo(self, card) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(busId=f"0000000A:{self.cards.index(card):02X}:00.0")


A = ("Card A", "GPU-aaaa-1", 24 * GIB, 20 * GIB)
B = ("Card B", "GPU-bbbb-2", 8 * GIB, 1 * GIB)


def test_nvml_tells_name_identity_and_memory_of_all_processes():
    driver = Driver(A, B)
    found = nvidia_devices(driver)
    assert driver.open == 0, "shut down again"
    assert found.notes == ()
    first, second = found.devices
    assert (first.vendor, first.index, first.name, first.uuid) == ("nvidia", 0, "Card A", "GPU-aaaa-1")
    assert (first.total_bytes, first.used_bytes, first.free_bytes) == (24 * GIB, 20 * GIB, 4 * GIB)
    assert (second.index, second.pci_address) == (1, "000a:01:00.0")


def test_a_lost_card_is_noted_and_hides_no_other():
    driver = Driver(A, None, B)
    found = nvidia_devices(driver)
    assert [(device.index, device.name) for device in found.devices] == [(0, "Card A"), (2, "Card B")]
    assert len(found.notes) == 1 and "card 1" in found.notes[0]
    assert driver.open == 0


def test_a_driver_that_will_not_start_is_a_note():
    driver = Driver()
    driver.nvmlInit = lambda: (_ for _ in ()).throw(pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED))
    found = nvidia_devices(driver)
    assert found.devices == () and "Driver Not Loaded" in found.notes[0]


def test_what_each_process_has_on_a_card_is_told_where_the_driver_tells_it() -> None:
    driver = Driver(A, B)
    driver.nvmlDeviceGetComputeRunningProcesses = lambda handle: [
        SimpleNamespace(pid=7, usedGpuMemory=5 << 20), SimpleNamespace(pid=8, usedGpuMemory=1 << 20)
    ]  # fmt: skip
    told = process_bytes(driver)
    assert told == {uuid: {7: 5 << 20, 8: 1 << 20} for uuid in ("GPU-aaaa-1", "GPU-bbbb-2")} and driver.open == 0
    driver.nvmlDeviceGetComputeRunningProcesses = lambda handle: [SimpleNamespace(pid=7, usedGpuMemory=None)]
    assert process_bytes(driver) == {}


def amd_card(root: Path, number: int, address: str, **files: str) -> None:
    device = root / "devices" / address
    device.mkdir(parents=True)
    for name, text in files.items():
        (device / name).write_text(text + "\n")
    drm = root / "drm"
    (drm / f"card{number}").mkdir(parents=True)
    (drm / f"card{number}" / "device").symlink_to(device)
    (drm / f"card{number}-DP-1").mkdir()


def test_amdgpus_files_are_read_in_pci_order_and_other_vendors_left_out(tmp_path):
    vram = {"mem_info_vram_total": str(16 * GIB), "mem_info_vram_used": str(3 * GIB)}
    amd_card(tmp_path, 2, "0000:03:00.0", vendor="0x1002", product_name="Radeon X", unique_id="beef", **vram)
    amd_card(tmp_path, 0, "0000:41:00.0", vendor="0x1002", device="0x73bf", **vram)
    amd_card(tmp_path, 1, "0000:01:00.0", vendor="0x10de", **vram)
    amd_card(tmp_path, 3, "0000:51:00.0", vendor="0x1002")
    found = amd_devices(tmp_path / "drm")
    assert [(device.index, device.name, device.uuid) for device in found.devices] == [
        (0, "Radeon X", "beef"),
        (1, "AMD 0x73bf", "0000:41:00.0"),
    ]
    assert found.devices[0].free_bytes == 13 * GIB
    assert len(found.notes) == 1 and "0000:51:00.0" in found.notes[0]


def test_no_such_directory_is_no_card(tmp_path):
    assert amd_devices(tmp_path / "none").devices == ()


def test_the_memory_of_one_nvidia_card_is_found_by_its_uuid():
    found = nvidia_memory("GPU-bbbb-2", Driver(A, None, B))
    assert found == Memory(free_bytes=7 * GIB, total_bytes=8 * GIB, source="NVML")
    assert nvidia_memory("GPU-cccc-3", Driver(A, B)) is None


def test_the_memory_of_one_amd_card_is_found_by_its_pci_address(tmp_path):
    vram = {"mem_info_vram_total": str(8 * GIB), "mem_info_vram_used": str(GIB)}
    amd_card(tmp_path, 0, "0000:0a:00.0", vendor="0x1002", **vram)
    found = amd_memory("0000:0A:00.0", tmp_path / "drm")
    assert found == Memory(free_bytes=7 * GIB, total_bytes=8 * GIB, source="amdgpu")
    assert amd_memory("0000:04:00.0", tmp_path / "drm") is None


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        (None, ["Card A", "Card B"]),
        ("", []),
        ("1", ["Card B"]),
        ("1, 0", ["Card B", "Card A"]),
        ("GPU-bb", ["Card B"]),
        ("0,-1,1", ["Card A"]),
    ],
)
def test_what_a_worker_sees(setting, names):
    devices = nvidia_devices(Driver(A, B)).devices
    assert [device.name for device in visible(devices, setting)] == names


@pytest.mark.parametrize(
    ("setting", "says"), [("2", "no card has '2'"), ("GPU-", "2 cards have"), ("0,GPU-a", "twice")]
)
def test_what_names_no_card_is_refused(setting, says):
    with pytest.raises(InvalidConfig, match=says):
        visible(nvidia_devices(Driver(A, B)).devices, setting)


def test_asking_this_machine_never_raises_and_says_why_there_is_none():
    found = survey()
    assert found.devices or found.notes
    for device in found.devices:
        assert 0 <= device.free_bytes <= device.total_bytes
