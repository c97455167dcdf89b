"""An exporter given to a pool gets the counters and timings that telemetry.py names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from audio_pool.config import load_config
from audio_pool.errors import InvalidRequest
from audio_pool.pool.pool import AudioPool
from audio_pool.telemetry import Telemetry


class Ears(Telemetry):
    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self.timed: list[tuple[str, float]] = []

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        self.counted[name, ",".join(labels.values())] += value

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        self.timed.append((name, seconds))


def test_a_pool_tells_its_exporter(tmp_path: Path) -> None:
    ears = Ears()
    config = load_config({"cache": {"dir": str(tmp_path), "encoder": "off"}}, environment={})
    with AudioPool(config, telemetry=ears) as pool:
        for _ in range(3):
            pool.generate("beep", duration_s=0.2, timeout_s=60)
        with pytest.raises(InvalidRequest):
            pool.generate("beep", duration_s=-1)
    assert ears.counted == {
        ("answers", "result"): 3,
        ("hits", "new_generation"): 1,
        ("hits", "exact"): 2,
        ("tasks", "generate"): 1,
    }
    assert [name for name, _ in ears.timed] == ["request_seconds"] * 3
    assert all(0 < seconds < 60 for _, seconds in ears.timed)


class Down(Telemetry):
    """An exporter whose every call fails."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        raise RuntimeError("the exporter is down")

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        raise RuntimeError("the exporter is down")


def test_an_exporter_that_fails_costs_no_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load_config({"cache": {"dir": str(tmp_path), "encoder": "off"}}, environment={})
    with AudioPool(config, telemetry=Down()) as pool:
        kinds = [pool.generate("beep", duration_s=0.2, timeout_s=60).metadata.cache_type for _ in range(2)]
        assert kinds == ["new_generation", "exact"]
        assert pool.status()["answers"] == {"result": 2}
    assert [text for record in caplog.records if "exporter" in (text := record.getMessage())] == [
        "the telemetry exporter failed at 'tasks'; the pool goes on, further faults are not logged"
    ]
