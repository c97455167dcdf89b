"""The command line as a person and a script meet it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_pool.audio import codec
from audio_pool.audio.loudness import loudness_lufs

DEADLINE_S = 180


def run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "AUDIO_POOL_CACHE_DIR": str(tmp_path / "cache"),
        "AUDIO_POOL_CACHE_ENCODER": "off",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-m", "audio_pool.cli", *arguments],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


def test_generate_writes_what_it_says(tmp_path: Path) -> None:
    done = run(tmp_path, "generate", "rain on a tin roof", "--duration", "2", "--loop", "-o", "rain.wav", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert told["path"] == str(tmp_path / "rain.wav")
    audio, rate = codec.read(tmp_path / "rain.wav")
    assert audio.shape == (2, 2 * rate)
    assert abs(loudness_lufs(audio, rate, circular=True) - told["loudness_lufs"]) < 0.2
    again = json.loads(run(tmp_path, "generate", "rain on a tin roof", "--duration", "2", "--loop", "--json").stdout)
    assert (told["cached"], again["cached"], again["cache_type"]) == (False, True, "exact")
    forced = json.loads(
        run(tmp_path, "generate", "rain on a tin roof", "--duration", "2", "--loop", "--force", "--json").stdout
    )
    assert not forced["cached"]
    assert forced["seed"] != told["seed"]


def test_the_ending_chooses_the_format(tmp_path: Path) -> None:
    for ending in ("flac", "ogg"):
        done = run(tmp_path, "generate", "beep", "--duration", "0.5", "-o", f"beep.{ending}")
        assert done.returncode == 0, done.stderr
        assert codec.inspect(tmp_path / f"beep.{ending}")["format"] == ending


def test_a_directory_gets_a_name_of_the_words_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for _ in range(2):
        assert run(tmp_path, "generate", "a loud beep", "--duration", "0.5", "-o", "out").returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_loud_beep.wav", "a_loud_beep_2.wav"]


def test_lines_for_people_and_no_progress_without_a_terminal(tmp_path: Path) -> None:
    done = run(tmp_path, "generate", "thunder", "--duration", "2")
    assert done.returncode == 0
    assert "new, made by procedural" in done.stdout
    assert "LUFS" in done.stdout
    assert ", entry 1\n" in done.stdout, "what pin and delete --id want to know"
    assert "\r" not in done.stderr


WRONG: list[tuple[list[str], int, str]] = [
    (["generate"], 2, "Missing argument"),
    (["generate", "rain", "--duration", "-3"], 2, "'--duration': -3.0 is not in the range 0.05<=x<=600.0"),
    (["generate", "rain", "--option", "loud"], 2, "--option: given 'loud', allowed is NAME=VALUE"),
    (["generate", "rain", "--option", "loud=1"], 2, "has no option 'loud'"),
    (["generate", "rain", "--label", "a=1", "--label", "a=2"], 2, "--label: 'a' is given twice"),
    (["generate", "rain", "--init-audio", "x.wav"], 2, "cannot start from a sound"),
    (["generate", "rain", "--duratoin", "3"], 2, "'--duration'"),
    (["generate", "rain", "--delivery", "inline"], 2, "without --output"),
    (["generate", "rain", "--connect", "tcp://127.0.0.1:1", "--config", "x.toml"], 2, "--config: given with --connect"),
    (["generate", "rain", "--duration", "nan"], 2, "finite"),
    (["generate", "x" * 10_000], 2, "10,000 characters"),
    (["generate", "rain", "--engine", "procedurel"], 2, "procedural"),
    (["generate", "rain", "--engine", "clap"], 2, "makes no sounds"),
    (["generate", "rain", "-o", "rain.xyz"], 2, ".wav"),
    (["generate", "rain", "--format", "flac", "--bit-depth", "32"], 2, "bit_depth"),
    (["generate", "rain", "--config", "nowhere.toml"], 2, "nowhere.toml"),
    (["generate", "rain", "--connect", "tcp://127.0.0.1:1", "--timeout", "2"], 1, "error"),
    (["generate", "rain", "--connect", "nonsense"], 2, "ipc://PATH or tcp://HOST:PORT"),
    (["inspect", "nowhere.wav"], 2, "nowhere.wav"),
    (["nonsense"], 2, "No such command 'nonsense'; there are generate, variants"),
    (["generat", "rain"], 2, "No such command 'generat'; did you mean 'generate'?"),
    (["cache", "stat"], 2, "No such command 'stat'; did you mean 'stats'?"),
    (["keys", "crate"], 2, "No such command 'crate'; did you mean 'create'?"),
    (["cancel", "x", "--connect", "tcp://127.0.0.1:1", "--timeout", "2"], 1, "error"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), WRONG, ids=[" ".join(row[0])[:40] for row in WRONG])
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4


@pytest.mark.parametrize(
    "arguments", [["variants", "rain", "-n", "1", "-o"], ["keys", "create"], ["serve", "--log-dir"]], ids=lambda a: a[0]
)
def test_a_path_that_cannot_be_is_no_bug(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "file").touch()
    done = run(tmp_path, *arguments, "file/x")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert done.stderr.splitlines()[-1].endswith(": Not a directory")
    assert "file" in done.stderr
    assert "bug" not in done.stderr


def test_who_stops_reading_is_no_error(tmp_path: Path) -> None:
    code = "import os, sys; os.close(0); sys.exit()"
    done = subprocess.run(
        f"{sys.executable} -m audio_pool.cli models list | {sys.executable} -c '{code}'",
        shell=True, capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert "bug" not in done.stderr


def test_verbose_shows_where(tmp_path: Path) -> None:
    assert "Traceback" in run(tmp_path, "-v", "inspect", "nowhere.wav").stderr


def test_inspect_reads_the_recipe_back(tmp_path: Path) -> None:
    run(tmp_path, "generate", "slow heartbeat", "--duration", "3", "--loop", "--seed", "5", "-o", "heart.wav")
    told = json.loads(run(tmp_path, "inspect", "heart.wav", "--json").stdout)
    assert told["recipe"]["prompt"] == "slow heartbeat"
    assert told["recipe"]["seed"] == 5
    assert told["loop"] == {"start": 0, "end": 3 * 44_100 - 1}
    assert told["loudness_lufs"] == pytest.approx(-23, abs=1.0)
    shown = run(tmp_path, "inspect", "heart.wav").stdout
    assert shown.count("slow heartbeat") == 1
    assert "recipe.prompt: slow heartbeat" in shown


def test_the_same_seed_is_the_same_sound(tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = run(
            tmp_path, "generate", "wind", "--duration", "1", "--seed", "9", "--cache-dir", name, "-o", f"{name}.flac"
        )
        assert done.returncode == 0, done.stderr
    one, other = (codec.read(tmp_path / f"{name}.flac")[0] for name in ("a", "b"))
    assert np.array_equal(one, other)


def test_variants_tell_a_warning_that_all_of_them_have_once(tmp_path: Path) -> None:
    done = run(tmp_path, "variants", "xyzzy", "-n", "2", "--duration", "1", "-o", "takes")
    assert done.stdout.count("warning: nearest_recipe: nothing fits 'xyzzy'") == 1


def test_variants_differ_and_are_equally_loud(tmp_path: Path) -> None:
    done = run(tmp_path, "variants", "footsteps on gravel", "-n", "5", "--duration", "1.5", "-o", "steps", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    names = [f"footsteps_on_gravel_{number:02d}.wav" for number in range(1, 6)]
    assert sorted(path.name for path in (tmp_path / "steps").iterdir()) == names
    assert [Path(variant["path"]).name for variant in told["variants"]] == names
    assert told["least_distance"] > 0.1
    levels = [variant["loudness_lufs"] for variant in told["variants"]]
    assert max(levels) - min(levels) < 1.0


def test_engines_tells_licence_rate_and_what_is_missing(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in json.loads(run(tmp_path, "engines", "--json").stdout)["engines"]}
    assert rows["procedural"]["available"] is True
    assert rows["procedural"]["licence"] == "Apache-2.0"
    assert rows["tangoflux"]["commercial_use"] is False
    assert "procedural" in run(tmp_path, "engines").stdout


def test_a_prompt_that_is_not_english_is_warned_of(tmp_path: Path) -> None:
    done = run(tmp_path, "generate", "el sonido de la lluvia sobre el tejado", "--duration", "0.5")
    assert done.returncode == 0, done.stderr
    assert "warning: not_english: the built-in engine knows English" in done.stdout


@pytest.mark.parametrize(
    ("prompt", "warning"),
    [("el sonido de la lluvia sobre el tejado", "not_english"), ("xyzzy", "nearest_recipe")],
)
def test_strict_makes_such_a_warning_an_error(tmp_path: Path, prompt: str, warning: str) -> None:
    loose = run(tmp_path, "generate", prompt, "--duration", "0.5")
    assert loose.returncode == 0 and f"warning: {warning}: " in loose.stdout
    done = run(tmp_path, "generate", prompt, "--duration", "0.5", "--strict", "-o", "x.wav")
    assert done.returncode != 0
    assert f"error: strict: {warning}: " in done.stderr
    assert "without 'strict'" in done.stderr
    assert not (tmp_path / "x.wav").exists()
    assert done.stdout == ""


def test_errors_are_json_where_json_was_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path, "generate", "rain", "--engine", "procedurel", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)["error"]
    assert told["code"] == "unknown_engine"
    assert "procedural" in told["message"] + told["hint"]


def test_labels_and_tags_come_back_with_the_sound(tmp_path: Path) -> None:
    labels = ["--label", "scene=harbour", "--label", "take=2", "--label", "quiet=true", "--label", 'build="7"']
    done = run(tmp_path, "generate", "wind", "--duration", "0.5", *labels, "--tag", "outside", "--json")
    told = json.loads(done.stdout)
    assert told["labels"] == {"scene": "harbour", "take": 2, "quiet": True, "build": "7"}
    assert told["tags"] == ["outside"]


def test_an_engines_own_option_reaches_it(tmp_path: Path) -> None:
    options = ["--engine", "mock", "--duration", "0.5", "--option", "frequency_hz=440"]
    done = run(tmp_path, "generate", "tone", *options, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["options"] == {"frequency_hz": 440}


def test_what_is_not_stored_is_not_found_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(tmp_path, "generate", "wind", "--duration", "0.5", "--no-store", "--json")
        assert json.loads(done.stdout)["cached"] is False


def test_doctor_finds_what_a_configuration_lacks(tmp_path: Path) -> None:
    sound = run(tmp_path, "doctor", "--json")
    assert sound.returncode == 0, sound.stdout
    assert json.loads(sound.stdout)["ok"] is True
    (tmp_path / "needs.toml").write_text(
        '[defaults]\nengine = "tangoflux"\n[engines.tangoflux]\nmodel = "nowhere/at-all"\n'
        '[[workers]]\nname = "w"\nengines = ["tangoflux"]\n'
    )
    lacking = run(tmp_path, "doctor", "--config", "needs.toml", "--json")
    assert lacking.returncode == 1
    problems = [finding for finding in json.loads(lacking.stdout)["findings"] if finding["state"] == "problem"]
    assert [finding["what"] for finding in problems] == ["engine tangoflux"]
    assert "audio-pool models fetch tangoflux" in problems[0]["mend"]
    assert "mend:" in run(tmp_path, "doctor", "--config", "needs.toml").stdout
