"""One table of refusals: each names what was given, what is allowed, and the nearest name; and the recipe's identity."""

# ruff: noqa: E501 - a table is read best a row a line
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.recipes import recipe

from audio_pool.config import load_config
from audio_pool.engines import engine_info
from audio_pool.errors import (
    AudioPoolError,
    BadMessage,
    InvalidConfig,
    InvalidRequest,
    NotFound,
    Refused,
    UnknownEngine,
)
from audio_pool.transport import client_messages, packing
from audio_pool.transport.endpoints import check_bind, check_connect
from audio_pool.types import MAX_SEED, AudioRequest, Edit, Recipe, frames_of
from audio_pool.validation import parse


def request(**fields: Any) -> Any:
    return parse(AudioRequest, {"prompt": "rain", **fields})


def config(**sections: Any) -> Any:
    return load_config(sections, environment={})


def environment(**variables: str) -> Any:
    return load_config(None, environment=variables)


def message(**fields: Any) -> Any:
    return client_messages.decode_client({"v": 1, "type": "health", "request_id": "a", **fields})


def worker(**fields: Any) -> Any:
    return config(workers=[{"name": "w", "engines": ["procedural"], **fields}])


LONG = "x" * 10_000
MAKE_ONLY = {"engines": ["procedural"], "roles": ["generate", "master"]}

