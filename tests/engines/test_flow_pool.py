"""Whole requests through a served pool that makes sounds with the newer diffusion models, tiny and random."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engines.pool_models import ask, heard
from tests.engines.sound_from_sound import item
from tests.support import flow_checkpoints
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioClient, AudioPool
from audio_pool.audio import codec
from audio_pool.engines import load_engine
from audio_pool.errors import Cancelled, InvalidRequest

pytest.importorskip("diffusers")

NAMES = ("ace_step", "stable_audio_3", "longcat")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("models")
    return {name: getattr(flow_checkpoints, name)(directory / name) for name in NAMES}


# -- on small cards --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_offloading_layer_by_layer_changes_nothing_even_after_a_cancel(models: dict[str, Path], name: str) -> None:
    """Also of what is no layer's: silence, scales and tokens that are used outside any module's call."""
    plain = {"model": models[name], "device": "cpu", "dtype": "float32"}
    engine, lean = load_engine(name, plain), load_engine(name, {**plain, "offload": "sequential"})
    rate, channels = engine.info.sample_rate, engine.info.channels
    sound = np.random.default_rng(0).normal(0.0, 0.1, (channels, round(1.2 * rate))).astype(np.float32)
    asked = [item(steps=2), item(steps=2, init_audio=sound), item(steps=2, init_audio=sound, mask=(0.5, 0.75))]

    def stop(done: int, total: int) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        lean.generate(asked, stop)
    for found, wanted in zip(lean.generate(asked), engine.generate(asked), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    lean.close()


# -- in a pool -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Iterator[AudioPool]:
    directory = tmp_path_factory.mktemp("pool")
    plain = {"device": "cpu", "dtype": "float32"}
    tree: dict[str, Any] = {
        "defaults": {"engine": "ace_step", "duration_s": 0.8, "steps": 2, "format": "flac", "loop": False},
        "cache": {"dir": str(directory / "cache"), "encoder": "off"},
        "sound": {"min_quality": 0.0, "on_quality_failure": "best"},  # it is noise of random weights
        "server": {"bind": f"ipc://{directory}/pool"},
        "engines": {name: {"model": str(models[name]), **plain} for name in NAMES},
        "workers": [{"name": "all", "engines": list(NAMES), "threads": 1, "gpu": ""}],
    }
    with AudioPool.from_config(tree, serve=True) as pool:
        yield pool


def test_a_song_is_its_tags_lyrics_and_facts_and_each_is_part_of_what_it_is(pool: AudioPool) -> None:
    facts = {"lyrics": "[verse] la la", "bpm": 120, "keyscale": "A minor"}
    made = ask(pool, "dream pop", seed=3, options=facts)
    assert (made.metadata.engine, made.metadata.licence) == ("ace_step", "MIT (ACE-Step 1.5)")
    assert heard(made).shape == (2, round(0.8 * 44_100))  # delivered at the pool's rate
    assert [said.split(":")[0] for said in made.metadata.warnings] == ["below_training_length"]
    assert ask(pool, "dream pop", seed=3, options={**facts, "vocal_language": "en"}).metadata.cached
    for other in ({"bpm": 90}, {"lyrics": "[verse] la"}, {"scheduler": "heun"}):
        found = ask(pool, "dream pop", seed=3, options={**facts, **other})
        assert not found.metadata.cached
        assert np.abs(heard(found) - heard(made)).max() > 1e-3
    with pytest.raises(InvalidRequest, match="bpm: given 400, engine 'ace_step' allows a whole number, 30 to 300"):
        ask(pool, "dream pop", options={"bpm": 400})


def test_a_part_of_a_kept_sound_is_made_anew_over_the_wire(pool: AudioPool) -> None:
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        first = client.generate("wind", engine="stable_audio_3", seed=1)
        anew = client.generate(
            "rain", engine="stable_audio_3", seed=2, init_audio=first.path, mask_start_s=0.3, mask_end_s=0.5
        )
        loud = client.generate("rain", engine="stable_audio_3", negative_prompt="music", guidance_scale=1.0)
    before, after = (codec.read(Path(one.path))[0] for one in (first, anew))
    assert after.shape == before.shape
    start, end = round(0.3 * 44_100), round(0.5 * 44_100)
    outside = np.concatenate([after[:, 2000 : start - 2000], after[:, end + 2000 : -2000]], axis=1)
    kept = np.concatenate([before[:, 2000 : start - 2000], before[:, end + 2000 : -2000]], axis=1)
    # the same but for its level and lows: what is mastered once is mastered again
    assert np.corrcoef(outside.ravel(), kept.ravel())[0, 1] > 0.98
    assert abs(np.corrcoef(after[:, start:end].ravel(), before[:, start:end].ravel())[0, 1]) < 0.9
    assert any(said.startswith("negative_prompt_unused: ") for said in loud.metadata.warnings)


def test_words_are_spoken_for_as_long_as_they_take_or_as_long_as_asked(pool: AudioPool) -> None:
    spoken = ask(pool, "rain on a tin roof, low wind", engine="longcat")
    assert heard(spoken).shape[1] == pytest.approx(28 / 15 * 44_100, abs=1)
    assert spoken.metadata.warnings == ()
    asked = ask(pool, "rain on a tin roof, low wind", engine="longcat", duration_s=0.5)
    assert heard(asked).shape[1] == 22_050
    assert [said.split(":")[0] for said in asked.metadata.warnings] == ["unnatural_pace"]
