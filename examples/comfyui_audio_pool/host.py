"""What ComfyUI offers a node while it runs: a progress bar, and whether somebody has pressed Cancel.

Without ComfyUI around, as in a test, neither is there: nothing is drawn, and nothing interrupts.
"""

from __future__ import annotations

from collections.abc import Callable

_STEPS = 100


def progress_bar() -> Callable[[float], None]:
    """Return what draws a fraction, 0..1, on the node."""
    try:
        from comfy.utils import ProgressBar  # type: ignore[import-not-found]
    except ImportError:
        return lambda fraction: None
    bar = ProgressBar(_STEPS)
    return lambda fraction: bar.update_absolute(round(fraction * _STEPS), _STEPS)


def interrupted() -> bool:
    """Return True once Cancel was pressed."""
    try:
        from comfy.model_management import processing_interrupted  # type: ignore[import-not-found]
    except ImportError:
        return False
    return bool(processing_interrupted())


def end_interrupted() -> None:
    """Raise what ends the whole prompt, as ComfyUI's own nodes do."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
    except ImportError:
        pass
    else:
        throw_exception_if_processing_interrupted()
    raise RuntimeError("interrupted")
