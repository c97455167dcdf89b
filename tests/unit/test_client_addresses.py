"""Addresses that a client is given, and which of several heads it asks when."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from audio_pool.client.addresses import all_share_files, parse_addresses
from audio_pool.client.roaming import LEFT_ALONE_S, Roaming
from audio_pool.errors import InvalidConfig

A, B, C = "tcp://10.0.0.5:5555", "tcp://10.0.0.6:5555", "ipc:///run/audio/s"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (A, (A,)),
        (f"{A},{B}", (A, B)),
        (f" {A} ,  {C} ", (A, C)),
        ([A, f"{B},{C}"], (A, B, C)),
        ((A,), (A,)),
        ("ipc:///tmp/a,b/s", ("ipc:///tmp/a,b/s",)),
        ("ipc:///tmp/a,b/s,tcp://[::1]:5", ("ipc:///tmp/a,b/s", "tcp://[::1]:5")),
    ],
)
def test_one_address_or_several(given: str | list[str], found: tuple[str, ...]) -> None:
    assert parse_addresses(given) == found


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "given ''"),
        ([], "given none"),
        ("tcp://a:5555,b:5555", "commas between them"),
        (f"{A},", "commas between them"),
        (f"{A},{A}", "2 times"),
        ([A, B, A], "2 times"),
        (f"{A},tcp://b:*", "tcp://HOST:PORT"),
        (f"{A},tcp://b", "tcp://HOST:PORT"),
        ([A, 5], "allowed are texts"),
        (f"{A},ipc:///{'x' * 120}", "107 at most"),
        (f"{A},tcp://ho st:5", "ho st"),
        (f"{A},tcp://host:99999", "65535"),
        (f"{A},inproc://x", "inproc"),
        (",".join(f"tcp://a:{port}" for port in range(1, 66)), "64 at most"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(given: str | list[str], told: str) -> None:
    with pytest.raises(InvalidConfig, match=r"allowed|once") as raised:
        parse_addresses(given)
    assert told in str(raised.value)


def test_a_path_means_the_same_file_where_all_are_on_this_machine() -> None:
    assert all_share_files(C) and not all_share_files(f"{C},{A}") and not all_share_files(A)


def test_many_clients_begin_at_different_heads() -> None:
    chance = random.Random(1)
    begun = Counter(Roaming((A, B, C), chance=chance.random).choose(0.0)[0] for _ in range(3000))
    assert all(900 < begun[address] < 1100 for address in (A, B, C))
    assert {Roaming((A, B, C), order="given").choose(0.0)[0] for _ in range(20)} == {A}


def test_a_lost_head_is_left_alone_and_tried_again_later() -> None:
    roaming = Roaming((A, B), order="given", chance=lambda: 1.0)
    roaming.failed(A, "no connection", 10.0)
    assert roaming.choose(10.0) == (B, 10.0)
    roaming.failed(B, "silent for 10 s", 10.0, leave=True)
    address, at = roaming.choose(10.0)
    assert address == A and 10.0 < at < 10.0 + LEFT_ALONE_S
    assert roaming.choose(at) == (A, at)
    roaming.answered(A)
    assert roaming.choose(at) == (A, at)
    assert roaming.trouble == f"{A}: not tried yet; {B}: silent for 10 s"


def test_pauses_grow_up_to_a_limit_and_differ_by_chance() -> None:
    roaming, pauses = Roaming((A,), chance=lambda: 1.0), []
    for _ in range(40):
        roaming.failed(A, "no connection", 0.0)
        pauses.append(roaming.choose(0.0)[1])
    assert pauses == sorted(pauses) and 0.0 < pauses[0] <= 0.1 and pauses[-1] == LEFT_ALONE_S
    chance = random.Random(1)
    apart = set()
    for _ in range(20):
        one = Roaming((A,), chance=chance.random)
        one.failed(A, "no connection", 0.0)
        apart.add(one.choose(0.0)[1])
    assert len(apart) == 20, "they do not come back in step"


def test_no_address_is_tried_in_a_tight_loop_however_long_none_answers() -> None:
    chance = random.Random(7)
    roaming, now, tries = Roaming((A, B, C), chance=chance.random), 0.0, 0
    while now < 600.0:
        address, at = roaming.choose(now)
        now = max(now, at)
        roaming.failed(address, "no connection", now)
        tries += 1
    assert 3 * 600 / LEFT_ALONE_S / 2 < tries < 3 * 600 / LEFT_ALONE_S * 2.5 + 3 * 10


def test_who_is_slow_to_greet_gets_more_time_at_each_attempt() -> None:
    roaming = Roaming((A, B))
    first = roaming.patience_s(A)
    for _ in range(30):
        roaming.failed(A, "no greeting in time", 0.0)
    assert first < roaming.patience_s(A) <= 15.0 and roaming.patience_s(B) == first


def test_it_is_known_when_every_head_turns_this_client_away() -> None:
    roaming = Roaming((A, B))
    roaming.failed(A, "turned away", 0.0, refuses=True)
    assert not roaming.all_refuse
    roaming.failed(B, "turned away", 0.0, refuses=True)
    assert roaming.all_refuse
    roaming.failed(B, "no connection", 9.0)
    assert not roaming.all_refuse
