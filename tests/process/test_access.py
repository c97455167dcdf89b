"""Who may do what: other users, strangers and thieves of names at the doors of a real server."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket as plain
import stat
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from tests.support.asker import Asker
from tests.support.command_line import command
from tests.support.other_user import as_nobody, needs_root
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.client import AudioClient
from audio_pool.errors import BadToken, Cancelled, NotFound, PathNotAllowed, Refused
from audio_pool.transport.token import find_token

SILENT_S = 1.5
"""A client that is heard is answered within this on any machine; one that is not hears nothing however long."""


@pytest.fixture(scope="module", autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where this user's tokens are, for servers and clients of these tests."""
    before = os.environ.get("XDG_RUNTIME_DIR")
    directory = tmp_path_factory.mktemp("runtime")
    os.environ["XDG_RUNTIME_DIR"] = str(directory)
    yield directory / "audio_pool"
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before


@pytest.fixture(scope="module")
def tcp(tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("tcp"), bind="tcp://127.0.0.1:*") as served:
        yield served.ready()
        served.signal()
        assert served.wait() == 0


@pytest.fixture(scope="module")
def ipc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("ipc")) as served:
        yield served.ready()


@pytest.fixture
def held(tmp_path: Path) -> Callable[[], tuple[str, Path]]:
    """A prompt whose sound is not made before the file is there."""

    def make() -> tuple[str, Path]:
        gate = tmp_path / f"gate-{os.urandom(4).hex()}"
        return f"hold {gate}", gate

    return make


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that other users can enter: pytest's own are private, and made so again by every run of it."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def wanted(path: Path | str, **request: Any) -> dict[str, Any]:
    return {"type": "generate", "request": {"prompt": "tone wanted elsewhere", "output_path": str(path), **request}}


def code(answer: dict[str, Any] | None) -> str:
    assert answer is not None
    return str(answer["error"]["code"]) if "error" in answer else str(answer["type"])


# -- strangers on loopback TCP -----------------------------------------------------------------------


def test_a_stranger_on_tcp_gets_sounds_and_names_no_paths(tcp: Served, tmp_path: Path) -> None:
    there, away = tmp_path / "there", tmp_path / "away"
    there.write_bytes(b"precious")
    with Asker(tcp.endpoint) as ask:
        ask.generate("plain", "tone")
        assert ask.final("plain")["type"] == "result"
        told = set()
        for number, path in enumerate([there, away, "/root/x", "/nowhere/at/all", "/dev/null", "/etc/passwd"]):
            for field in ("output_path", "init_audio"):
                ask.generate(f"{field}-{number}", "tone", **{field: str(path)})
                error = ask.final(f"{field}-{number}")["error"]
                assert error["code"] == "path_not_allowed" and not error["retryable"]
                told.add((field, error["message"].replace(field, ""), error["hint"]))
        assert len({words[1:] for words in told}) == 1, "it says the same whatever is there"
    assert there.read_bytes() == b"precious" and not away.exists()


@needs_root
def test_another_user_writes_reads_and_stops_nothing_over_tcp(tcp: Served, tmp_path: Path, held: Any) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    prompt, gate = held()
    with Asker(tcp.endpoint) as ask:
        ask.generate("mine", prompt, events=True)
        ask.event("mine", "progress")
        answers = as_nobody(
            tcp.endpoint,
            wanted(victim),
            {"type": "generate", "request": {"prompt": "x", "init_audio": str(victim)}},
            {"type": "cancel", "target": "mine"},
            {"type": "feedback", "target": "mine", "verdict": "good"},
            {**wanted(victim), "token": "guessed"},
            {"type": "status"},
            {"type": "health"},
            {"type": "cache_stats"},
        )
        assert [code(answer) for answer in answers] == [
            "path_not_allowed", "path_not_allowed", "result", "not_found", "bad_token",
            "result", "result", "result"]  # fmt: skip
        assert answers[2] is not None and answers[2]["body"] == {"target": "mine", "cancelled": False}
        seen = str(answers[5:8])
        assert str(tcp.place) not in seen and "hold" not in seen and prompt not in seen
        gate.touch()
        assert ask.final("mine")["type"] == "result" and len(ask.finals["mine"]) == 1
    assert victim.read_bytes() == b"precious"


