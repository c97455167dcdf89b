"""fal's own client against the queue and against calls that wait."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from tests.http.conftest import Gateway, running
from tests.support.receiver import Receiver
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

fal_client = pytest.importorskip("fal_client", reason="fal's SDK is not installed")
APP = "fal-ai/stable-audio"


@pytest.fixture(scope="module")
def client(stage_gateway: Gateway) -> Iterator[Any]:
    """Its client, whose addresses are https of its own hosts unless they are set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{stage_gateway.url}/")
        patch.setattr(fal_client.client, "RUN_URL_FORMAT", f"{stage_gateway.url}/fal/run/")
        client = fal_client.SyncClient(key="id:secret")
        yield client
        client._client.close()


@pytest.fixture(scope="module")
def http(stage_gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stage_gateway.url, timeout=PATIENCE_S, trust_env=False) as http:
        yield http


def test_who_subscribes_hears_of_updates_and_gets_an_address(client, http: httpx.Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    updates: list[object] = []

    def update(status: object) -> None:
        updates.append(status)
        if isinstance(status, fal_client.InProgress) and status.logs:
            go.touch()

    asked = {"prompt": f"hold {go}", "seconds_total": 0.5, "seed": 7}
    told = client.subscribe(APP, asked, with_logs=True, on_queue_update=update)
    assert isinstance(updates[-1], fal_client.Completed) and updates[-1].error is None
    assert any(isinstance(one, fal_client.InProgress) for one in updates)
    assert told["seed"] == 7 and told["audio"] == told["audio_file"] and told["audio"]["content_type"] == "audio/wav"
    answer = http.get(told["audio"]["url"])
    assert len(answer.content) == told["audio"]["file_size"]
    assert soundfile.info(io.BytesIO(answer.content)).duration == 0.5
    part = http.get(told["audio"]["url"], headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")


def test_a_call_that_waits_is_answered_with_the_result(client) -> None:
    told = client.run("audio_pool/stage", {"text": "tone fal", "duration": 0.5, "output_format": "mp3_22050_32"})
    assert told["audio"]["file_name"].endswith(".mp3") and told["duration"] == 0.5


def test_a_request_is_cancelled_and_then_has_ended(client, http: httpx.Client, tmp_path: Path) -> None:
    handle = client.submit(APP, {"prompt": f"hold {tmp_path}/never"}, priority="low", start_timeout=600)
    early = http.get(handle.response_url)
    assert early.status_code == 400 and "in progress" in early.json()["detail"]
    handle.cancel()
    eventually(lambda: isinstance(handle.status(), fal_client.Completed), "it has ended")
    assert handle.status().error_type == "client_cancelled"
    with pytest.raises(fal_client.client.FalClientHTTPError) as caught:
        handle.get()
    assert (caught.value.status_code, caught.value.error_type) == (422, "client_cancelled")
    again = http.put(handle.cancel_url)
    assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED"})
    unknown = http.put(f"/{APP}/requests/http.{'0' * 32}/cancel")
    assert (unknown.status_code, unknown.json()) == (404, {"status": "NOT_FOUND"})


def test_what_failed_says_so_at_its_end(client) -> None:
    handle = client.submit(APP, {"prompt": "fail now"})
    with pytest.raises(fal_client.client.FalClientHTTPError) as caught:
        handle.get()
    assert caught.value.status_code == 500 and caught.value.error_type == "runner_error"
    assert handle.status().error


def test_a_status_stream_ends_with_the_end(client, http: httpx.Client) -> None:
    handle = client.submit(APP, {"prompt": "tone streamed", "duration_seconds": 0.2})
    with http.stream("GET", f"{handle.status_url}/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: ")]
    assert told[-1]["status"] == "COMPLETED" and told[-1]["request_id"] == handle.request_id
    assert {one["status"] for one in told[:-1]} <= {"IN_QUEUE", "IN_PROGRESS"}
    # any status can be read by the client
    assert isinstance(client.status(APP, handle.request_id), fal_client.Completed)


@pytest.mark.parametrize(
    ("app", "asked", "status", "told"),
    [("nobody/nothing", {"prompt": "rain"}, 404, "nobody/nothing"),
     (APP, {}, 422, "is missing"),
     (APP, {"prompt": "rain", "seconds_total": 900}, 422, "<= 600"),
     (APP, {"prompt": "rain", "output_format": "aac"}, 422, "allowed is one of"),
     (APP, {"prompt": "rain", "audio_url": "https://elsewhere.example/a.wav"}, 422, "data:audio/wav;base64"),
     (APP, {"prompt": "rain", "audio_url": "data:audio/wav;base64,%"}, 422, "is not base64")],
)  # fmt: skip
def test_what_is_wrong_is_told_as_its_client_reads_it(client, app, asked, status, told) -> None:
    with pytest.raises(fal_client.client.FalClientHTTPError) as caught:
        client.submit(app, asked)
    assert caught.value.status_code == status and told in str(caught.value)
    assert caught.value.response_headers["x-fal-error-type"] == caught.value.error_type


def test_a_sound_to_start_from_comes_as_a_data_uri(client) -> None:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(4410) * 0.05), 44_100, format="WAV")
    uri = f"data:audio/wav;base64,{base64.b64encode(file.getvalue()).decode()}"
    told = client.run(APP, {"prompt": "tone from a uri", "audio_url": uri, "strength": 0.5, "duration": 0.2})
    assert told["duration"] == 0.2


