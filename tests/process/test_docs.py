"""The README and the docs are true: their examples run, their commands parse, their keys exist."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from audio_pool import config
from audio_pool.cli import main
from audio_pool.packs.pack_manifest import Manifest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DEADLINE_S = 180
# run by tests of their own: as an installed package, and in another interpreter
ELSEWHERE = {
    "adding-an-engine.md": "tests/process/test_entry_point_engine.py",
    "http-dialects.md": "tests/http/test_dialects_doc.py",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


PYTHON = [
    pytest.param(page, code, id=f"{page.name}-{number}")
    for page in PAGES
    if page.name not in ELSEWHERE
    for number, code in enumerate(blocks(page, "python"), start=1)
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What README's ``audio-pool serve`` line starts, at a port of its own."""
    place = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "audio_pool.cli", "serve", "--bind", "tcp://127.0.0.1:*"]
    command += ["--cache-dir", str(place / "cache")]
    env = {**os.environ, "AUDIO_POOL_CACHE_ENCODER": "off"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("ready"):
                    break
            yield line.split()[1]
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_python_examples_run(page: Path, code: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "127.0.0.1:5577" in code:
        code = code.replace("tcp://127.0.0.1:5577", request.getfixturevalue("server"))
    code = code.replace('"configs/', f'"{ROOT}/configs/').replace("/path/to/cache", str(tmp_path / "cache"))
    env = {
        **os.environ,
        "AUDIO_POOL_CACHE_DIR": str(tmp_path / "cache"),
        "AUDIO_POOL_CACHE_ENCODER": "off",
        "HF_HUB_OFFLINE": "1",
    }
    prepared = _prepared(page, tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:audio_pool", "-c", prepared + code],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{page.name}:\n{code}\n{done.stderr[-3000:]}"


def _prepared(page: Path, place: Path) -> str:
    """What an example takes for granted: a cache to manage, a checkpoint to load."""
    if page.name == "manager.md":
        return f"from audio_pool.cache.sound_cache import SoundCache\nSoundCache({str(place / 'cache')!r}).close()\n"
    if page.name == "engines.md":
        pytest.skip("needs a model; tests/engines load tiny ones")
    return ""


@pytest.mark.parametrize("example", ["demo.py", "host_program.py"])
def test_example_programs_run(example: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)],
        cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.rglob("*.wav"))) >= 3
    assert "cache" in done.stdout


def command_lines() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        inline = re.findall(r"`(audio-pool [^`\n]+)`", text)
        fenced = [
            line
            for block in re.findall(r"^```(?:sh|shell|bash|console)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
            for line in block.splitlines()
            if line.startswith("audio-pool ")
        ]
        found += [(page.name, line.split("  #")[0].strip()) for line in [*inline, *fenced]]
    return sorted(set(found))


def test_there_are_command_lines_to_check() -> None:
    assert len(command_lines()) > 20


@pytest.mark.parametrize(
    ("page", "line"), command_lines(), ids=[f"{page}: {line}"[:70] for page, line in command_lines()]
)
def test_documented_commands_parse(page: str, line: str) -> None:
    if any(mark in line for mark in ("|", "...", "…", "[")):
        line = re.split(r"\s[\[|.…]|\s\S*\|", line)[0]
    words = shlex.split(line.split(" > ")[0])[1:]
    command: click.Command = main
    context = click.Context(main, info_name="audio-pool")
    while isinstance(command, click.Group) and words and not words[0].isupper():
        found = command.get_command(context, words[0])
        assert found is not None, f"{page}: no command {words[0]!r} in {line!r}"
        command, words = found, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    options = {word.split("=")[0] for word in words if word.startswith("-") and not re.fullmatch(r"-(\d.*)?", word)}
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    assert options <= known, f"{page}: {options - known} are no options of {line!r}"
    words = ["1" if word.isupper() else word for word in words]  # a placeholder stands for a value
    if words and "--help" not in words and not isinstance(command, click.Group):
        # a name in capitals alone is a command mentioned, not called
        with contextlib.suppress(click.MissingParameter):
            command.make_context(command.name, list(words), resilient_parsing=False)


def test_every_command_is_documented() -> None:
    told = "\n".join(page.read_text() for page in PAGES)
    context = click.Context(main)
    missing = [name for name in main.list_commands(context) if f"audio-pool {name}" not in told]  # type: ignore[attr-defined]
    assert not missing


def test_every_command_has_help() -> None:
    def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None, name
                yield from walk(child, f"{path} {name}")

    for path, command in walk(main, "audio-pool"):
        assert command.help, f"{path} has no help"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.name} has no help"


def test_every_key_of_the_configuration_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    sections = dict(re.findall(r"^## \[+([\w.]+)\]+\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    kinds = {
        field.name: field.type
        for field in msgspec.structs.fields(config.Config)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }
    kinds["workers"], kinds["cache.objects"] = config.WorkerConfig, config.ObjectsConfig
    for section, kind in kinds.items():
        told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", sections[section], flags=re.MULTILINE))
        assert set(told) == set(kind.__struct_fields__), section
        for field in msgspec.structs.fields(kind):
            if field.default is not msgspec.NODEFAULT:
                assert told[field.name] == _shown(field.default), f"{section}.{field.name}"


def test_every_key_of_a_named_model_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text().partition("## [engines.NAME]")[2]
    tables = [re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) for table in page.split("\nOf `defaults`:")]
    assert tables == [list(config.EngineConfig.__struct_fields__), list(config.EngineDefaults.__struct_fields__)]


def test_every_configuration_shown_is_one_that_loads() -> None:
    shown = [(page, text, tomllib.loads(text)) for page in PAGES for text in blocks(page, "toml")]
    ours = [(page, text, tree) for page, text, tree in shown if not {"project", "pack"} & set(tree)]
    packs = [msgspec.convert(tree, Manifest) for _, _, tree in shown if "pack" in tree]
    assert ours and packs
    for page, text, tree in ours:
        assert config.load_config(tree, environment={}) != config.Config(), f"{page.name}: {text}"


def test_readme_says_where_the_command_is() -> None:
    told = (ROOT / "README.md").read_text()
    for words in (".venv/bin/audio-pool", "pip install .", "uv tool install .", "pipx install ."):
        assert words in told


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, msgspec.Struct):
        return "`{}`"  # a section within one
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