@needs_root
def test_the_token_is_for_one_user(tcp: Served, runtime: Path) -> None:
    (file,) = runtime.glob("tcp-*.token")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert file.name == f"tcp-{tcp.endpoint.rpartition(':')[2]}.token"


def test_our_clients_find_the_token_by_themselves(tcp: Served, tmp_path: Path, held: Any) -> None:
    with AudioClient(tcp.endpoint) as client:
        assert Path(client.generate("tone", output_path=str(tmp_path / "mine.wav")).path).is_file()
        prompt, _ = held()
        pending = client.submit(prompt)
        eventually(lambda: client.status().requests > 0, "it is there")
        assert command("cancel", pending.request_id, "--connect", tcp.endpoint).returncode == 0
        with pytest.raises(Cancelled):
            pending.result(PATIENCE_S)
        assert client.status().cache == str(tcp.place / "cache")
    made = command("generate", "tone", "--connect", tcp.endpoint, "-o", str(tmp_path / "by command.wav"))
    assert made.returncode == 0 and (tmp_path / "by command.wav").is_file(), made.stderr


def test_the_token_by_hand_once_is_enough_for_a_connection(tcp: Served, tmp_path: Path) -> None:
    with Asker(tcp.endpoint) as ask:
        ask.send("health", "wrong", token="x" * 43)
        error = ask.final("wrong")["error"]
        assert error["code"] == BadToken.code and error["retryable"]
        ask.send("health", "right", token=find_token(tcp.endpoint))
        assert ask.final("right")["type"] == "result"
        ask.generate("mine", "tone", output_path=str(tmp_path / "mine.wav"))
        assert ask.final("mine")["path"] == str(tmp_path / "mine.wav")
    with Asker(tcp.endpoint) as other:
        other.generate("other", "tone", output_path=str(tmp_path / "other.wav"))
        assert other.final("other")["error"]["code"] == "path_not_allowed"


def test_a_token_ends_with_its_server(tmp_path: Path, runtime: Path) -> None:
    tokens = []
    for _ in range(2):
        with Served(tmp_path / "s", bind="tcp://127.0.0.1:*").ready() as served:
            tokens.append(find_token(served.endpoint))
            served.signal()
            assert served.wait() == 0
            assert find_token(served.endpoint) == ""
    assert all(tokens) and tokens[0] != tokens[1]


def test_a_client_outlives_its_server_with_the_next_ones_token(tmp_path: Path) -> None:
    with Served(tmp_path / "s", bind="tcp://127.0.0.1:*").ready() as served:
        endpoint = served.endpoint
        with AudioClient(endpoint) as client:
            client.generate("tone", output_path=str(tmp_path / "one.wav"))
            served.close()
            with Served(tmp_path / "s", bind=endpoint).ready():
                eventually(lambda: _answers(client), "it is connected anew")
                assert client.generate("tone", output_path=str(tmp_path / "two.wav"))


def _answers(client: AudioClient) -> bool:
    from audio_pool.errors import AudioPoolError

    try:
        return bool(client.health(timeout_s=5.0))
    except AudioPoolError:
        return False


def test_a_stranger_stops_and_judges_what_its_own_connection_asked_for(tcp: Served, held: Any) -> None:
    prompt, gate = held()
    with Asker(tcp.endpoint) as ask, Asker(tcp.endpoint) as other:
        ask.generate("one", prompt, events=True)
        ask.event("one", "progress")
        assert other.ask("cancel", target="one")["cancelled"] is False
        other.send("feedback", "f", target="one", verdict="good")
        assert other.final("f")["error"]["code"] == "not_found"
        assert ask.ask("feedback", target="one", verdict="good")["noted"] is True
        assert ask.ask("cancel", target="one")["cancelled"] is True
        assert ask.final("one")["type"] == "cancelled"
        ask.generate("two", "tone two")
        ask.final("two")
        assert ask.ask("feedback", target="two", verdict="good")["noted"] is True
    gate.touch()