REFUSALS: list[tuple[str, Callable[[], Any], type[AudioPoolError], str]] = [
    # -- a request's fields
    ("no prompt", lambda: parse(AudioRequest, {}), InvalidRequest, "AudioRequest: field 'prompt' is missing"),
    ("empty prompt", lambda: request(prompt=""), InvalidRequest, "field 'prompt': given '', allowed is `str` of length >= 1"),
    ("blank prompt", lambda: request(prompt=" \t "), InvalidRequest, r"field 'prompt': given ' \t ', allowed is `str` matching '\\S'"),
    ("a prompt of 10,000 characters", lambda: request(prompt=LONG), InvalidRequest, "... (10,000 characters), allowed is `str` of length <= 5000"),
    ("a prompt that is no text", lambda: request(prompt=5), InvalidRequest, "field 'prompt': given 5, allowed is `str`, got `int`"),
    ("a misspelt field", lambda: request(duraton_s=8), InvalidRequest, "AudioRequest: unknown field 'duraton_s'; did you mean 'duration_s'?"),
    ("a field like none", lambda: request(zzz=8), InvalidRequest, "unknown field 'zzz'; known fields: any_engine, best_by_deadline, bit_depth, bit_rate"),
    ("a negative duration", lambda: request(duration_s=-1), InvalidRequest, "field 'duration_s': given -1, allowed is `float` >= 0.05"),
    ("ten minutes and a second", lambda: request(duration_s=601), InvalidRequest, "field 'duration_s': given 601, allowed is `float` <= 600.0"),
    ("a duration in words", lambda: request(duration_s="8"), InvalidRequest, "field 'duration_s': given '8', allowed is `float | null`, got `str`"),
    ("NaN", lambda: request(duration_s=float("nan")), InvalidRequest, "field 'duration_s': given nan, allowed is a finite number"),
    ("infinity", lambda: request(target_lufs=float("-inf")), InvalidRequest, "field 'target_lufs': given -inf, allowed is a finite number"),
    ("NaN deep inside", lambda: request(metadata={"a": float("nan")}), InvalidRequest, "field 'metadata.a': given nan"),
    ("a negative seed", lambda: request(seed=-1), InvalidRequest, "field 'seed': given -1, allowed is `int` >= 0"),
    ("a seed of 64 bits", lambda: request(seed=2**63), InvalidRequest, "field 'seed': given 9223372036854775808, allowed is `int` <= 9223372036854775807"),
    ("half a seed", lambda: request(seed=1.5), InvalidRequest, "field 'seed': given 1.5, allowed is `int | null`, got `float`"),
    ("a bool for a number", lambda: request(seed=True), InvalidRequest, "field 'seed': given True, allowed is `int | null`, got `bool`"),
    ("a format nearly right", lambda: request(format="wave"), InvalidRequest, "given 'wave', allowed is one of alaw, flac, mp3, ogg, opus, pcm, ulaw, wav; did you mean 'wav'?"),
    ("an odd bit depth", lambda: request(bit_depth=20), InvalidRequest, "field 'bit_depth': given 20, allowed is one of 16, 24, 32"),
    ("a path as a name", lambda: request(engine="../etc"), InvalidRequest, "field 'engine': given '../etc', allowed is `str` matching"),
    ("no candidates", lambda: request(candidates=0), InvalidRequest, "field 'candidates': given 0, allowed is `int` >= 1"),
    ("no patience", lambda: request(deadline_ms=0), InvalidRequest, "field 'deadline_ms': given 0, allowed is `int` >= 1"),
    ("a label that is a list", lambda: request(metadata={"a": [1]}), InvalidRequest, "allowed is `bool | int | float | str | null`, got `array`"),
    ("no mapping at all", lambda: parse(AudioRequest, ["rain"]), InvalidRequest, "AudioRequest: given ['rain'], allowed is a mapping of field names to values"),
    ("a whole that bites its tail", lambda: request(metadata=_loop()), InvalidRequest, "AudioRequest: nested too deep"),
    # -- a configuration
    ("a misspelt section", lambda: config(defalts={}), InvalidConfig, "configuration: unknown field 'defalts'; did you mean 'defaults'?"),
    ("a misspelt key", lambda: config(cache={"renderdir": "x"}), InvalidConfig, "configuration: unknown field 'renderdir' in 'cache'; did you mean 'render_dir'?"),
    ("a section that is none", lambda: config(defaults=3), InvalidConfig, "field 'defaults': given 3, allowed is `object`, got `int`"),
    ("an unknown key in a file", lambda: load_config(_file("[queue]\nmax_request = 3\n"), environment={}), InvalidConfig, "pool.toml: unknown field 'max_request' in 'queue'; did you mean 'max_requests'?"),
    ("NaN in a file", lambda: load_config(_file("[limits]\nheartbeat_s = nan\n"), environment={}), InvalidConfig, "pool.toml: field 'limits.heartbeat_s': given nan, allowed is a finite number"),
    ("a file that is no TOML", lambda: load_config(_file("a = = 1"), environment={}), InvalidConfig, "pool.toml is not TOML: Invalid value (at line 1, column 5)"),
    ("a file that is not there", lambda: load_config("/no/such.toml", environment={}), NotFound, "no configuration file at /no/such.toml"),
    ("a directory for a file", lambda: load_config("/", environment={}), InvalidConfig, "/ cannot be read: Is a directory"),
    ("a heartbeat of nothing", lambda: config(limits={"heartbeat_s": 0}), InvalidConfig, "field 'limits.heartbeat_s': given 0, allowed is `float` >= 0.05"),
    ("a tiny queue", lambda: config(queue={"max_bytes": 1}), InvalidConfig, "field 'queue.max_bytes': given 1, allowed is `int` >= 1048576"),
    ("a misspelt key of a worker", lambda: worker(engine=["mock"]), InvalidConfig, "unknown field 'engine' in 'workers[0]'; did you mean 'engines'?"),
    ("a misspelt key of a named model's defaults", lambda: config(engines={"a": {}, "b": {"defaults": {"step": 3}}}), InvalidConfig, "unknown field 'step' in 'engines.b.defaults'; did you mean 'steps'?"),
    ("a named model's default out of bounds", lambda: config(engines={"a": {}, "b": {"defaults": {"steps": 0}}}), InvalidConfig, "field 'engines.b.defaults.steps': given 0, allowed is `int` >= 1"),
    ("a model's name with a space", lambda: config(engines={"a b": {}}), InvalidConfig, "field 'engines': given the name 'a b', allowed is `str` matching"),
    ("a label that is a map", lambda: request(metadata={"a": 1, "b": {"c": 1}}), InvalidRequest, "field 'metadata.b': given {'c': 1}, allowed is `bool | int | float | str | null`"),
    ("an unknown role", lambda: worker(roles=["mix"]), InvalidConfig, "field 'workers[0].roles[0]': given 'mix', allowed is one of embed, generate, master, score"),
    ("a GPU with more in it", lambda: worker(gpu="0; rm"), InvalidConfig, "field 'workers[0].gpu': given '0; rm', allowed is"),
    ("nobody masters", lambda: worker(roles=["generate"]), InvalidConfig, "workers: none has the role 'master'; give it to at least one"),
    ("nobody generates", lambda: worker(roles=["master"]), InvalidConfig, "workers: none has an engine and the role 'generate'"),
    ("one name twice", lambda: config(workers=[{"name": "w", **MAKE_ONLY}] * 2), InvalidConfig, "workers: the name 'w' is given twice; names must differ"),
    ("a name that a count makes", lambda: config(workers=[{"name": "w", "count": 2, **MAKE_ONLY}, {"name": "w-2", **MAKE_ONLY}]), InvalidConfig, "workers: the name 'w-2' is given twice; names must differ"),
    ("a default that nobody hosts", lambda: worker(engines=["mock"]), InvalidConfig, "defaults.engine 'procedural' is hosted by no worker; hosted: mock"),
    ("a master who cannot judge", lambda: config(cache={"scorer": "clap"}, workers=[{"name": "w", **MAKE_ONLY}]), InvalidConfig, "'w' has the role 'master' but not 'score'"),
    ("half a bridge", lambda: config(server={"pull_bind": "ipc:///x"}), InvalidConfig, "server.pull_bind and server.push_bind are set together or not at all"),
    ("32 bits in FLAC", lambda: config(defaults={"bit_depth": 32, "format": "flac"}), InvalidConfig, "defaults.bit_depth 32 is for wav only, given format 'flac'"),
    ("an override misspelt", lambda: load_config(None, environment={}, overrides={"cache": {"dirr": "x"}}), InvalidConfig, "unknown field 'dirr' in 'cache'; did you mean 'dir'?"),
    # -- the environment
    ("an unknown variable", lambda: environment(AUDIO_POOL_CACHE_DIRR="x"), InvalidConfig, "environment: unknown variable AUDIO_POOL_CACHE_DIRR; did you mean AUDIO_POOL_CACHE_DIR?"),
    ("an unknown variable's section", lambda: environment(AUDIO_POOL_CAHCE_DIR="x"), InvalidConfig, "environment: unknown variable AUDIO_POOL_CAHCE_DIR; did you mean AUDIO_POOL_CACHE_DIR?"),
    ("a variable that is no number", lambda: environment(AUDIO_POOL_QUEUE_MAX_REQUESTS="many"), InvalidConfig, "environment: AUDIO_POOL_QUEUE_MAX_REQUESTS: given 'many', allowed is `int`, got `str`"),
    ("a variable out of bounds", lambda: environment(AUDIO_POOL_QUEUE_MAX_REQUESTS="0"), InvalidConfig, "AUDIO_POOL_QUEUE_MAX_REQUESTS: given '0', allowed is `int` >= 1"),
    ("a variable that is NaN", lambda: environment(AUDIO_POOL_LIMITS_HEARTBEAT_S="nan"), InvalidConfig, "AUDIO_POOL_LIMITS_HEARTBEAT_S: given 'nan', allowed is `float` >= 0.05"),
    ("a variable that is no choice", lambda: environment(AUDIO_POOL_CACHE_MATCH="tolerent"), InvalidConfig, "given 'tolerent', allowed is one of global, strict, threshold, tolerant; did you mean 'tolerant'?"),
    # -- a message
    ("no version", lambda: message(v=None), BadMessage, "field 'v': given None, allowed is 1"),
    ("another version", lambda: message(v=2), BadMessage, "field 'v': given 2, allowed is 1"),
    ("an unknown type", lambda: message(type="helth"), BadMessage, "field 'type': given 'helth', allowed is one of generate, cancel, status, health"),
    ("a type that is no text", lambda: message(type=["x"]), BadMessage, "field 'type': given ['x']"),
    ("an id with a space", lambda: message(request_id="a b"), BadMessage, "message 'health': field 'request_id': given 'a b', allowed is `str` matching"),
    ("a missing target", lambda: message(type="cancel"), BadMessage, "message 'cancel': field 'target' is missing"),
    ("a misspelt message field", lambda: message(type="generate", request={}, event=True), BadMessage, "message 'generate': unknown field 'event'; did you mean 'events'?"),
    ("an unknown verdict", lambda: message(type="feedback", target="b", verdict="god"), BadMessage, "given 'god', allowed is one of bad_sound, good, right, wrong; did you mean 'good'?"),
    # -- names and endpoints
    ("an unknown engine", lambda: engine_info("procedual"), UnknownEngine, "unknown engine 'procedual'; did you mean 'procedural'?"),
    ("a bind to the world", lambda: check_bind("tcp://0.0.0.0:5555"), Refused, "bind: 'tcp://0.0.0.0:5555' can be reached from other machines and no CURVE keys are set"),
    ("no endpoint", lambda: check_bind("http://x"), InvalidConfig, "bind: given 'http://x', allowed is ipc://PATH or tcp://ADDRESS:PORT"),
    ("no place to connect to", lambda: check_connect("tcp://host:*"), InvalidConfig, "endpoint: given 'tcp://host:*', allowed is ipc://PATH or tcp://HOST:PORT"),

]  # fmt: skip


