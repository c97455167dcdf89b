"""What goes where under a configuration, and what will not fit, as ``doctor`` tells it: no card is needed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_pool.cli.placement import Placement, placements
from audio_pool.config import load_config
from audio_pool.gpu import Device, Survey

GB = 1 << 30
ROOT = Path(__file__).parents[2]


def cards(count: int, gb: int, free_gb: int | None = None, name: str = "RTX 4070") -> Survey:
    return Survey(
        devices=tuple(
            Device(
                vendor="nvidia", index=number, name=name, uuid=f"GPU-{number}", pci_address=f"0000:0{number}:00.0",
                total_bytes=gb * GB, used_bytes=0, free_bytes=(gb if free_gb is None else free_gb) * GB,
            )
            for number in range(count)
        )
    )  # fmt: skip


def told(tmp_path: Path, text: str, found: Survey) -> list[Placement]:
    path = tmp_path / "pool.toml"
    path.write_text(text)
    return list(placements(load_config(path), found))


ONE = """
[engines.tangoflux]
device = "cuda"
[engines.ace_step]
device = "cuda"
preload = {ace}
[[workers]]
name = "gpu0"
engines = ["tangoflux", "ace_step"]
roles = ["generate"]
gpu = "0"
[[workers]]
name = "desk"
engines = ["procedural"]
gpu = ""
"""


def test_what_fits_is_told_with_what_it_takes(tmp_path: Path) -> None:
    card, cpu = told(tmp_path, ONE.format(ace="true"), cards(1, 24))
    assert (card.device, card.state) == ("gpu 0 (RTX 4070)", "ok")
    assert card.told.startswith("kept: tangoflux 1.9 GB, ace_step 7.5 GB") and "all at once" in card.told
    assert "nowhere else: tangoflux, ace_step" in card.told, "they wait while the card is lent"
    assert cpu == Placement("CPU", "ok", "kept: procedural; nowhere else: procedural")


@pytest.mark.parametrize(
    ("ace", "gb", "state", "words"),
    [
        ("true", 10, "problem", "kept from the start takes 9.3 GB"),
        ("false", 11, "ok", "all at once"),
        ("false", 9, "problem", "ace_step takes 7.5 GB beside the 1.9 GB that are kept"),
    ],
)
def test_what_does_not_fit_is_a_problem(tmp_path: Path, ace: str, gb: int, state: str, words: str) -> None:
    card = told(tmp_path, ONE.format(ace=ace), cards(1, gb))[0]
    assert card.state == state and words in card.told
    assert bool(card.mend) == (state == "problem")


def test_what_comes_and_goes_need_not_fit_all_at_once(tmp_path: Path) -> None:
    text = ONE.format(ace='"auto"').replace("[engines.tangoflux]", "[engines.tangoflux]\npreload = false")
    card = told(tmp_path, text, cards(1, 10))[0]
    assert card.state == "ok" and "not all at once, the least recently used makes room" in card.told


def test_a_card_that_others_fill_is_a_note(tmp_path: Path) -> None:
    card = told(tmp_path, ONE.format(ace="true"), cards(1, 24, free_gb=8))[0]
    assert card.state == "note" and "only 8.0 GB are free now" in card.told


def test_a_card_that_no_driver_reports_is_not_guessed_at(tmp_path: Path) -> None:
    card = told(tmp_path, ONE.format(ace="true"), Survey(devices=()))[0]
    assert (card.device, card.state) == ("gpu 0", "note") and "not known here" in card.told


def test_a_logical_device_has_the_memory_that_it_was_given(tmp_path: Path) -> None:
    text = (
        ONE.format(ace="true").replace('gpu = "0"', 'device = "small"') + "[devices.small]\nmemory_bytes = 1000000000\n"
    )
    device = told(tmp_path, text, Survey(devices=()))[0]
    assert (device.device, device.state) == ("device small", "problem")


def test_what_ray_places_is_on_no_device_of_this_machine(tmp_path: Path) -> None:
    text = ONE.format(ace="true").replace('gpu = "0"', "gpus = 1").replace('gpu = ""', "local = true")
    gpu, cpu = told(tmp_path, text + '[cluster]\nlauncher = "ray"\n', cards(2, 24))
    assert gpu.device == "gpu by Ray, for gpu0" and "how much memory it has is not known here" in gpu.told
    assert cpu.told.startswith("kept: procedural")


def test_two_workers_of_a_card_have_two_copies(tmp_path: Path) -> None:
    text = ONE.format(ace="true").replace('gpu = "0"', 'gpu = "0"\ncount = 2')
    card = told(tmp_path, text, cards(1, 24))[0]
    assert "2 x tangoflux 1.9 GB, 2 x ace_step 7.5 GB" in card.told and "18.7 GB" in card.told


def test_the_examples_fit_the_cards_they_are_for() -> None:
    found = list(placements(load_config(ROOT / "configs" / "two_gpus.toml"), cards(2, 24)))
    assert [one for one in found if one.state == "problem"] == []
    assert {one.device.partition(" (")[0] for one in found} <= {"gpu 0", "gpu 1", "CPU"}


@pytest.mark.parametrize(
    ("name", "found", "mark", "first"),
    [
        ("two_gpus_shared_with_images", cards(2, 24, name="RTX 4090"), "ok  ", None),
        ("four_gpus", cards(4, 12), "ok  ", None),
        ("four_gpus", cards(4, 8), "MISS", 1),
    ],
)
def test_the_page_shows_what_is_told(name: str, found: Survey, mark: str, first: int | None) -> None:
    page = (ROOT / "docs" / "multi-gpu.md").read_text()
    for one in list(placements(load_config(ROOT / "configs" / f"{name}.toml"), found))[:first]:
        assert f"{mark}  {one.device}: {one.told}\n" in page