def test_who_pushes_to_the_image_servers_address_shows_the_token_to_name_paths(tmp_path: Path) -> None:
    ports = []
    for _ in range(2):
        with plain.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    pull, push = (f"tcp://127.0.0.1:{port}" for port in ports)
    context = zmq.Context.instance()
    with Served(tmp_path / "s", server={"pull_bind": pull, "push_bind": push}).ready():
        out, back = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        try:
            out.connect(pull)
            back.connect(push)

            def said(**fields: Any) -> dict[str, Any]:
                out.send_json({"type": "AudioRenderRequest", "request_id": "i", "prompt": "tone", **fields})
                assert back.poll(int(PATIENCE_S * 1000))
                answer: dict[str, Any] = json.loads(back.recv())
                return answer

            assert said()["type"] == "AudioReady"
            place = tmp_path / "image.wav"
            assert said(output_path=str(place))["code"] == "path_not_allowed" and not place.exists()
            assert said(output_path=str(place), token="no")["code"] == "bad_token"
            assert said(output_path=str(place), token=find_token(pull))["uri"] == place.as_uri()
        finally:
            out.close(0)
            back.close(0)


def test_a_stranger_may_fetch_a_durable_job_by_its_id_and_neither_stop_nor_list_it(tcp: Served, held: Any) -> None:
    prompt, gate = held()
    with Asker(tcp.endpoint) as ask, Asker(tcp.endpoint) as other:
        name = os.urandom(16).hex()
        ask.generate(name, prompt, events=True, durable=True)
        ask.event(name, "progress")
        assert other.ask("cancel", target=name)["cancelled"] is False
        other.send("jobs", "list")
        assert other.final("list")["error"]["code"] == "refused"
        ask.generate("with-path", "tone", durable=True, output_path="/nowhere/x.wav")
        assert ask.final("with-path")["error"]["code"] == "path_not_allowed"
        gate.touch()
        assert ask.final(name)["type"] == "result"
        assert other.ask("job", target=name)["state"] == "done"
    # by token it is the user, who is another owner
    with AudioClient(tcp.endpoint) as client, pytest.raises(NotFound):
        client.job(name)


# -- other users on ipc ------------------------------------------------------------------------------


@needs_root
def test_another_user_does_not_get_in_on_ipc(ipc: Served, tmp_path: Path) -> None:
    assert as_nobody(ipc.endpoint, {"type": "health"}, patience_s=SILENT_S) == [None]


@needs_root
def test_another_user_who_is_let_in_on_ipc_has_the_rights_of_another(open_place: Path, held: Any) -> None:
    place = open_place
    allowed, victim = place / "allowed", place / "victim"
    allowed.mkdir()
    victim.write_bytes(b"precious")
    prompt, gate = held()
    server = {"output_roots": [str(allowed)]}
    with Served(place / "s", server=server).ready() as served, Asker(served.endpoint) as ask:
        (place / "s").chmod(0o755)
        Path(served.endpoint.removeprefix("ipc://")).chmod(0o666)
        ask.generate("mine", prompt, events=True)
        ask.event("mine", "progress")
        answers = as_nobody(
            served.endpoint,
            {"type": "health"},
            wanted(victim),
            {"type": "generate", "request": {"prompt": "x", "init_audio": str(victim)}},
            {"type": "cancel", "target": "mine"},
            {"type": "feedback", "target": "mine", "verdict": "good"},
            {"type": "status", "token": "heeded by nobody"},
        )
        assert [code(answer) for answer in answers] == [
            "result", "path_not_allowed", "path_not_allowed", "result", "not_found", "result"]  # fmt: skip
        assert str(place) not in str(answers[5])
        assert answers[3] is not None and answers[3]["body"]["cancelled"] is False
        gate.touch()
        assert ask.final("mine")["type"] == "result"
        (theirs,) = as_nobody(served.endpoint, wanted(allowed / "theirs.wav"))
        assert code(theirs) == "result" and (allowed / "theirs.wav").is_file()
    assert victim.read_bytes() == b"precious"


