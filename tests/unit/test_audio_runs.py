"""Runs are the maximal stretches of True, as half-open ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.audio.runs import runs


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("", []), ("0", []), ("1", [[0, 1]]), ("0110", [[1, 3]]), ("1101", [[0, 2], [3, 4]]), ("111", [[0, 3]])],
)
def test_runs_are_half_open_ranges(flags: str, expected: list[list[int]]) -> None:
    assert runs(np.array([flag == "1" for flag in flags], bool)).tolist() == expected


@given(st.lists(st.booleans(), max_size=50))
def test_runs_cover_what_holds_and_never_touch(flags: list[bool]) -> None:
    found = runs(np.array(flags, bool))
    covered = [any(start <= index < end for start, end in found) for index in range(len(flags))]
    assert covered == flags
    assert (found[1:, 0] > found[:-1, 1]).all()
