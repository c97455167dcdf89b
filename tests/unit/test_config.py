"""Configuration: what outranks what, what a section holds, and that examples load. (Refusals: test_types.)"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audio_pool.config import CacheConfig, Config, load_config
from audio_pool.errors import InvalidConfig
from audio_pool.types import Query

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_built_in_default_stands() -> None:
    config = load_config(environment={})
    assert config == Config()
    assert config.defaults.engine == "procedural" and config.workers == []


def test_command_line_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "pool.toml"
    file.write_text(
        "[defaults]\nduration_s = 1\ncandidates = 2\nsteps = 3\n[queue]\nmax_requests = 4\n[cache]\ndir = 'from-file'\n"
    )
    environment = {
        "AUDIO_POOL_DEFAULTS_DURATION_S": "11",
        "AUDIO_POOL_DEFAULTS_CANDIDATES": "12",
        "AUDIO_POOL_CACHE_TAU_USE": "0.5",
        "UNRELATED": "x",
        "AUDIO_POOL_LOG_LEVEL": "DEBUG",
    }
    config = load_config(file, environment=environment, overrides={"defaults": {"duration_s": 21}})
    assert config.defaults.duration_s == 21  # command line
    assert config.defaults.candidates == 12  # environment
    assert config.defaults.steps == 3 and config.queue.max_requests == 4  # file
    assert config.cache.dir == "from-file" and config.cache.tau_use == 0.5
    assert config.defaults.format == "wav"  # default


def test_the_environment_has_every_type() -> None:
    environment = {
        "AUDIO_POOL_CACHE_ENABLED": "false",
        "AUDIO_POOL_CACHE_REUSE_K": "3",
        "AUDIO_POOL_CACHE_TAU_USE": "-0.25",
        "AUDIO_POOL_CACHE_DIR": "/somewhere",
        "AUDIO_POOL_CACHE_MATCH": "strict",
        "AUDIO_POOL_DEFAULTS_STEPS": "20",
        "AUDIO_POOL_POLICY_ACCEPTED_LICENCES": "[tangoflux, clap]",
    }
    config = load_config(environment=environment)
    assert config.cache.enabled is False and config.cache.reuse_k == 3 and config.cache.tau_use == -0.25
    assert config.cache.dir == "/somewhere" and config.cache.match == "strict" and config.defaults.steps == 20
    assert config.policy.accepted_licences == ["tangoflux", "clap"]


def test_the_process_environment_counts_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_POOL_QUEUE_MAX_REQUESTS", "7")
    assert load_config().queue.max_requests == 7


def test_what_was_given_is_left_as_it_was() -> None:
    given: dict[str, Any] = {"defaults": {"duration_s": 1}, "workers": []}
    load_config(given, environment={"AUDIO_POOL_DEFAULTS_DURATION_S": "2"}, overrides={"defaults": {"steps": 3}})
    assert given == {"defaults": {"duration_s": 1}, "workers": []}


def test_directories_are_absolute_and_follow_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = load_config(environment={})
    assert config.cache_dir == tmp_path / "audio_pool" and config.render_dir == tmp_path / "audio_pool" / "renders"
    monkeypatch.chdir(tmp_path)
    config = load_config({"cache": {"dir": "here", "render_dir": "~/there"}}, environment={})
    assert config.cache_dir == tmp_path / "here" and config.render_dir == Path("~/there").expanduser()


def _structs(cls: Any = Config) -> Iterator[Any]:
    yield cls
    for field in msgspec.structs.fields(cls):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _structs(field.type)


def test_every_section_is_frozen_and_strict_and_every_number_bounded() -> None:
    for cls in _structs():
        assert cls.__struct_config__.frozen and cls.__struct_config__.forbid_unknown_fields
        if cls is Config:
            continue
        info = msgspec.inspect.type_info(cls)
        assert isinstance(info, msgspec.inspect.StructType)
        for field in info.fields:
            for node in getattr(field.type, "types", [field.type]):
                if isinstance(node, msgspec.inspect.IntType | msgspec.inspect.FloatType):
                    assert not (node.ge is None and node.gt is None), f"{cls.__name__}.{field.name} has no lower bound"


def test_a_key_cannot_hide_in_a_section_that_is_no_table() -> None:
    with pytest.raises(InvalidConfig, match=r"'cache'.*given 'x'"):
        load_config({"cache": "x"}, environment={"AUDIO_POOL_CACHE_DIR": "y"}, overrides={"cache": {"dir": "z"}})


def test_one_table_of_workers_is_told_how_to_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text('[workers]\nname = "cpu"\n')
    with pytest.raises(InvalidConfig, match=r"pool.toml: 'workers' is one table; .*\[\[workers\]\]"):
        load_config(tmp_path / "pool.toml")


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.name)
def test_the_examples_load(file: Path) -> None:
    load_config(file, environment={})
    assert tomllib.loads(file.read_text()), "an example that sets nothing"


def test_a_query_means_by_itself_what_the_configuration_means_by_itself() -> None:
    """Both declare how a cache is read; who asks a cache without a pool gets the same answers."""
    cache = CacheConfig()
    shared = {field.name for field in msgspec.structs.fields(Query)} & {
        field.name for field in msgspec.structs.fields(CacheConfig)
    }
    assert shared >= {"match", "same_settings", "min_steps_ratio", "temperature", "reuse_k", "tau_use"}
    assert {name: getattr(Query(), name) for name in shared} == {name: getattr(cache, name) for name in shared}


def test_what_files_are_signed_with_is_given_as_a_whole() -> None:
    for given, says in (
        ({"sign": "on"}, "no certificate: 'audio-pool provenance init' makes one"),
        ({"sign": "auto", "private_key": "/k.pem"}, "set together or not at all"),
        ({"certificate": "/c.pem"}, "set together or not at all"),
    ):
        with pytest.raises(InvalidConfig, match=says):
            load_config({"provenance": given}, environment={})
    keys = {"sign": "on", "certificate": "/c.pem", "private_key": "/k.pem"}
    with pytest.raises(InvalidConfig, match="format: given 'ogg', which cannot be signed"):
        load_config({"provenance": keys, "defaults": {"format": "ogg"}}, environment={})
    assert load_config({"provenance": keys}, environment={}).provenance.sign == "on"
    assert load_config({"provenance": {"sign": "auto"}}, environment={}).provenance.certificate == ""


def test_aigc_names_who_runs_the_pool_and_nobody_is_named_for_nothing() -> None:
    for given in ({"aigc": True}, {"aigc": True, "content_producer": " "}, {"content_producer": "A"}):
        with pytest.raises(InvalidConfig, match="content_producer"):
            load_config({"provenance": given}, environment={})
    told = load_config({"provenance": {"aigc": True, "content_producer": "A"}}, environment={}).provenance.inscription
    assert (told.content_producer, told.content_propagator) == ("A", "")
    assert Config().provenance.inscription != told
