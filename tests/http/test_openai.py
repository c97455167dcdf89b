"""OpenAI's own client against /v1/audio/speech and /v1/models."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

openai = pytest.importorskip("openai", reason="OpenAI's SDK is not installed")

ASKED = {"model": "tts-1", "voice": "alloy", "input": "rain on a tin roof", "extra_body": {"duration_seconds": 0.5}}


@pytest.fixture(scope="module")
def client(gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client:
        yield client


def heard(data: bytes) -> soundfile.SoundFile:
    return soundfile.SoundFile(io.BytesIO(data))


@pytest.mark.parametrize(
    ("format", "media_type", "container", "rate"),
    [("mp3", "audio/mpeg", "MP3", 44_100), ("opus", "audio/opus", "OGG", 48_000),
     ("flac", "audio/flac", "FLAC", 44_100), ("wav", "audio/wav", "WAV", 44_100)],
)  # fmt: skip
def test_each_format_is_a_file_of_the_length_asked_for(client, format, media_type, container, rate):
    answer = client.audio.speech.create(**ASKED, response_format=format)
    assert answer.response.headers["content-type"] == media_type
    with heard(answer.content) as file:
        assert (file.format, file.samplerate, file.frames) == (container, rate, rate // 2)


def test_pcm_is_a_second_of_24_000_samples_of_16_bits_and_mp3_is_what_comes_unasked(client):
    assert len(client.audio.speech.create(**ASKED, response_format="pcm").content) == 24_000
    assert client.audio.speech.create(**ASKED).response.headers["content-type"] == "audio/mpeg"


def test_a_sound_streams_to_a_file(client, tmp_path: Path):
    asked = ASKED | {"voice": {"id": "voice_1"}}
    with client.audio.speech.with_streaming_response.create(**asked, response_format="flac") as answer:
        answer.stream_to_file(tmp_path / "rain.flac")
    assert soundfile.info(tmp_path / "rain.flac").frames == 22_050


def test_events_join_to_the_same_sound(client):
    whole = client.audio.speech.create(**ASKED, response_format="wav").content
    answer = client.audio.speech.create(**ASKED, response_format="wav", stream_format="sse")
    assert answer.response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.content.decode().split("\n\n") if line]
    streamed = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    with heard(whole) as file, heard(streamed) as other:  # whose head does not know how long it is
        assert (file.read(dtype="int16") == other.read(dtype="int16")).all()
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"} and len(events) > 2
    assert events[-1]["type"] == "speech.audio.done" and events[-1]["usage"]["input_tokens"] == 5


@pytest.mark.parametrize(
    ("wrong", "error", "code", "param", "told"),
    [
        ({"model": "tts-9"}, "NotFoundError", "model_not_found", "model", "did you mean 'tts-1'"),
        ({"response_format": "aac"}, "BadRequestError", "invalid_value", "response_format", "mp3, opus, flac"),
        ({"speed": 9.0}, "BadRequestError", "invalid_value", "speed", "<= 4.0"),
        ({"input": " "}, "BadRequestError", "invalid_value", "input", "given ' '"),
        ({"extra_body": {"duration_seconds": 900}}, "BadRequestError", "invalid_value", "duration_seconds", "<= 600"),
        ({"extra_body": {"seed": -1}}, "BadRequestError", "invalid_value", "seed", ">= 0"),
        ({"extra_body": {"engine": "tangoflux"}}, "NotFoundError", "model_not_found", "model", "tangoflux"),
    ],
)
def test_an_error_says_what_is_wrong_and_with_which_field(client, wrong, error, code, param, told):
    with pytest.raises(getattr(openai, error)) as caught:
        client.audio.speech.create(**(ASKED | wrong))
    assert (caught.value.code, caught.value.param, caught.value.type) == (code, param, "invalid_request_error")
    assert told in caught.value.message and len(caught.value.request_id) == 32


def test_what_is_missing_is_told(http):
    body = {"model": "tts-1", "input": None}
    assert http.post("/v1/audio/speech", json=body).json()["error"] == {
        "message": "input: is missing", "type": "invalid_request_error", "param": "input",
        "code": "missing_required_parameter",
    }  # fmt: skip
    assert http.post("/v1/audio/speech", content=b"{").json()["error"]["type"] == "invalid_request_error"


def test_fields_of_ours_count_beside_and_what_nobody_knows_is_named(client):
    own = {"loop": True, "duration_s": 0.4, "seed": 7, "candidates": 1, "ambient": "no", "output_path": "/tmp/x"}
    own |= {"speed": 2.0, "instructions": "very far away"}
    answer = client.audio.speech.create(**(ASKED | {"extra_body": own}), response_format="wav")
    headers = answer.response.headers
    assert (headers["x-sound-loop"], headers["x-sound-duration"], headers["x-sound-seed"]) == ("true", "0.4", "7")
    assert headers["x-ignored-fields"] == "ambient, output_path, speed"


def test_models_are_listed_and_found(client):
    listed = [model.id for model in client.models.list()]
    assert {"audio_pool", "procedural", "tts-1", "gpt-4o-mini-tts", "eleven_text_to_sound_v2"} <= set(listed)
    assert client.models.retrieve("tts-1").owned_by == "audio_pool"
    assert client.models.retrieve("fal-ai/stable-audio").id == "fal-ai/stable-audio"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
