"""Whatever comes in, one answer goes out, nobody else notices, and memory stays where it was."""

from __future__ import annotations

import contextlib
import json
import os
import socket as plain
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

MIB = 1 << 20
FINALS = {"result", "error", "cancelled", "expired", "busy"}
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("server")) as served:
        yield served.ready()
        served.signal()
        assert served.wait() == 0, "it was well to the end"


@pytest.fixture(scope="module", autouse=True)
def neighbour(server: Served) -> Iterator[Callable[[], int]]:
    """A client that behaves, all the while: every one of its requests gets its one result."""
    stop = threading.Event()
    answered: list[int] = [0]
    wrong: list[Any] = []

    def live() -> None:
        with Asker(server.endpoint) as ask:
            ask.generate("first", "tone of the neighbour")
            ask.final("first")
            while not stop.is_set():
                name = f"n{answered[0]}"
                ask.generate(name, "tone of the neighbour")
                final = ask.final(name)
                if final["type"] != "result" or len(ask.finals[name]) != 1:
                    wrong.append(final)
                ask.finals.clear()
                answered[0] += 1
                stop.wait(0.01)

    thread = threading.Thread(target=live)
    thread.start()
    yield lambda: answered[0]
    stop.set()
    thread.join(PATIENCE_S)
    assert not wrong and answered[0] > 20 and not thread.is_alive()


@contextlib.contextmanager
def undisturbed(count: Callable[[], int]) -> Iterator[None]:
    """The neighbour is served during the block, and after it."""
    yield
    before = count()
    eventually(lambda: count() > before + 1, "the neighbour is served")


def answers(ask: Asker, messages: list[list[bytes]]) -> list[dict[str, Any]]:
    """One final to each of the messages, however they are framed, and nothing else."""
    for frames in messages:
        ask.socket.send_multipart(frames)
    ask.send("health", "the-barrier")
    found: list[dict[str, Any]] = []
    while len(found) <= len(messages):
        assert ask.socket.poll(int(PATIENCE_S * 1000)), f"{len(found)} answers to {len(messages)} messages"
        frames = [frame for frame in ask.socket.recv_multipart() if frame]
        message = json.loads(frames[0]) if frames[0][:1] == b"{" else msgpack.unpackb(frames[0])
        if message["type"] not in ("accepted", "progress"):
            found.append(message)
    assert ask.quiet(0.0)
    found.remove(next(message for message in found if message["request_id"] == "the-barrier"))
    return found


# -- the grammar -----------------------------------------------------------------------------------

