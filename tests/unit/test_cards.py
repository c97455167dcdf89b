"""The cards that a scheduler gives a worker, against what a driver knows."""

from __future__ import annotations

import pytest

from audio_pool.errors import EngineUnavailable
from audio_pool.gpu import Device, Survey
from audio_pool.pool.launchers.cards import given_cards, strangers


def card(index: int) -> Device:
    return Device(
        vendor="nvidia", index=index, name="H200", uuid=f"GPU-{index}", pci_address=f"0000:0{index}:00.0",
        total_bytes=1 << 34, used_bytes=0, free_bytes=1 << 34,
    )  # fmt: skip


TWO = Survey(devices=(card(0), card(1)))
NONE = Survey(devices=(), notes=("no driver",))


def test_given_cards_are_pinned_by_the_drivers_own_names() -> None:
    assert given_cards(1, "1", TWO) == ("GPU-1", (card(1),))
    assert given_cards(0.5, "0", TWO) == ("GPU-0", (card(0),))
    assert given_cards(2, "0,1", TWO) == ("GPU-0,GPU-1", (card(0), card(1)))


def test_whoever_is_given_none_sees_none() -> None:
    assert given_cards(0, None, TWO) == ("", ())
    assert given_cards(0, "0,1", TWO) == ("", ())


def test_cards_that_are_only_counted_are_taken_as_they_are_given() -> None:
    assert given_cards(0.5, "3", NONE) == ("3", ())


@pytest.mark.parametrize(
    ("gpus", "setting", "why"),
    [(1, "7", "driver"), (1, None, "1 of the node's GPUs"), (1, "0,1", "1 of the node's GPUs"), (2, "0,5", "driver")],
)
def test_others_than_there_are_and_another_number_are_refused(gpus: float, setting: str | None, why: str) -> None:
    with pytest.raises(EngineUnavailable, match=why):
        given_cards(gpus, setting, TWO)
    if setting != "7" and setting != "0,5":
        with pytest.raises(EngineUnavailable):
            given_cards(gpus, setting, NONE)


def test_memory_on_another_card_is_seen() -> None:
    assert strangers([7], [card(0)], {"GPU-0": {}, "GPU-1": {9: 5}}) is None
    assert strangers([7], [card(0)], {"GPU-0": {7: 5}, "GPU-1": {9: 5}}) == ()
    assert strangers([7], [card(0)], {"GPU-0": {7: 5}, "GPU-1": {7: 5}}) == ("GPU-1",)