def test_a_webhook_is_signed_as_fal_signs(client, stage: Served, tmp_path: Path, monkeypatch) -> None:
    signing = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    invalid = pytest.importorskip("cryptography.exceptions").InvalidSignature
    receiver = Receiver()
    config = f"""[http]
        webhook_hosts = ["127.0.0.1"]
        webhook_private = true
        webhook_secret_file = "{tmp_path}/secret"
        """
    gateway = Gateway(tmp_path, stage.endpoint, config=config)
    try:
        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as http:
            monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{gateway.url}/")
            asked = {"prompt": "tone hooked", "duration": 0.2}
            handle = client.submit(APP, asked, webhook_url=receiver.url)
            headers, body = receiver.take()
            told = json.loads(body)
            assert (told["request_id"], told["status"]) == (handle.request_id, "OK")
            file = http.get(told["payload"]["audio"]["url"]).content
            assert len(file) == told["payload"]["audio"]["file_size"]
            names = ("request-id", "user-id", "timestamp")
            signed = [headers[f"x-fal-webhook-{name}"] for name in names] + [hashlib.sha256(body).hexdigest()]
            x = http.get("/.well-known/jwks.json").json()["keys"][0]["x"]
            key = signing.Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=="))
            signature = bytes.fromhex(headers["x-fal-webhook-signature"])
            key.verify(signature, "\n".join(signed).encode())
            with pytest.raises(invalid):
                key.verify(signature, "\n".join([*signed[:3], "0" * 64]).encode())
            client.submit(APP, {"prompt": "fail hooked"}, webhook_url=receiver.url)
            told = json.loads(receiver.take()[1])
            assert told["status"] == "ERROR" and told["error"] and told["payload"]["detail"]
            with pytest.raises(fal_client.client.FalClientHTTPError) as caught:
                client.submit(APP, asked, webhook_url="http://elsewhere.example/")
            assert caught.value.status_code == 403
    finally:
        receiver.close()


def test_without_webhooks_nobody_is_called_and_there_is_no_key(client, http: httpx.Client) -> None:
    assert http.get("/.well-known/jwks.json").json() == {"keys": []}
    with pytest.raises(fal_client.client.FalClientHTTPError) as caught:
        client.submit(APP, {"prompt": "rain"}, webhook_url="http://127.0.0.1/")
    assert caught.value.status_code == 403
