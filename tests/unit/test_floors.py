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
        "errors", "types", "engine_info", "results", "api", "pending", "sound_stream", "tasks", "validation", "config",
        "config.*", "telemetry", "numbers", "claims", "roots", "replacement", "inscription", "library", "library_api",
        "stock", "candidates", "explanation", "origin", "object_settings", "heard",
        "init_audio", "tracing", "trace_record", "plain_mapping", "reports", "craft", "staffing", "residents",
        "plain_tags", "source_type", "scene", "presets", "finding",
    ),
    ("gpu", "audio", "audio.*", "prompts", "prompts.*", "transport", "transport.*", "models", "models.*",
     "signing", "signing.*"),
    ("scheduler", "scheduler.*", "engines", "engines.*", "cache", "cache.*", "jobs", "jobs.*"),
    ("worker", "worker.*", "client", "client.*"),
    ("pool", "pool.*", "monitoring", "monitoring.*"),
    ("server", "server.*"),
    ("pool.pool", "pool.assembly", "pool.own_rooms"),
    ("packs", "packs.*", "gateway", "gateway.*"),
    ("exchange", "exchange.*", "agents", "agents.*"),
    ("generator",),
    ("cli", "cli.*"),
)  # fmt: skip
"""Bottom first. A module's floor is that of the longest pattern that fits it. The package itself
(``__init__``) stands beside the house: its public names are loaded when they are used."""

RESULTS = ("errors", "types", "plain_mapping", "reports", "results")
"""What a request comes to, and what that is made of."""


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


def closure(module: str, *, at_load: bool = False, without: str = "") -> set[str]:
    """Every module of ours that an import of this one brings; ``without``: those of a pattern, and what they bring."""
    seen: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        seen.add(name)
        parents = {name.rpartition(".")[0]} - {""}
        brought = ours(MODULES[name], at_load=at_load) | parents
        todo |= {other for other in brought if not fnmatch(other, without)} - seen
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


@pytest.mark.parametrize("module", [module for module in MODULES if floor_of(module) == 0])
def test_the_ground_floor_needs_msgspec_alone(module: str) -> None:
    assert libraries(MODULES[module]) <= {*sys.stdlib_module_names, "msgspec"}


def members(pattern: str) -> list[str]:
    """Modules that a pattern fits; a pattern that fits none holds nothing, and is an error."""
    found = [module for module in MODULES if fnmatch(module, pattern)]
    assert found, f"{pattern} fits no module: the rule holds nothing"
    return found


@pytest.mark.parametrize(
    ("who", "only"),
    [
        (
            "scheduler*",
            [
                *RESULTS, "craft", "heard", "origin", "residents", "scene", "presets", "engine_info", "tasks",
                "config*", "object_settings", "validation", "trace_record",
            ],
        ),
        ("tasks", [*RESULTS, "craft", "heard", "origin", "scene", "engine_info"]),
        ("prompts*", ["errors"]),
        ("audio*", ["errors", "plain_tags"]),
    ],
)
def test_only(who: str, only: list[str]) -> None:
    """Beside itself, and not even through others."""
    allowed = {module for pattern in only for module in members(pattern)}
    for module in members(who):
        others = {other for other in closure(module) if not fnmatch(other, who)}
        assert others <= allowed, f"{module} reaches {others - allowed}"


@pytest.mark.parametrize(
    ("who", "never"),
    [
        (
            "worker*",
            ["pool*", "scheduler*", "server*", "cache*", "config*", "client*", "generator", "packs*", "cli*"],
        ),
        ("worker.runner", ["transport.sockets"]),
        ("engines*", ["transport*", "pool*", "scheduler*", "server*", "cache*", "config*", "worker*", "client*"]),
        ("cache*", ["pool*", "scheduler*", "server*", "engines*", "transport*", "worker*", "client*", "config*"]),
        ("jobs*", ["pool*", "scheduler*", "server*", "engines*", "transport*", "worker*", "client*"]),
        ("monitoring*", ["pool*", "scheduler*", "server*", "cache*", "engines*", "worker*", "config*", "cli.*"]),
        ("client*", ["pool*", "scheduler*", "server*", "cache*", "engines*", "worker*", "config*"]),
        ("transport*", ["pool*", "scheduler*", "server*", "cache*", "engines*", "worker*", "client*", "config*"]),
        ("models*", ["pool*", "scheduler*", "server*", "cache*", "engines*", "worker*", "client*", "config*"]),
        ("agents*", ["pool*", "scheduler*", "server*", "cache*", "engines*", "worker*", "generator", "jobs*"]),
        ("gateway*", ["pool*", "scheduler*", "server*", "cache*", "engines*", "worker*", "generator", "jobs*"]),
    ],
)
def test_never(who: str, never: list[str]) -> None:
    """Not even through others."""
    forbidden = {module for pattern in never for module in members(pattern)}
    for module in members(who):
        found = closure(module) & forbidden
        assert not found, f"{module} reaches {found}"


