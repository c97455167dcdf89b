"""docs/manager.md tells every command and option of ``--help``, and no other; its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.support.cache_sounds import sound

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cli.cache import group

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "manager.md").read_text()
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
SHARED = {"--cache-dir", "--json", "--help"}
REMOVING = {"--dry-run", "--confirm", "--now"}


def test_every_command_has_its_section_and_every_section_its_command() -> None:
    assert set(SECTIONS) == set(group.commands)


@pytest.mark.parametrize("name", sorted(group.commands))
def test_a_section_tells_exactly_the_options_that_help_shows(name: str) -> None:
    shown = subprocess.run(
        [sys.executable, "scripts/audio_cache_manager.py", name, "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    options = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", shown.split("Options:")[1]))
    assert options >= SHARED
    own = options - SHARED - REMOVING
    told = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", SECTIONS[name])) - REMOVING
    # an option's help may name another command's; the page may not name what there is not
    command = group.commands[name]
    real = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
    assert told <= real
    assert own & real <= told
    for argument in (param for param in command.params if isinstance(param, click.Argument)):
        assert argument.human_readable_name.upper() in SECTIONS[name]


def test_commands_that_remove_are_those_the_page_says() -> None:
    removing = {
        name for name, command in group.commands.items() if any("--dry-run" in param.opts for param in command.params)
    }
    part = PAGE[PAGE.index("## Removing") : PAGE.index("## Checking")]
    assert removing == {*re.findall(r"^### (\S+)", part, re.MULTILINE), "verify", "gc"}


def test_the_python_example_runs(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    cache.put(sound(cache.incoming, "test rain"), {})
    cache.close()
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code.replace("/path/to/cache", str(tmp_path / "cache"))],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "test rain" in done.stdout
    assert "'removed_items': 1" in done.stdout
