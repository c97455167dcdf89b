"""The options of a request on the command line: one per field, with the field's type and bounds."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from audio_pool.cli.generate import generate
from audio_pool.cli.request_options import REQUEST_OPTIONS, request_fields, request_options
from audio_pool.cli.variants import NOT_OPTIONS, variants
from audio_pool.errors import InvalidRequest
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

FIELDS = [name for name in AudioRequest.__struct_fields__ if name != "prompt"]
VALUES: dict[str, tuple[list[str], Any]] = {
    "negative_prompt": (["--negative", "hum"], "hum"),
    "duration_s": (["--duration", "2.5"], 2.5),
    "loop": (["--no-loop"], False),
    "engine": (["--engine", "kind:music"], "kind:music"),
    "seed": (["--seed", "0"], 0),
    "steps": (["--steps", "7"], 7),
    "guidance_scale": (["--guidance", "0"], 0.0),
    "candidates": (["--candidates", "3"], 3),
    "best_by_deadline": (["--best-by-deadline"], True),
    "upgrade": (["--upgrade"], True),
    "stand_in": (["--stand-in"], True),
    "keep_candidates": (["--keep-candidates"], True),
    "voice": (["--voice", "amy"], "amy"),
    "options": (["--option", "a=1", "--option", "b=x=y"], {"a": 1, "b": "x=y"}),
    "presets": (["--preset", "horror", "--preset", "old radio"], ["horror", "old radio"]),
    "init_audio": (["--init-audio", "/a/b.wav"], "/a/b.wav"),
    "init_strength": (["--init-strength", "0.5"], 0.5),
    "mask_start_s": (["--mask-start", "1.5"], 1.5),
    "mask_end_s": (["--mask-end", "3"], 3.0),
    "extend_s": (["--extend", "4"], 4.0),
    "loop_method": (["--loop-method", "native"], "native"),
    "sample_rate": (["--sample-rate", "48000"], 48_000),
    "format": (["--format", "flac"], "flac"),
    "bit_rate": (["--bit-rate", "128"], 128),
    "rendition_rate": (["--rendition-rate", "22050"], 22_050),
    "bit_depth": (["--bit-depth", "24"], 24),
    "target_lufs": (["--lufs", "-16"], -16.0),
    "true_peak_dbfs": (["--true-peak", "-1"], -1.0),
    "loudness_profile": (["--loudness", "web"], "web"),
    "limiter": (["--limiter"], True),
    "min_quality": (["--min-quality", "70"], 70.0),
    "on_quality_failure": (["--on-quality-failure", "best"], "best"),
    "crossfade_s": (["--crossfade", "0.25"], 0.25),
    "highpass_hz": (["--highpass", "0"], 0.0),
    "force": (["--force"], True),
    "replace": (["--replace"], True),
    "store": (["--no-store"], False),
    "strict": (["--strict"], True),
    "match": (["--match", "global"], "global"),
    "any_engine": (["--any-engine"], True),
    "namespace": (["--namespace", "level-1"], "level-1"),
    "duration_tolerance": (["--duration-tolerance", "0"], 0.0),
    "variant_seed": (["--variant-seed", "5"], 5),
    "temperature": (["--temperature", "0"], 0.0),
    "shuffle": (["--shuffle"], True),
    "variant": (["--variant", "3"], 3),
    "prefetch": (["--prefetch", "4"], 4),
    "tau_use": (["--tau-use", "0.1"], 0.1),
    "tau_accept_new": (["--tau-accept-new", "-0.1"], -0.1),
    "tau_prompt_sem": (["--tau-prompt-sem", "0.9"], 0.9),
    "priority": (["--priority", "background"], "background"),
    "deadline_ms": (["--deadline", "1.5"], 1500),
    "stream": (["--stream"], True),
    "durable": (["--durable"], True),
    "delivery": (["--delivery", "inline"], "inline"),
    "metadata": (["--label", "scene=harbour", "--label", "n=1.5"], {"scene": "harbour", "n": 1.5}),
    "tags": (["--tag", "rain", "--tag", "night"], ["rain", "night"]),
}


def given(*arguments: str) -> dict[str, Any]:
    """The fields that these arguments come to."""
    found: dict[str, Any] = {}

    @click.command()
    @request_options()
    def command(**options: Any) -> None:
        found.update(request_fields(options))

    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)
    assert done.exit_code == 0, done.output
    return found


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_request_has_its_option(field: str) -> None:
    assert field in {parameter.name for parameter in generate.params}, f"add {field} to REQUEST_OPTIONS"
    assert (field in {parameter.name for parameter in variants.params}) == (field not in NOT_OPTIONS) or field in (
        "output_path",
    )


def test_no_option_is_left_of_a_field_that_is_gone() -> None:
    assert set(REQUEST_OPTIONS) == set(FIELDS)
    assert set(NOT_OPTIONS) < set(FIELDS)


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"output_path"}))
def test_an_option_gives_its_field_a_value_of_the_right_type(field: str) -> None:
    arguments, value = VALUES[field]
    assert given(*arguments) == {field: value}
    request = parse(AudioRequest, {"prompt": "rain", field: value})
    assert getattr(request, field) == value


def test_what_is_not_given_is_left_to_the_configuration() -> None:
    assert given() == {}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--seed", "-1"], "0<=x<="),
        (["--steps", "1001"], "1<=x<=1000"),
        (["--duration", "601"], "0.05<=x<=600.0"),
        (["--init-strength", "1.5"], "0.0<=x<=1.0"),
        (["--deadline", "0"], "0.001<=x<=86400.0"),
        (["--bit-depth", "20"], "'16', '24', '32'"),
        (["--match", "loose"], "'tolerant'"),
    ],
)
def test_the_bounds_are_those_of_the_field(arguments: list[str], allowed: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        given(*arguments)
    assert allowed in refused.value.format_message()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-2.5", -2.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ('"1"', "1"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("[1]", "[1]"),
        ("{}", "{}"),
        ("", ""),
        ("la la la", "la la la"),
    ],
)
def test_a_value_is_a_scalar_as_json_writes_it_or_else_text(text: str, value: object) -> None:
    found = given("--option", f"x={text}")["options"]["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("pairs", [["loud"], ["=1"], ["a=1", "a=1"]])
def test_a_pair_has_one_name(pairs: list[str]) -> None:
    for option in ("--option", "--label"):
        with pytest.raises(InvalidRequest, match=option):
            given(*(word for pair in pairs for word in (option, pair)))


def test_a_relative_sound_to_start_from_is_found_from_here(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert given("--init-audio", "x.wav") == {"init_audio": str(tmp_path / "x.wav")}


def test_help_has_the_sections_with_the_rest_last() -> None:
    told = CliRunner().invoke(generate, ["--help"]).output
    headings = [line.rstrip(":") for line in told.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["The sound", "The file", "The cache", "The queue", "The pool", "Options"]
    assert "PROMPT" not in told.partition("Options:")[2]
