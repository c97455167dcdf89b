"""Two servers on one cache directory that are asked the same new prompts make each sound once."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient

PROMPTS = [f"take 0.2 {name}" for name in ("red", "blue", "green", "white", "grey", "pink")]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Served]]:
    both = [Served(tmp_path / name, "--cache-dir", str(tmp_path / "cache")) for name in ("a", "b")]
    yield [server.ready() for server in both]
    for server in both:
        server.close()


def test_each_sound_is_made_once(servers: list[Served]) -> None:
    with AudioClient(servers[0].endpoint) as one, AudioClient(servers[1].endpoint) as two:
        doors = ((one, "wav"), (two, "ogg"))
        asked = [client.submit(prompt, format=kind) for prompt in PROMPTS for client, kind in doors]
        results = [pending.result(PATIENCE_S) for pending in asked]
    kinds = sorted(str(result.metadata["cache_type"]) for result in results)
    assert kinds == ["exact"] * len(PROMPTS) + ["new_generation"] * len(PROMPTS)
    assert sorted(servers[0].diary() + servers[1].diary()) == sorted(PROMPTS)
    by_prompt: dict[str, set[object]] = {}
    for result in results:
        by_prompt.setdefault(str(result.metadata["prompt"]), set()).add(result.metadata["seed"])
        assert Path(result.path or "").is_file()
    assert all(len(seeds) == 1 for seeds in by_prompt.values())


def test_what_was_begun_when_nobody_else_was_there_is_claimed_when_somebody_comes(tmp_path: Path) -> None:
    place, prompt = str(tmp_path / "cache"), f"hold {tmp_path / 'gate'}"
    with Served(tmp_path / "a", "--cache-dir", place) as first, AudioClient(first.ready().endpoint) as one:
        begun = one.submit(prompt)
        eventually(first.diary, "the first has begun")
        with Served(tmp_path / "b", "--cache-dir", place) as second, AudioClient(second.ready().endpoint) as two:
            eventually(lambda: claims(tmp_path / "cache"), "it is claimed after all")
            waiting = two.submit(prompt)
            time.sleep(0.5)
            (tmp_path / "gate").touch()
            assert begun.result(PATIENCE_S).metadata["cache_type"] == "new_generation"
            assert waiting.result(PATIENCE_S).metadata["cache_type"] == "exact" and not second.diary()
            eventually(lambda: not claims(tmp_path / "cache"), "it is given back")


def claims(cache: Path) -> int:
    with contextlib.closing(sqlite3.connect(cache / "cache.sqlite3")) as db:
        (count,) = db.execute("SELECT count(*) FROM claims").fetchone()
    return int(count)


def test_where_the_maker_is_killed_another_makes_it(servers: list[Served], tmp_path: Path) -> None:
    prompt = f"hold {tmp_path / 'gate'}"
    with AudioClient(servers[0].endpoint) as one, AudioClient(servers[1].endpoint) as two:
        one.submit(prompt)
        eventually(servers[0].diary, "the first has begun")
        waiting = two.submit(prompt)
        time.sleep(0.5)
        assert not waiting.done() and not servers[1].diary()
        servers[0].process.kill()
        eventually(servers[1].diary, "the second has taken it over")
        (tmp_path / "gate").touch()
        assert waiting.result(PATIENCE_S).metadata["cache_type"] == "new_generation"
