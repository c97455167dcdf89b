"""Change one thing in the scheduler, run its tests, and see whether they notice: survivors are what no test holds.

    python scripts/mutate.py --seconds 600 --seed 1 src/audio_pool/scheduler/queue.py ...

Works on a copy of ``src`` and ``tests``. Mutants are drawn at random (by ``--seed``) until the time is over; each is
one changed comparison, operator, constant, boolean or condition. Exit code 0; survivors are printed with their lines.
A general tool (mutmut, cosmic-ray) keeps a data base and needs hours for all mutants; a sample in minutes finds the
same gaps, as tests that are missing let many mutants through.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = [
    *("tests/unit/test_worker_table.py", "tests/unit/test_dispatch.py", "tests/unit/test_scheduler.py"),
    *("tests/unit/test_job_queue.py", "tests/unit/test_estimates.py", "tests/unit/test_status.py"),
]
DATA = ("__init__.py", "actions.py", "answers.py", "events.py", "work.py")
"""Files without decisions."""
SWAPS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, object]]:
    """Yield what can be changed: a node, its attribute, and the value to put there."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=[operator]):
                yield from ((node, "ops", [other()]) for other in SWAPS.get(type(operator), ()))
            case ast.BinOp(op=operator) | ast.AugAssign(op=operator) | ast.BoolOp(op=operator):
                yield from ((node, "op", other()) for other in SWAPS.get(type(operator), ()))
            case ast.Constant(value=bool() as value):
                yield node, "value", not value
            case ast.Constant(value=int() | float() as value):
                yield node, "value", value + 1
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                yield node, "test", ast.UnaryOp(op=ast.Not(), operand=test)
            case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute()]):
                yield node, "removed", None
            case _:
                pass


def mutated(source: str, number: int) -> tuple[str, str]:
    """Return the source with its change ``number``, and the changed line."""
    tree = ast.parse(source)
    node, attribute, value = list(places(tree))[number]
    line = getattr(node, "lineno", 0)
    before = ast.unparse(node).splitlines()[0]
    if attribute == "removed":
        for parent in ast.walk(tree):
            for name in ("body", "orelse"):
                block = getattr(parent, name, None)
                if isinstance(block, list) and node in block:
                    block[block.index(node)] = ast.Pass()
        after = "pass"
    else:
        setattr(node, attribute, value)
        after = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
    return ast.unparse(ast.fix_missing_locations(tree)), f"{line}: {before}  ->  {after}"


def survives(place: Path, tests: list[str], *, tell: bool = False) -> bool:
    """Return True if the tests pass. A mutant that makes them run for ever is caught, too. ``tell``: say why not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "30", *tests]
    env = {**os.environ, "PYTHONPATH": str(place / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, timeout=120)
    except subprocess.TimeoutExpired:
        return False
    if tell and done.returncode:
        print(done.stdout.decode(errors="replace")[-3000:])
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", help="default: every file of the scheduler but those of its data alone")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", nargs="*", default=TESTS)
    given = parser.parse_args()
    folder = ROOT / "src/audio_pool/scheduler"
    own = sorted(file for file in folder.glob("*.py") if file.name not in DATA)
    files = [Path(name).absolute() for name in given.files] or own
    mutants = [(file, number) for file in files for number in range(len(list(places(ast.parse(file.read_text())))))]
    random.Random(given.seed).shuffle(mutants)
    end, tried, survivors = time.monotonic() + given.seconds, 0, []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", place)
        if not survives(place, given.tests, tell=True):
            raise SystemExit("the tests fail without any change")
        for file, number in mutants:
            if time.monotonic() >= end:
                break
            source = file.read_text()
            changed, what = mutated(source, number)
            target = place / file.relative_to(ROOT)
            target.write_text(changed)
            tried += 1
            if survives(place, given.tests):
                survivors.append(f"{file.name}:{what}")
                print(f"survived  {survivors[-1]}", flush=True)
            target.write_text(source)
    print(f"{tried} of {len(mutants)} mutants tried, {tried - len(survivors)} caught, {len(survivors)} survived")


if __name__ == "__main__":
    main()
