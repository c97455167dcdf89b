"""``/schema/openapi.json``: it says what the routes do, and a fuzzer that believes it finds nothing amiss."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.config import HttpConfig
from audio_pool.gateway import openapi
from audio_pool.gateway.door import Door

from .conftest import Gateway, Pool, running

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> Json:
    answer = http.get("/schema/openapi.json")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    told: Json = answer.json()
    return told


def test_it_is_made_of_the_structs_with_their_bounds(document: Json) -> None:
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    seed = schemas["SoundRequest"]["properties"]["seed"]
    assert {"type": "integer", "minimum": 0, "maximum": 2**63 - 1} in seed["anyOf"], "a bound of 0 is one"
    assert "output_path" not in schemas["SoundRequest"]["properties"]
    assert schemas["SoundRequest"]["additionalProperties"] is False
    assert "Seconds" in schemas["SoundRequest"]["properties"]["duration_s"]["description"]
    assert "score" in schemas["KeptSound"]["properties"] and "score" not in schemas["KeptSound"]["required"]


def test_every_operation_says_what_it_takes_and_answers(document: Json) -> None:
    names = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names.add(operation["operationId"])
            assert operation["responses"], (method, path)
            parameters = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert parameters == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    assert len(names) == sum(map(len, document["paths"].values()))
    sounds = document["paths"]["/v1/sounds"]
    assert {"audio/wav", "application/json"} <= set(sounds["post"]["responses"]["200"]["content"])
    limit = next(one for one in sounds["get"]["parameters"] if one["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    assert "/schema/openapi.json" not in document["paths"]


def test_options_and_405_name_every_method_of_an_address(http: httpx.Client) -> None:
    for path, allowed in (
        ("/v1/sounds", "GET, OPTIONS, POST"),
        ("/v1/sounds/7", "DELETE, GET, OPTIONS, PATCH"),
        ("/v1/sounds/7/audio", "GET, HEAD, OPTIONS"),
        ("/v1/sounds/7/rating", "DELETE, OPTIONS, PUT"),
    ):
        assert http.options(path).headers["allow"] == allowed
        refused = http.request("TRACE" if path.endswith("audio") else "PUT" if path[-1] != "g" else "GET", path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed), path
        assert refused.headers["content-type"] == "application/problem+json"


def test_a_long_plan_has_sections_as_long_as_they_may_be(http: httpx.Client) -> None:
    for length_ms in (24_000, 300_001, 320_001, 599_999):
        plan = http.post("/v1/music/plan", json={"prompt": "a march", "music_length_ms": length_ms}).json()
        lengths = [section["duration_ms"] for section in plan["sections"]]
        assert sum(lengths) == length_ms and all(3_000 <= one <= 120_000 for one in lengths), lengths


def test_it_is_made_once_and_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def document(*_: object, **__: object) -> Json:
        threads.append(threading.current_thread())
        return {"openapi": "3.1.0"}

    monkeypatch.setattr(openapi, "document", document)

    async def ask() -> None:
        app = Litestar([openapi.router(Door(AsyncAudioClient, HttpConfig()))], openapi_config=None)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            answers = await asyncio.gather(*(client.get("/schema/openapi.json") for _ in range(5)))
        assert [answer.json() for answer in answers] == [{"openapi": "3.1.0"}] * 5

    asyncio.run(ask())
    assert len(threads) == 1 and threads[0] is not threading.current_thread()


@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_a_fuzzer_finds_nothing(pool: Pool, tmp_path: Path) -> None:
    """At a gateway that lets nobody ask for more than a second, so that thousands of requests take no hour."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "schemathesis.toml"), "run"]
    options = [
        "--max-examples", "4", "--seed", "7", "--workers", "1", "--generation-database", "none",
        "--no-color", "--request-timeout", "60",
    ]  # fmt: skip
    gateway = Gateway(pool.place, pool.endpoint, config="[http]\nmax_duration_s = 1.0\n", name="fuzzed")
    with running(gateway):
        done = subprocess.run(
            [*command, f"{gateway.url}/schema/openapi.json", *options],
            cwd=tmp_path,
            env={**os.environ, "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
