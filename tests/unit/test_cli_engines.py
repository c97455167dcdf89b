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
    assert "lyrics: a text, 0 to 4096 characters; empty by default\n" in run("ace_step").stdout
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


def test_what_the_weights_of_every_model_take_is_told() -> None:
    for name in ("stable_audio_3", "musicgen", "audiogen", "magnet", "ace_step", "longcat", "kokoro", "piper"):
        assert "memory          weights " in run(name).stdout, name
    assert "weights 4 GB at float32, 2 GB at half precision, 1 GB at 8 bit" in run("longcat").stdout


def test_the_memory_of_another_model_is_that_of_its_own_files(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    (tmp_path / "model").mkdir()
    save_file({"w": np.zeros((1000, 2500), np.int8)}, tmp_path / "model" / "model.safetensors")
    (tmp_path / "pool.toml").write_text(
        f'[engines.audioldm]\nmodel = "{tmp_path}/model"\n[engines.musicgen]\nmodel = "a/b"\n'
    )
    config = ("--config", str(tmp_path / "pool.toml"))
    assert "weights 0.01 GB at float32, 0.005 GB at half" in run("audioldm", *config).stdout
    assert "memory" not in run("musicgen", *config).stdout  # not here: nobody knows


def test_an_unknown_engine_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownEngine, match="did you mean 'procedural'"):
        raise run("procedurl").exception or AssertionError
