"""Items made by hand: every field of a wrong type or out of bounds is refused by its name, by every engine alike."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from audio_pool.engines import Generator, Item, load_engine
from audio_pool.engines._item import check_item
from audio_pool.errors import InvalidRequest

WRONG: dict[str, list[Any]] = {
    "prompt": [7, None, b"rain", ["rain"]],
    "seed": [-1, 2**63, "7", 7.5, None, True, [7]],
    "duration_s": [0.0, -1.0, float("nan"), float("inf"), "1", None, [1.0], True, 1j],
    "negative_prompt": [7, None],
    "steps": [0, 1001, "4", 4.0, True, [4]],
    "guidance_scale": [-1.0, 101.0, float("inf"), float("nan"), "3", True, [3.0]],
    "loop": ["yes", 1, None],
    "sample_rate": [0, -1, 44100.0, "44100", True],
    "voice": [7, b"anna", ["anna"]],
    "init_audio": [
        "rain.wav",
        [[0.0]],
        np.zeros(10, np.float32),
        np.zeros((1, 0), np.float32),
        np.zeros((1, 4), np.int16),
        np.array([["a"]]),
        np.array([[None]]),
        np.full((1, 4), np.nan, np.float32),
    ],
    "init_strength": [-0.1, 1.5, "0.5", float("nan"), True, [0.5]],
    "mask": [3.0, (1.0,), (1.0, 0.5), (-1.0, 2.0), ("0", "1"), (0.0, float("inf"))],
    "extend_s": [0.0, -1.0, "2", float("nan"), True],
    "options": [None, "eta", [("eta", 0.5)], {7: 0.5}],
}


def item(**more: Any) -> Item:
    return Item(**{"prompt": "rain", "seed": 7, "duration_s": 0.5, **more})


def test_every_field_is_among_them() -> None:
    assert set(WRONG) == {field.name for field in dataclasses.fields(Item)}


@pytest.mark.parametrize("field", WRONG)
def test_what_is_wrong_is_refused_by_its_fields_name(field: str) -> None:
    for given in WRONG[field]:
        with pytest.raises(InvalidRequest, match=rf"^rainmaker: {field}: given .*allowed is "):
            check_item("rainmaker", item(**{field: given}))


def test_what_is_right_passes_in_numpys_types_as_well() -> None:
    sound = np.zeros((2, 8), np.float32)
    check_item("rainmaker", item())
    check_item(
        "rainmaker",
        item(
            seed=np.int64(3), duration_s=np.float32(0.5), steps=np.int32(4), guidance_scale=3, sample_rate=8000,
            voice="anna", init_audio=sound, init_strength=0, mask=(0.0, 0.2), extend_s=1, loop=np.True_,
            options={"eta": 0.5},
        ),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["procedural", "mock"])
def test_engines_without_a_model_ask_it_too(name: str) -> None:
    engine = load_engine(name)
    assert isinstance(engine, Generator)
    for field, values in WRONG.items():
        with pytest.raises(InvalidRequest, match=f"^{name}: {field}: "):
            engine.generate([item(**{field: values[0]})])
        with pytest.raises(InvalidRequest, match=f"^{name}: {field}: "):
            engine.notes(item(**{field: values[0]}))
