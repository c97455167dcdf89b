"""The floors of the house: who may import whom, read from the sources themselves."""

from __future__ import annotations

import ast
import functools
import graphlib
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "errors", "types", "engine_info", "results", "pending", "api", "tasks", "validation", "config", "telemetry",
        "claims",
    ),
    ("gpu", "audio", "audio.*", "prompts", "prompts.*", "transport", "transport.*", "models", "models.*"),
    ("scheduler", "scheduler.*", "engines", "engines.*", "cache", "cache.*"),
    ("worker", "worker.*", "client", "client.*"),
    ("pool", "pool.*", "server", "server.*"),
    ("pool.pool",),
    ("packs", "packs.*"),
    ("generator",),
    ("cli", "cli.*"),
)  # fmt: skip
"""Bottom first. A module's floor is that of the longest pattern that fits it. The package itself
(``__init__``) stands beside the house: its public names are loaded when they are used."""


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((SOURCE / "audio_pool").rglob("*.py")):
        parts = path.relative_to(SOURCE / "audio_pool").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


MODULES = modules()


def floor_of(module: str) -> int | None:
    fits = [
        (len(pattern), floor)
        for floor, patterns in enumerate(FLOORS)
        for pattern in patterns
        if fnmatch(module, pattern)
    ]
    return max(fits)[1] if fits else None


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path, *, at_load: bool = False) -> frozenset[str]:
    """Full names of the modules that a file imports; ``at_load``: without those inside functions."""
    return frozenset(_imports(path, at_load))


def _imports(path: Path, at_load: bool) -> Iterator[str]:
    todo: list[ast.AST] = [tree_of(path)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used here"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix("audio_pool.")
                yield f"audio_pool.{inner}" if inner in MODULES else node.module
        if at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_load and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        todo += ast.iter_child_nodes(node)


def ours(path: Path, *, at_load: bool = False) -> set[str]:
    names = {name.partition(".")[2] for name in imports(path, at_load=at_load) if name.split(".")[0] == "audio_pool"}
    return {name for name in names if name in MODULES}


def libraries(path: Path, *, at_load: bool = False) -> set[str]:
    return {name.split(".")[0] for name in imports(path, at_load=at_load)} - {"audio_pool"}


def closure(module: str, *, at_load: bool = False) -> set[str]:
    """Every module of ours that an import of this one brings."""
    seen: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        seen.add(name)
        parents = {name.rpartition(".")[0]} - {""}
        todo |= (ours(MODULES[name], at_load=at_load) | parents) - seen
    return seen


def test_every_pattern_of_the_floors_fits_a_module() -> None:
    patterns = [pattern for floor in FLOORS for pattern in floor]
    idle = [pattern for pattern in patterns if not any(fnmatch(module, pattern) for module in MODULES)]
    assert not idle, "a rule that fits nothing holds nothing"


def test_every_module_has_a_floor() -> None:
    homeless = [module for module in MODULES if floor_of(module) is None]
    assert not homeless, "say in FLOORS where they belong"


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str) -> None:
    floor = floor_of(module)
    assert floor is not None
    up = {other for other in ours(MODULES[module]) if (floor_of(other) or 0) > floor}
    assert not up, f"{module} (floor {floor}) imports from above: {up}"


def test_arrows_make_no_circle() -> None:
    graph = {module: ours(path) - {module} for module, path in MODULES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", ["errors", "types", "validation", "config"])
def test_the_ground_floor_needs_msgspec_alone(module: str) -> None:
    assert libraries(MODULES[module]) <= {*sys.stdlib_module_names, "msgspec"}


@pytest.mark.parametrize(
    ("who", "never"),
    [
        ("worker*", ["pool*", "scheduler*", "server*", "cache*", "config", "generator", "client*", "cli*"]),
        ("worker.runner", ["transport.sockets"]),
        ("engines*", ["transport*", "pool*", "scheduler*", "server*", "cache*", "config", "worker*"]),
        ("cache*", ["pool*", "scheduler*", "server*", "engines*", "transport*", "worker*"]),
        ("audio*", ["transport*", "engines*", "pool*", "scheduler*", "cache*", "config"]),
        ("prompts*", ["transport*", "engines*", "pool*", "scheduler*", "cache*", "config"]),
        ("client*", ["pool*", "scheduler*", "server*", "cache*", "engines*", "worker*"]),
        ("scheduler*", ["cache*", "engines*", "pool*", "server*", "worker*"]),
    ],
)
def test_never(who: str, never: list[str]) -> None:
    """Not even through others."""
    members = [module for module in MODULES if fnmatch(module, who) and module != "pool.pool"]
    assert members
    for pattern in never:
        assert any(fnmatch(module, pattern) for module in MODULES), f"{pattern} fits no module: the rule holds nothing"
    for module in members:
        found = {other for other in closure(module) if any(fnmatch(other, pattern) for pattern in never)}
        assert not found, f"{module} reaches {found}"


def test_zmq_is_one_modules_affair() -> None:
    assert [module for module, path in MODULES.items() if "zmq" in libraries(path)] == [
        "transport.keys",
        "transport.sockets",
    ]


def test_the_schedule_knows_no_clock_and_no_socket() -> None:
    members = [module for module in MODULES if module.startswith("scheduler.")]
    assert members
    for module in members:
        assert not libraries(MODULES[module]) & {"time", "datetime", "random", "secrets", "os", "socket", "threading"}


HEAVY = {
    "torch", "diffusers", "transformers", "librosa", "soundfile", "scipy", "soxr", "pyloudnorm", "faiss",
    "sentence_transformers", "matplotlib", "onnxruntime",
}  # fmt: skip


@pytest.mark.parametrize(
    "module", ["pool.pool", "client.client", "generator", "worker.process", "engines", "cache.manage"]
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    for other in closure(module, at_load=True):
        assert not libraries(MODULES[other], at_load=True) & HEAVY, f"{module} loads {other}, which loads too much"


def test_engines_are_light_until_they_are_loaded() -> None:
    """Their INFO is read to list them; and a worker hosts one without the libraries of another."""
    for module in MODULES:
        if module.count(".") == 1 and module.startswith("engines.") and not module.startswith("engines._"):
            heavy = {
                library
                for other in closure(module, at_load=True)
                for library in libraries(MODULES[other], at_load=True) & HEAVY
            }
            assert not heavy, f"importing {module} loads {heavy}"


def test_every_module_says_what_it_owns() -> None:
    for module, path in MODULES.items():
        told = ast.get_docstring(tree_of(path))
        assert told, f"{module} has no docstring"


def test_the_library_does_not_print() -> None:
    for module, path in MODULES.items():
        if not module.startswith("cli"):
            calls = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
            assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), module