_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([0, -1, 1, 10**9, 2**31, 2**63, 1e9, 1e308, 5e-324, -0.0, 0.1, 1.0]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.text(max_size=50),
    st.sampled_from(["", " ", "\0", "a\0b", "\ufeff", "\u202e", "../..", "default", "procedural", "stage"]),
    st.just("x").map(lambda letter: letter * 5000),
    st.binary(max_size=20),
    st.recursive(
        st.none() | st.integers(-5, 5) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
)
hostile_values = st.deferred(lambda: _values)  # which is shown in few words
prompts = st.just("tone of a stranger") | hostile_values
request_fields = {
    "negative_prompt": hostile_values,
    "duration_s": st.sampled_from([0.05, 0.1, 0.2, 1, 10**9, -1, 0, 600.1, 1e308]) | st.text(max_size=2),
    "loop": st.booleans() | hostile_values,
    "engine": st.just("stage") | hostile_values,
    "seed": st.sampled_from([0, 7, 2**63 - 1, 2**63, -1]) | hostile_values,
    "steps": hostile_values,
    "guidance_scale": hostile_values,
    "candidates": st.sampled_from([0, 1, 2, 17, 10**9]) | st.text(max_size=2),
    "voice": hostile_values,
    "init_audio": st.sampled_from(["/dev/zero", "/proc/self/mem", "\0", "relative", "/", "/nowhere", 3]),
    "init_strength": hostile_values,
    "sample_rate": st.sampled_from([8000, 44100, 7999, 10**9, "44100"]),
    "format": st.sampled_from(["wav", "flac", "ogg", "opus", "mp3", "exe", 3, None]),
    "bit_depth": st.sampled_from([16, 24, 32, 8, 10**9]),
    "target_lufs": st.sampled_from([-23, 0, -70, -71, 1, float("nan")]),
    "true_peak_dbfs": st.sampled_from([-2, 0, 1, -41]),
    "force": st.booleans() | hostile_values,
    "match": st.sampled_from(["strict", "tolerant", "threshold", "global", "loose", None]),
    "any_engine": hostile_values,
    "namespace": hostile_values,
    "duration_tolerance": hostile_values,
    "variant_seed": hostile_values,
    "temperature": hostile_values,
    "shuffle": hostile_values,
    "variant": hostile_values,
    "prefetch": hostile_values,
    "tau_use": hostile_values,
    "priority": st.sampled_from(["interactive", "normal", "background", "urgent", 0]),
    "deadline_ms": st.sampled_from([1, 5, 10**6, 0, -1, 10**9]),
    "delivery": st.sampled_from(["path", "inline", "post"]),
    "output_path": st.sampled_from(["relative", "/dev/null/x", "/proc/x", "\0", 3]),
    "metadata": st.dictionaries(st.text(max_size=5), hostile_values, max_size=3) | hostile_values,
    "prompts": hostile_values,
}
requests = st.deferred(lambda: st.fixed_dictionaries({"prompt": prompts}, optional=request_fields))
kinds = ["generate", "cancel", "status", "health", "engines", "cache_stats", "feedback", "explain", "spectrogram"]
kinds += ["echo", "clap"]
long_names = st.sampled_from([128, 129]).map(lambda size: "x" * size)
messages = st.fixed_dictionaries(
    {"v": st.just(1) | hostile_values, "type": st.sampled_from(kinds) | hostile_values},
    optional={
        "request_id": st.sampled_from(["a", "b", "", "with space", "é"]) | long_names | hostile_values,
        "request": requests | hostile_values,
        "events": st.booleans() | hostile_values,
        "target": st.sampled_from(["a", "b", ""]) | hostile_values,
        "verdict": st.sampled_from(["good", "wrong", "no"]),
        "comment": hostile_values,
        "payload": st.binary(max_size=100) | hostile_values,
        "worker": hostile_values,
        "operation": st.sampled_from(["embed", "x"]),
        "texts": hostile_values,
        "paths": hostile_values,
        "token": st.text(max_size=130) | hostile_values,
        "extra": hostile_values,
    },
)


def readable_id(frame: bytes) -> str:
    """The request_id that the answer must carry, as the protocol has it."""
    message = msgpack.unpackb(frame)
    given = message.get("request_id")
    return given if isinstance(given, str) and len(given) <= 128 else ""


@QUICK
@given(batch=st.lists(messages, min_size=1, max_size=6))
def test_every_message_of_the_grammar_gets_one_answer_under_its_name(server, neighbour, batch):
    frames = [msgpack.packb(message) for message in batch]
    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        found = answers(ask, [[frame] for frame in frames])
    assert sorted(message["request_id"] for message in found) == sorted(readable_id(frame) for frame in frames)
    for message in found:
        assert message["type"] in FINALS
        if "error" in message:
            assert message["error"]["code"] != "internal", message
            assert len(message["error"]["message"]) < 1000


@QUICK
@given(request=requests)
def test_a_well_formed_generate_is_answered_whatever_it_asks_for(server, neighbour, request):
    frame = msgpack.packb({"v": 1, "type": "generate", "request_id": "g", "request": request})
    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        (message,) = answers(ask, [[frame]])
    assert message["request_id"] == "g" and message["type"] in FINALS
    assert message.get("error", {}).get("code") != "internal", message


@QUICK
@given(
    batch=st.lists(
        st.lists(
            st.binary(max_size=200)
            | st.just(b"")
            | messages.map(msgpack.packb)
            | st.tuples(messages.map(msgpack.packb), st.integers(0, 300)).map(lambda cut: cut[0][: cut[1]]),
            min_size=1,
            max_size=5,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_raw_bytes_and_odd_frames_get_one_answer_each(server, neighbour, batch):
    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        for message in answers(ask, batch):
            assert message["type"] in {*FINALS, "Alert"}
            assert message.get("error", {}).get("code") != "internal", message


@QUICK
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["AudioRenderRequest", "Other", 3]),
            "request_id": st.sampled_from(["i", "", 7]),
            "prompt": st.sampled_from(["tone", "", 5]) | st.text(max_size=10),
            "generator": st.sampled_from(["stage", "prompt2audio", "mock_audio", "x" * 99]),
            "duration_s": st.sampled_from([1, 0.2, 10**9, -1, "1"]),
            "style": st.text(max_size=5) | st.just("x").map(lambda letter: letter * 3000),
            "seed": st.integers(-(10**30), 10**30),
            "metadata": st.dictionaries(st.text(max_size=3), st.integers(-(10**30), 10**30) | st.none(), max_size=3),
            "clear_queue": st.booleans(),
        },
    )
)
def test_every_json_message_gets_one_answer(server, neighbour, fields):
    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        (message,) = answers(ask, [[json.dumps(fields).encode()]])
    assert message["type"] in ("AudioReady", "Alert")
    assert message.get("code") != "internal", message


