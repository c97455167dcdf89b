"""Run lengths: the stretches of an array in which a condition holds.

Owns: ``runs``.
Must not know: what the condition means; numpy only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["runs"]


def runs(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Find the runs of True.

    Args:
        flags: bool [T].

    Returns:
        int64 [N, 2]: first index and one past the last of each run, in order.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)
