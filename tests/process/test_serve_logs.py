"""What a server writes down, and what SIGHUP makes of a changed configuration: a real process, real signals."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.support.asker import Asker
from tests.support.cache_sounds import ids_in
from tests.support.command_line import command
from tests.support.served import Served
from tests.support.waiting import eventually

from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.client.client import AudioClient

HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) \S+: |  \| ")
FORGED = "\n2023-11-14T22:13:20.250Z ERROR audio_pool.x: forged \x1b[31m"


def log_file(served: Served) -> Path:
    return served.place / "cache" / "logs" / "server.log"


def lines(served: Served, word: str) -> list[str]:
    return [line for line in log_file(served).read_text().splitlines() if word in line]


def objects(served: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_file(served).read_text().splitlines()]


def change(served: Served, old: str, new: str) -> None:
    """Edit the server's configuration."""
    file = served.place / "serve.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def reload(served: Served, says: str) -> str:
    """Send SIGHUP and return the line in which the log says what came of it."""
    before = len(lines(served, says)) if log_file(served).exists() else 0
    served.signal(signal.SIGHUP)
    eventually(lambda: log_file(served).exists() and len(lines(served, says)) > before, says)
    return lines(served, says)[-1]


def test_each_request_has_one_line_with_its_ids_and_its_outcome(tmp_path: Path) -> None:
    with Served(tmp_path / "s", "--log-format", "json").ready() as served, Asker(served.endpoint) as ask:
        ask.generate("new", "tone secret words")
        ask.final("new")
        ask.generate("hit", "tone secret words")
        ask.final("hit")
        ask.generate("wrong", "tone", duration_s=-1)
        ask.final("wrong")
        ask.generate("raise", "raise")
        ask.final("raise")
        ask.ask("feedback", target="hit", verdict="good", comment=FORGED)
        eventually(lambda: any("feedback" in one["message"] for one in objects(served)), "all is written")
        found = {one["request_id"]: one for one in objects(served) if one["message"] in ("answered", "refused")}
        outcomes = {name: (one["message"], one.get("outcome"), one.get("cache")) for name, one in found.items()}
        assert outcomes["new"] == ("answered", "result", "new_generation")
        assert outcomes["hit"] == ("answered", "result", "exact")
        assert outcomes["wrong"] == ("refused", None, None) and "duration_s" in found["wrong"]["error"]
        assert found["hit"]["engine"] == "stage" and found["hit"]["ms"] >= 0 and found["hit"]["level"] == "INFO"
        assert len({one["client"] for one in found.values()}) == 1 and found["hit"]["client"]
        assert "secret" not in log_file(served).read_text(), "prompts are not written unless they are wanted"
        (told,) = [one for one in objects(served) if "feedback" in one["message"]]
        assert told["logger"].startswith("audio_pool.")
        files = list(log_file(served).parent.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600} and len(files) == 2
        assert stat.S_IMODE(log_file(served).parent.stat().st_mode) == 0o700


def test_a_durable_request_that_the_journal_refuses_has_its_line(tmp_path: Path) -> None:
    with Served(tmp_path / "s", "--log-format", "json").ready() as served, Asker(served.endpoint) as ask:
        ask.generate("one", "tone", durable=True)
        ask.final("one")
        with Asker(served.endpoint) as other:  # its own connection: this one has had its reply for that job
            other.generate("one", "tone two", durable=True)
            assert other.final("one")["error"]["code"] == "conflict"
        ask.send("retry", "again", target="one")
        assert ask.final("again")["error"]["code"] == "bad_request"

        def refused() -> list[tuple[str, str, str]]:
            found = [one for one in objects(served) if one["message"] == "refused"]
            return [(one["request_id"], one["client"], one["code"]) for one in found]

        eventually(lambda: len(refused()) == 2, "both are written")
        (first, whose, code), second = refused()
        assert (first, code) == ("one", "conflict") and whose
        assert second[0] == "one" and second[2] == "bad_request"


