"""The name of a request is found in whatever message can be read that far."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.errors import BadMessage
from audio_pool.transport.packing import request_id_in, unpack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(-9, 9), inner, max_size=4),
    max_leaves=20,
)


def message(*pairs: tuple[bytes, bytes]) -> bytes:
    return bytes([0x80 | len(pairs)]) + b"".join(key + value for key, value in pairs)


def packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


MINE = packed("request_id"), packed("mine")


@pytest.mark.parametrize(
    "other",
    [
        (packed("x"), packed("y" * 70_000)),
        (packed("x"), packed(b"y" * 900_000)),
        (packed("x"), packed(list(range(5000)))),
        (packed("x"), packed({str(n): n for n in range(300)})),
        (packed("x"), packed(msgpack.ExtType(5, b"abc"))),
        (packed("x"), b"\x91" * 900 + b"\xc0"),
        (packed("x"), b"\xd9\x02\xff\xfe"),
        (packed("x" * 70_000), packed(1)),
        (packed([1, 2]), packed(1)),
        (packed({"a": 1}), packed(1)),
        (packed("request_id"), packed("other")),
        (packed("request_id"), packed("z" * 100_000)),
    ],
)
def test_whatever_else_is_in_it(other: tuple[bytes, bytes]) -> None:
    assert request_id_in(message(other, MINE)) == "mine"
    if other[0] != MINE[0]:
        assert request_id_in(message(MINE, other)) == "mine"


@pytest.mark.parametrize("head", [b"\xd9\x0a", b"\xda\x00\x0a", b"\xdb\x00\x00\x00\x0a"])
def test_however_its_key_is_written(head: bytes) -> None:
    assert request_id_in(message((head + b"request_id", packed("mine")))) == "mine"


def test_what_was_read_before_the_damage_counts() -> None:
    for damage in (b"", b"\xc1", b"\xdd" + struct.pack(">I", 2**32 - 1), b"\x91" * 100_000):
        assert request_id_in(message(MINE, (packed("x"), damage))) == "mine"
    assert request_id_in(message(MINE) + b"trailing") == "mine"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        packed(["request_id", "mine"]),
        packed("request_id"),
        message((packed("request_id"), packed("x" * 129))),
        message((packed("request_id"), packed("é" * 129))),
        message((packed("request_id"), packed(7))),
        message((packed("request_id"), packed(b"mine"))),
        message((packed("request_id"), b"\xa1\xff")),
        message((packed("request_id"), packed({"mine": 1}))),
        packed({"a": {"request_id": "inner"}}),
        b"\xdf\xff\xff\xff\xff",
    ],
)
def test_where_there_is_none(data: bytes) -> None:
    assert request_id_in(data) == ""


@given(st.dictionaries(st.sampled_from(["request_id", "a", "b"]), PLAIN))
def test_it_agrees_with_a_message_that_can_be_taken(fields: dict[str, Any]) -> None:
    given_id = fields.get("request_id")
    expected = given_id if isinstance(given_id, str) and len(given_id) <= 128 else ""
    assert request_id_in(packed(fields)) == expected


@given(st.binary(max_size=200))
def test_any_bytes_give_a_name_or_none(data: bytes) -> None:
    assert isinstance(request_id_in(data), str)
    try:
        unpack(data)
    except BadMessage:
        pass
