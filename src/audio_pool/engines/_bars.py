"""The progress bars that libraries draw while they load a model: not in a log, and not among a command's answers.

Owns: ``no_bars``.
Must not know: what is loaded.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["no_bars"]


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Inside, the libraries imported so far draw none."""
    loggings = [
        each
        for name in ("diffusers.utils.logging", "transformers.utils.logging")
        if (each := sys.modules.get(name)) is not None and each.is_progress_bar_enabled()
    ]
    for each in loggings:
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each in loggings:
            each.enable_progress_bar()
