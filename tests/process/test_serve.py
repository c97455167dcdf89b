"""A served pool against plain sockets: its life as a process, its queue, and what every client is told."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
import soundfile
import zmq
from tests.support.asker import Asker
from tests.support.command_line import command
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.cli import pools
from audio_pool.cli.pools import listening_server

SMALL = {"max_requests": 6, "max_bytes": 1 << 20, "ageing_s": 0.5}
WHOLE = {"max_requests_per_client": 6, "max_bytes_per_client": 1 << 20}
"""One client may fill the small queue alone."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One worker that takes one sound at a time."""
    with Served(tmp_path_factory.mktemp("server"), server={"parked_bytes": 16 << 20}) as served:
        yield served.ready()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same with a short queue and quick ageing."""
    with Served(tmp_path_factory.mktemp("small"), queue=SMALL | WHOLE) as served:
        yield served.ready()


@pytest.fixture
def ask(server: Served) -> Iterator[Asker]:
    with Asker(server.endpoint) as asker:
        yield asker


@pytest.fixture
def held(tmp_path: Path) -> Callable[[str], tuple[str, Path]]:
    """A prompt that holds the worker until its file is made, and that file."""

    def make(word: str = "it") -> tuple[str, Path]:
        gate = tmp_path / f"gate-{word}"
        return f"hold {gate} {word}", gate

    return make


# -- the process -----------------------------------------------------------------------------------


def test_it_answers_while_models_load_and_prints_where_it_listens(tmp_path):
    gate = tmp_path / "gate"
    with Served(tmp_path / "s", "--json", engines={"stage": {"gate": str(gate)}}) as served:
        served.hear('{"event":')
        endpoint = json.loads(served.said[-1])["endpoint"]
        with Asker(endpoint) as ask:
            assert ask.ask("health")["state"] == "starting"
            told = command("status", "--connect", endpoint)
            assert told.returncode == 1 and told.stdout.startswith("starting")
            ask.generate("early", "tone early")
            assert ask.ask("status")["waiting"] == 1
            gate.touch()
            assert ask.final("early")["type"] == "result"
            eventually(lambda: ask.ask("health")["state"] == "ready", "ready")
        assert json.loads(served.lines.get(timeout=PATIENCE_S)) == {"event": "ready", "endpoint": endpoint}
        served.signal()
        assert served.wait() == 0
        assert json.loads(served.lines.get(timeout=1)) == {"event": "stopped", "endpoint": None}


def test_a_term_while_models_load_ends_it_at_once(tmp_path):
    with Served(tmp_path / "s", engines={"stage": {"gate": str(tmp_path / "never")}}) as served:
        served.hear("listening")
        eventually(served.workers, "a worker is loading")
        served.signal()
        assert served.wait() == 0
        assert "degraded" not in served.stderr()


def test_a_drain_finishes_what_is_under_way_and_takes_nothing_new(tmp_path, held):
    prompt, gate = held()
    with Served(tmp_path / "s").ready() as served, Asker(served.endpoint) as ask:
        ask.generate("work", prompt, events=True)
        ask.event("work", "progress")
        ask.generate("waits", "tone behind it")
        assert ask.ask("status")["waiting"] == 1
        served.signal()
        eventually(lambda: ask.ask("health")["state"] == "draining", "draining")
        ask.generate("late", "tone too late")
        assert ask.final("late")["error"]["code"] == "closed"
        gate.touch()
        for name in ("work", "waits"):
            final = ask.final(name)
            assert final["type"] == "result", final
            assert soundfile.info(final["path"]).frames == 8820
        assert served.wait() == 0


def test_what_outlives_the_drain_is_answered_closed(tmp_path, held):
    prompt, _ = held()
    limits = {"drain_timeout_s": 0.5, "term_timeout_s": 0.5}
    with Served(tmp_path / "s", limits=limits).ready() as served, Asker(served.endpoint) as ask:
        children = served.workers()
        ask.generate("work", prompt, events=True)
        ask.event("work", "progress")
        ask.generate("waits", "tone behind it")
        ask.ask("health")
        served.signal()
        for name in ("work", "waits"):
            final = ask.final(name)
            assert (final["type"], final["error"]["code"]) == ("error", "closed")
        assert served.wait() == 0
        assert not any(child.is_running() for child in children.values())


def test_a_second_signal_stops_at_once(tmp_path, held):
    prompt, _ = held()
    with Served(tmp_path / "s", limits={"drain_timeout_s": 600}).ready() as served, Asker(served.endpoint) as ask:
        children = served.workers()
        ask.generate("work", prompt, events=True)
        ask.event("work", "progress")
        served.signal()
        eventually(lambda: ask.ask("health")["state"] == "draining", "draining")
        served.signal()
        assert served.wait() == 128 + signal.SIGTERM
        psutil.wait_procs(children.values(), timeout=PATIENCE_S)
        assert not any(child.is_running() for child in children.values())


def test_a_killed_server_comes_back_on_the_same_address_with_the_same_sounds(tmp_path, held):
    prompt, _ = held()
    place = tmp_path / "s"
    with Served(place).ready() as served, Asker(served.endpoint) as ask:
        ask.generate("kept", "tone kept")
        path = ask.final("kept")["path"]
        ask.generate("lost", prompt, events=True)
        ask.event("lost", "progress")
        children = served.workers()
        served.signal(signal.SIGKILL)
        assert served.wait() == -signal.SIGKILL
        psutil.wait_procs(children.values(), timeout=PATIENCE_S)
        assert not any(child.is_running() for child in children.values())
        with Served(place).ready() as again:
            assert again.endpoint == served.endpoint
            ask.generate("again", "tone kept")  # the same socket: libzmq has connected anew
            final = ask.final("again")
            assert (final["path"], final["metadata"]["cache_type"]) == (path, "exact")
            assert "lost" not in ask.finals


def test_wrong_settings_end_it_with_2_and_say_which(tmp_path, server):
    taken = command("serve", "--bind", server.endpoint, "--cache-dir", str(tmp_path))
    assert taken.returncode == 2 and "in use" in taken.stderr
    config = tmp_path / "bad.toml"
    config.write_text("[queue]\nmax_request = 5\n")
    typo = command("serve", "--config", str(config))
    assert typo.returncode == 2 and "max_requests" in typo.stderr
    long = command("serve", "--bind", f"ipc://{tmp_path}/{'x' * 120}", "--cache-dir", str(tmp_path))
    assert long.returncode == 2 and "107" in long.stderr
    nobody = command("status", "--connect", f"ipc://{tmp_path}/nobody", "--timeout", "0.5")
    assert nobody.returncode == 1 and "nobody" in nobody.stderr


def test_the_commands_that_ask_a_server(server, ask, tmp_path, held):
    told = command("status", "--connect", server.endpoint, "--json")
    assert told.returncode == 0 and json.loads(told.stdout)["workers"]["w"]["state"] == "ready"
    out = tmp_path / "out.ogg"
    made = command("generate", "tone by command", "--connect", server.endpoint, "-o", str(out), "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["path"] == str(out) and soundfile.info(str(out)).format == "OGG"
    prompt, _ = held()
    ask.generate("to-stop", prompt, events=True)
    ask.event("to-stop", "progress")
    assert command("cancel", "to-stop", "--connect", server.endpoint).returncode == 0
    assert ask.final("to-stop")["type"] == "cancelled"
    again = command("cancel", "to-stop", "--connect", server.endpoint)
    assert again.returncode == 2 and "to-stop" in again.stderr
    refused = command("generate", "fail", "--connect", server.endpoint)
    assert refused.returncode == 1 and "gear" in refused.stderr


def test_the_usual_address(server, tmp_path, monkeypatch):
    """Without --connect the commands ask where ``serve`` listens by default."""
    (tmp_path / "audio_pool").mkdir()
    (tmp_path / "audio_pool" / "serve.sock").symlink_to(server.bind.removeprefix("ipc://"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    told = command("status")
    assert told.returncode == 0 and told.stdout.startswith("ready: "), told.stderr
    missing = command("cancel", "nobody")
    assert missing.returncode == 2 and "'nobody'" in missing.stderr


def test_a_sound_is_asked_of_the_server_at_the_usual_address_unless_its_pool_is_described(
    server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("AUDIO_POOL_CACHE_DIR", "AUDIO_POOL_CACHE_ENCODER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "audio_pool").mkdir()
    (tmp_path / "audio_pool" / "serve.sock").symlink_to(server.bind.removeprefix("ipc://"))
    told = command("generate", "tone of the server", "-o", "tone.wav", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["engine"] == "stage", "the server's own default engine"
    assert json.loads(told.stdout)["path"] == str(tmp_path / "tone.wav")
    assert (tmp_path / "tone.wav").read_bytes().startswith(b"RIFF")
    nothing = {"config_path": None, "cache_dir": None, "engine": None, "init_audio": None}
    assert listening_server(nothing) == f"ipc://{tmp_path}/audio_pool/serve.sock"
    for name in nothing:
        assert listening_server({**nothing, name: "x"}) is None, f"{name} describes a pool of its own"
    monkeypatch.setenv("AUDIO_POOL_CACHE_DIR", str(tmp_path / "own"))
    assert listening_server(nothing) is None
    never = command("generate", "tone of the server", "--duration", "0.2", "--json", "--connect", "never")
    assert json.loads(never.stdout)["engine"] == "procedural", never.stderr
    monkeypatch.delenv("AUDIO_POOL_CACHE_DIR")
    (tmp_path / "audio_pool" / "serve.sock").unlink()
    assert listening_server(nothing) is None
    (tmp_path / "audio_pool" / "serve.sock").write_text("left behind")
    assert listening_server(nothing) is None
    (tmp_path / "audio_pool").chmod(0o777)
    assert listening_server(nothing) is None, "whoever listens there may be anybody"


def test_a_server_that_nobody_named_and_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch, capsys):
    for name in ("AUDIO_POOL_CACHE_DIR", "AUDIO_POOL_CACHE_ENCODER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(pools, "_PROBE_S", 0.2)
    (tmp_path / "audio_pool").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(tmp_path / "audio_pool" / "serve.sock"))
        stopped.listen()
        assert listening_server({}) is None
    assert "does not answer" in capsys.readouterr().err


# -- the queue -------------------------------------------------------------------------------------


def fill(ask: Asker, prompt: str, count: int, **request: Any) -> list[str]:
    """The worker held by ``prompt``, and ``count`` more requests behind it."""
    ask.generate("first", prompt, events=True)
    ask.event("first", "progress")
    names = [f"fill-{number}" for number in range(count)]
    for name in names:
        ask.generate(name, f"tone {name} {os.urandom(4).hex()}", **request)
    return names


def test_a_full_queue_says_busy_and_who_waits_as_told_gets_through(small, held):
    prompt, gate = held()
    with Asker(small.endpoint) as ask, Asker(small.endpoint) as other:
        names = fill(ask, prompt, SMALL["max_requests"] - 1)
        assert ask.ask("status")["requests"] == SMALL["max_requests"]
        other.generate("refused", "tone refused")
        busy = other.final("refused")
        assert busy["type"] == "busy" and busy["error"]["code"] == "busy" and busy["error"]["retryable"]
        assert busy["retry_after_ms"] == busy["error"]["retry_after_ms"] >= 10
        time.sleep(2.5)  # the job in work turns out to be a long one: late by more than a second, it may be so again
        other.generate("later", "tone refused")
        assert other.final("later")["retry_after_ms"] >= 1000
        gate.touch()
        tries = 0
        while busy["type"] == "busy":
            time.sleep(busy["retry_after_ms"] / 1000)
            tries += 1
            other.generate(f"try-{tries}", "tone refused")
            busy = other.final(f"try-{tries}")
        assert busy["type"] == "result" and tries <= 5
        for name in ("first", *names):
            assert ask.final(name)["type"] == "result"


def test_a_hit_is_served_however_full_the_queue_is(small, held):
    prompt, gate = held()
    with Asker(small.endpoint) as ask, Asker(small.endpoint) as other:
        other.generate("made", "tone well known")
        assert other.final("made")["type"] == "result"
        names = fill(ask, prompt, SMALL["max_requests"] - 1)
        other.generate("hit", "tone well known")
        assert other.final("hit")["metadata"]["cache_type"] == "exact"
        gate.touch()
        for name in names:
            ask.final(name)


def test_bytes_are_bounded_too(small, held):
    prompt, gate = held()
    labels = {f"label-{number}": "x" * 60_000 for number in range(8)}
    with Asker(small.endpoint) as ask:
        names = fill(ask, prompt, 3, metadata=labels)  # 480 kB each: the third is one too many
        kinds = {}
        refused = names[-1]
        assert ask.final(refused)["type"] == "busy" and "bytes" in ask.final(refused)["error"]["message"]
        gate.touch()
        for name in names[:-1]:
            kinds[name] = ask.final(name)["type"]
            assert ask.final(name)["metadata"]["labels"] == labels
        assert set(kinds.values()) == {"result"}
        ask.generate("after", "tone after", metadata=labels)  # what was answered takes no room any more
        assert ask.final("after")["type"] == "result"


def test_identical_requests_in_flight_are_made_once_and_everyone_is_answered(server, ask, held):
    prompt, gate = held()
    ask.generate("first", prompt, events=True)
    ask.event("first", "progress")
    others = [Asker(server.endpoint) for _ in range(5)]
    try:
        for number, other in enumerate(others):
            other.generate("same-name" if number % 2 else f"other-{number}", prompt, events=True)
        for number, other in enumerate(others):
            name = "same-name" if number % 2 else f"other-{number}"
            assert other.event(name, "accepted")["body"]["joined"] is True
        others[0].send("cancel", "stop", target="other-0")
        assert others[0].final("other-0")["type"] == "cancelled"  # one leaves, the work goes on
        gate.touch()
        made = ask.final("first")
        assert made["metadata"]["cache_type"] == "new_generation"
        for number, other in enumerate(others[1:], 1):
            final = other.final("same-name" if number % 2 else f"other-{number}")
            assert final["path"] == made["path"]
            assert final["metadata"]["cache_type"] == "joined"
            assert final["metadata"]["request_id"] == final["request_id"]
        assert server.diary().count(prompt) == 1
    finally:
        for other in others:
            other.__exit__()


def test_force_neither_reads_the_cache_nor_joins(server, ask):
    for name in ("one", "two"):
        ask.generate(name, "tone anew each time", force=True)
    assert {ask.final(name)["metadata"]["cache_type"] for name in ("one", "two")} == {"new_generation"}
    assert server.diary().count("tone anew each time") == 2


def test_a_cancel_takes_what_waits_and_stops_what_is_made(server, ask, held):
    prompt, gate = held()
    ask.generate("made", prompt, events=True)
    ask.event("made", "progress")
    ask.generate("waits", "tone that waits")
    ask.send("cancel", "c1", target="waits")
    assert ask.final("waits")["error"]["code"] == "cancelled"
    assert ask.final("c1")["body"] == {"target": "waits", "cancelled": True}
    ask.send("cancel", "c2", target="made")
    assert ask.final("made")["type"] == "cancelled"
    ask.send("cancel", "c3", target="made")
    assert ask.final("c3")["body"]["cancelled"] is False
    ask.generate("next", "tone after a cancel")  # the gate is still shut: the worker has let go of it
    assert ask.final("next")["type"] == "result"
    assert "tone that waits" not in server.diary()
    assert all(len(finals) == 1 for finals in ask.finals.values())
    assert not gate.exists()


def test_a_deadline_expires_what_waits_and_what_is_made(ask, held):
    prompt, gate = held()
    ask.generate("made", prompt, deadline_ms=4000, events=True)
    ask.event("made", "progress")
    ask.generate("waits", "tone that waits", deadline_ms=50)
    assert ask.final("waits")["error"]["code"] == "expired"
    final = ask.final("made")
    assert (final["type"], final["error"]["code"], final["error"]["retryable"]) == ("expired", "expired", True)
    ask.generate("next", "tone after a deadline", deadline_ms=80_000_000)
    assert ask.final("next")["type"] == "result"
    assert not gate.exists()


def test_the_urgent_go_first(server, ask, held):
    prompt, gate = held("order")
    ask.generate("first", prompt, events=True)
    ask.event("first", "progress")
    for name in ("background", "normal", "interactive"):
        ask.generate(name, f"tone in order {name}", priority=name)
    assert ask.ask("status")["waiting"] == 3
    gate.touch()
    for name in ("background", "normal", "interactive"):
        assert ask.final(name)["type"] == "result"
    made = [line.split()[-1] for line in server.diary() if line.startswith("tone in order")]
    assert made == ["interactive", "normal", "background"]


def test_waiting_makes_urgent(small, held):
    prompt, gate = held("age")
    with Asker(small.endpoint) as ask:
        ask.generate("first", prompt, events=True)
        ask.event("first", "progress")
        ask.generate("old", "tone of age old", priority="background")
        ask.ask("health")
        time.sleep(2.5 * SMALL["ageing_s"])  # two priorities, and some
        ask.generate("young", "tone of age young", priority="interactive")
        assert ask.ask("status")["waiting"] == 2
        gate.touch()
        for name in ("old", "young"):
            assert ask.final(name)["type"] == "result"
        assert [line.split()[-1] for line in small.diary() if line.startswith("tone of age")] == ["old", "young"]


# -- what clients are told -------------------------------------------------------------------------


def test_events_come_to_those_who_ask_in_order_and_before_the_answer(server, ask, held):
    prompt, gate = held()
    ask.generate("first", prompt)
    ask.generate("second", "tone with events", events=True)
    assert ask.event("second", "accepted")["body"] == {"queue_position": 0, "joined": False}
    gate.touch()
    final = ask.final("second")
    kinds = [event["type"] for event in ask.events["second"]]
    assert kinds[0] == "accepted" and set(kinds[1:]) == {"progress"}
    assert [event["body"] for event in ask.events["second"][-2:]] == [
        {"stage": "generate", "done": 4, "total": 4, "fraction": 1.0},
        {"stage": "master", "done": 0, "total": 1, "fraction": 0.0},
    ]
    assert final["type"] == "result" and "first" not in ask.events
    ask.generate("hit", "tone with events", events=True)
    assert ask.final("hit")["type"] == "result" and "hit" not in ask.events


def test_a_req_socket_hears_one_thing_whatever_it_asks_for(server):
    with Asker(server.endpoint, zmq.REQ) as ask, Asker(server.endpoint) as framed:
        ask.generate("once", "tone for a req", events=True)
        assert ask.take()["type"] == "result"
        ask.send("health", "then")
        assert ask.take()["body"]["state"] == "ready"
        # a DEALER that sends a delimiter is no REQ: it hears its events, each behind a delimiter
        message = {"v": 1, "type": "generate", "request_id": "d", "events": True, "request": {"prompt": "tone d"}}
        framed.socket.send_multipart([b"", msgpack.packb(message)])
        assert framed.event("d", "accepted")
        assert framed.final("d")["type"] == "result"


def test_inline_is_the_very_file(server, ask):
    ask.generate("inline", "tone inline", delivery="inline", format="flac", duration_s=1)
    final = ask.final("inline")
    assert final["frame"] == Path(final["path"]).read_bytes() and final["frame"][:4] == b"fLaC"
    ask.generate("path", "tone inline", format="flac", duration_s=1)
    assert "frame" not in ask.final("path")


def test_a_file_that_the_client_has_is_not_sent_again(ask):
    request = {"prompt": "tone known", "delivery": "inline"}
    ask.generate("first", "tone known", delivery="inline")
    path = ask.final("first")["path"]
    for name, known, comes in (("other", "/elsewhere.wav", True), ("same", path, False), ("none", "", True)):
        ask.send("generate", name, request=request, known=known)
        assert ask.final(name)["path"] == path and ("frame" in ask.final(name)) == comes, name
    ask.send("generate", "anew", request={**request, "prompt": "tone not known"}, known=path)
    assert "frame" in ask.final("anew") and ask.final("anew")["path"] != path


def test_a_file_goes_where_it_was_asked_for_or_the_caller_hears_why_not(ask, tmp_path):
    wanted = tmp_path / "new" / "out.wav"
    ask.generate("there", "tone to a place", output_path=str(wanted))
    assert ask.final("there")["path"] == str(wanted) and wanted.stat().st_size > 1000
    (tmp_path / "file").touch()
    ask.generate("under-a-file", "tone to a place", output_path=str(tmp_path / "file" / "x.wav"))
    assert ask.final("under-a-file")["error"]["code"] == "storage"
    ask.generate("zero", "tone to a place", output_path="/tmp/a\0b.wav")
    assert ask.final("zero")["type"] == "error"


def test_a_file_to_start_from_is_read_without_holding_anybody_up(server, ask, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, path, code in (
        ("pipe", str(tmp_path / "pipe"), "bad_audio"),
        ("device", "/dev/zero", "bad_audio"),
        ("directory", str(tmp_path), "bad_audio"),
        ("nothing", str(tmp_path / "nothing"), "not_found"),
        ("zero", "/tmp/a\0b", "not_found"),
        ("relative", "start.wav", "bad_request"),
    ):
        ask.generate(name, "tone from something", init_audio=path, init_strength=0.5)
        assert ask.final(name)["error"]["code"] == code
    start = tmp_path / "start.wav"
    soundfile.write(start, [0.0] * 4410, 44_100)
    ask.generate("file", "tone from a file", init_audio=str(start), init_strength=0.5)
    assert ask.final("file")["type"] == "result"


def test_a_name_in_flight_is_refused_to_its_owner_only(server, ask, held):
    prompt, gate = held()
    ask.generate("name", prompt, events=True)
    ask.event("name", "progress")
    ask.generate("name", "tone of another")
    assert ask.take()["error"]["code"] == "bad_request"
    with Asker(server.endpoint) as other:
        other.generate("name", prompt)  # names are each connection's own
        gate.touch()
        assert other.final("name")["type"] == "result"
    while len(ask.finals["name"]) < 2:
        ask.take()
    assert ask.finals["name"][1]["type"] == "result"
    ask.finals.clear()
    ask.generate("name", "tone of another")  # answered, so free again
    assert ask.final("name")["type"] == "result"


def test_questions_of_every_kind_are_answered(server, ask):
    assert {engine["name"] for engine in ask.ask("engines")["engines"]} == {"stage"}
    assert ask.ask("cache_stats")["missing_files"] == 0
    assert ask.ask("echo", payload=b"\x00\xff")["payload"] == b"\x00\xff"
    assert ask.ask("feedback", target="x", verdict="good")["noted"] is True
    status = ask.ask("status")
    assert status["clients"]["feedback_good"] == 1
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    told = page.partition("The body of `status`")[2].partition("###")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", told, flags=re.MULTILINE)) == set(status)
    inner = {*status["workers"]["w"], *status["arena"], *status["replies"], *status["clients"]}
    assert inner <= set(re.findall(r"`(\w+)`", told))
    ask.send("echo", "nowhere", worker="v")
    assert ask.final("nowhere")["error"]["code"] == "not_found"
    ask.send("clap", "clap", operation="embed", texts=["rain"])
    assert ask.final("clap")["error"]["code"] == "engine_unavailable"


# -- clients that misbehave ------------------------------------------------------------------------


def replies(ask: Asker) -> dict[str, int]:
    counts: dict[str, int] = ask.ask("status")["replies"]
    return counts


def test_a_slow_reader_waits_for_nobody_else_and_loses_no_reply(server, ask):
    count = 4000
    with Asker(server.endpoint, RCVHWM=1) as slow:
        for number in range(count):
            slow.send("status", f"s{number}")
        eventually(lambda: replies(ask).get("replies_parked", 0), "its replies are parked")
        ask.generate("quick", "tone beside a slow reader")
        assert ask.final("quick")["type"] == "result"
        for number in range(count):
            assert slow.final(f"s{number}")["type"] == "result"
        assert all(len(finals) == 1 for finals in slow.finals.values())
        assert replies(ask).get("replies_dropped", 0) == 0


def test_one_who_never_reads_takes_a_bounded_room(server, ask):
    before = server.rss_mb()
    with Asker(server.endpoint, RCVHWM=1) as deaf:
        for number in range(40_000):
            if not number % 1000:  # whoever reads is served all the while
                assert ask.ask("echo", payload=b"x")["payload"] == b"x"
            deaf.send("health", f"h{number}")
        eventually(lambda: replies(ask).get("replies_dropped", 0), "what is beyond the room is dropped")
        assert server.rss_mb() - before < 60
    eventually(lambda: replies(ask).get("replies_to_vanished", 0), "what was parked goes with its client")


def test_sounds_by_the_megabyte_to_one_who_never_reads(server, ask):
    """Inline files are large: zmq's own queue must not hold a thousand of them."""
    ask.generate("made", "tone long", duration_s=20)
    assert ask.final("made")["type"] == "result"
    before = server.rss_mb()
    with Asker(server.endpoint, RCVHWM=1) as deaf:
        for number in range(60):  # 3.5 MB each
            deaf.generate(f"d{number}", "tone long", duration_s=20, delivery="inline")
        ask.generate("mine", "tone long", duration_s=20, delivery="inline")
        assert len(ask.final("mine")["frame"]) > 3_000_000
        eventually(lambda: ask.ask("status")["requests"] == 0, "all are answered as far as the server goes")
        assert server.rss_mb() - before < 100
        kinds = [deaf.final(f"d{number}")["type"] for number in range(60)]
        assert kinds.count("result") >= 1 and set(kinds) <= {"result", "busy"}


