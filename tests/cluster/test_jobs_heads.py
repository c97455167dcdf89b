"""Durable jobs of two real heads: either takes any, answers for all, and each is made once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.served_heads import ServedHeads, asking
from tests.support.command_line import command
from tests.support.postgres import PostgresServer
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.api import JobReport
from audio_pool.errors import Cancelled, Conflict, EngineError, InvalidRequest, NotFound

Two = tuple[ServedHeads, Served, Served]


@pytest.fixture(scope="module")
def two(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServedHeads, Served, Served]]:
    """Two heads that live as long as these tests."""
    with postgres.database("jobs_of_two") as url, ServedHeads(url, tmp_path_factory.mktemp("heads")) as heads:
        a, b = heads.start("a"), heads.start("b")
        yield heads, a.ready(), b.ready()


@pytest.fixture
def heads(two: Two) -> ServedHeads:
    return two[0]


@pytest.fixture
def one(two: Two) -> Iterator[AudioClient]:
    with asking(two[1]) as client:
        yield client


@pytest.fixture
def other(two: Two) -> Iterator[AudioClient]:
    with asking(two[2]) as client:
        yield client


@pytest.fixture
def gate(heads: ServedHeads, request: pytest.FixtureRequest) -> Iterator[Path]:
    found = heads.place / re.sub(r"\W", "-", request.node.name)
    yield found
    found.touch()


def in_state(client: AudioClient, name: str, state: str) -> JobReport:
    def found() -> JobReport | None:
        try:
            report = client.job(name)
        except NotFound:  # it is on its way to the other head
            return None
        return report if report.state == state else None

    return eventually(found, f"{name} is {state}")


def test_what_one_was_asked_for_the_other_tells_of(heads: ServedHeads, one: AudioClient, other: AudioClient) -> None:
    made = one.generate("tone told", durable=True, request_id="told")
    report = other.job("told")
    assert (report.state, report.path, report.attempts) == ("done", made.path, 1)
    assert other.fetch("told", delivery="inline").data == Path(made.path).read_bytes()
    assert "told" in {job.request_id for job in other.jobs(["done"]).jobs}
    again = other.generate("tone told", durable=True, request_id="told")
    assert again.path == made.path and heads.diary().count("tone told") == 1
    with pytest.raises(Conflict):
        other.generate("tone else", durable=True, request_id="told")
    with pytest.raises(EngineError):
        one.generate("fail told", durable=True, request_id="failed")
    with pytest.raises(EngineError):
        other.fetch("failed")
    with pytest.raises(NotFound):
        other.job("unheard")


def test_who_waits_on_another_head_hears_of_the_end(
    two: Two, heads: ServedHeads, gate: Path, one: AudioClient, other: AudioClient
) -> None:
    prompt = f"hold {gate} joined"
    first = one.submit(prompt, durable=True, request_id="joined")
    in_state(other, "joined", "running")
    second = other.submit(prompt, durable=True, request_id="joined", events=True)
    with pytest.raises(Conflict), asking(two[2]) as third:
        third.generate(prompt, durable=True, request_id="joined", loop=True)
    assert other.job("joined", wait_s=0.2).state == "running"
    assert next(iter(second.events())).type == "accepted"
    gate.touch()
    assert other.job("joined", wait_s=60).state == "done"
    assert first.result(PATIENCE_S).path == second.result(PATIENCE_S).path == other.job("joined").path
    assert heads.diary().count(prompt) == 1


def test_a_job_is_cancelled_through_another_head_and_done_again(
    heads: ServedHeads, gate: Path, one: AudioClient, other: AudioClient
) -> None:
    prompt = f"hold {gate} unwanted"
    pending = one.submit(prompt, durable=True, request_id="unwanted")
    in_state(other, "unwanted", "running")
    assert other.cancel("unwanted").cancelled
    with pytest.raises(Cancelled):
        pending.result(PATIENCE_S)
    assert one.job("unwanted").state == other.job("unwanted").state == "cancelled"
    assert not other.cancel("unwanted").cancelled and not one.cancel("unwanted").cancelled, "it has ended"
    assert not other.cancel("unheard").cancelled
    gate.touch()
    assert other.retry("unwanted").state == "pending"
    assert one.fetch("unwanted").path == other.fetch("unwanted").path
    with pytest.raises(InvalidRequest, match="is done"):
        one.retry("unwanted")


def test_a_head_that_is_full_leaves_jobs_to_the_other(
    heads: ServedHeads, gate: Path, one: AudioClient, other: AudioClient
) -> None:
    first = one.submit(f"hold {gate} full", durable=True, request_id="full")
    in_state(other, "full", "running")
    prompts = [f"tone left {number}" for number in range(4)]
    pending = [one.submit(prompt, durable=True, request_id=f"left-{n}") for n, prompt in enumerate(prompts)]
    assert all(one.result(PATIENCE_S).path for one in pending)
    gate.touch()
    assert first.result(PATIENCE_S).path
    assert [line for line in heads.diary() if line in prompts] == prompts, "in the order in which they came"


def test_a_job_that_waits_for_room_can_be_cancelled_from_anywhere(
    heads: ServedHeads, gate: Path, one: AudioClient, other: AudioClient
) -> None:
    clients = enumerate((one, other))
    held = [client.submit(f"hold {gate} {n}", durable=True, request_id=f"held-{n}") for n, client in clients]
    for number in range(2):
        in_state(one, f"held-{number}", "running")
    waiting = one.submit("tone never", durable=True, request_id="never", events=True)
    assert next(iter(waiting.events())).type == "accepted", "it is written down"
    assert other.job("never").state == "pending" and other.cancel("never").cancelled
    with pytest.raises(Cancelled):
        waiting.result(PATIENCE_S)
    gate.touch()
    assert all(pending.result(PATIENCE_S).path for pending in held)
    assert "tone never" not in heads.diary()


def test_a_recipe_that_two_heads_are_asked_for_is_made_once(
    heads: ServedHeads, gate: Path, one: AudioClient, other: AudioClient
) -> None:
    prompt = f"hold {gate} recipe"
    pending = [
        client.submit(prompt, durable=True, request_id=f"recipe-{n}", seed=7) for n, client in enumerate((one, other))
    ]
    eventually(lambda: prompt in heads.diary(), "one of them makes it")
    gate.touch()
    sounds = [one.result(PATIENCE_S) for one in pending]
    assert heads.diary().count(prompt) == 1
    assert sounds[0].path != sounds[1].path and len({Path(one.path).read_bytes() for one in sounds}) == 1


def test_the_command_line_tells_of_all_jobs(two: Two, gate: Path) -> None:
    heads, a, b = two
    with asking(a) as client:
        client.submit(f"hold {gate} cli", durable=True, request_id="cli")
        client.generate("tone cli", durable=True, request_id="cli-done")
    where = ["--connect", b.endpoint]
    assert json.loads(command("jobs", "show", "cli-done", *where, "--json").stdout)["state"] == "done"
    assert command("jobs", "cancel", "cli", *where).stdout == "cancelled cli\n"
    assert "cli" in command("jobs", "list", "--state", "cancelled", *where).stdout
    gate.touch()
    assert command("jobs", "retry", "cli", *where).returncode == 0
    assert "done" in command("jobs", "show", "cli", "--wait", "30", *where).stdout
    for place in (heads.url, str(a.place / "cache/jobs"), str(a.place / "cache")):
        offline = command("jobs", "list", "--offline", place, "--json")
        assert offline.returncode == 0, offline.stderr
        assert {"cli", "cli-done"} <= {job["request_id"] for job in json.loads(offline.stdout)["jobs"]}
    nowhere = command("jobs", "list", "--offline", heads.url, "--schema", "nowhere")
    assert nowhere.returncode == 2 and "holds no jobs" in nowhere.stderr
