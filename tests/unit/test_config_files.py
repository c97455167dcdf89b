"""Every file of configs/: it loads, its engines take its settings, and a plain request fits it."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import msgspec
import pytest

from audio_pool.config import Config, EngineConfig, load_config
from audio_pool.engines import engine_info, engine_names, tangoflux
from audio_pool.pool.plan import configured, workers_of
from audio_pool.pool.resolve import resolve
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def config(file: Path) -> Config:
    return load_config(file, environment={})


def test_there_is_one_for_every_engine_that_needs_a_model() -> None:
    names = {path.stem for path in FILES}
    infos = [engine_info(name) for name in engine_names()]
    assert {info.name for info in infos if info.role == "generator" and info.requires} <= names
    assert {"default", "one_gpu", "two_gpus", "two_gpus_shared_with_images"} <= names


def test_the_default_file_is_the_built_in_default() -> None:
    written = msgspec.structs.asdict(load_config(FILES[[path.stem for path in FILES].index("default")], environment={}))
    built_in = msgspec.structs.asdict(load_config(environment={}))
    (worker,) = written.pop("workers")
    assert (worker.engines, built_in.pop("workers")) == (["procedural"], [])
    assert written == built_in


def test_its_engines_take_their_settings(config: Config) -> None:
    hosted = {name for worker in workers_of(config) for name in worker.engines}
    used = hosted | ({config.cache.scorer} - {"off"}) | ({config.cache.encoder} - {"off", "auto"})
    assert set(config.engines) <= used, "settings of an engine that nobody hosts"
    for name, given in config.engines.items():
        implementation = given.implementation or name
        chosen = parse(importlib.import_module(f"audio_pool.engines.{implementation}").Settings, given.settings)
        assert given.implementation or chosen.model in ("", engine_info(implementation).model)
    needing = {
        info.implementation for name in used if not (info := configured(name, config)).commercial_use
    }
    assert needing <= set(config.policy.accepted_licences)


def test_a_plain_request_fits_it(config: Config) -> None:
    infos = {name: configured(name, config) for worker in workers_of(config) for name in worker.engines}
    resolved = resolve(AudioRequest(prompt="rain"), config, infos)
    assert resolved.warnings == ()
    own = config.engines.get(config.defaults.engine, EngineConfig()).defaults
    if not infos[resolved.recipe.engine].speech:  # there the words decide
        assert resolved.recipe.duration_s == (own.duration_s or config.defaults.duration_s)
    assert resolved.recipe.candidates <= config.queue.max_batch, "or its candidates would always come alone"


def test_it_says_how_to_fetch_what_it_needs(file: Path, config: Config) -> None:
    for name in {name for worker in config.workers for name in worker.engines} | {config.cache.scorer} - {"off"}:
        info = configured(name, config)
        named = f" --config configs/{file.name}" if info.implementation != name else ""
        accept = "" if info.commercial_use else " --accept-licence"
        assert not info.requires or f"#   audio-pool models fetch {name}{named}{accept}\n" in file.read_text()


def test_two_named_models_of_one_implementation_stand_side_by_side() -> None:
    config = load_config(next(path for path in FILES if path.stem == "two_models"), environment={})
    infos = {name: configured(name, config) for worker in workers_of(config) for name in worker.engines}
    assert {info.implementation for info in infos.values()} == {"audioldm2"}
    asked = {
        engine: resolve(parse(AudioRequest, {"prompt": "rain", "engine": engine}), config, infos).recipe
        for engine in ("kind:effects", "kind:music")
    }
    effects, music = asked.values()
    assert (effects.engine, effects.model, effects.steps) == ("audioldm2_effects", "cvssp/audioldm2", 100)
    assert (music.engine, music.model, music.steps) == ("audioldm2_music", "cvssp/audioldm2-music", 200)
    assert (effects.duration_s, music.duration_s) == (8.0, 20.0)
    assert (effects.candidates, music.candidates) == (2, 1)
    assert music.negative_prompt and not effects.negative_prompt


def test_what_is_commented_out_works_as_well(file: Path) -> None:
    for line in file.read_text().splitlines():
        body = line.removeprefix("# ").split("   #")[0]
        if line.startswith("# ") and " = " in body:
            assert parse(tangoflux.Settings, tomllib.loads(body)), line