def test_a_client_that_vanished_costs_its_answer_only(server, ask, held):
    prompt, gate = held()
    before = replies(ask).get("replies_to_vanished", 0)
    with Asker(server.endpoint) as gone:
        gone.generate("gone", prompt, events=True)
        gone.event("gone", "progress")
    ask.generate("behind", "tone behind one who left")
    gate.touch()
    assert ask.final("behind")["type"] == "result"
    assert replies(ask)["replies_to_vanished"] > before
    ask.generate("heir", prompt)  # what it asked for was made, and is there for the next
    assert ask.final("heir")["metadata"]["cache_type"] == "exact"


# -- the image server's messages -------------------------------------------------------------------


def render(request_id: str, prompt: str, **fields: Any) -> bytes:
    return json.dumps({"type": "AudioRenderRequest", "request_id": request_id, "prompt": prompt, **fields}).encode()


def hear(socket: zmq.Socket[bytes]) -> dict[str, Any]:
    assert socket.poll(int(PATIENCE_S * 1000)), "no answer"
    answer: dict[str, Any] = json.loads(socket.recv_multipart()[-1])
    return answer


def test_an_image_server_on_the_clients_socket(server, ask):
    ask.socket.send(render("i1", "tone", style="soft", duration_s=1, metadata={"scene": 7, "big": 10**30}))
    ready = hear(ask.socket)
    assert (ready["type"], ready["request_id"], ready["prompt"]) == ("AudioReady", "i1", "tone")
    assert Path(ready["uri"].removeprefix("file://")).is_file() and ready["duration_s"] == 1.0
    assert (
        ready["metadata"]["labels"] == {"scene": 7, "big": str(10**30)} and ready["metadata"]["prompt"] == "tone, soft"
    )
    ask.socket.send(render("i2", "tone", style="soft", duration_s=1))
    assert hear(ask.socket)["metadata"]["cache_type"] == "exact"
    ask.socket.send(render("i3", "tone", style="soft", duration_s=1, metadata={"no_cache": True}))
    assert hear(ask.socket)["metadata"]["cache_type"] == "new_generation"
    for bad, request_id in ((b"{", ""), (render("i4", ""), "i4"), (render("i5", "tone", duration_s=1e9), "i5")):
        ask.socket.send(bad)
        alert = hear(ask.socket)
        assert (alert["type"], alert["request_id"], alert["severity"]) == ("Alert", request_id, "error")


