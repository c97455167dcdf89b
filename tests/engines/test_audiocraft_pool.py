"""Whole requests through a pool that makes sounds with AudioGen and MAGNeT, both from tiny official files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.engines.pool_models import ask, heard
from tests.support import audiocraft_checkpoints as checkpoints

from audio_pool import AudioPool
from audio_pool.errors import InvalidRequest, NotSupported

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    directory = tmp_path_factory.mktemp("pool")
    models = {
        kind: str(checkpoints.build(directory / kind, kind).directory) for kind in ("audiogen", "magnet")
    }  # fmt: skip
    tree: dict[str, Any] = {
        "defaults": {"engine": "audiogen", "duration_s": 0.5, "format": "flac", "candidates": 2},
        "cache": {"dir": str(directory / "cache"), "encoder": "off", "scorer": "off"},
        "engines": {name: {"model": path, "device": "cpu", "dtype": "float32"} for name, path in models.items()},
        "workers": [
            {"name": "maker", "engines": list(models), "roles": ["generate"], "threads": 1, "gpu": ""},
            {"name": "desk", "roles": ["master"], "threads": 1, "gpu": ""},
        ],
    }
    tree["engines"]["magnet"]["kinds"] = ["music"]
    with AudioPool.from_config(tree) as pool:
        yield pool


@pytest.mark.parametrize(
    ("engine", "fields", "kind"),
    [
        ("audiogen", {"options": {"top_k": 20, "temperature": 0.9}}, "kind:effects"),
        ("magnet", {"steps": 3, "options": {"later_steps": 2}}, "kind:music"),
    ],
)
def test_a_sound_is_made_kept_and_told_of(pool: AudioPool, engine: str, fields: dict[str, Any], kind: str) -> None:
    made = ask(pool, engine=kind, seed=3, duration_s=0.7, **fields)
    told = made.metadata
    assert told["engine"] == engine and told["licence"] == "CC-BY-NC-4.0" and told["commercial_use"] is False
    assert told["cache_type"] == "new_generation" and told["seed"] == 3
    sound = heard(made)
    assert sound.shape[1] == round(0.7 * told["sample_rate"]) and np.abs(sound).max() > 0.01
    again = ask(pool, engine=engine, seed=3, duration_s=0.7, **fields)
    assert again.metadata["cache_type"] == "exact"
    np.testing.assert_array_equal(heard(again), sound)
    other = ask(pool, engine=engine, seed=3, duration_s=0.7, guidance_scale=4.0, **fields)
    assert other.metadata["cache_type"] == "new_generation"
    assert np.abs(heard(other) - sound).max() > 0.01


def test_what_cannot_be_done_is_refused_and_what_is_done_otherwise_is_said(pool: AudioPool) -> None:
    with pytest.raises(InvalidRequest, match=r"options: top_k: given -1"):
        ask(pool, engine="audiogen", options={"top_k": -1})
    with pytest.raises(NotSupported, match=r"voice|speaks") as caught:
        ask(pool, engine="audiogen", voice="anna", strict=True)
    assert "audiogen" in caught.value.message
    with pytest.raises(InvalidRequest, match=r"longest|duration_s.*given 601"):
        ask(pool, engine="audiogen", duration_s=601)
    found = ask(pool, engine="magnet", steps=1, duration_s=1.0, options={"later_steps": 1})
    assert any(each.startswith("silent_end: ") for each in found.metadata["warnings"])
