"""Variants by a real pool: takes that differ, under the seeds and names that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from audio_pool import AudioPool
from audio_pool.packs.variants import make_variants
from audio_pool.types import MAX_SEED, AudioRequest


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    config = {
        "defaults": {"engine": "mock", "duration_s": 0.3},
        "cache": {"dir": str(tmp_path_factory.mktemp("cache")), "encoder": "off"},
    }
    with AudioPool.from_config(config) as pool:
        yield pool


def paths(place: Path, count: int) -> list[Path]:
    return [place / f"take_{number}.wav" for number in range(1, count + 1)]


def test_takes_that_differ_have_seeds_in_a_row(pool: AudioPool, tmp_path: Path) -> None:
    seen: list[str] = []
    made = make_variants(
        pool, AudioRequest(prompt="tone", seed=7), paths(tmp_path, 3), on_take=lambda take: seen.append(take.path)
    )
    assert [take.seed for take in made.takes] == [7, 8, 9]
    assert seen == [take.path for take in made.takes] == [str(path) for path in paths(tmp_path, 3)]
    assert made.takes[0].nearest_distance is None
    assert made.least_distance is not None and made.greatest_distance is not None
    assert 0.1 <= made.least_distance <= made.greatest_distance
    assert made.least_distance == min(take.nearest_distance for take in made.takes[1:] if take.nearest_distance)


def test_takes_that_never_differ_are_accepted_after_four_tries_each(pool: AudioPool, tmp_path: Path) -> None:
    made = make_variants(pool, AudioRequest(prompt="silence", seed=0), paths(tmp_path, 3))
    assert len(made.takes) == 3
    # the second is given up on only when the tries that are left are needed for the others
    assert [take.seed for take in made.takes] == [0, 10, 11]
    assert made.least_distance == 0.0
    assert all(Path(take.path).exists() for take in made.takes)


def test_a_take_that_is_not_accepted_is_not_written(pool: AudioPool, tmp_path: Path) -> None:
    made = make_variants(pool, AudioRequest(prompt="silence", seed=0), paths(tmp_path, 2))
    assert {str(path) for path in tmp_path.iterdir()} == {take.path for take in made.takes}


def test_seeds_go_on_at_zero_after_the_greatest(pool: AudioPool, tmp_path: Path) -> None:
    made = make_variants(pool, AudioRequest(prompt="tone", seed=MAX_SEED), paths(tmp_path, 2), least_distance=0.0)
    assert [take.seed for take in made.takes] == [MAX_SEED, 0]


def test_a_take_whose_peaks_keep_it_quiet_is_made_anew(tmp_path: Path) -> None:
    config = {"cache": {"dir": str(tmp_path / "cache"), "encoder": "off"}}
    with AudioPool.from_config(config) as built_in:
        asked = AudioRequest(prompt="footsteps on gravel", duration_s=1.5, seed=92331508795685)
        alone = built_in.generate(asked)
        assert alone.metadata.loudness_lufs is not None and alone.metadata.loudness_lufs < -23.5, "choose another seed"
        made = make_variants(built_in, asked, paths(tmp_path, 2))
    levels = [take.loudness_lufs for take in made.takes]
    assert None not in levels and max(levels) - min(levels) <= 0.5
    assert asked.seed not in [take.seed for take in made.takes]
