"""Clients' messages and their bytes: what goes in comes out, what is too much or too deep is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.errors import BadMessage
from audio_pool.transport import client_messages, packing

CLIENTS: list[dict[str, Any]] = [
    {"type": "spectrogram", "entry": 1, "tile": True},
    {"type": "sounds", "search": {"words": "rain", "loop": True}},
    {"type": "sound", "entry": 1, "namespace": "harbour"},
    {"type": "sound_file", "entry": 1, "form": {"format": "ogg"}, "delivery": "inline"},
    {"type": "waveform", "entry": 1, "buckets": 64},
    {"type": "mark", "entry": 1, "marks": {"rating": 4, "add_tags": ["boss"]}},
    {"type": "remove", "entry": 1},
    {"type": "mark_many", "entries": [1, 2], "marks": {"pinned": True}},
    {"type": "remove_many", "entries": [1, 2], "spare_pinned": True},
    {"type": "eviction", "limit": 5},
    {"type": "duplicates", "by": "sound"},
    {"type": "craft", "craft": {"kind": "check"}, "paths": ("/a.wav",)},
    {"type": "verify", "path": "/a.wav", "namespace": "game"},
    {"type": "candidates", "target": "b"},
    {"type": "candidate_file", "target": "b", "number": 1, "form": {"format": "ogg"}},
    {"type": "choose", "target": "b", "number": 1, "by": "Ann"},
    {"type": "lease", "device": "1", "within_s": 5.0, "holder": "image server", "while_connected": True},
    {"type": "lease_return", "device": "1"},
    {"type": "worker_add", "worker": {"name": "c", "gpu": "1"}, "like": "b"},
    {"type": "worker_drain", "worker": "b", "drained": False},
    {"type": "workers_scale", "worker": "b", "count": 3},
    {"type": "worker_remove", "worker": "b", "within_s": 1.5},
    {"type": "models"},
    {"type": "presets", "of": "prompt", "engine": "kind:music", "after": "a", "limit": 5},
    {"type": "preset", "id": "old radio"},
    {"type": "preset_set", "id": "old radio", "of": "prompt", "content": {"after": "x"}, "if_revision": ""},
    {"type": "preset_remove", "id": "old radio"},
    {"type": "model_switch", "engine": "tone", "model": "owner/other", "revision": "main"},
    {"type": "model_order", "order": "load", "engine": "tone", "worker": "b"},
    {"type": "generate", "request": {"prompt": "rain"}, "events": True},
    {"type": "cancel", "target": "b"},
    {"type": "status"},
    {"type": "health"},
    {"type": "engines"},
    {"type": "cache_stats"},
    {"type": "job", "target": "b", "wait_ms": 5, "delivery": "inline"},
    {"type": "jobs", "states": ["done"], "limit": 5, "before": 2.5},
    {"type": "retry", "target": "b"},
    {"type": "feedback", "target": "b", "verdict": "good"},
    {"type": "explain", "request": {"prompt": "rain"}},
    {"type": "echo", "payload": b"\0\1"},
    {"type": "clap", "operation": "embed", "texts": ["a"]},
]


@pytest.fixture(scope="module", autouse=True)
def every_type_has_an_example() -> None:
    assert {type(decoded(fields)) for fields in CLIENTS} == set(client_messages.ClientMessage.__args__)


def decoded(fields: dict[str, Any]) -> Any:
    return client_messages.decode_client(packing.unpack(packing.pack({"v": 1, "request_id": "a", **fields})))


def _plain(value: Any) -> Any:
    """What is nested as it was sent: with what it says alone."""
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value


@pytest.mark.parametrize("fields", CLIENTS, ids=lambda fields: fields["type"])
def test_a_client_message_is_what_its_type_says(fields: dict[str, Any]) -> None:
    message = decoded(fields)
    assert message.request_id == "a"
    assert {name: _plain(getattr(message, name)) for name in fields if name != "type"} == {
        name: value for name, value in fields.items() if name != "type"
    }
    with pytest.raises(BadMessage, match="unknown field 'extra'"):
        decoded({**fields, "extra": 1})


# -- limits ----------------------------------------------------------------------------------------


def _nested(depth: int, opening: bytes, inmost: bytes = b"\xc0") -> bytes:
    return opening * depth + inmost


BOMBS = {
    "arrays in arrays": _nested(200_000, b"\x91"),
    "maps in maps": _nested(100_000, b"\x81\xa1a"),
    "a little too deep for Python": _nested(1_200, b"\x81\xa1a"),
    "four billion elements promised": b"\xdd\xff\xff\xff\xff",
    "four billion keys promised": b"\xdf\xff\xff\xff\xff",
    "four gigabytes promised": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "too many elements": b"\x81\xa1a" + b"\xdc\xff\xff" + b"\xc0" * 0xFFFF,
    "too long a text": b"\x81\xa1a" + b"\xdb\x00\x02\x00\x00" + b"x" * 0x20000,
    "an extension type": b"\x81\xa1a" + b"\xc7\x01\x05\x00",
    "a timestamp": b"\x81\xa1a" + b"\xd6\xff\x00\x00\x00\x00",
    "text that is no UTF-8": b"\x81\xa1a\xa1\xff",
    "a key that is a number": b"\x81\x01\x01",
    "a key that is a map": b"\x81\x80\x01",
    "something after the end": b"\x80\x80",
    "cut short": packing.pack({"v": 1, "type": "health"})[:-1],
    "a list": b"\x90",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str) -> None:
    with pytest.raises(BadMessage) as caught:
        packing.unpack(BOMBS[name])
    assert len(str(caught.value)) <= 200


@given(st.binary(max_size=300))
def test_any_bytes_are_a_map_or_a_bad_message(data: bytes) -> None:
    try:
        packing.unpack(data)
    except BadMessage:
        pass


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
@given(st.dictionaries(st.text(), _VALUES))
def test_messages_are_packed_as_msgpacks_own_library_packs_them(message: dict[str, Any]) -> None:
    assert packing.pack(message) == msgpack.packb(message)


_KEYS = st.sampled_from(["v", "type", "request_id", "request", "target", "payload", "verdict", "events", "texts", "x"])
_TYPES = [fields["type"] for fields in CLIENTS]


@given(st.dictionaries(_KEYS, _VALUES), st.sampled_from([*_TYPES, None]))
def test_any_map_is_a_client_message_or_a_bad_one(fields: dict[str, Any], kind: Any) -> None:
    if kind is not None:
        fields = {**fields, "v": 1, "type": kind}
    try:
        message = client_messages.decode_client(packing.unpack(msgpack.packb(fields)))
    except BadMessage:
        return
    assert isinstance(message, client_messages.ClientMessage)
