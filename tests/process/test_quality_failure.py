"""What becomes of a request whose sounds the gate does not let pass, through real workers and several rounds."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import soundfile
from tests.support.bench_pool import settings
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool
from audio_pool.errors import QualityError
from audio_pool.results import AudioResult

ROUNDS = 3


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    package = engine_package(tmp_path_factory.mktemp("package"), "poor")
    worker = {"name": "w", "engines": ["poor"], "python": sys.executable, "env": {"PYTHONPATH": str(package)}}
    folder = tmp_path_factory.mktemp("pool")
    with AudioPool.from_config(settings(folder, [worker], limits={"max_rounds": ROUNDS})) as pool:
        yield pool


def ask(pool: AudioPool, prompt: str, **more: object) -> AudioResult:
    return pool.generate(prompt, engine="poor", duration_s=1.0, timeout_s=PATIENCE_S, **more)  # type: ignore[arg-type]


def test_an_error_names_the_faults_after_the_last_round(pool: AudioPool) -> None:
    with pytest.raises(QualityError, match="dc"):
        ask(pool, "a broken tone")


def test_the_best_of_the_failed_is_delivered_not_accepted_and_offered_to_nobody(pool: AudioPool) -> None:
    best = ask(pool, "a broken tone for somebody", on_quality_failure="best")
    assert best.metadata.accepted is False
    assert "dc" in best.metadata.quality.issues
    assert best.path is not None
    assert soundfile.info(best.path).frames == best.metadata.sample_rate
    again = ask(pool, "the broken tone for somebody", on_quality_failure="best")
    assert not again.metadata.cached
    with pytest.raises(QualityError):
        ask(pool, "the broken tones for somebody")


def test_too_low_a_score_costs_fresh_seeds_and_is_delivered_not_accepted(pool: AudioPool) -> None:
    poor = ask(pool, "a faint tone")
    assert poor.metadata.accepted is False
    assert poor.metadata.quality.score < 50
    assert poor.metadata.candidates[-1].verdict == "best_of_rejected"
    lenient = ask(pool, "a faint hum, faint and lenient", min_quality=10.0)
    assert lenient.metadata.accepted
