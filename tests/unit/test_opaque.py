"""Where the core does not know a type, it says why: in the pool, scheduler, worker, transport and server.

Content that is opaque on purpose (labels, settings, an engine's own words) has a comment beside it, or directly
above; nothing else is of type Any or object, or cast.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "audio_pool"
FOLDERS = ("pool", "scheduler", "worker", "transport", "server")
FILES = [path for folder in FOLDERS for path in sorted(SOURCE.joinpath(folder).rglob("*.py"))]
UNTYPED = re.compile(r"\bAny\b|\bcast\(|\bobject\b")


def unexplained(text: str) -> list[str]:
    """Return the lines that name an unknown type without a comment on them or directly above."""
    comments: set[int] = set()
    code: dict[int, list[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type in (tokenize.NAME, tokenize.OP):  # not what strings and docstrings say
            code.setdefault(token.start[0], []).append(token.string)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = " ".join(code.get(number, ())).replace(" (", "(")
        if not UNTYPED.search(words) or words.startswith(("from typing import", "def __exit__")):
            continue
        if number not in comments and number - 1 not in comments:
            found.append(f"{number}: {line.strip()}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_is_not_typed_says_why(path: Path) -> None:
    assert not unexplained(path.read_text())


def test_the_rule_finds_what_it_is_for() -> None:
    assert {path.parent.name for path in FILES} >= set(FOLDERS)
    for line in (
        "x: Any = 1",
        "def f(x: object) -> None: ...",
        "y: dict[str, object] = {}",
        "z = cast(int, y)",
        "def f(a, b) -> dict[str, Any]: ...",
    ):
        assert unexplained(f"\n{line}\n"), line
        assert not unexplained(f"\n{line}  # opaque: the caller's own\n")
        assert not unexplained(f"\n# opaque: the caller's own\n{line}\n")
        assert unexplained(f"# far above\n\n{line}\n")
    signature = "def __exit__(self, *exc: object) -> None: ..."
    for line in ("from typing import Any", signature, '"""Any object."""', "a = b"):
        assert not unexplained(f"\n{line}\n"), line
