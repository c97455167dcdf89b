"""A cache filled ahead: by a server and by a pool of its own, resumed, interrupted, with failures told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.client import AudioClient
from audio_pool.packs.prompt_list import prompt_lines
from audio_pool.packs.warming import warm
from audio_pool.pool.pool import AudioPool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    place = tmp_path_factory.mktemp("warm")
    tree = {
        "defaults": {"engine": "mock", "duration_s": 0.2},
        "cache": {"dir": str(place / "cache"), "encoder": "off"},
        "queue": {"max_requests": 6},
        "server": {"bind": f"ipc://{place}/s"},
    }
    with AudioPool.from_config(tree, serve=True) as made:
        yield made


def listed(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "audio_pool.cli", "warm", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_list_is_made_once_and_then_is_there(pool: AudioPool, tmp_path: Path) -> None:
    path = listed(tmp_path, [f"creak {number}" for number in range(10)])
    with AudioClient(pool.endpoint) as client:
        first = warm(client, prompt_lines(path, {}), at_once=3)
        assert (first.made, first.there_already, first.failed, first.not_kept) == (10, 0, 0, 0)
        again = warm(client, prompt_lines(path, {}), at_once=3)
        assert (again.made, again.there_already) == (0, 10)
        more = warm(client, prompt_lines(path, {}), count=2, at_once=3)
        assert (more.made, more.there_already) == (10, 10)


def test_a_full_queue_is_waited_for(pool: AudioPool, tmp_path: Path) -> None:
    path = listed(tmp_path, [f"slow creak {number}" for number in range(25)])
    seen: list[int] = []
    with AudioClient(pool.endpoint) as client:
        warmed = warm(client, prompt_lines(path, {}), at_once=20, on_progress=lambda so_far: seen.append(so_far.done))
    assert (warmed.made, warmed.failed) == (25, 0) and seen == sorted(seen)
    assert pool.status().answers.get("busy", 0) > 0, "the test asks for more than the queue takes"


def test_a_line_that_fails_is_listed_and_costs_no_other(pool: AudioPool, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('"a squeak"\n{"prompt": "x", "duration_s": 9999}\n{"prompt": "y", "engine": "nosuch"}\n')
    assert pool.endpoint is not None
    done = command(str(path), "--connect", pool.endpoint, "--json")
    out, _ = done.communicate(timeout=PATIENCE_S)
    told = json.loads(out)
    assert done.returncode == 1
    assert (told["made"], told["failed"], told["total"]) == (1, 2, 3)
    assert [(one["line"], one["code"]) for one in told["failures"]] == [(2, "bad_request"), (3, "unknown_engine")]


def test_an_interrupt_ends_it_with_a_report_and_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = listed(tmp_path, [f"long creak {number}" for number in range(400)])
    cache = tmp_path / "cache"
    (tmp_path / "quick.toml").write_text('defaults = {engine = "mock", duration_s = 0.2}\ncache = {encoder = "off"}\n')
    options = (str(path), "--config", str(tmp_path / "quick.toml"), "--cache-dir", str(cache))
    # a shell that starts its jobs in the background has them ignore the signal, and their children too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = command(*options)
    signal.signal(signal.SIGINT, before)
    eventually(lambda: sum(1 for _ in cache.glob("audio/*/*.flac")) >= 5, "some sounds are made")
    os.kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, err
    assert "interrupted" in out and "made" in out
    kept = sum(1 for _ in cache.glob("audio/*/*.flac"))
    assert 5 <= kept < 400
    short = listed(tmp_path, [f"long creak {number}" for number in range(4)])
    again = command(str(short), *options[1:], "--json")
    told = json.loads(again.communicate(timeout=PATIENCE_S)[0])
    assert again.returncode == 0 and told["there_already"] >= 3 and told["ended"] == ""


def test_a_server_that_is_killed_midway_ends_it_and_the_next_one_goes_on(tmp_path: Path) -> None:
    place = tmp_path / "s"
    path = listed(tmp_path, [f"tone {number}" for number in range(400)])
    with Served(place).ready() as served:
        running = command(str(path), "--connect", served.endpoint, "--parallel", "3")
        eventually(lambda: sum(1 for _ in place.glob("cache/audio/*/*.flac")) >= 5, "some sounds are made")
        served.signal(signal.SIGKILL)
        out, err = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 1, err
        assert "begin it again" in out and "1 failed" in out
    short = listed(tmp_path, [f"tone {number}" for number in range(8)])
    with Served(place).ready() as served, AudioClient(served.endpoint) as client:
        again = warm(client, prompt_lines(short, {}))
        assert (again.made + again.there_already, again.ended) == (8, "")
        assert again.there_already >= 4, "acknowledged before the kill, so there"
        served.signal()
        assert served.wait() == 0


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = listed(tmp_path, ["rain", "wind"])
    done = command(str(path), "--connect", f"ipc://{tmp_path}/nobody", "--timeout", "1")
    out, _ = done.communicate(timeout=PATIENCE_S)
    assert done.returncode == 1 and "failed" in out
