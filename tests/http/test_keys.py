"""Keys over HTTP: who gets in, into which namespace, how much; and who is let in without keys."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.gateway.key_file import HttpKey, create_key


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "audio_pool.cli", *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )


class Keys:
    """A file of keys."""

    def __init__(self, place: Path) -> None:
        self.file = place / "http_keys.json"

    def create(self, name: str, **settings: Any) -> dict[str, str]:
        """The header with a new key."""
        key = create_key(self.file, lambda sha256: HttpKey(name=name, sha256=sha256, **settings))
        return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def keys(pool: Pool) -> Keys:
    return Keys(pool.place)


@pytest.fixture(scope="module")
def any_key(keys: Keys) -> dict[str, str]:
    return keys.create("any")


@pytest.fixture(scope="module")
def keyed(pool: Pool, keys: Keys, any_key: dict[str, str]) -> Iterator[httpx.Client]:
    config = f'[http]\nkeys_file = "{keys.file}"\ncors_origins = ["https://tool.example"]\n'
    gateway = Gateway(pool.place, pool.endpoint, config=config, name="keyed")
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


SOUND = {"prompt": "a door shuts", "duration_s": 0.2}


def test_a_key_is_asked_for_and_known_in_three_places(keyed: httpx.Client, any_key: dict[str, str]) -> None:
    assert keyed.get("/health").status_code == 200  # who watches over it needs none
    turned_away = keyed.post("/v1/sounds", json=SOUND)
    assert turned_away.status_code == 401 and turned_away.json()["code"] == "unauthenticated"
    assert turned_away.headers["www-authenticate"] == "Bearer"
    key = any_key["authorization"].partition(" ")[2]
    for headers in (any_key, {"authorization": f"Key id:{key}"}, {"xi-api-key": key}):
        assert keyed.post("/v1/sounds", json=SOUND, headers=headers).status_code == 200
    wrong = keyed.post("/v1/sounds", json=SOUND, headers={"xi-api-key": key + "x"})
    assert wrong.status_code == 401 and key not in wrong.text


def test_keys_come_and_go_without_a_restart(keyed: httpx.Client, keys: Keys) -> None:
    made = command("keys", "http", "create", str(keys.file), "--name", "late", "--rate", "1000", "--json")
    late = {"authorization": f"Key {json.loads(made.stdout)['key']}"}
    eventually(lambda: keyed.post("/v1/sounds", json=SOUND, headers=late).status_code == 200, "the key is known")
    listed = json.loads(command("keys", "http", "list", str(keys.file), "--json").stdout)["keys"]
    assert {"any": 0, "late": 1000}.items() <= {key["name"]: key["rate"] for key in listed}.items()
    assert all("sha256" not in key for key in listed)
    assert command("keys", "http", "revoke", str(keys.file), "late").returncode == 0
    eventually(lambda: keyed.post("/v1/sounds", json=SOUND, headers=late).status_code == 401, "the key is revoked")


def test_a_key_s_namespace_is_the_only_one_it_names(
    keyed: httpx.Client, keys: Keys, any_key: dict[str, str]
) -> None:
    game = keys.create("game", namespace="game")
    asked = {"prompt": "a gate shuts", "duration_s": 0.2}
    eventually(lambda: keyed.post("/v1/sounds", json=SOUND, headers=game).status_code == 200, "the key is known")
    made = keyed.post("/v1/sounds", json=asked, headers=game).json()["metadata"]
    assert made["namespace"] == "game" and not made["cached"]
    assert not keyed.post("/v1/sounds", json=asked, headers=any_key).json()["metadata"]["cached"]
    for other in ("default", "web"):
        refused = keyed.post("/v1/sounds", json={**asked, "namespace": other}, headers=game)
        assert refused.status_code == 403 and "'game'" in refused.json()["detail"]


def test_quotas_hold(keyed: httpx.Client, keys: Keys) -> None:
    rated = keys.create("rated", rate=1)
    eventually(lambda: keyed.post("/v1/sounds", json=SOUND, headers=rated).status_code == 200, "the key is known")

    def refusal() -> httpx.Response | None:
        answer = keyed.post("/v1/sounds", json=SOUND, headers=rated)
        return answer if answer.status_code == 429 else None

    refused = eventually(refusal, "a minute has one request")
    assert refused is not None and refused.json()["code"] == "too_many"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_sounds_of_a_key_wait_for_one_another(keyed: httpx.Client, keys: Keys) -> None:
    narrow = keys.create("narrow", concurrency=1, queue=1)
    eventually(lambda: keyed.post("/v1/sounds", json=SOUND, headers=narrow).status_code == 200, "the key is known")

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=keyed.base_url, timeout=PATIENCE_S, trust_env=False) as client:
            asked = [
                client.post(
                    "/v1/sounds", json={"prompt": f"bell number {number}", "duration_s": 4}, headers=narrow
                )
                for number in range(6)
            ]
            return list(await asyncio.gather(*asked))

    codes = sorted(answer.status_code for answer in asyncio.run(ask_all()))
    assert codes[0] == 200 and codes[-1] == 429 and set(codes) == {200, 429}


def test_a_batch_counts_as_many_sounds_as_it_has(keyed: httpx.Client, keys: Keys) -> None:
    bulk = keys.create("bulk", concurrency=1, queue=1)
    eventually(lambda: keyed.post("/v1/sounds", json=SOUND, headers=bulk).status_code == 200, "the key is known")

    def batch(*prompts: str) -> httpx.Response:
        return keyed.post("/v1/batches", json={"items": prompts, "defaults": {"duration_s": 0.2}}, headers=bulk)

    refused = batch("a cup", "a jug", "a pot")
    assert refused.status_code == 429 and "1 sounds at a time and 1 that wait" in refused.json()["detail"]
    for prompts in (("a cup", "a jug"), ("a pot", "a pan")):  # what it held is given back as its jobs end
        taken = eventually(lambda names=prompts: (one := batch(*names)).status_code == 202 and one, "there is room")
        assert taken.json()["total"] == 2


def test_a_job_is_its_key_s_alone(keyed: httpx.Client, keys: Keys) -> None:
    one, two = keys.create("one", concurrency=1, queue=0), keys.create("two")
    eventually(lambda: keyed.post("/v1/sounds", json=SOUND, headers=two).status_code == 200, "the keys are known")
    same = {"idempotency-key": "the same words"}
    asked = {"prompt": "a lid shuts", "duration_s": 0.2}
    first = keyed.post("/v1/sounds", json=asked, headers={**one, **same})
    second = keyed.post("/v1/sounds", json={**asked, "prompt": "a lid opens"}, headers={**two, **same})
    assert first.status_code == second.status_code == 200
    url = first.headers["content-location"]
    assert keyed.get(url, headers=one).status_code == 200
    for method, path in (("GET", url), ("GET", f"{url}/audio"), ("GET", f"{url}/events"), ("DELETE", url)):
        assert keyed.request(method, path, headers=two).status_code == 404


def test_pages_of_named_origins_alone_may_read_answers(keyed: httpx.Client, any_key: dict[str, str]) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    allowed = keyed.options("/v1/sounds", headers={**asked, "origin": "https://tool.example"})
    assert allowed.status_code == 204 and allowed.headers["access-control-allow-origin"] == "https://tool.example"
    refused = keyed.options("/v1/sounds", headers={**asked, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers
    answer = keyed.post("/v1/sounds", json=SOUND, headers={**any_key, "origin": "https://tool.example"})
    assert answer.headers["access-control-allow-origin"] == "https://tool.example"
    turned_away = keyed.post("/v1/sounds", json=SOUND, headers={"origin": "https://tool.example"})
    assert turned_away.status_code == 401 and "access-control-allow-origin" in turned_away.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1.nip.io:{port}"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:{port}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=lambda headers: "-".join(f"{name} {value}" for name, value in headers.items()),
)
def test_without_keys_no_web_page_gets_in(http: httpx.Client, headers: dict[str, str]) -> None:
    given = {name: value.replace("{port}", str(http.base_url.port)) for name, value in headers.items()}
    for method, path in (("GET", "/health"), ("POST", "/v1/sounds")):
        answer = http.request(method, path, headers=given, json=SOUND if method == "POST" else None)
        assert answer.status_code == 403 and answer.json()["code"] == "refused" and answer.headers["x-request-id"]


def test_without_keys_its_own_names_and_pages_get_in(http: httpx.Client) -> None:
    port = http.base_url.port
    for headers in (
        {"host": f"localhost:{port}"},
        {"origin": f"http://127.0.0.1:{port}", "sec-fetch-site": "same-origin"},
        {"authorization": "Bearer whatever an SDK is set to"},
    ):
        assert http.post("/v1/sounds", json=SOUND, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("bind", "config", "said"),
    [
        ("0.0.0.0:0", "[http]\n", "can be reached from other machines and no keys are set"),
        ("127.0.0.1:0", '[http]\nkeys_file = "/nowhere/keys.json"\n', "no file of keys at /nowhere/keys.json"),
        ("127.0.0.1:0", '[http]\ncors_origins = ["*"]\n', "lets every page of the web in"),
        ("127.0.0.1:0", '[http]\ntls_key = "k.pem"\n', "are set together"),
        (
            "127.0.0.1:0",
            '[http]\ntls_certificate = "/nowhere/c.pem"\ntls_key = "/nowhere/k.pem"\n',
            "TLS cannot be set up",
        ),
        ("8080", "[http]\n", "http.bind"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(tmp_path: Path, bind: str, config: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(config)
    ended = command("gateway", "--connect", f"ipc://{tmp_path}/s", "--config", f"{tmp_path}/c.toml", "--bind", bind)
    assert ended.returncode == 2 and said in ended.stderr, ended.stderr


def test_the_doctor_looks_at_the_door(tmp_path: Path, keys: Keys) -> None:
    for config, told in (
        (f'bind = "0.0.0.0:0"\nkeys_file = "{keys.file}"', "http.keys_file"),
        ('bind = "0.0.0.0:0"', "no keys are set"),
        ('bind = "127.0.0.1:0"\nkeys_file = "/nowhere/keys.json"', "no file of keys"),
    ):
        (tmp_path / "c.toml").write_text(f"[http]\n{config}\n")
        found = json.loads(command("doctor", "--config", f"{tmp_path}/c.toml", "--json").stdout)["findings"]
        lines = [f"{one['what']} {one['state']} {one['told']}" for one in found if one["what"].startswith("http")]
        assert any(told in line for line in lines), lines
