"""Bytes in memory over HTTP, asked for by plain sockets of a real server: ranges, conditions, names."""

from __future__ import annotations

import email.utils
import hashlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
import uvicorn
from litestar import Litestar, Request, route
from litestar.types import ASGIApp
from tests.support.waiting import eventually

from audio_pool.gateway.audio_response import MEDIA_TYPES, AudioFile, AudioResponse, content_disposition

DATA = hashlib.shake_256(b"sound").digest(100_000)
MODIFIED = 1_700_000_000
FILE = AudioFile(DATA, media_type=MEDIA_TYPES["wav"], name="Regen über Ñandú 雨.wav", frames=25_000, modified=MODIFIED)
FIXED = AudioFile(b"x" * 10, media_type=MEDIA_TYPES["flac"], immutable=True, attached=True, name="a.flac")


@route("/sound", http_method=["GET", "HEAD", "POST"], media_type="application/octet-stream")
async def sound(request: Request) -> ASGIApp:
    return AudioResponse(FILE, [(b"x-request-id", b"r1")])


@route("/fixed", http_method=["GET", "HEAD"])
async def fixed() -> ASGIApp:
    return AudioResponse(FIXED)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(
        Litestar([sound, fixed], openapi_config=None), host="127.0.0.1", port=0, log_level="error", lifespan="off",
        http="httptools", loop="uvloop",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started, "the server listens")
    host, port = server.servers[0].sockets[0].getsockname()
    yield host, port
    server.should_exit = True
    thread.join(30.0)
    assert not thread.is_alive()


Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def ask(address: tuple[str, int]) -> Iterator[object]:
    with socket.create_connection(address, timeout=30.0) as connection:
        file = connection.makefile("rb")

        def ask(path: str = "/sound", method: str = "GET", **fields: str) -> Answer:
            """Ask on the one connection that stays open, so that a body of a wrong length is noticed by the next."""
            lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode("latin-1"))
            status = int(file.readline().split()[1])
            headers: dict[str, str] = {}
            while line := file.readline().strip().decode("latin-1"):
                name, _, value = line.partition(":")
                assert name not in headers, line
                headers[name] = value.strip()
            body = b"" if method == "HEAD" or status == 304 else file.read(int(headers["content-length"]))
            return status, headers, body

        yield ask
        file.close()


def test_the_whole_with_its_headers(ask):
    status, headers, body = ask()
    assert (status, body) == (200, DATA)
    assert headers["content-type"] == "audio/wav"
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-audio-frames"] == "25000"
    assert headers["x-request-id"] == "r1"
    assert headers["etag"] == f'"{hashlib.sha256(DATA).hexdigest()[:40]}"'
    assert headers["last-modified"] == email.utils.formatdate(MODIFIED, usegmt=True)
    assert headers["cache-control"] == "private, no-cache"
    assert ask("/fixed")[1]["cache-control"] == "public, max-age=31536000, immutable"


def test_head_tells_what_get_would_send(ask):
    status, headers, _ = ask(method="HEAD")
    assert (status, headers["content-length"]) == (200, "100000")
    told = {name: value for name, value in ask()[1].items() if name != "date"}
    assert {name: value for name, value in headers.items() if name != "date"} == told
    assert ask(method="HEAD", Range="bytes=0-9")[0] == 200  # ranges are for GET
    assert ask(method="HEAD", If_None_Match=FILE.etag)[0] == 304
    assert ask("/nowhere", method="HEAD")[0] == 404


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=99990-", 99_990, 100_000),
        ("bytes=99990-500000", 99_990, 100_000),
        ("bytes=-1", 99_999, 100_000),
        ("bytes=-5000000", 0, 100_000),
        ("Bytes = 0-4", 0, 5),
        ("bytes=0-4,5-9", 0, 10),  # what meets is one
        ("bytes=5-9, 200000-, 0-6", 0, 10),
    ],
)
def test_one_range(ask, asked, start, end):
    status, headers, body = ask(Range=asked)
    assert (status, body) == (206, DATA[start:end])
    assert headers["content-range"] == f"bytes {start}-{end - 1}/100000"
    assert headers["etag"] == FILE.etag
    assert ask(Range="bytes=3-4")[2] == DATA[3:5]  # the connection is in step


@pytest.mark.parametrize("asked", ["bytes=100000-", "bytes=-0", "bytes=100000-100001,500000-"])
def test_a_range_behind_the_end_is_not_satisfiable(ask, asked):
    status, headers, body = ask(Range=asked)
    assert (status, body) == (416, b"")
    assert headers["content-range"] == "bytes */100000"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "asked",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=9-3", "bytes=1-2,x", "items=0-1", "bytes=1", "bytes=--1",
        "bytes=+1-2", "bytes=" + "9" * 60 + "-", "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 100, 2)), "bytes=²-³",
    ],
)  # fmt: skip
def test_a_range_that_means_nothing_is_ignored(ask, asked):
    status, headers, body = ask(Range=asked)
    assert (status, body) == (200, DATA)
    assert "content-range" not in headers


