"""Stability's, vLLM-Omni's and Hugging Face's APIs."""

from __future__ import annotations

import base64
import io

import pytest
import soundfile

TEXT = "/v2beta/audio/stable-audio-2/text-to-audio"


def form(**fields: object) -> dict[str, tuple[None, str]]:
    """Of a multipart form without files."""
    return {name: (None, str(value)) for name, value in fields.items()}


def test_stability_takes_a_form_and_gives_bytes(http):
    files = form(prompt="wind", duration=1, seed=7, steps=8, cfg_scale=1, model="stable-audio-2.5", output_format="wav")
    answer = http.post(TEXT, files=files, headers={"accept": "audio/*"})
    assert answer.status_code == 200, answer.text
    assert (answer.headers["seed"], answer.headers["finish-reason"]) == ("7", "SUCCESS")
    assert soundfile.info(io.BytesIO(answer.content)).duration == 1.0


def test_stability_gives_json_where_that_is_asked_for(http):
    answer = http.post(TEXT, files=form(prompt="wind", duration="1"), headers={"accept": "application/json"})
    told = answer.json()
    assert told["finish_reason"] == "SUCCESS" and isinstance(told["seed"], int)
    assert soundfile.info(io.BytesIO(base64.b64decode(told["audio"]))).format == "MP3"


@pytest.mark.parametrize(
    ("path", "fields", "status", "told"),
    [
        ("text-to-audio", {}, 400, "prompt: is missing"),
        ("text-to-audio", {"prompt": "wind", "duration": "200"}, 400, "given '200', allowed is `float` <= 190"),
        ("text-to-audio", {"prompt": "wind", "output_format": "ogg"}, 400, "output_format"),
        ("text-to-audio", {"prompt": "wind", "model": "stable-audio-9"}, 400, "did you mean 'stable-audio-2"),
        ("audio-to-audio", {"prompt": "wind"}, 400, "audio: is missing"),
        ("audio-to-audio", {"prompt": "wind", "audio": ""}, 400, "audio: is missing"),
        ("inpaint", {"prompt": "wind"}, 400, "audio: is missing"),
    ],
)
def test_stability_s_errors_are_its_own(http, path, fields, status, told):
    answer = http.post(f"/v2beta/audio/stable-audio-2/{path}", files=form(**fields) or form(x=1))
    body = answer.json()
    assert answer.status_code == status, body
    assert set(body) == {"id", "name", "errors"} and told in body["errors"][0]
    assert body["id"] == answer.headers["x-request-id"]


def test_vllm_omni_gives_wav_unless_asked(http):
    asked = {"input": "wind", "audio_length": 0.5, "num_inference_steps": 20, "guidance_scale": 3.0, "seed": 3}
    answer = http.post("/v1/audio/generate", json=asked)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    assert soundfile.info(io.BytesIO(answer.content)).duration == 0.5 and answer.headers["x-sound-seed"] == "3"
    assert len(http.post("/v1/audio/generate", json=asked | {"response_format": "pcm"}).content) == 24_000
    refused = http.post("/v1/audio/generate", json=asked | {"audio_start": 2.0})
    assert refused.status_code == 400 and "audio_start" in refused.json()["error"]["message"]


def test_hugging_face_takes_inputs_and_parameters(http):
    asked = {"inputs": "wind", "parameters": {"audio_length_in_s": 0.5, "loop": True, "unheard_of": 1}}
    answer = http.post("/hf/stabilityai/stable-audio-open-1.0", json=asked)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/flac"
    assert (answer.headers["x-sound-loop"], answer.headers["x-ignored-fields"]) == ("true", "unheard_of")
    assert http.post("/hf", json={"inputs": "wind", "parameters": {"audio_length_in_s": 0.5}}).status_code == 200
    assert http.post("/hf/nobody/nothing", json=asked).status_code == 404
    assert "inputs" in http.post("/hf/procedural", json={}).json()["error"]