def test_a_comment_forges_no_line(tmp_path: Path) -> None:
    with Served(tmp_path / "s", logs={"prompts": True}).ready() as served, Asker(served.endpoint) as ask:
        ask.ask("feedback", target="hit", verdict="wrong", comment=FORGED)
        ask.generate("x" + FORGED, "tone" + FORGED)
        ask.final("x" + FORGED)
        ask.generate("y", "tone" + FORGED)
        ask.final("y")
        ask.generate("z", "tone", engine="no" + FORGED)
        ask.final("z")
        served.signal()
        assert served.wait() == 0
        text = log_file(served).read_text()
        assert "\x1b" not in text and text.count("forged") >= 4
        assert all(HEAD.match(line) for line in text.splitlines())
        assert not [line for line in text.splitlines() if line.startswith("2023")]


def test_hup_reloads_limits_names_what_needs_a_restart_and_goes_on_serving(tmp_path: Path) -> None:
    queue = {"max_requests": 6, "max_batch": 2}
    with Served(tmp_path / "s", queue=queue, cache={"max_items": 9}).ready() as served, Asker(served.endpoint) as ask:
        pids = {name: worker.pid for name, worker in served.workers().items()}
        change(served, "max_requests = 6", "max_requests = 1")
        change(served, "max_batch = 2", "max_batch = 3")
        told = reload(served, "now in force")
        assert told.endswith("now in force: queue.max_requests")
        eventually(lambda: lines(served, "needs a restart"), "said")
        assert lines(served, "needs a restart")[-1].endswith(": queue.max_batch")
        gate = tmp_path / "gate"
        ask.generate("held", f"hold {gate} it")
        assert ask.ask("status")["requests"] == 1
        ask.generate("one-too-many", "tone two")
        assert ask.final("one-too-many")["type"] == "busy"
        change(served, "max_requests = 1", "max_requests = 6")
        reload(served, "now in force")
        ask.generate("room-now", "tone three")
        gate.touch()
        assert ask.final("room-now")["type"] == ask.final("held")["type"] == "result"
        change(served, "max_items = 9", "max_items = 1")
        assert reload(served, "now in force").endswith("now in force: cache.max_items")
        with contextlib.closing(SqliteStore(served.place / "cache", create=False)) as store:
            eventually(lambda: len(ids_in(store)) == 1, "the bound holds")
        assert {name: worker.pid for name, worker in served.workers().items()} == pids
        served.signal()
        assert served.wait() == 0


def test_hup_with_a_broken_file_keeps_what_holds_and_says_why(tmp_path: Path) -> None:
    with Served(tmp_path / "s", queue={"max_requests": 6}).ready() as served, Asker(served.endpoint) as ask:
        for broken, why in (("max_requests = nonsense", "not TOML"), ("max_requestz = 6", "max_requests")):
            change(served, "max_requests = 6", broken)
            assert why in reload(served, "nothing is changed")
            change(served, broken, "max_requests = 6")
        ask.generate("still", "tone still")
        assert ask.final("still")["type"] == "result"


def test_hup_opens_a_log_anew_that_was_moved_away(tmp_path: Path) -> None:
    with Served(tmp_path / "s").ready() as served, Asker(served.endpoint) as ask:
        file = log_file(served)
        moved = file.rename(file.with_name("server.log.old"))
        reload(served, "now in force")
        size = moved.stat().st_size
        ask.generate("later", "tone later")
        ask.final("later")
        eventually(lambda: lines(served, "request_id=later"), "in the new file")
        assert moved.stat().st_size == size and stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.slow
def test_keys_put_in_and_taken_out_count_at_once_and_after_hup(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert command("keys", "create", str(keys)).returncode == 0
    with Served(tmp_path / "s", "--keys", str(keys), bind="tcp://127.0.0.1:*").ready() as served:
        assert command("keys", "create", str(keys), "--name", "late").returncode == 0
        reload(served, "now in force")
        late = tmp_path / "late"
        shutil.copytree(keys, late)
        for ending in ("key", "key_secret"):
            (late / f"late.{ending}").rename(late / f"client.{ending}")
        with AudioClient(served.endpoint, keys=late) as client:
            assert client.health().state == "ready"
        (keys / "allowed_clients" / "late.key").unlink()
        reload(served, "now in force")
        turned_away = command("status", "--connect", served.endpoint, "--keys", str(late), "--timeout", "2")
        assert turned_away.returncode == 2 and "turned this client's key away" in turned_away.stderr
        assert command("status", "--connect", served.endpoint, "--keys", str(keys)).returncode == 0
