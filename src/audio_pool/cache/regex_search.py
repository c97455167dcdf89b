"""Searches texts by any regular expression, within limits on time and memory.

Owns: the check of an expression and its bounded search.
Must not know: the cache.

Python's ``re`` backtracks: ``(a+)+$`` can take longer than the universe has been there, holds the GIL
meanwhile, and cannot be interrupted from another thread. So the search runs in a process of its own, with
limits on CPU and memory, and is killed at the deadline. A SIGALRM was rejected: it belongs to the host
program and works in its main thread only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from audio_pool.errors import InvalidRequest

__all__ = ["matching"]

DEADLINE_S = 10.0
"""A plain expression takes 0.1 s on 100,000 prompts."""
_MOST_CHARS = 1_000
_CHILD = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (%d, %d))
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
pattern, texts = json.loads(sys.stdin.buffer.read())
search = re.compile(pattern, re.IGNORECASE).search
json.dump([n for n, text in enumerate(texts) if search(text)], sys.stdout)
"""


def matching(pattern: str, texts: Sequence[str], *, deadline_s: float | None = None) -> list[int]:
    """Return the positions of the texts in which the expression is found anywhere, letter case ignored.

    Args:
        pattern: for Python's ``re``, 1..1,000 characters.
        texts: searched one by one.
        deadline_s: for all of them together; ``DEADLINE_S`` where None.

    Raises:
        InvalidRequest: the expression is wrong (shows where), or too slow.
    """
    _checked(pattern)
    deadline_s = DEADLINE_S if deadline_s is None else deadline_s
    seconds = int(deadline_s) + 1
    command = [sys.executable, "-I", "-S", "-c", _CHILD % (seconds, seconds + 1)]
    given = json.dumps([pattern, list(texts)]).encode()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        try:
            output, complaint = child.communicate(given, timeout=deadline_s)
        except subprocess.TimeoutExpired:
            child.kill()
            raise InvalidRequest(
                f"regular expression {pattern!r} took longer than {deadline_s:g} s on {len(texts):,} prompts",
                hint="nested repeats like (a+)+ can take for ever; write it without",
            ) from None
    if child.returncode != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        raise InvalidRequest(f"regular expression {pattern!r} could not be searched for: {last[0]}")
    found: list[int] = json.loads(output)
    return found


def _checked(pattern: str) -> None:
    if not pattern or len(pattern) > _MOST_CHARS:
        raise InvalidRequest(
            f"regular expression of {len(pattern):,} characters: allowed are 1 to {_MOST_CHARS:,}"
        )
    try:
        re.compile(pattern, re.IGNORECASE)
    except re.error as exc:
        at = exc.pos if exc.pos is not None else 0
        raise InvalidRequest(
            f"bad regular expression: {exc.msg} at character {at + 1}: {pattern[:at]} >>>here>>> {pattern[at:]}"
        ) from None
    except (OverflowError, RecursionError) as exc:
        raise InvalidRequest(f"bad regular expression {pattern[:60]!r}: {exc}") from None
