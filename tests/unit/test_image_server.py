"""The image server's JSON messages: what each field becomes, and that nothing goes unanswered."""

from __future__ import annotations

import json
import math

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.errors import BadMessage, Busy, Cancelled, NotSupported
from audio_pool.server.image_server import alert, is_legacy, request_id_of, to_reply, to_request
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

WHOLE = {
    "request_id": "6a1f-42", "generator": "tangoflux", "prompt": "rain", "duration_s": 8, "style": "on a tin roof",
    "seed": 7, "metadata": {"scene": "cabin", "layers": [1, 2], "no_cache": True}, "clear_queue": True,
}  # fmt: skip


def frame(**fields: object) -> bytes:
    return json.dumps({"request_id": "r", "prompt": "rain", **fields}).encode()


def test_every_field_has_its_effect() -> None:
    told = to_request(json.dumps(WHOLE).encode())
    assert told.request_id == "6a1f-42"
    assert told.prompt == "rain"
    assert told.clear_queue is True
    request = parse(AudioRequest, told.request)
    assert request == parse(
        AudioRequest,
        {
            "prompt": "rain, on a tin roof", "engine": "tangoflux", "duration_s": 8, "seed": 7, "force": True,
            "metadata": {"scene": "cabin", "layers": "[1,2]"},
        },
    )  # fmt: skip


def test_what_is_left_out_is_the_pools_default() -> None:
    empty = dict.fromkeys(["generator", "duration_s", "style", "seed", "metadata", "clear_queue"])
    empty |= {name: None for name in AudioRequest.__struct_fields__ if name != "prompt"}
    for fields in ({}, empty, {"type": "AudioRenderRequest"}):
        told = to_request(frame(**fields))
        assert told.request == {"prompt": "rain"}
        assert told.clear_queue is False


EVERY = {
    "negative_prompt": "wind", "duration_s": 3.5, "loop": True, "engine": "kind:music", "seed": 7, "steps": 20,
    "guidance_scale": 4.5, "candidates": 2, "keep_candidates": True,
    "voice": "anna", "options": {"top_k": 50}, "presets": ["horror"], "init_audio": "/a.wav",
    "init_strength": 0.5, "mask_start_s": 1.0, "mask_end_s": 2.0, "extend_s": 1.0,
    "loop_method": "native", "sample_rate": 48_000, "rendition_rate": 24_000,
    "format": "ogg", "bit_rate": 96, "bit_depth": 24, "target_lufs": -20.0,
    "true_peak_dbfs": -1.5, "loudness_profile": "web", "limiter": True, "min_quality": 60.0,
    "on_quality_failure": "best", "crossfade_s": 0.5, "highpass_hz": 40.0, "force": True, "store": False,
    "strict": True,
    "match": "strict", "any_engine": True, "namespace": "museum", "duration_tolerance": 0.1, "variant_seed": 3,
    "temperature": 0.5, "tau_use": 0.3, "tau_accept_new": 0.2, "tau_prompt_sem": 0.9, "priority": "background",
    "deadline_ms": 500, "output_path": "/b.ogg", "metadata": {"scene": 3}, "tags": ["calm"], "durable": True,
    "stream": True, "replace": True, "variant": 2, "shuffle": True, "prefetch": 2,
    "best_by_deadline": True, "stand_in": True, "upgrade": True,
}  # fmt: skip


def test_every_field_of_a_request_is_taken_under_its_own_name() -> None:
    assert {"prompt", "delivery", *EVERY} == set(AudioRequest.__struct_fields__)
    told = to_request(frame(**EVERY))
    assert parse(AudioRequest, told.request) == parse(AudioRequest, {"prompt": "rain", **EVERY})
    for name, value in EVERY.items():
        assert to_request(frame(**{name: value})).request == {"prompt": "rain", name: value}


@pytest.mark.parametrize(
    ("field", "nearest"), [("durations", "duration_s"), ("lop", "loop"), ("generater", "generator"), ("xyzzy", "known")]
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(field: str, nearest: str) -> None:
    with pytest.raises(BadMessage, match=f"AudioRenderRequest: unknown field '{field}'.*{nearest}"):
        to_request(frame(**{field: 1}))


@pytest.mark.parametrize(("generator", "engine"), [("prompt2audio", None), ("mock_audio", "mock"), ("mock", "mock")])
def test_strategies_are_told_from_engines(generator: str, engine: str | None) -> None:
    assert to_request(frame(generator=generator)).request.get("engine") == engine


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": " "}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"duration_s": 1e9}, "duration_s"),
        ({"seed": -1}, "seed"),
        ({"request_id": "with a space"}, "request_id"),
        ({"metadata": [1]}, "metadata"),
        ({"type": "AudioRenderRequests"}, "type"),
        ({"style": "x" * 1999}, "prompt and style"),
        ({"steps": 0}, "steps"),
        ({"tags": [""]}, "tags"),
        ({"delivery": "inline"}, "delivery.*path"),
        ({"generator": "mock", "engine": "procedural"}, "generator 'mock' and engine 'procedural'; give one of them"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(BadMessage, match=named):
        to_request(frame(**fields))


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda raw: b'{"request_id":"r"' + raw))
def test_any_bytes_are_a_request_or_a_bad_message(raw: bytes) -> None:
    try:
        told = to_request(raw)
    except BadMessage:
        assert len(request_id_of(raw)) <= 128
    else:
        parse(AudioRequest, told.request)


def test_a_nesting_bomb_and_a_huge_frame_are_bad_messages() -> None:
    for raw in (b'{"a":' * 20_000, b"[" * 50_000, b'{"prompt":"' + b"x" * (1 << 20) + b'"}'):
        with pytest.raises(BadMessage):
            to_request(raw)
        request_id_of(raw[: 1 << 16])


def test_json_is_told_from_msgpack_by_its_first_byte() -> None:
    assert is_legacy(b"  \r\n\t" + frame())
    assert not is_legacy(b"")
    for size in (0, 1, 15, 16, 70_000):
        assert not is_legacy(msgpack.packb({str(n): n for n in range(size)}))


def test_ready_says_where_the_sound_is() -> None:
    metadata = {"duration_s": 8.0, "is_loop": True, "clap_similarity": math.nan, "engine": "mock"}
    ready = json.loads(to_reply("r", "rain", "/tmp/a b/ü#1.wav", metadata), parse_constant=pytest.fail)
    assert ready == {
        "type": "AudioReady", "request_id": "r", "uri": "file:///tmp/a%20b/%C3%BC%231.wav", "prompt": "rain",
        "duration_s": 8.0, "is_loop": True, "metadata": {**metadata, "clap_similarity": None},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "severity"),
    [(NotSupported("no"), "error"), (Busy("full", hint="wait"), "warning"), (Cancelled("by you"), "info")],
)
def test_alert_says_what_happened(error: NotSupported | Busy | Cancelled, severity: str) -> None:
    told = json.loads(alert("r", error))
    assert (told["type"], told["request_id"], told["severity"]) == ("Alert", "r", severity)
    assert error.message in told["message"] and error.hint in told["message"]
