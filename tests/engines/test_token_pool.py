"""Whole requests through a pool of MusicGen, AudioGen and MAGNeT, each from tiny files in its official layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.engines.pool_models import ask, close, heard
from tests.support import audiocraft_checkpoints, checkpoints
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool
from audio_pool.errors import InvalidRequest, NotSupported

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    directory = tmp_path_factory.mktemp("pool")
    models = {
        kind: str(audiocraft_checkpoints.build(directory / kind, kind).directory) for kind in ("audiogen", "magnet")
    }
    models["musicgen"] = str(checkpoints.musicgen(directory / "musicgen", checkpoints.MUSICGEN_STEREO))
    models["tunes"] = str(checkpoints.musicgen(directory / "tunes", checkpoints.MUSICGEN_MELODY))
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
    tree["engines"]["musicgen"]["kinds"] = ["score"]
    tree["engines"]["tunes"] |= {"implementation": "musicgen", "kinds": ["tune"]}
    with AudioPool.from_config(tree) as pool:
        yield pool


@pytest.mark.parametrize(
    ("engine", "fields", "kind"),
    [
        ("audiogen", {"options": {"top_k": 20, "temperature": 0.9}}, "kind:effects"),
        ("magnet", {"steps": 3, "options": {"later_steps": 2}}, "kind:music"),
        ("musicgen", {"options": {"top_p": 0.9, "cfg": 2.0}}, "kind:score"),
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
    options = {name: value for name, value in fields.get("options", {}).items() if name != "cfg"}
    other = ask(pool, engine=engine, seed=3, duration_s=0.7, guidance_scale=4.0, **{**fields, "options": options})
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


def test_requests_that_wait_together_are_drawn_together_and_alike(pool: AudioPool) -> None:
    """Other lengths, guidance and words in one pass; each sound is the one that it is alone."""
    asked = [{"prompt": "dog", "seed": 1, "duration_s": 0.4}, {"prompt": "the sea", "seed": 2, "duration_s": 0.6}]
    waiting = [pool.submit(engine="musicgen", force=True, **fields) for fields in asked]
    together = [heard(each.result(PATIENCE_S)) for each in waiting]
    for fields, found in zip(asked, together, strict=True):
        alone = heard(ask(pool, engine="musicgen", force=True, **fields))
        assert close(alone, found)
        assert alone.shape[0] == 2 and np.abs(alone[0] - alone[1]).max() > 0.01


def test_a_tune_is_given_by_its_file(pool: AudioPool, tmp_path: Path) -> None:
    times = np.arange(32_000) / 32_000
    for name, hz in (("a", 440.0), ("d", 293.66)):
        soundfile.write(tmp_path / f"{name}.wav", 0.3 * np.sin(2 * np.pi * hz * times), 32_000)
    sounds = [
        heard(ask(pool, engine="tunes", seed=3, duration_s=0.5, **given))
        for given in ({}, {"init_audio": str(tmp_path / "a.wav")}, {"init_audio": str(tmp_path / "d.wav")})
    ]
    for one in range(3):
        for other in range(one):
            assert np.abs(sounds[one] - sounds[other]).max() > 0.01
    with pytest.raises(NotSupported, match="can continue a sound"):
        ask(pool, engine="musicgen", init_audio=str(tmp_path / "a.wav"))


def test_a_given_sound_goes_on(pool: AudioPool, tmp_path: Path) -> None:
    times = np.arange(44_100) / 44_100
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 440 * times), 44_100)
    made = ask(pool, engine="musicgen", seed=3, init_audio=str(tmp_path / "a.wav"), extend_s=0.75, highpass_hz=0)
    sound, rate = heard(made), made.metadata["sample_rate"]
    assert made.metadata["duration_s"] == pytest.approx(1.75) and sound.shape == (2, round(1.75 * rate))
    given = np.sin(2 * np.pi * 440 * np.arange(round(0.9 * rate)) / rate)[round(0.1 * rate) :]
    kept = sound[0, round(0.1 * rate) : round(0.9 * rate)]
    assert np.corrcoef(given, kept)[0, 1] > 0.99
    assert np.abs(sound[:, round(rate * 1.1) :]).max() > 0.01


def test_a_sound_is_heard_while_it_is_drawn(pool: AudioPool) -> None:
    with pool.stream("dog", engine="musicgen", duration_s=12.0, seed=4, timeout_s=PATIENCE_S) as stream:
        chunks = list(stream)
        result = stream.result()
    assert result.metadata["stream"]["pieces"] == "engine"
    assert len(chunks) >= 2 and chunks[0].start == 0
    assert sum(chunk.frames for chunk in chunks) == heard(result).shape[1]
