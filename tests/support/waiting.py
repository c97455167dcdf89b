"""Waiting for something that another thread or process does: until it is so, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 120.0
"""Longer than anything in the tests takes on a machine that does much else."""


def eventually(condition: Callable[[], T], description: str, within_s: float = PATIENCE_S) -> T:
    """Return the condition's first true value; fail with the description if there is none in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s: {description}")