def test_several_ranges_are_parts_in_the_order_asked_for(ask):
    status, headers, body = ask(Range="bytes=500-509,0-4,-3")
    assert status == 206
    kind, _, boundary = headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    before, *parts, after = body.split(b"\r\n--" + boundary.encode())
    assert (before, after) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n"))
        assert fields[b"content-type"] == b"audio/wav"
        found.append((fields[b"content-range"], content))
    assert found == [
        (b"bytes 500-509/100000", DATA[500:510]),
        (b"bytes 0-4/100000", DATA[:5]),
        (b"bytes 99997-99999/100000", DATA[-3:]),
    ]


LATER = email.utils.formatdate(MODIFIED + 10, usegmt=True)
SAME = email.utils.formatdate(MODIFIED, usegmt=True)
EARLIER = email.utils.formatdate(MODIFIED - 10, usegmt=True)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"If_None_Match": FILE.etag}, 304),
        ({"If_None_Match": f"W/{FILE.etag}"}, 304),
        ({"If_None_Match": f'"other", {FILE.etag}'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"other"'}, 200),
        ({"If_None_Match": FILE.etag.strip('"')}, 200),  # no tag without quotes
        ({"If_None_Match": '"other"', "If_Modified_Since": LATER}, 200),  # the tag decides
        ({"If_Modified_Since": SAME}, 304),
        ({"If_Modified_Since": EARLIER}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_Match": FILE.etag}, 200),
        ({"If_Match": "*"}, 200),
        ({"If_Match": '"other"'}, 412),
        ({"If_Match": f"W/{FILE.etag}"}, 412),  # compared strongly
        ({"If_Unmodified_Since": SAME}, 200),
        ({"If_Unmodified_Since": EARLIER}, 412),
        ({"If_Match": FILE.etag, "If_Unmodified_Since": EARLIER}, 200),
        ({"If_None_Match": FILE.etag, "Range": "bytes=0-1"}, 304),
        ({"If_Match": '"other"', "Range": "bytes=0-1"}, 412),
        ({"If_Range": FILE.etag, "Range": "bytes=0-1"}, 206),
        ({"If_Range": f"W/{FILE.etag}", "Range": "bytes=0-1"}, 200),
        ({"If_Range": '"other"', "Range": "bytes=0-1"}, 200),
        ({"If_Range": SAME, "Range": "bytes=0-1"}, 206),
        ({"If_Range": LATER, "Range": "bytes=0-1"}, 200),
        ({"If_Range": "never", "Range": "bytes=500000-"}, 200),
    ],
)
def test_conditions(ask, fields, status):
    found, headers, body = ask(**fields)
    assert found == status
    assert headers["etag"] == FILE.etag
    assert body == {200: DATA, 206: DATA[:2]}.get(status, b"")
    if status == 304:
        assert headers["last-modified"] == SAME
        assert "content-type" not in headers
        assert "content-length" not in headers
    assert ask(Range="bytes=7-8")[2] == DATA[7:9]  # the connection is in step


def test_a_post_is_answered_whole(ask):
    """Its body is the answer to what was asked, not a thing that the client may have already."""
    status, _, body = ask(method="POST", If_None_Match="*", Range="bytes=0-1", Content_Length="0")
    assert (status, body) == (200, DATA)


def test_a_name_in_ascii_and_as_it_is(ask):
    value = ask()[1]["content-disposition"]
    plain, exact = value.split("; ")[1:]
    assert value.startswith("inline; ")
    assert plain == 'filename="Regen uber Nandu.wav"'
    assert unquote(exact.removeprefix("filename*=UTF-8''")) == "Regen über Ñandú 雨.wav"
    assert ask("/fixed")[1]["content-disposition"] == 'attachment; filename="a.flac"'


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ('../../etc/"x";\r\nset-cookie: a=b.wav', "etc  x _ set-cookie a=b.wav"),
        ("雨.ogg", "sound.ogg"),
        ("...", "sound"),
        (".wav", "wav"),
        ("a" * 500 + ".mp3", "a" * 120 + ".mp3"),
        ("rain\u202egnp.wav", "rain gnp.wav"),
    ],
)
def test_a_name_cannot_break_out(name, plain):
    value = content_disposition(name).decode("ascii")
    assert "\r" not in value
    assert "\n" not in value
    found = value.split('filename="')[1].split('"')[0]
    assert "/" not in found
    assert "\\" not in found
    assert found.split() == plain.replace("=", "_").split()
