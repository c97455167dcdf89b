"""Text on a terminal: what strangers wrote is shown, and does nothing."""

from __future__ import annotations

import ast
import json
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cache_sounds import sound

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cli import main, terminal
from audio_pool.cli.terminal import one_line, say, say_json

COMMANDS = Path(terminal.__file__).parent


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("rain on a tin roof", "rain on a tin roof"),
        ("pluie d'été 🌧 雨 naïve", "pluie d'été 🌧 雨 naïve"),
        ("a\x1b]0;owned\x07b", "a\\x1b]0;owned\\x07b"),
        ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edcba\u2066", "abc\\u202edcba\\u2066"),
        ("half \udc80", "half \\udc80"),
        ("line\u2028sep", "line\\u2028sep"),
    ],
)
def test_only_what_a_terminal_would_obey_is_escaped(given: str, shown: str) -> None:
    assert one_line(given) == shown


@given(st.text())
def test_whatever_is_printed_is_one_line_that_can_be_encoded(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cs", "Zl", "Zp"}


def test_json_keeps_its_value_and_carries_no_escape(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"prompt": "r\x1b[2J\x9b \u202e é \udc80\n", "n": [1, None]}
    say_json(value)
    said = capsys.readouterr().out
    assert json.loads(said) == value and one_line(said.rstrip("\n")) == said.rstrip("\n") and "é" in said
    say_json(value, indent=2, err=True)
    assert json.loads(capsys.readouterr().err) == value


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb")
    say()
    assert capsys.readouterr().out == "a\\nb\n\n"


def test_no_command_prints_in_any_other_way() -> None:
    found = []
    for path in sorted(COMMANDS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if path.name != "terminal.py" and (
                name in ("print", "click.echo", "click.secho", "click.confirm", "click.prompt")
                or name.endswith(("stdout.write", "stderr.write"))
            ):
                found.append(f"{path.name}:{node.lineno}: {name}")
    assert not found, "say, say_json and confirmed are safe on a terminal"


@pytest.mark.parametrize("command", [["list"], ["grouped"], ["explain", "rain", "--encoder", "off"], ["duplicates"]])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_stored_prompt_moves_no_cursor(command: list[str], as_json: bool, tmp_path: Path) -> None:
    evil = "rain \x1b[2J\x9b\n 999 0.00  forged row\u202e"
    cache = SoundCache(tmp_path)
    for seed in range(2):
        metadata = {"tags": ["\x1b[31mtag"], "labels": {"level": "\x1b[0m"}}
        cache.put(sound(cache.incoming, evil, seed=seed, metadata=metadata), {})
    cache.close()
    arguments = ["cache", *command, "--cache-dir", str(tmp_path), *(["--json"] if as_json else [])]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    assert not set(told.output) & {"\x1b", "\x9b", "\u202e", "\r"}
    assert not [line for line in told.output.splitlines() if line.lstrip().startswith("999")]
    assert as_json or command == ["explain", "rain", "--encoder", "off"] or "\\x1b[2J" in told.output


def test_an_error_that_tells_what_was_given_is_one_line(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["inspect", str(tmp_path / "no\x1b[2J\nerror: forged")])
    assert told.exit_code == 2 and "\x1b" not in told.output and len(told.output.splitlines()) == 1