def _loop() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    return loop


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(text: str) -> Path:
    path = Path("pool.toml")
    path.write_text(text)
    return path


@pytest.mark.parametrize(("ask", "error", "told"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_every_refusal_says_what_was_given_and_what_is_allowed(
    ask: Callable[[], Any], error: type[AudioPoolError], told: str
) -> None:
    with pytest.raises(AudioPoolError) as caught:
        ask()
    assert type(caught.value) is error
    assert told in str(caught.value)
    assert len(str(caught.value)) < 600, "a message is read by people"
    assert not caught.value.retryable


# -- what is accepted ------------------------------------------------------------------------------


def test_integral_floats_are_integers_where_those_are_asked_for() -> None:
    assert request(seed=7.0, steps=20.0).seed == 7
    assert request(duration_s=8) == request(duration_s=8.0)


def test_nothing_given_is_nothing_set() -> None:
    assert msgspec.to_builtins(request()) == {"prompt": "rain"}


@given(st.builds(dict, prompt=st.text(min_size=1, max_size=50).filter(str.strip), seed=st.integers(0, MAX_SEED),
                 duration_s=st.floats(0.05, 600), loop=st.booleans()))  # fmt: skip
def test_a_request_survives_the_way_there_and_back(fields: dict[str, Any]) -> None:
    one = parse(AudioRequest, fields)
    assert parse(AudioRequest, packing.unpack(packing.pack(one))) == one
    assert {name: getattr(one, name) for name in fields} == fields


# -- identity --------------------------------------------------------------------------------------


def test_a_recipe_counts_frames_not_seconds() -> None:
    assert frames_of(2.0, 44_100) == frames_of(2.000_000_1, 44_100) == 88_200
    assert frames_of(1e-9, 44_100) == 1


def test_identity_is_equal_for_equal_recipes_alone() -> None:
    one = recipe()
    assert one.identity() == recipe().identity()
    others = {
        name: msgspec.structs.replace(one, **{name: value})
        for name, value in {
            "prompt": "snow", "negative_prompt": "wind", "engine": "hum", "model": "m2", "frames": 44_101,
            "sample_rate": 48_000, "loop": True, "seed": 1, "steps": 9, "guidance_scale": 2.0, "candidates": 2,
            "voice": "v", "init_audio_sha256": "00", "init_strength": 0.5, "namespace": "other",
            "implementation": "i", "model_revision": "r", "dtype": "float16", "quantization": "8bit",
            "options": (("eta", 0.5),), "crossfade_s": 0.5, "highpass_hz": 30.0,
            "edit": Edit(extend_s=2.0), "loop_method": "native",
        }.items()
    }  # fmt: skip
    assert set(others) == {field.name for field in msgspec.structs.fields(Recipe)}, "a field that identity ignores"
    identities = {name: other.identity() for name, other in others.items()}
    assert len({one.identity(), *identities.values()}) == len(others) + 1


def test_identity_is_the_same_on_every_machine() -> None:
    """Changing it loses every cache's exact matches: raise the number in ``recipe-2`` when it must."""
    assert recipe().identity() == "f3ef6ed9bf09df89dc23bd6dcea1bc3f877b57c4e90be4c651123ea8b74092c0"
