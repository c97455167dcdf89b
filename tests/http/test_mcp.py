"""The tools for agents, by the protocol's own client: in this process, over a pipe and, raw, line by line."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
import soundfile
from mcp import Client, MCPError, StdioServerParameters
from tests.http.conftest import Pool
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_processes import worker_processes

from audio_pool.agents.asker import Asker
from audio_pool.agents.output_folder import OutputFolder
from audio_pool.agents.server import agents_server
from audio_pool.agents.tools import Tools
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.client import AudioClient

Opened = Callable[[str, Path], contextlib.AbstractAsyncContextManager[Client]]
COMMAND = [sys.executable, "-m", "audio_pool.cli", "mcp"]


@contextlib.asynccontextmanager
async def within(endpoint: str, out: Path, most_audio_bytes: int = 1 << 19) -> AsyncIterator[Client]:
    """A client of a server in this process."""
    pool = AsyncAudioClient(endpoint)
    try:
        asker = Asker(client=pool, endpoint=endpoint)
        async with Client(agents_server(Tools(OutputFolder(out), most_audio_bytes), lambda _: asker)) as client:
            yield client
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def piped(endpoint: str, out: Path, *arguments: str) -> AsyncIterator[Client]:
    """A client of a server that it starts."""
    asked = [*COMMAND[1:], "--connect", endpoint, "--output", str(out), *arguments]
    async with Client(StdioServerParameters(command=COMMAND[0], args=asked)) as client:
        yield client


WAYS: dict[str, Opened] = {"within": within, "piped": piped}


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await work

    asyncio.run(bounded())


def words_of(answer: Any) -> str:
    return str(answer.content[0].text)


@pytest.mark.parametrize("way", WAYS)
def test_a_sound_is_a_path_and_a_link_first_and_then_what_can_be_heard(way: str, pool: Pool, tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def note(done: float, total: float | None, words: str | None) -> None:
        told.append((done, total, words))

    async def ask() -> None:
        async with WAYS[way](pool.endpoint, tmp_path) as client:
            asked = {"text": f"rain on a tin roof {uuid.uuid4().hex[:6]}", "duration_seconds": 1, "loop": True}
            answer = await client.call_tool("text_to_sound_effects", asked, progress_callback=note)
            assert not answer.is_error, words_of(answer)
            assert [block.type for block in answer.content] == ["text", "resource_link", "audio"]
            words, link, heard = answer.content
            path = Path(words.text.splitlines()[0])
            assert path.parent == tmp_path and path.suffix == ".wav" and path.name.startswith("rain_on_a_tin_roof")
            assert (link.uri, link.name, link.mime_type) == (path.as_uri(), path.name, "audio/wav")
            assert link.size == path.stat().st_size
            assert base64.b64decode(heard.data) == path.read_bytes() and heard.mime_type == "audio/wav"
            data = answer.structured_content
            assert (data["path"], data["uri"], data["loop"]) == (str(path), link.uri, True)
            sound = soundfile.info(path)
            assert sound.duration == pytest.approx(1.0) and sound.samplerate == data["sample_rate"]
            read = await client.read_resource(link.uri)
            assert base64.b64decode(read.contents[0].blob) == path.read_bytes()
            again = await client.call_tool("text_to_sound_effects", {**asked, "file_name": "other.ogg", "seed": None})
            assert again.structured_content["from_cache"] and again.structured_content["id"] == data["id"]
            assert soundfile.info(tmp_path / "other.ogg").format == "OGG"

    run(ask())
    numbers = [done for done, _, _ in told]
    assert len(numbers) >= 2 and numbers == sorted(set(numbers)) and numbers[-1] == told[0][1] == 1.0
    assert "the sound is there" in [words for _, _, words in told]


def test_every_listed_schema_is_one_and_answers_keep_to_it(pool: Pool, tmp_path: Path) -> None:
    async def ask() -> None:
        async with within(pool.endpoint, tmp_path) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"text_to_sound_effects", "variants", "search_sounds", "save_sound", "speak"}
            for tool in tools.values():
                jsonschema.Draft202012Validator.check_schema(tool.input_schema)
                jsonschema.Draft202012Validator.check_schema(tool.output_schema)
            made = await client.call_tool("text_to_sound_effects", {"text": "a click", "duration_seconds": 0.5})
            found = await client.call_tool("search_sounds", {"words": "click"})
            for name, answer in (("text_to_sound_effects", made), ("search_sounds", found)):
                jsonschema.validate(answer.structured_content, tools[name].output_schema)

    run(ask())


def test_kept_sounds_are_found_written_and_varied(pool: Pool, tmp_path: Path) -> None:
    word = f"bell{uuid.uuid4().hex[:8]}"

    async def ask() -> None:
        async with within(pool.endpoint, tmp_path) as client:
            asked = {"text": f"a small {word}", "duration_seconds": 0.5}
            first = (await client.call_tool("text_to_sound_effects", asked)).structured_content
            varied = await client.call_tool("variants", {"sound_id": first["id"], "count": 2, "format": "flac"})
            others = varied.structured_content["sounds"]
            assert len({first["id"], *(one["id"] for one in others)}) == 3, words_of(varied)
            assert [Path(one["path"]).suffix for one in others] == [".flac"] * 2
            assert [block.type for block in varied.content] == ["text", *["resource_link"] * 2, *["audio"] * 2]
            of_words = await client.call_tool("variants", {**asked, "count": 3})
            ids = {one["id"] for one in of_words.structured_content["sounds"]}
            assert ids == {first["id"], *(one["id"] for one in others)}, "what is kept is answered first"

            page = await client.call_tool("search_sounds", {"words": word, "limit": 2})
            rest = await client.call_tool(
                "search_sounds", {"words": word, "limit": 2, "after": page.structured_content["next"]}
            )
            found = [*page.structured_content["sounds"], *rest.structured_content["sounds"]]
            assert {one["id"] for one in found} == ids and "next" not in rest.structured_content
            link = page.content[1]
            assert link.type == "resource_link" and link.uri == found[0]["uri"]
            read = await client.read_resource(link.uri)
            assert soundfile.info(io.BytesIO(base64.b64decode(read.contents[0].blob))).format == "WAV"
            assert link.uri in [one.uri for one in (await client.list_resources()).resources]
            template = (await client.list_resource_templates()).resource_templates[0].uri_template
            assert template.replace("{id}", str(found[0]["id"])).replace("{format}", "wav") == link.uri

            saved = await client.call_tool("save_sound", {"sound_id": first["id"], "file_name": "mine.mp3"})
            assert Path(saved.structured_content["path"]).read_bytes()[:3] in (b"ID3", b"\xff\xfb\x90")
            none = await client.call_tool("search_sounds", {"words": uuid.uuid4().hex})
            assert none.structured_content["sounds"] == [] and "text_to_sound_effects" in words_of(none)

    run(ask())


def test_sound_that_is_too_large_for_an_answer_goes_along_smaller_or_not_at_all(pool: Pool, tmp_path: Path) -> None:
    asked = {"text": "a wide field at noon", "duration_seconds": 6}

    async def ask() -> None:
        async with within(pool.endpoint, tmp_path, 200_000) as client:
            answer = await client.call_tool("text_to_sound_effects", asked)
            heard = answer.content[2]
            assert heard.mime_type == "audio/mpeg" and len(base64.b64decode(heard.data)) <= 200_000
            assert Path(answer.structured_content["path"]).stat().st_size > 200_000
        for most in (0, 5_000):
            async with within(pool.endpoint, tmp_path, most) as client:
                answer = await client.call_tool("text_to_sound_effects", asked)
                assert [block.type for block in answer.content] == ["text", "resource_link"]
                assert ("too long" in words_of(answer)) is bool(most)

    run(ask())


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("text_to_sound_effects", {"text": "rain", "duration_seconds": 31}, "'duration_seconds': given 31, allowed"),
        ("text_to_sound_effects", {"text": "rain", "duration_seconds": 0.4}, "'duration_seconds': given 0.4, allowed"),
        ("text_to_sound_effects", {"text": "rain", "durations": 3}, "did you mean 'duration_seconds'?"),
        ("text_to_sound_effects", {}, "field 'text' is missing"),
        ("text_to_sound_effects", {"text": " "}, "prompt"),
        ("text_to_sound_effects", {"text": "rain", "format": "wave"}, "did you mean 'wav'?"),
        ("text_to_sound_effects", {"text": "rain", "file_name": "../x"}, "allowed is a name without a folder"),
        ("text_to_sound_effects", {"text": "rain", "engine": "procedurel"}, "did you mean 'procedural'"),
        ("variants", {}, "one of text and sound_id"),
        ("variants", {"text": "rain", "count": 11}, "'count': given 11"),
        ("variants", {"sound_id": 2**40}, "not_found"),
        ("save_sound", {"sound_id": 2**40}, "not_found"),
        ("search_sounds", {"meaning": "a storm"}, "search by words"),
        ("speak", {"text": "hello"}, "kind 'speech'"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(name, arguments, told, pool: Pool, tmp_path: Path) -> None:
    async def ask() -> None:
        async with within(pool.endpoint, tmp_path) as client:
            answer = await client.call_tool(name, arguments)
            assert answer.is_error and told in words_of(answer), words_of(answer)

    run(ask())
    assert not list(tmp_path.iterdir())


def test_a_tool_or_a_link_that_is_not_there_is_an_error_of_the_protocol(pool: Pool, tmp_path: Path) -> None:
    async def ask() -> None:
        async with within(pool.endpoint, tmp_path) as client:
            with pytest.raises(MCPError, match="did you mean 'speak'"):
                await client.call_tool("speek", {})
            for uri in ("file:///etc/passwd", "audio-pool://sounds/1.exe", f"audio-pool://sounds/{2**40}.wav"):
                with pytest.raises(MCPError, match="not_found"):
                    await client.read_resource(uri)

    run(ask())


def test_without_a_pool_it_is_said_what_to_do(tmp_path: Path) -> None:
    async def ask() -> None:
        async with piped(f"ipc://{tmp_path}/none", tmp_path / "out") as client:
            answer = await client.call_tool("text_to_sound_effects", {"text": "rain"})
            assert answer.is_error and "audio-pool serve" in words_of(answer) and "--serve" in words_of(answer)
            with pytest.raises(MCPError, match="audio-pool serve"):
                await client.list_resources()

    run(ask())


def test_with_a_pool_of_its_own_nothing_else_need_run(tmp_path: Path) -> None:
    async def ask() -> None:
        asked = [*COMMAND[1:], "--serve", "--cache-dir", str(tmp_path / "cache"), "-o", str(tmp_path / "out")]
        async with Client(StdioServerParameters(command=COMMAND[0], args=asked)) as client:
            answer = await client.call_tool("text_to_sound_effects", {"text": "rain", "duration_seconds": 0.5})
            assert not answer.is_error and list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "rain.wav"]

    run(ask())


def test_a_pool_of_its_own_ends_with_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    command = [*COMMAND, "--serve", "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env={**os.environ, "TMPDIR": str(tmp_path / "t")},
    )  # fmt: skip
    try:
        greet(process)
        asked = {"name": "text_to_sound_effects", "arguments": {"text": "rain", "duration_seconds": 0.5}}
        say(process, id=2, method="tools/call", params=asked)
        assert not hear(process, 2)["result"]["isError"]
        workers = worker_processes(process.pid)
        assert workers and list((tmp_path / "t").iterdir())
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert not list((tmp_path / "t").iterdir())
        eventually(lambda: not any(one.is_running() for one in workers.values()), "its workers have ended")
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def test_words_are_spoken_by_the_voice_that_is_asked_for(tmp_path: Path) -> None:
    workers = [{"name": "w", "engines": ["stage", "speaker"]}]
    with Served(tmp_path / "v", workers=workers, brings=("stage", "speaker")).ready() as served:

        async def ask() -> None:
            async with within(served.endpoint, tmp_path / "out") as client:
                said = await client.call_tool("speak", {"text": "good morning", "voice": "bern"})
                data = said.structured_content
                assert (data["engine"], data["text"]) == ("speaker", "good morning"), words_of(said)
                with AudioClient(served.endpoint) as asking:
                    kept = await asyncio.to_thread(asking.library.sound, data["id"])
                assert kept.voice == "bern" and Path(data["path"]).name == "good_morning.wav"
                wrong = await client.call_tool("speak", {"text": "good morning", "voice": "albo"})
                assert wrong.is_error and "did you mean 'alba'" in words_of(wrong), words_of(wrong)

        run(ask())
        served.signal()
        served.wait()


@pytest.mark.parametrize("way", WAYS)
def test_who_no_longer_waits_cancels_what_the_pool_does(way: str, stage: Served, tmp_path: Path) -> None:
    held = {"text": f"hold {tmp_path}/go {uuid.uuid4().hex}", "count": 2}

    def requests() -> int:
        with AudioClient(stage.endpoint) as asking:
            return asking.status().requests

    async def ask() -> None:
        async with WAYS[way](stage.endpoint, tmp_path / "out") as client:
            begun = asyncio.Event()

            async def note(*told: object) -> None:
                begun.set()

            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda: client.call_tool("variants", held, progress_callback=note))
                    await begun.wait()
                    scope.cancel()
            await asyncio.to_thread(eventually, lambda: requests() == 0, "nothing is under way")
            tone = await client.call_tool("text_to_sound_effects", {"text": "tone a", "duration_seconds": 0.5})
            assert not tone.is_error

    run(ask())
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith("hold")]


@pytest.fixture
def lines(stage: Served, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server, its pipe in hand."""
    command = [*COMMAND, "--connect", stage.endpoint, "--output", str(tmp_path / "out")]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, bufsize=1
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def say(process: subprocess.Popen[str], **message: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")


def hear(process: subprocess.Popen[str], number: int) -> dict[str, Any]:
    """The answer to a request; every line before it is a message of the protocol, too."""
    assert process.stdout is not None
    while True:
        told: dict[str, Any] = json.loads(process.stdout.readline())
        assert told["jsonrpc"] == "2.0"
        if told.get("id") == number:
            return told


def greet(process: subprocess.Popen[str]) -> dict[str, Any]:
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hand", "version": "1"}}
    say(process, id=1, method="initialize", params=client)
    told = hear(process, 1)
    say(process, method="notifications/initialized")
    return told


def test_line_by_line_an_older_client_is_served_and_standard_output_is_the_protocols_alone(
    lines: subprocess.Popen[str], stage: Served, tmp_path: Path
) -> None:
    told = greet(lines)["result"]
    assert told["protocolVersion"] == "2025-06-18" and told["serverInfo"]["name"] == "audio-pool"
    assert set(told["capabilities"]) >= {"tools", "resources"}
    say(lines, id=2, method="tools/list")
    assert "text_to_sound_effects" in [tool["name"] for tool in hear(lines, 2)["result"]["tools"]]
    asked = {"name": "text_to_sound_effects", "arguments": {"text": "tone b", "duration_seconds": 0.5}}
    say(lines, id=3, method="tools/call", params=asked)
    answer = hear(lines, 3)["result"]
    assert [block["type"] for block in answer["content"]] == ["text", "resource_link", "audio"]
    assert answer["content"][2]["mimeType"] == "audio/wav"

    held = {"name": "text_to_sound_effects", "arguments": {"text": f"hold {tmp_path}/go b", "duration_seconds": 0.5}}
    for number in (4, 5):
        say(lines, id=number, method="tools/call", params=held)
    with AudioClient(stage.endpoint) as asking:
        eventually(lambda: asking.status().requests == 2, "both are under way")
        say(lines, method="notifications/cancelled", params={"requestId": 4})
        eventually(lambda: asking.status().requests == 1, "one is cancelled")
        assert lines.stdin is not None
        lines.stdin.close()  # the client has gone: what it waited for is given up
        assert lines.wait(PATIENCE_S) == 0
        eventually(lambda: asking.status().requests == 0, "nothing is under way")
    assert (tmp_path / "stderr").read_text() == ""


def test_a_server_that_is_told_to_stop_gives_up_what_is_under_way(
    lines: subprocess.Popen[str], stage: Served, tmp_path: Path
) -> None:
    greet(lines)
    held = {"name": "text_to_sound_effects", "arguments": {"text": f"hold {tmp_path}/go c", "duration_seconds": 0.5}}
    say(lines, id=2, method="tools/call", params=held)
    with AudioClient(stage.endpoint) as asking:
        eventually(lambda: asking.status().requests == 1, "it is under way")
        lines.terminate()
        assert lines.wait(PATIENCE_S) == 0
        eventually(lambda: asking.status().requests == 0, "nothing is under way")


def test_without_the_extra_it_is_said_which_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['mcp'] = None; from audio_pool.cli import main; main(['mcp'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "audio-pool[mcp]" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("arguments", [["--serve", "--connect", "tcp://127.0.0.1:1"], ["--cache-dir", "x"]])
def test_options_that_contradict_each_other_are_refused(arguments: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "leave" in done.stderr and done.stdout == ""
