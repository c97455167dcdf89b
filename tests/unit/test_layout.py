"""How the tests are laid out: what each folder holds, and what a unit test never does.

``unit`` needs no other process, socket or pause; ``process`` starts processes; ``engines`` loads models;
``gpu`` needs a GPU; ``http`` needs the gateway's clients, ``browser`` a browser and ``cluster`` a database server, an
object store or Ray; ``support`` is what they share and holds no tests.
"""

from __future__ import annotations

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
FOLDERS = {"unit", "process", "engines", "gpu"}
OWN_RUNS = {"http", "browser", "cluster"}
"""Folders with an environment and a make target of their own: `make test-http`, `make test-browser`..."""
MODULES = {"asyncio.subprocess", "multiprocessing", "psutil", "pty", "socket", "socketserver", "subprocess", "zmq"}
CALLS = {"sleep", "fork", "forkpty", "kill", "killpg", "popen", "posix_spawn", "system", "create_subprocess_exec"}


def sources(folder: str = ".") -> list[Path]:
    return sorted(TESTS.joinpath(folder).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(TESTS))


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, anywhere in it: of ``from a import b`` both ``a`` and ``a.b``."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{named(path)}: relative imports are not used here"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def helpers(path: Path) -> set[Path]:
    """The other files of tests that a file imports, and those that they import."""
    found: set[Path] = set()
    todo = [path]
    while todo:
        for name in imports(todo.pop()):
            file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("tests.") and file.is_file() and file not in found:
                found.add(file)
                todo.append(file)
    return found


def test_the_runner_looks_into_every_folder_that_holds_tests() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {path.parent for path in TESTS.rglob("test_*.py")} == {TESTS / folder for folder in (*FOLDERS, *OWN_RUNS)}
    assert set(options["testpaths"]) == {f"tests/{folder}" for folder in FOLDERS}
    assert options["testpaths"][0] == "tests/unit", "what is fast comes first"


def test_a_file_holds_tests_if_and_only_if_its_name_says_so() -> None:
    for path in sources():
        tests = [
            node.name
            for node in ast.iter_child_nodes(nodes(path)[0])
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
        ]
        assert path.name.startswith("test_") or not tests, f"{named(path)} is never looked into for {tests}"


def test_folders_share_through_support_alone() -> None:
    for path in sources():
        home = path.relative_to(TESTS).parts[0]
        used = {name.split(".")[1] for name in imports(path) if name.startswith("tests.")}
        foreign = used - {home, "support"}
        assert not foreign, f"{named(path)} imports from {foreign}: what is shared belongs in tests/support"


@pytest.mark.parametrize("path", sources("unit"), ids=named)
def test_a_unit_test_starts_no_process_opens_no_socket_and_never_pauses(path: Path) -> None:
    for file in {path, *helpers(path)}:
        modules = MODULES & set(imports(file))
        assert not modules, f"{named(file)} imports {modules}: a test that needs it belongs in tests/process"
        calls = (node for node in nodes(file) if isinstance(node, ast.Call))
        used = {ast.unparse(call) for call in calls if ast.unparse(call.func).rpartition(".")[2] in CALLS}
        used.discard("asyncio.sleep(0)")  # lets other tasks run and takes no time
        assert not used, f"{named(file)} calls {used}: a test that needs it belongs in tests/process"


def test_every_folder_with_an_own_run_is_run() -> None:
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    for folder in OWN_RUNS:
        assert f"test-{folder}: " in makefile and f"tests/{folder}" in makefile
        assert f"test-{folder}" in ci
