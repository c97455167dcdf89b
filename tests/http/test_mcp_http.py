"""The tools for agents over HTTP: by the protocol's own client, by hand, with keys and without."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from tests.http.test_keys import Keys
from tests.http.test_mcp import run, words_of
from tests.support.gateways import Agents, Pool, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.client import AudioClient

ACCEPTS = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def agents(stage: Served) -> Iterator[Agents]:
    agents = Agents(stage.place / "mcp", stage.endpoint)
    with running(agents):
        yield agents


@pytest.fixture(scope="module")
def keys(pool: Pool) -> Keys:
    return Keys(pool.place / "mcp")


@pytest.fixture(scope="module")
def keyed(pool: Pool, keys: Keys) -> Iterator[Agents]:
    (pool.place / "mcp").mkdir()
    keys.create("first")
    agents = Agents(pool.place / "mcp", pool.endpoint, config=f'[http]\nkeys_file = "{keys.file}"\n')
    with running(agents):
        yield agents


@contextlib.asynccontextmanager
async def with_key(url: str, key: dict[str, str]) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=key, timeout=PATIENCE_S) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


def test_a_program_on_this_machine_gets_a_path_progress_and_the_sound(agents: Agents) -> None:
    told: list[float] = []

    async def note(done: float, total: float | None, words: str | None) -> None:
        told.append(done)

    async def ask() -> None:
        async with Client(agents.url) as client:
            asked = {"text": f"tone {uuid.uuid4().hex}", "duration_seconds": 0.5}
            answer = await client.call_tool("text_to_sound_effects", asked, progress_callback=note)
            assert [block.type for block in answer.content] == ["text", "resource_link", "audio"], words_of(answer)
            path = Path(answer.structured_content["path"])
            assert path.parent == agents.log.parent / "out"
            assert base64.b64decode(answer.content[2].data) == path.read_bytes()
            read = await client.read_resource(answer.content[1].uri)
            assert base64.b64decode(read.contents[0].blob) == path.read_bytes()

    run(ask())
    assert len(told) >= 2 and told == sorted(set(told))


def test_who_closes_the_stream_cancels_what_the_pool_does(agents: Agents, stage: Served, tmp_path: Path) -> None:
    held = {"text": f"hold {tmp_path}/go {uuid.uuid4().hex}", "duration_seconds": 0.5}

    def requests() -> int:
        with AudioClient(stage.endpoint) as asking:
            return asking.status().requests

    async def ask() -> None:
        async with Client(agents.url) as client:
            begun = asyncio.Event()

            async def note(*told: object) -> None:
                begun.set()

            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda: client.call_tool("text_to_sound_effects", held, progress_callback=note))
                    await begun.wait()
                    scope.cancel()
            await asyncio.to_thread(eventually, lambda: requests() == 0, "nothing is under way")

    run(ask())


def message(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """The last message of an answer, plain or a stream."""
    if response.headers["content-type"].startswith("application/json"):
        told: dict[str, Any] = response.json()
        return told
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    last: dict[str, Any] = json.loads(lines[-1])
    return last


def greeted(http: httpx.Client, url: str) -> dict[str, str]:
    """Begin a session as clients before 2026 do; return its header."""
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hand", "version": "1"}}
    response = http.post(url, json=message(1, "initialize", **client))
    assert response.status_code == 200, response.text
    assert answer_of(response)["result"]["protocolVersion"] == "2025-06-18"
    session = {"mcp-session-id": response.headers["mcp-session-id"]}
    done = http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
    assert done.status_code == 202
    return session


def test_by_hand_an_older_client_has_a_session_and_cancels_by_a_message(
    agents: Agents, stage: Served, tmp_path: Path
) -> None:
    with (
        httpx.Client(headers=ACCEPTS, timeout=PATIENCE_S, trust_env=False) as http,
        AudioClient(stage.endpoint) as asking,
    ):
        session = greeted(http, agents.url)
        made = message(
            2, "tools/call", name="text_to_sound_effects", arguments={"text": "tone c", "duration_seconds": 0.5}
        )
        told = answer_of(http.post(agents.url, json=made, headers=session))["result"]
        assert [block["type"] for block in told["content"]] == ["text", "resource_link", "audio"]
        words = {"text": f"hold {tmp_path}/go d", "duration_seconds": 0.5}
        held = message(3, "tools/call", name="text_to_sound_effects", arguments=words)
        with http.stream("POST", agents.url, json=held, headers=session):
            eventually(lambda: asking.status().requests == 1, "it is under way")
            gone = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}}
            assert http.post(agents.url, json=gone, headers=session).status_code == 202
            eventually(lambda: asking.status().requests == 0, "it is cancelled")
        assert http.delete(agents.url, headers=session).status_code == 200
        assert http.post(agents.url, json=made, headers=session).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "127.0.0.1.nip.io"}, {"origin": "https://evil.example"}, {"origin": "null"},
     {"sec-fetch-site": "cross-site"}],
)  # fmt: skip
def test_a_page_of_the_web_does_not_get_in(agents: Agents, headers: dict[str, str]) -> None:
    with httpx.Client(headers=ACCEPTS, timeout=PATIENCE_S, trust_env=False) as http:
        for method in ("POST", "GET", "OPTIONS"):
            answer = http.request(method, agents.url, json=message(1, "tools/list"), headers=headers)
            assert answer.status_code == 403, answer.text


def test_nonsense_is_refused_and_the_next_is_served(agents: Agents) -> None:
    with httpx.Client(headers=ACCEPTS, timeout=PATIENCE_S, trust_env=False) as http:
        for content in (b"", b"{", b"[]", b"[" * 5000, b'{"jsonrpc": "2.0", "id": 1, "method": "no/such"}'):
            answer = http.post(agents.url, content=content, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (content[:20], answer.status_code)
        large = message(1, "tools/call", name="speak", arguments={"text": "x" * (2 << 20)})
        assert http.post(agents.url, json=large).status_code == 413
        assert http.get(agents.url.removesuffix("/mcp")).status_code == 404
        greeted(http, agents.url)


def test_without_keys_only_this_machine_can_be_bound(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "audio_pool.cli", "mcp", "--http", "0.0.0.0:0", "--connect", f"ipc://{tmp_path}/s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "no keys are set" in done.stderr


def test_a_pool_of_its_own_ends_with_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    command = [sys.executable, "-m", "audio_pool.cli", "mcp", "--serve", "--cache-dir", str(tmp_path / "cache")]
    command += ["--http", "127.0.0.1:0", "--output", str(tmp_path / "out")]
    env = {**os.environ, "TMPDIR": str(tmp_path / "t")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[1]

            async def ask() -> None:
                async with Client(url) as client:
                    made = await client.call_tool("text_to_sound_effects", {"text": "rain", "duration_seconds": 0.5})
                    assert Path(made.structured_content["path"]).parent == tmp_path / "out"

            run(ask())
            assert list((tmp_path / "t").iterdir())
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    assert not list((tmp_path / "t").iterdir())


def test_a_key_is_asked_for_and_has_its_own_sounds_and_no_paths(keyed: Agents, keys: Keys, pool: Pool) -> None:
    one, other = keys.create("one", namespace="one"), keys.create("other", namespace="other")
    word = f"bell{uuid.uuid4().hex[:8]}"
    with httpx.Client(headers=ACCEPTS, timeout=PATIENCE_S, trust_env=False) as http:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answer = http.post(keyed.url, json=message(1, "tools/list"), headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        eventually(lambda: http.post(keyed.url, json=[], headers=one).status_code == 400, "the key is known")
        http.headers.update(one)
        session = greeted(http, keyed.url)
        listing = message(2, "tools/list")
        assert http.post(keyed.url, json=listing, headers=session).status_code == 200
        assert http.post(keyed.url, json=listing, headers={**session, **other}).status_code == 404, "another's session"

    async def ask() -> None:
        async with with_key(keyed.url, one) as client:
            answer = await client.call_tool("text_to_sound_effects", {"text": word, "duration_seconds": 0.5})
            assert [block.type for block in answer.content] == ["text", "resource_link", "audio"], words_of(answer)
            assert "path" not in answer.structured_content and str(pool.place) not in str(answer)
            link = answer.content[1]
            assert words_of(answer).startswith(link.uri) and link.uri.startswith("audio-pool://sounds/")
            read = await client.read_resource(link.uri)
            assert base64.b64decode(read.contents[0].blob) == base64.b64decode(answer.content[2].data)
            with pytest.raises(MCPError, match="not_found"):
                await client.read_resource((pool.place / "pool.toml").as_uri())
            many = await client.call_tool("variants", {"text": word, "count": 10, "duration_seconds": 0.5})
            links = [block.uri for block in many.content if block.type == "resource_link"]
            assert 1 <= len(links) < 10 and f"{10 - len(links)} more left out" in words_of(many), words_of(many)
            for uri in links:
                await client.read_resource(uri)
        async with with_key(keyed.url, other) as client:
            found = await client.call_tool("search_sounds", {"words": word})
            assert found.structured_content["sounds"] == []
            with pytest.raises(MCPError, match="not_found"):
                await client.read_resource(link.uri)
            hidden = await client.call_tool("save_sound", {"sound_id": answer.structured_content["id"]})
            assert hidden.is_error and "not_found" in words_of(hidden)

    run(ask())
    assert not (keyed.log.parent / "out").exists()


def test_a_key_that_opens_sessions_without_end_loses_its_own(keyed: Agents, keys: Keys) -> None:
    many, few = keys.create("many"), keys.create("few-sessions")
    with httpx.Client(headers=ACCEPTS, timeout=PATIENCE_S, trust_env=False) as http:
        eventually(lambda: http.post(keyed.url, json=[], headers=few).status_code == 400, "the keys are known")

        def lists(key: dict[str, str], session: dict[str, str]) -> int:
            return http.post(keyed.url, json=message(2, "tools/list"), headers={**key, **session}).status_code

        http.headers.update(few)
        others = greeted(http, keyed.url)
        http.headers.update(many)
        kept, idle = greeted(http, keyed.url), greeted(http, keyed.url)
        for _ in range(99):
            assert lists(many, kept) == 200
            greeted(http, keyed.url)
        assert lists(many, idle) == 404, "it was used least lately of a hundred and one"
        assert lists(many, kept) == lists(few, others) == 200


def test_a_keys_quota_counts(keyed: Agents, keys: Keys) -> None:
    few = keys.create("few", rate=2)
    with httpx.Client(headers=ACCEPTS | few, timeout=PATIENCE_S, trust_env=False) as http:
        eventually(lambda: http.post(keyed.url, json=[]).status_code == 429, "its requests are used up")
        assert int(http.post(keyed.url, json=[]).headers["retry-after"]) > 0