def test_an_image_server_on_push_and_pull_clears_its_own_queue(tmp_path, held):
    prompt, gate = held("image")
    addresses = {"pull_bind": f"ipc://{tmp_path}/in", "push_bind": f"ipc://{tmp_path}/out"}
    context = zmq.Context.instance()
    with (
        Served(tmp_path / "s", server=addresses).ready() as served,
        Asker(served.endpoint) as ask,
        context.socket(zmq.PUSH) as push,
        context.socket(zmq.PULL) as pull,
    ):
        push.linger = pull.linger = 0
        push.connect(addresses["pull_bind"])
        push.send(render("p1", prompt))
        eventually(lambda: served.diary(), "it is made")
        ask.generate("mine", "tone of another client")
        push.send(render("p2", "tone of yesterday"))
        eventually(lambda: ask.ask("status")["waiting"] == 2, "both wait")
        push.send(render("p3", "tone of today", clear_queue=True))
        eventually(lambda: ask.ask("status")["requests"] == 3, "the second is out")
        pull.connect(addresses["push_bind"])  # answers wait until somebody pulls
        gate.touch()
        answers = {answer["request_id"]: answer for answer in (hear(pull) for _ in range(3))}
        assert {name: answer["type"] for name, answer in answers.items()} == {
            "p1": "AudioReady", "p2": "Alert", "p3": "AudioReady"}  # fmt: skip
        assert (answers["p2"]["severity"], answers["p2"]["code"]) == ("info", "cancelled")
        assert ask.final("mine")["type"] == "result"
        assert "tone of yesterday" not in served.diary()
