"""What a configuration means for workers and engines, before any of them is started."""

from __future__ import annotations

import pytest
from tests.support.requests import config

from audio_pool.config import Config
from audio_pool.errors import InvalidConfig
from audio_pool.pool.launchers.local import environment
from audio_pool.pool.plan import hosted_infos, process_spec, worker_plan, workers_of


def hosting_a_tone(**defaults: object) -> Config:
    return config(
        engines={"tone": {"implementation": "mock", "defaults": defaults}},
        workers=[{"name": "w", "engines": ["tone", "procedural"]}],
    )


def test_one_plan_per_process() -> None:
    settings = config(
        engines={"tone": {"implementation": "mock"}},
        workers=[{"name": "w", "engines": ["tone"], "count": 2, "credit": 3, "aux_credit": 5}],
    )
    plans = [worker_plan(worker, settings) for worker in workers_of(settings)]
    assert [(plan.name, plan.credit, plan.aux_credit) for plan in plans] == [("w-1", 3, 5), ("w-2", 3, 5)]
    assert plans[0].engines == {"tone"} and plans[0].roles == {"generate", "master", "embed", "score"}


def test_named_models_are_known_by_their_names() -> None:
    settings = hosting_a_tone(options={"frequency_hz": 300})
    infos = hosted_infos(workers_of(settings), settings)
    assert {name: info.implementation for name, info in infos.items()} == {"tone": "mock", "procedural": "procedural"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"freqency_hz": 300}, "engine 'tone' has no option 'freqency_hz'; did you mean 'frequency_hz'?"),
        ({"frequency_hz": 3}, "frequency_hz: given 3, engine 'tone' allows a number, 20 to 20000"),
    ],
)
def test_default_options_that_an_engine_does_not_have_are_refused_at_start(
    options: dict[str, float], complaint: str
) -> None:
    settings = hosting_a_tone(options=options)
    with pytest.raises(InvalidConfig) as caught:
        hosted_infos(workers_of(settings), settings)
    assert str(caught.value) == f"engines.tone.defaults.options: {complaint}"


@pytest.mark.parametrize(
    ("configured", "inherited", "told"),
    [
        (3, {"OMP_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}),
        (0, {}, {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}),
        (0, {"OMP_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "7"}),
    ],
)
def test_workers_share_the_cores_unless_somebody_says_otherwise(
    configured: int, inherited: dict[str, str], told: dict[str, str]
) -> None:
    workers = [{"name": "w", "engines": ["tone"], "threads": configured}]
    given = config(engines={"tone": {"implementation": "mock"}}, workers=workers)
    (worker,) = workers_of(given)
    found = environment(process_spec(worker, fair_threads=2), inherited)
    assert {name: found[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in found} == told
