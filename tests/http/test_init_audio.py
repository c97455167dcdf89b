"""A sound to start from in a form, before a pool whose engine can."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import soundfile
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S


def sound(hz: float = 200.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * hz * np.arange(4410) / 44_100), 44_100, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    place = tmp_path_factory.mktemp("i")
    sizes = {"max_sent_audio_bytes": 100_000}
    with Served(place / "pool", server=sizes).ready() as server:
        gateway = Gateway(place / "gateway", server.endpoint)
        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
            yield client


def post(http: httpx.Client, content: bytes | None = None, headers: dict[str, str] | None = None, **fields: str):
    file = {"init_audio": ("start.wav", sound() if content is None else content, "audio/wav")}
    return http.post("/v1/sounds", data={"prompt": "tone 5", **fields}, files=file, headers=headers or {})


def test_a_form_has_the_fields_as_text_and_the_sound_as_a_file(http: httpx.Client) -> None:
    first = post(http, duration_s="0.2", loop="false", init_strength="0.5", tags='["a", "b"]', bit_depth="16")
    assert first.status_code == 200, first.text
    told = first.json()["metadata"]
    assert told["prompt"] == "tone 5" and told["tags"] == ["a", "b"] and not told["cached"]
    whole = '{"duration_s": 0.2, "init_strength": 0.5, "bit_depth": 16}'
    again = post(http, headers={"accept": "audio/*"}, request=whole)
    assert again.headers["x-sound-cached"] == "true" and again.content.startswith(b"RIFF"), again.text
    assert not post(http, sound(300.0), request=whole).json()["metadata"]["cached"], "other bytes, another sound"
    words = http.post("/v1/sounds", files={"prompt": (None, "tone of words"), "duration_s": (None, "0.2")})
    assert words.status_code == 200, "a form needs no sound"


def test_a_repeated_form_is_one_job_and_other_bytes_are_another_request(http: httpx.Client) -> None:
    key = {"idempotency-key": "one", "prefer": "respond-async"}
    first = post(http, headers=key)
    assert first.status_code == 202, first.text
    assert post(http, headers=key).json()["id"] == first.json()["id"]
    done = http.get(first.headers["location"], headers={"prefer": "wait=60"}).json()
    assert done["state"] == "done", done
    assert post(http, sound(300.0), headers=key).json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("content", "fields", "status", "code"),
    [
        (b"no sound at all", {}, 422, "bad_audio"),
        (b"", {}, 422, "bad_request"),
        (bytes(100_001), {}, 422, "bad_audio"),
        (None, {"duration_s": "long"}, 422, "bad_request"),
        (None, {"duration": "1"}, 422, "bad_request"),
        (None, {"output_path": "/tmp/x.wav"}, 403, "path_not_allowed"),
        (None, {"request": "[1]"}, 400, "bad_message"),
    ],
)
def test_what_is_wrong_with_a_form(http: httpx.Client, content, fields, status, code) -> None:
    answer = post(http, content, **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if code == "bad_audio":  # and nothing of where the server keeps what is sent
        assert answer.json()["detail"].startswith("init_audio: "), answer.text


def test_files_stand_nowhere_else_and_paths_nowhere(http: httpx.Client) -> None:
    for files in (
        {"init_audio": (None, "/etc/passwd")},
        {"prompt": ("x.txt", b"tone")},
        [("init_audio", ("a", sound())), ("init_audio", ("b", sound()))],
    ):
        answer = http.post("/v1/sounds", data={"duration_s": "0.2"}, files=files)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_request"), answer.text
    broken = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"--x\r\n", b"no form", b""):
        assert http.post("/v1/sounds", content=body, headers=broken).status_code in (400, 422)
    assert http.post("/v1/sounds", content=b"x", headers={"content-type": "multipart/form-data"}).status_code == 400
    assert http.post("/v1/sounds", json={"prompt": "x", "init_audio": "/etc/passwd"}).status_code == 403