def test_the_same_user_stops_its_request_from_another_connection(ipc: Served, held: Any) -> None:
    prompt, _ = held()
    with Asker(ipc.endpoint) as ask, Asker(ipc.endpoint) as other:
        ask.generate("to-stop", prompt, events=True)
        ask.event("to-stop", "progress")
        assert other.ask("cancel", target="to-stop")["cancelled"] is True
        assert ask.final("to-stop")["type"] == "cancelled"


# -- places ----------------------------------------------------------------------------------------


def traps(folder: Path, victim: Path) -> dict[str, str]:
    """Names beneath ``folder`` by which a sound could be led astray."""
    (folder / "symlink").symlink_to(victim)
    (folder / "dangling").symlink_to(victim.parent / "made by you")
    os.mkfifo(folder / "fifo")
    (folder / "directory").mkdir()
    (folder / "linked folder").symlink_to(victim.parent)
    if os.getuid() == 0:
        os.mknod(folder / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 7))  # /dev/full
    inner = {name: str(folder / name) for name in ("symlink", "dangling", "fifo", "directory")}
    if os.getuid() == 0:
        inner["device"] = str(folder / "device")
    return inner


@pytest.mark.parametrize("rooted", [False, True], ids=["anywhere", "beneath roots"])
def test_nothing_but_regular_files_is_replaced_and_no_link_followed(tmp_path: Path, rooted: bool) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    victim = outside / "victim"
    victim.write_bytes(b"precious")
    inner = traps(folder, victim)
    os.link(victim, folder / "hard link")
    before = {name: os.lstat(path) for name, path in inner.items()}
    with (
        Served(tmp_path / "s", server={"output_roots": [str(folder)] if rooted else []}).ready() as served,
        Asker(served.endpoint) as ask,
    ):
        for name, path in inner.items():
            ask.generate(name, "tone", output_path=path)
            assert ask.final(name)["error"]["code"] == "bad_audio", name
            now = os.lstat(path)
            assert (now.st_ino, now.st_mode) == (before[name].st_ino, before[name].st_mode), name
        ask.generate("hard", "tone", output_path=str(folder / "hard link"))
        assert ask.final("hard")["type"] == "result"
        assert (folder / "hard link").stat().st_nlink == 1, "the name is a new file; the old one is as it was"
        ask.generate("control", "tone", output_path=str(folder / "a\nb.wav"))
        assert ask.final("control")["error"]["code"] == "bad_request"
        ask.generate("new", "tone", output_path=str(folder / "new" / "deep" / "x.wav"))
        assert ask.final("new")["type"] == "result" and (folder / "new" / "deep" / "x.wav").is_file()
        if rooted:
            told = set()
            for number, path in enumerate([
                outside / "victim", outside / "absent", "/nowhere/x", "/etc/passwd", folder, f"{folder}/",
                f"{folder}/../outside/victim", f"{folder}/new/../../outside/x", f"{folder}x/y", "/",
                folder / "linked folder" / "victim", folder / "linked folder" / "absent",
                folder / "dangling" / "x", folder / "hard link" / "x",
            ]):  # fmt: skip
                ask.generate(f"out-{number}", "tone", output_path=str(path))
                error = ask.final(f"out-{number}")["error"]
                told.add((error["code"], error["message"], error["hint"]))
            ((refused, _, _),) = told
            assert refused == PathNotAllowed.code
    assert victim.read_bytes() == b"precious"
    assert sorted(os.listdir(outside)) == ["victim"]