# -- by hand ---------------------------------------------------------------------------------------


def nested(depth: int, where: str) -> bytes:
    """A generate whose field ``where`` is a list in a list in a list ..."""
    message: dict[str, Any] = {"v": 1, "type": "generate", "request_id": "n", "request": {"prompt": "tone"}}
    body = b"".join(
        msgpack.packb(key) + (b"\x91" * depth + b"\xc0" if key == where else msgpack.packb(value))
        for key, value in {**message, where: None, "target": "x"}.items()
        if key in message or key == where
    )
    return bytes([0x80 | (len(message) + (where not in message))]) + body


def test_nesting_bombs(server, neighbour):
    in_request = [
        msgpack.packb({"v": 1, "type": "generate", "request_id": "n"})[:1].replace(b"\x83", b"\x84")
        + msgpack.packb({"v": 1, "type": "generate", "request_id": "n"})[1:]
        + msgpack.packb("request") + b"\x82" + msgpack.packb("prompt") + msgpack.packb("tone")
        + msgpack.packb("metadata") + b"\x81\xa1k" * depth + b"\xc0"
        for depth in (1, 2, 100, 498, 600, 990, 1010, 1023, 1024, 5000)
    ]  # fmt: skip
    bombs = [
        nested(depth, where)
        for depth in (1, 100, 400, 490, 500, 900, 990, 1000, 1010, 1020, 1023, 1024, 1025, 5000, 100_000)
        for where in ("v", "type", "request_id", "request", "events", "target", "x")
    ]
    json_bombs = [b'{"a":' * depth for depth in (10, 1000, 10_000)] + [b'{"metadata":' + b"[" * 60_000]
    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        for message in answers(ask, [[bomb] for bomb in [*bombs, *in_request, *json_bombs]]):
            assert message["type"] in ("error", "Alert", "result"), message
            code = message.get("code") or message.get("error", {}).get("code")
            assert code != "internal", message


def test_lengths_that_lie(server, neighbour):
    heads = [b"\xdb", b"\xdd", b"\xdf", b"\xc6", b"\xc9"]  # str, array, map, bin, ext of 32 bits
    lies = [head + length.to_bytes(4, "big") + b"x" for head in heads for length in (2, 2**16, 2**31, 2**32 - 1)]
    inside = [b"\x81\xa1v" + lie for lie in lies]
    long = [msgpack.packb({"v": 1, "type": "health", "request_id": "l", "x": "y" * size}) for size in (65_537, 10**6)]
    wide = [msgpack.packb({str(number): None for number in range(300)}), msgpack.packb(list(range(5000)))]
    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        for message in answers(ask, [[frame] for frame in [*lies, *inside, *long, *wide]]):
            assert message["error"]["code"] == "bad_message"
        assert [message["request_id"] for message in answers(ask, [[frame] for frame in long])] == ["l", "l"]


def test_framings(server, neighbour):
    body = msgpack.packb({"v": 1, "type": "health", "request_id": "f"})
    good = [[body], [b"", body]]
    bad = [[b""], [b"", b""], [body, b""], [body, body], [b"", b"", body], [b"x", b"", body], [body, *[b"y"] * 5000]]
    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        assert [message["type"] for message in answers(ask, good)] == ["result"] * 2
        for message in answers(ask, bad):
            assert message["error"]["code"] == "bad_message"
        named = answers(ask, [[body, b"more"]])
        assert named[0]["request_id"] == "f"


