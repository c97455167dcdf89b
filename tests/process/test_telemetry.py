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