def test_what_is_read_lies_beneath_the_roots(tmp_path: Path, held: Any) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    server = {"input_roots": [str(folder)], "output_roots": [str(tmp_path)]}
    with (
        Served(tmp_path / "s", server=server).ready() as served,
        Asker(served.endpoint) as ask,
    ):
        for target in (folder / "in.wav", outside / "secret.wav"):
            ask.generate(target.name, f"tone {target.name}", output_path=str(target))
            assert ask.final(target.name)["type"] == "result"
        (folder / "link.wav").symlink_to(outside / "secret.wav")
        (folder / "dangling.wav").symlink_to(outside / "absent.wav")
        (folder / "way").symlink_to(outside)
        refused = set()
        for number, path in enumerate([
            outside / "secret.wav", outside / "absent.wav", folder / "link.wav", folder / "dangling.wav",
            folder / "way" / "secret.wav", folder / "way" / "absent.wav", f"{folder}/../outside/secret.wav",
        ]):  # fmt: skip
            ask.generate(f"r{number}", "tone from", init_audio=str(path))
            error = ask.final(f"r{number}")["error"]
            refused.add((error["code"], error["message"]))
        assert refused == {("path_not_allowed", "init_audio: this client may not name that path")}
        ask.generate("good", "tone from", init_audio=str(folder / "in.wav"))
        assert ask.final("good")["type"] == "result"
        # exchanged after it was read once and before the worker reads it
        prompt, gate = held()
        ask.generate("blocks", prompt, events=True)
        ask.event("blocks", "progress")
        ask.generate("swapped", "tone swapped", init_audio=str(folder / "in.wav"), events=True)
        ask.event("swapped", "accepted")
        (folder / "in.wav").unlink()
        (folder / "in.wav").symlink_to(outside / "secret.wav")
        gate.touch()
        assert ask.final("swapped")["error"]["code"] == "bad_audio"


# -- routing ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["ipc", "tcp"])
def test_a_routing_id_is_its_owners_while_it_lives(
    door: str, request: pytest.FixtureRequest, held: Any
) -> None:
    served: Served = request.getfixturevalue(door)
    prompt, gate = held()
    with Asker(served.endpoint, ROUTING_ID=b"chosen") as ask:
        ask.generate("mine", prompt, events=True)
        ask.event("mine", "progress")
        with Asker(served.endpoint, ROUTING_ID=b"chosen") as thief:
            for number in range(3):  # zmq may take what it sends for a name
                thief.send("cancel", f"c{number}", target="mine")
            thief.socket.poll(int(SILENT_S * 1000))
            gate.touch()
            assert ask.final("mine")["type"] in ("result", "cancelled")
            while thief.socket.poll(200):
                assert thief.take()["request_id"] != "mine"
        assert len(ask.finals["mine"]) == 1


@pytest.mark.parametrize("door", ["ipc", "tcp"])
def test_a_late_reply_does_not_reach_who_took_the_routing_id(
    door: str, request: pytest.FixtureRequest, held: Any
) -> None:
    served: Served = request.getfixturevalue(door)
    prompt, gate = held()
    with Asker(served.endpoint, ROUTING_ID=b"left") as gone:
        gone.generate("secret", prompt, events=True)
        gone.event("secret", "progress")
    with contextlib.ExitStack() as rest, Asker(served.endpoint) as watch:

        def heard() -> Asker | None:
            heir = rest.enter_context(Asker(served.endpoint, ROUTING_ID=b"left"))
            heir.send("health", "h")
            if heir.socket.poll(500):
                return heir
            heir.socket.close(0)
            return None

        heir = eventually(heard, "the heir is heard")
        assert heir is not None
        gate.touch()
        eventually(lambda: watch.ask("status")["requests"] == 0, "the sound is finished")
        heir.generate("own", "tone of the heir")
        heir.final("own")
        assert "secret" not in heir.finals and "secret" not in heir.events


