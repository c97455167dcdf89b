"""A worker whose GPU answers with errors only: it ends and is started anew, and its jobs are done by the next one."""

from __future__ import annotations

from pathlib import Path

from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import eventually

LIMITS = {"restart_backoff_s": 0.05}


def test_the_worker_is_started_anew_and_its_jobs_are_done(tmp_path: Path) -> None:
    with Served(tmp_path / "s", limits=LIMITS).ready() as server, Asker(server.endpoint) as ask:
        first = server.workers()["w"]
        ask.generate("poisoned", f"poison {tmp_path / 'marker'}")
        ask.generate("behind", "tone behind it")
        assert ask.final("poisoned")["type"] == ask.final("behind")["type"] == "result"
        worker = ask.ask("status")["workers"]["w"]
        assert (worker["state"], worker["incarnation"]) == ("ready", 2)
        assert not first.is_running() and server.workers()["w"].pid != first.pid


def test_a_job_that_always_loses_the_device_is_given_up(tmp_path: Path) -> None:
    with Served(tmp_path / "s", limits=LIMITS).ready() as server, Asker(server.endpoint) as ask:
        ask.generate("poisoned", "poison")
        failure = ask.final("poisoned")["error"]
        assert failure["code"] == "poisoned" and not failure["retryable"]
        assert "exit code 6" in failure["message"] and "illegal memory access" in failure["message"]
        eventually(lambda: ask.ask("health")["state"] == "ready", "the worker is back")
        ask.generate("after", "tone after it")
        assert ask.final("after")["type"] == "result"
