"""Variables and keys that are called something else: mistyped ones, and those of earlier versions."""

from __future__ import annotations

import msgspec
import pytest

from audio_pool.config import Config, load_config
from audio_pool.errors import InvalidConfig


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("AUDIO_POOL_CACHEDIR", "AUDIO_POOL_CACHE_DIR"),
        ("AUDIO_POOL_CACHE_DIRECTORY", "AUDIO_POOL_CACHE_DIR"),
        ("AUDIO_POOL_CACHE_RENDERDIR", "AUDIO_POOL_CACHE_RENDER_DIR"),
        ("AUDIO_POOL_QUEUE_MAXREQUESTS", "AUDIO_POOL_QUEUE_MAX_REQUESTS"),
        ("AUDIO_POOL_DEFAULT_ENGINE", "AUDIO_POOL_DEFAULTS_ENGINE"),
        ("AUDIO_POOL_SERVER_BINDS", "AUDIO_POOL_SERVER_BIND"),
        ("AUDIO_POOL_LOGLEVEL", "AUDIO_POOL_LOG_LEVEL"),
    ],
)
def test_a_mistyped_variable_is_answered_with_the_one_meant(variable: str, meant: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"unknown variable {variable}; did you mean {meant}\?"):
        load_config(environment={variable: "x"})


def test_every_suggestion_is_a_variable_that_is_read() -> None:
    keys = [
        (section.name, key)
        for section in msgspec.structs.fields(Config)
        for key in getattr(section.type, "__struct_fields__", ())
    ]
    variables = {f"AUDIO_POOL_{section}_{key}".upper() for section, key in keys}
    for section, key in keys:
        with pytest.raises(InvalidConfig) as refused:
            load_config(environment={f"AUDIO_POOL_{section}{key}".upper(): "x"})
        assert str(refused.value).rpartition("did you mean ")[2].rstrip("?") in variables


@pytest.mark.parametrize("variable", ["AUDIO_POOL_LOG_LEVEL", "AUDIO_POOL_PLAYER_VOLUME", "AUDIO_POOL_X"])
def test_other_programs_variables_are_left_alone(variable: str) -> None:
    assert load_config(environment={variable: "DEBUG"}) == Config()


@pytest.mark.parametrize(
    ("variable", "now"),
    [
        ("AUDIO_POOL_LIMITS_BEAT_S", "AUDIO_POOL_LIMITS_HEARTBEAT_S"),
        ("AUDIO_POOL_LIMITS_MISSED_BEATS", "AUDIO_POOL_LIMITS_MISSED_HEARTBEATS"),
        ("AUDIO_POOL_LIMITS_JOB_TIMEOUT_S", "AUDIO_POOL_LIMITS_TASK_TIMEOUT_S"),
    ],
)
def test_a_variable_of_an_earlier_version_is_refused_with_its_new_name(variable: str, now: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"unknown variable {variable}; it is called {now} now"):
        load_config(environment={variable: "1"})


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ("limits", "beat_s", "heartbeat_s"),
        ("limits", "missed_beats", "missed_heartbeats"),
        ("limits", "job_timeout_s", "task_timeout_s"),
        ("workers", "duties", "roles"),
        ("workers", "quick_credit", "aux_credit"),
    ],
)
def test_a_key_of_an_earlier_version_is_refused_with_its_new_name(section: str, old: str, new: str) -> None:
    table = {old: 1}
    tree = {section: [{"name": "w", **table}] if section == "workers" else table}
    with pytest.raises(InvalidConfig, match=rf"{section}\.{old} is now called {new}\b"):
        load_config(tree, environment={})
