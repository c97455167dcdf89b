"""What a thousand requests cost on paper: the sum is of its parts, and moves with what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import __main__ as runner
from benchmarks.cost import Assumed, Day, cost, sensitivity, simulated, table_of

DAY = Day(
    gpus=10, hours=10.0, requests=1_000, made=500, busy_h=50.0, uncached_h=120.0, interactive_s=(1.0, 2.0)
)  # fmt: skip
AT = Assumed(
    gpu_hour=1.0, head_hour=0.5, heads=2, database_hour=1.0, sound_mb=2.0, gb_month=0.1, months_kept=10.0,
    put=0.001, result_mb=1.0, gb_out=0.05, spare=0.2, mastering_cpu_s=0.1, head_cores=8,
)  # fmt: skip


def test_the_sum_is_that_of_its_parts() -> None:
    found = cost(DAY, AT)
    beside = 10.0 * (2 * 0.5 + 1.0) + 500 * (0.002 * 0.1 * 10.0 + 0.001) + 1_000 * 0.001 * 0.05
    assert found["fixed"] == pytest.approx(100.0 + beside)
    assert found["by use"] == pytest.approx(50.0 * 1.2 + beside)
    assert found["without a cache"] == pytest.approx(120.0 * 1.2 + 20.0 + 0.05)


def test_more_sounds_than_two_heads_can_finish_take_more_heads() -> None:
    busy = replace(DAY, made=10 * 3600 * 200)  # 200 a second, 20 processors of which 5.6 are a head's
    assert cost(busy, AT)["heads and database"] == pytest.approx(10.0 * (4 * 0.5 + 1.0))


def test_a_simulated_hour_has_a_price_for_each_fleet() -> None:
    days = [simulated(gpus, 0.2) for gpus in (2, 4)]
    for day in days:
        assert 0 < day.made <= day.requests and 0 < day.busy_h <= day.gpus * day.hours
        assert day.uncached_h > day.busy_h * 0.5
    assert [row["GPUs"] for row in table_of(days, AT)] == [2, 4]
    assert len(sensitivity(days, AT)) > 3
    faster = simulated(2, 0.2, faster=2.0)
    assert faster.requests > days[0].requests and cost(faster, AT)["by use"] < cost(days[0], AT)["by use"]


def test_a_benchmark_whose_server_is_absent_is_skipped_with_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIO_POOL_POSTGRES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert runner.main(["heads"]) == 0
    assert "\nskipped, " in capsys.readouterr().out