def test_a_name_used_again_and_again_gets_an_answer_each_time(server, neighbour):
    def frame(number: int) -> bytes:
        request = {"prompt": f"tone again {number % 3}", "force": number % 2 == 0}
        return msgpack.packb({"v": 1, "type": "generate", "request_id": "same", "request": request})

    with Asker(server.endpoint) as ask, undisturbed(neighbour):
        found = answers(ask, [[frame(number)] for number in range(60)])
    assert {message["request_id"] for message in found} == {"same"}
    assert {message["type"] for message in found} <= {"result", "error"}


def test_a_frame_above_the_limit_closes_its_own_connection_only(server, neighbour):
    with Asker(server.endpoint) as ask, Asker(server.endpoint) as other, undisturbed(neighbour):
        (message,) = answers(ask, [[b"\xc6" + (MIB - 5).to_bytes(4, "big") + b"x" * (MIB - 5)]])
        assert message["error"]["code"] == "bad_message"  # exactly at the limit: still answered
        other.send("health", "before")
        other.final("before")
        monitor = ask.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        ask.socket.send(b"x" * (MIB + 1))
        assert monitor.poll(int(PATIENCE_S * 1000)), "the connection was not closed"
        ask.socket.disable_monitor()
        monitor.close(0)
        other.send("health", "after")
        assert other.final("after")["type"] == "result"
        ask.send("health", "again")  # libzmq has connected anew
        assert ask.final("again")["type"] == "result"


# -- below zmq -------------------------------------------------------------------------------------

GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
HANDSHAKE = GREETING + b"\x04" + bytes([len(READY)]) + READY


def raw(server: Served, *pieces: bytes) -> None:
    """Bytes into the server's own socket, then gone."""
    with plain.socket(plain.AF_UNIX) as wire:
        wire.settimeout(5.0)
        eventually(lambda: wire.connect_ex(server.endpoint.removeprefix("ipc://")) == 0, "room to connect")
        with contextlib.suppress(OSError):  # it may hang up at once
            for piece in pieces:
                wire.sendall(piece)


@settings(QUICK, max_examples=60)
@given(noise=st.binary(max_size=300), handshake=st.integers(0, len(HANDSHAKE)))
def test_bytes_that_are_not_zmq(server, neighbour, noise, handshake):
    with undisturbed(neighbour):
        raw(server, HANDSHAKE[:handshake], noise)


def test_lies_below_zmq(server, neighbour):
    body = msgpack.packb({"v": 1, "type": "generate", "request_id": "half", "request": {"prompt": "tone half"}})
    lies = [
        b"\x02" + (2**63 - 1).to_bytes(8, "big"),  # a frame of nine exabytes
        b"\x02" + (MIB + 1).to_bytes(8, "big") + b"x",
        b"\x03" + (1000).to_bytes(8, "big") + b"x" * 1000,  # more to come, and then nothing
        b"\x01" + bytes([len(body)]) + body,  # a whole message but for its last frame
        b"\x00" + bytes([len(body)]) + body[:20],
        b"\xff" * 100,
    ]
    with undisturbed(neighbour):
        for lie in lies * 20:
            raw(server, HANDSHAKE, lie)


# -- and all of it again ---------------------------------------------------------------------------


def test_memory_stays_flat(server, neighbour):
    """The same flood three times over: what the first leaves behind is warmth, the others leave nothing."""
    body = msgpack.packb({"v": 1, "type": "health", "request_id": "m"})
    refused = msgpack.packb({"v": 1, "type": "generate", "request_id": "m", "request": {"prompt": "x", "seed": -1}})
    hit = msgpack.packb({"v": 1, "type": "generate", "request_id": "m", "request": {"prompt": "tone of the neighbour"}})

    def flood() -> float:
        for _ in range(25):
            with Asker(server.endpoint) as ask:
                odd = [os.urandom(300), refused, body, hit, b"{", b"\x91" * 1020 + b"\xc0", body + b"x"]
                answers(ask, [[frame] for frame in odd * 20])
                answers(ask, [[b"x" * (MIB // 4)]])
                ask.socket.send(b"x" * (MIB + 1))
            raw(server, HANDSHAKE, b"\x03" + (60_000).to_bytes(8, "big") + b"x" * 60_000)
        return server.rss_mb()

    with undisturbed(neighbour):
        sizes = [flood() for _ in range(4)]
    assert sizes[-1] - sizes[0] < 15, sizes
