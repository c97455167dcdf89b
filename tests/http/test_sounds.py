"""``POST /v1/sounds``: a sound as bytes and as JSON."""

from __future__ import annotations

import io

import httpx
import soundfile


def test_health_says_that_the_gateway_runs(http: httpx.Client) -> None:
    answer = http.get("/health")
    assert answer.status_code == 200 and answer.json()["status"] == "ok"
    assert answer.headers["x-request-id"]


def test_a_sound_comes_as_bytes_with_its_metadata_in_headers(http: httpx.Client) -> None:
    asked = {"prompt": "rain on a tin roof", "duration_s": 0.5}
    answer = http.post("/v1/sounds", json=asked, headers={"accept": "audio/*"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    data, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == int(answer.headers["x-sound-sample-rate"]) and len(data) == rate // 2
    assert answer.headers["x-sound-engine"] == "procedural"


def test_accept_chooses_the_format_where_the_body_names_none(http: httpx.Client) -> None:
    answer = http.post("/v1/sounds", json={"prompt": "rain", "duration_s": 0.5}, headers={"accept": "audio/flac"})
    assert answer.headers["content-type"] == "audio/flac" and answer.content.startswith(b"fLaC")


def test_a_sound_comes_as_json_with_the_address_of_its_bytes(http: httpx.Client) -> None:
    answer = http.post("/v1/sounds", json={"prompt": "rain on a tin roof", "duration_s": 0.5})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["url"].startswith(f"/v1/sounds/{told['id']}/audio")
    assert told["metadata"]["prompt"] == "rain on a tin roof"


def test_what_is_wrong_is_told_field_by_field(http: httpx.Client) -> None:
    answer = http.post("/v1/sounds", json={"prompt": "rain", "duration": 2})
    problem = answer.json()
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "bad_request" and "duration_s" in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
