"""Keys as each client sends them, and how each is told that it has none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.http.conftest import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("k") / "keys.json"
    command = ["keys", "http", "create", str(file), "--name", "tool", "--namespace", "tools", "--json"]
    made = subprocess.run([sys.executable, "-m", "audio_pool.cli", *command], capture_output=True, timeout=PATIENCE_S)
    return file, json.loads(made.stdout)["key"]


@pytest.fixture(scope="module")
def keyed(pool: Pool, key: tuple[Path, str]) -> Iterator[Gateway]:
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{key[0]}"\n', name="dialect-keys")
    with running(gateway):
        yield gateway


@pytest.fixture
def http(keyed: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=keyed.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "value"), [("authorization", "Bearer {}"), ("xi-api-key", "{}"), ("authorization", "Key id:{}")]
)
def test_a_key_counts_as_each_client_sends_it(http: httpx.Client, key: tuple[Path, str], name: str, value: str) -> None:
    header = {name: value.format(key[1])}
    asked = {"input": "rain", "model": "audio_pool", "voice": "any", "duration_seconds": 0.2}
    assert http.post("/v1/audio/speech", json=asked, headers=header).status_code == 200
    assert http.get("/v1/user", headers=header).json()["user_id"] == "tool"
    refused = http.post("/v1/audio/speech", json=asked | {"namespace": "others"}, headers=header)
    assert refused.status_code == 403 and refused.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize(
    ("method", "path", "where", "code"),
    [("POST", "/v1/audio/speech", ("error", "code"), "invalid_api_key"),
     ("GET", "/v1/models", ("error", "type"), "authentication_error"),
     ("POST", "/v1/sound-generation", ("detail", "code"), "invalid_api_key"),
     ("POST", "/v1/music", ("detail", "status"), "invalid_api_key"),
     ("GET", "/v1/user", ("detail", "type"), "authentication_error"),
     ("POST", "/fal-ai/stable-audio", ("error_type",), "bad_request"),
     ("POST", "/v2beta/audio/stable-audio-2/text-to-audio", ("name",), "unauthorized"),
     ("POST", "/v1/audio/generate", ("error", "code"), "invalid_api_key")],
)  # fmt: skip
def test_who_has_none_is_told_in_the_api_s_own_way(
    http: httpx.Client, method: str, path: str, where: tuple[str, ...], code: str
) -> None:
    answer = http.request(method, path, headers={"authorization": "Bearer wrong"})
    told = answer.json()
    for name in where:
        told = told[name]
    assert answer.status_code == 401 and told == code
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_sdks_raise_what_they_raise_for_a_wrong_key(keyed: Gateway) -> None:
    openai = pytest.importorskip("openai", reason="OpenAI's SDK is not installed")
    elevenlabs = pytest.importorskip("elevenlabs", reason="ElevenLabs' SDK is not installed")
    with openai.OpenAI(base_url=f"{keyed.url}/v1", api_key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"
    with httpx.Client(trust_env=False) as connections:
        client = elevenlabs.ElevenLabs(base_url=keyed.url, api_key="wrong", httpx_client=connections)
        with pytest.raises(elevenlabs.core.ApiError) as refused:
            list(client.text_to_sound_effects.convert(text="rain"))
    assert refused.value.status_code == 401 and refused.value.body["detail"]["code"] == "invalid_api_key"


def test_a_result_s_file_needs_no_key(http: httpx.Client, key: tuple[Path, str]) -> None:
    header = {"authorization": f"Key id:{key[1]}"}
    told = http.post("/fal/run/audio_pool/procedural", json={"prompt": "rain", "duration": 0.2}, headers=header).json()
    assert http.get(told["audio"]["url"]).content.startswith(b"RIFF")
    guessed = told["audio"]["url"].replace(told["audio"]["url"].split("/")[-2], "0" * 16 + "." + "0" * 32)
    assert http.get(guessed).status_code == 404


@pytest.mark.parametrize("body", [{"items": ["rain on slate"], "defaults": {"duration_s": 0.2}}, None])
def test_a_file_without_a_key_is_for_whoever_was_given_its_id_not_for_who_can_reckon_it(
    http: httpx.Client, key: tuple[Path, str], body: dict[str, object] | None
) -> None:
    own = {"xi-api-key": key[1]}
    if body is None:
        asked = {"prompt": "rain on slate", "duration_s": 0.2}
        headers = {"prefer": "respond-async", "idempotency-key": "order-1"}
        job = http.post("/v1/sounds", json=asked, headers=own | headers).json()["id"]
    else:
        job = http.post("/v1/batches", json=body, headers=own | {"idempotency-key": "order-1"}).json()["jobs"][0]["id"]
    assert http.get(f"/v1/jobs/{job}", headers=own | {"prefer": "wait=30"}).json()["state"] == "done"
    assert http.get(f"/fal/files/{job}/a.wav").status_code == 200
    mark = job.partition(".")[0]  # it stands in every id of the key's
    reckoned = hashlib.sha256(b"\0".join((mark.encode(), b"key", b"order-1"))).hexdigest()[:24] + 8 * "0"
    if body is None:
        reckoned = hashlib.sha256(f"{mark}:order-1".encode()).hexdigest()[:32]
    assert http.get(f"/fal/files/{mark}.{reckoned}/a.wav").status_code == 404
