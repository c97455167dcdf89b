"""The fault matrix on what is quickly done: what is right is asserted, how long it took is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import faults
from benchmarks._fault_soak import soak


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, faults.Row]:
    found = faults.matrix(tmp_path_factory.mktemp("m"), list(faults.QUICK))
    return {row.fault: row for row in found}


ANSWERS = {
    "worker SIGKILL": "result",
    "worker _exit": "result",
    "NaN": "error quality",
    "clients that vanish": "nobody to answer",
    "client that repeats ids": "2 error bad_request, 1 result",
    "tensor reference: missing": "error worker_failed",
    "tensor reference: foreign file": "error worker_failed",
    "worker sends garbage": "error poisoned",
    "router SIGTERM": "4 result",
    "router SIGKILL": "4 error disconnected",
}


@pytest.mark.parametrize("fault", faults.QUICK)
def test_a_fault_has_its_answer_and_leaves_nothing(rows: dict[str, faults.Row], fault: str) -> None:
    row = rows[fault]
    assert not row.skipped and not row.wrong, row
    assert row.got == ANSWERS[fault]
    assert row.left == ""


def test_nothing_is_lost_doubled_or_crossed_though_workers_are_killed(tmp_path: Path) -> None:
    found = soak(tmp_path, requests=200, kills=4)
    assert not found.faults and not found.left
    assert sum(found.answers.values()) == 200 and found.answers["result"] > 190
    assert found.kills == 4


def test_every_fault_has_a_name_of_its_own() -> None:
    names = faults.names()
    assert len(names) == len(set(names)) and set(faults.QUICK) <= set(names)