def test_what_was_parked_for_one_is_not_read_by_the_next_under_its_name(tmp_path: Path) -> None:
    with Served(tmp_path / "s").ready() as served:
        with Asker(served.endpoint, ROUTING_ID=b"slow", RCVHWM=1) as slow:
            for number in range(3000):
                slow.socket.send(msgpack.packb({"v": 1, "type": "engines", "request_id": f"e{number}"}))
            with Asker(served.endpoint) as watch:
                eventually(lambda: watch.ask("status")["replies"].get("replies_parked", 0) > 0, "replies are parked")

        def heard() -> bool:
            """By a connection of its own each time: one that comes while the old one is being read is never heard."""
            with Asker(served.endpoint, ROUTING_ID=b"slow") as heir:
                heir.send("health", "h")
                if not heir.socket.poll(500):
                    return False
                heir.final("h")
                heir.ask("status")
                assert set(heir.finals) == {"h", "status-1"} and not heir.events
                return True

        eventually(heard, "the heir is heard")


def test_ids_that_zmq_would_give_out_next_cannot_be_taken_in_advance(tmp_path: Path) -> None:
    """zmq counts each socket's from rand(), which begins alike in every process; it aborts where one is taken."""
    libc = ctypes.CDLL(None)
    libc.srand(1)
    numbers = [libc.rand() for _ in range(17)]
    first = {(low | high << 31) & 0xFFFFFFFF for low, high in pairwise(numbers)}
    with Served(tmp_path / "s", bind="tcp://127.0.0.1:*").ready() as served, contextlib.ExitStack() as rest:
        for start in first:
            for ahead in range(4, 12):
                guess = b"\0" + (start + ahead & 0xFFFFFFFF).to_bytes(4, "big")
                rest.enter_context(Asker(served.endpoint, ROUTING_ID=guess)).send("health", "h")
        for _ in range(16):
            rest.enter_context(Asker(served.endpoint)).ask("health")
        assert served.process.poll() is None


# -- clients -----------------------------------------------------------------------------------------


def test_our_clients_refuse_a_default_address_that_may_be_anybodys(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "audio_pool").mkdir(mode=0o777)
    (tmp_path / "audio_pool").chmod(0o777)
    with pytest.raises(Refused, match="may be another user's"):
        AudioClient()
    told = command("status")
    assert told.returncode != 0 and "may be another user's" in told.stderr
    (tmp_path / "audio_pool").chmod(0o700)
    if os.getuid() == 0:
        os.chown(tmp_path / "audio_pool", 65_534, 65_534)
        with pytest.raises(Refused, match="may be another user's"):
            AudioClient()
        os.chown(tmp_path / "audio_pool", 0, 0)
    AudioClient().close()
    (tmp_path / "audio_pool").rename(tmp_path / "elsewhere")
    (tmp_path / "audio_pool").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="may be another user's"):
        AudioClient()


def test_no_token_is_taken_from_or_put_where_others_write(tmp_path: Path, monkeypatch: Any) -> None:
    from audio_pool.transport.token import LocalToken

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = LocalToken.create("tcp://127.0.0.1:4444")
    assert made is not None and made.matches(find_token("tcp://localhost:4444")) and not made.matches("")
    assert find_token("tcp://127.0.0.1:4445") == find_token("tcp://192.0.2.1:4444") == find_token("ipc:///x") == ""
    made.path.chmod(0o644)
    assert find_token("tcp://127.0.0.1:4444") == ""
    made.path.chmod(0o600)
    (tmp_path / "audio_pool").chmod(0o777)
    assert find_token("tcp://127.0.0.1:4444") == "" and LocalToken.create("tcp://127.0.0.1:4446") is None
    (tmp_path / "audio_pool").chmod(0o700)
    second = LocalToken.create("tcp://127.0.0.1:4444")
    made.remove()
    assert second is not None and second.matches(find_token("tcp://127.0.0.1:4444")), "only its own is removed"
