"""A folder belongs to the process that holds its lock, and to nobody once that is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audio_pool.claims import claim, gate, is_claimed


def test_a_claim_holds_until_it_is_given_back(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    assert not is_claimed(lock)  # its owner ended before it locked
    held = claim(lock)
    assert is_claimed(lock)
    assert is_claimed(lock)  # asking does not end it
    os.close(held)
    assert not is_claimed(lock)
    assert lock.exists()


def test_what_is_claimed_cannot_be_claimed_again(tmp_path: Path) -> None:
    held = claim(tmp_path / ".lock")
    with pytest.raises(BlockingIOError):
        claim(tmp_path / ".lock")
    os.close(held)
    os.close(claim(tmp_path / ".lock"))


def test_a_lock_that_cannot_be_opened_proves_no_death(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    assert is_claimed(tmp_path / ".lock")


def test_the_gate_lets_one_in_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with gate(lock, 0.0) as first:
        assert first
        with gate(lock, 0.0) as second:
            assert not second
        with gate(lock, 0.03) as third:
            assert not third
    with gate(lock, 0.0) as again:
        assert again


def test_the_gate_opens_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), gate(tmp_path / ".lock", 0.0):
        raise RuntimeError
    with gate(tmp_path / ".lock", 0.0) as inside:
        assert inside
