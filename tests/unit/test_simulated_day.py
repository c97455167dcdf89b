"""The simulated day, small: what it counts is conserved, and the pool's scheduler does what is claimed of it."""

from __future__ import annotations

import functools

import pytest
from benchmarks._simulated_traffic import Asked, traffic
from benchmarks._simulated_world import World
from benchmarks.simulate import POLICIES, fairness, row, simulate

GPUS, HOURS = 8, 1.0


@functools.cache
def asked() -> list[Asked]:
    return traffic(GPUS, HOURS, load=1.2, seed=3)


@functools.cache
def day(policy: str) -> World:
    return simulate(policy, asked(), GPUS, mtbf_h=2.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_has_one_answer_and_every_different_sound_is_made_once(policy: str) -> None:
    world = day(policy)
    accounts = world.accounts
    assert set(accounts.answers) == set(range(1, len(asked()) + 1)) and set(accounts.answers.values()) == {1}
    assert set(accounts.kinds) <= {"hit", "result", "new_generation", "joined"}, "none fails for want of a worker"
    assert accounts.sounds == len({one.sound for one in asked()}), "joined while it is made, found after that"
    assert accounts.failures > 0 and not any(world.waiting.values())


def test_the_same_seed_is_the_same_day() -> None:
    again = traffic(GPUS, HOURS, load=1.2, seed=3)
    assert again == asked()
    assert row("pool", simulate("pool", again, GPUS, mtbf_h=2.0), 0.0) == row("pool", day("pool"), 0.0)


def test_the_pool_keeps_its_gpus_at_work_and_loads_less_than_first_come_first_served() -> None:
    pool, first_come = day("pool").accounts, day("first come").accounts
    assert pool.usable.utilisation > 0.9 > first_come.usable.utilisation
    assert pool.loads < first_come.loads / 2


def test_the_pool_is_fairer_to_equal_clients_than_any_of_the_others() -> None:
    shares = {policy: fairness(day(policy)) for policy in POLICIES}
    ours = shares.pop("pool")
    assert ours is not None and all(other is not None and other < ours for other in shares.values())
