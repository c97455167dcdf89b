"""Every file of configs/: it loads, its engines take its settings, and a plain request fits it."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import msgspec
import pytest

from audio_pool.config import Config, load_config
from audio_pool.engines import engine_info, engine_names, tangoflux
from audio_pool.pool.plan import workers_of
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
        assert chosen.model in ("", engine_info(implementation).model)
    needing = {name for name in used if not engine_info(name).commercial_use}
    assert needing <= set(config.policy.accepted_licences)


def test_a_plain_request_fits_it(config: Config) -> None:
    infos = {name: engine_info(name) for worker in workers_of(config) for name in worker.engines}
    resolved = resolve(AudioRequest(prompt="rain"), config, infos)
    assert resolved.warnings == ()
    assert resolved.recipe.duration_s == config.defaults.duration_s
    assert resolved.recipe.candidates <= config.queue.max_batch, "or its candidates would always come alone"


def test_it_says_how_to_fetch_what_it_needs(file: Path, config: Config) -> None:
    for name in {name for worker in config.workers for name in worker.engines} | {config.cache.scorer} - {"off"}:
        info = engine_info(name)
        accept = "" if info.commercial_use else " --accept-licence"
        assert not info.requires or f"#   audio-pool models fetch {name}{accept}\n" in file.read_text()


def test_what_is_commented_out_works_as_well(file: Path) -> None:
    for line in file.read_text().splitlines():
        body = line.removeprefix("# ").split("   #")[0]
        if line.startswith("# ") and " = " in body:
            assert parse(tangoflux.Settings, tomllib.loads(body)), line