def test_jobs_know_of_the_cache_the_database_alone_that_they_share_with_it() -> None:
    database = closure("cache.postgres.database") | closure("cache.postgres.feed")
    known = {module: {one for one in closure(module) if fnmatch(one, "cache*")} for module in members("jobs*")}
    assert all(found <= database for found in known.values())
    knowing = {module for module, found in known.items() if found}
    assert knowing == {"jobs.postgres", "jobs.leases", "jobs.bell"}


def test_zmq_is_the_transports_affair() -> None:
    using = {module for module, path in MODULES.items() if "zmq" in libraries(path)}
    assert using and using <= set(members("transport.*"))


def test_opentelemetry_is_imported_by_those_alone_who_make_spans_and_only_when_they_do() -> None:
    using = {module for module, path in MODULES.items() if "opentelemetry" in libraries(path)}
    assert using <= {"monitoring.spans", "gateway.http_spans"} and "monitoring.spans" in using
    for module, path in MODULES.items():
        tops = {name for node in tree_of(path).body if isinstance(node, ast.Import | ast.ImportFrom)
                for name in [getattr(node, "module", None) or node.names[0].name]}  # fmt: skip
        assert not any(name.startswith("opentelemetry") for name in tops), f"{module} imports it when it is loaded"


def test_the_protocol_of_agents_is_imported_by_their_tools_alone_and_not_by_what_lists_them() -> None:
    using = {module for module, path in MODULES.items() if libraries(path) & {"mcp", "mcp_types"}}
    assert "agents.server" in using and using <= set(members("agents.*"))
    for module in ("cli.mcp", "agents.catalogue", "agents.output_folder", "gateway.app"):
        for other in closure(module, at_load=True):
            assert not libraries(MODULES[other], at_load=True) & {"mcp", "mcp_types"}, f"{module} loads {other}"


def test_the_scheduler_knows_no_clock_no_chance_and_no_socket() -> None:
    impure = {"time", "datetime", "random", "secrets", "os", "socket", "threading", "asyncio", "pathlib", "logging"}
    for module in members("scheduler*"):
        assert not libraries(MODULES[module]) & impure


HEAVY = {
    "torch", "diffusers", "transformers", "soundfile", "scipy", "soxr", "faiss", "sentence_transformers", "onnxruntime",
    "accelerate", "laion_clap", "huggingface_hub",
}  # fmt: skip
"""Libraries that take long to import or much memory."""
NOWHERE = {"librosa", "matplotlib", "pyloudnorm", "pydantic"}
"""Libraries that are done without."""


def test_libraries_are_known_by_their_names() -> None:
    used = {library for path in MODULES.values() for library in libraries(path)}
    assert used >= HEAVY, "a rule about what nobody uses holds nothing"
    assert not used & NOWHERE


def test_the_routing_process_never_computes() -> None:
    """Nothing that runs in it imports these, not even when it is called.

    The launcher runs a worker on a thread for hosts that may not spawn: what that imports is the worker's.
    """
    computing = {"torch", "diffusers", "transformers", "librosa", "soundfile", "scipy", "soxr"}
    reached = {
        other
        for module in ("pool.pool", *members("server*"), *members("scheduler*"))
        for other in closure(module, without="worker*")
    }
    assert {"pool.router", "pool.executor", "cache.sound_cache", "scheduler.scheduler"} <= reached
    for module in reached:
        found = libraries(MODULES[module]) & computing
        assert not found, f"{module} imports {found}"


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
