"""``audio-pool engines``: the table, and one engine's description."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from audio_pool.cli.engines import engines
from audio_pool.errors import UnknownEngine


def run(*arguments: str) -> Result:
    return CliRunner().invoke(engines, arguments)


def test_the_table_has_every_engine_once() -> None:
    lines = run().stdout.splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert names == sorted(set(names)) and {"procedural", "mock", "clap"} <= set(names)
    rows = json.loads(run("--json").stdout)["engines"]
    assert [row["name"] for row in rows] == names


def test_one_engine_tells_its_abilities_kinds_options_and_licence() -> None:
    said = run("procedural").stdout
    for fact in (
        "procedural: Built in",
        "licence         Apache-2.0; commercial use allowed",
        "kinds           effects, ambience",
        "can do          a negative prompt, a part of a given sound made anew",
        "a given sound continued, loops of its own",
        "cannot do       audio to start from, pieces",
        "layers: a whole number, 1 to 8; default 8",
        "space: one of room, hall, open; unset by default",
    ):
        assert fact in said
    assert "options         none" not in said
    said = run("audioldm").stdout
    assert "steps           100 by default" in said and "eta: a number, 0 to 1; default 0" in said
    row = json.loads(run("audioldm", "--json").stdout)
    assert {option["name"]: option.get("high") for option in row["options"]}["eta"] == 1.0
    assert row["kind"] == "generator" and row["available"] in (True, False)


def test_an_embedder_is_told_without_what_only_generators_have() -> None:
    said = run("bge").stdout
    assert "dimensions      384" in said
    assert "options" not in said and "sound" not in said.replace("finds cached sounds", "")


def test_named_models_of_a_configuration_are_listed_and_described(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text(
        '[engines.music]\nimplementation = "audioldm2"\nkinds = ["music"]\nmodel = "cvssp/audioldm2-music"\n'
    )
    config = ("--config", str(tmp_path / "pool.toml"))
    assert any(line.startswith("music ") for line in run(*config).stdout.splitlines())
    said = run("music", *config).stdout
    assert "implementation  audioldm2" in said
    assert "model           cvssp/audioldm2-music" in said
    assert "kinds           music\n" in said


def test_an_unknown_engine_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownEngine, match="did you mean 'procedural'"):
        raise run("procedurl").exception or AssertionError
