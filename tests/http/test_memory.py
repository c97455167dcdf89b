"""Files that need not be sent again: what is kept of them, and that the pool's word counts all the same."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from audio_pool.gateway import ready_files
from audio_pool.gateway.answer import Answer
from audio_pool.gateway.audio_response import AudioFile, AudioResponse, Message
from audio_pool.gateway.memory import FileMemory
from audio_pool.gateway.ready_files import ReadyFiles


def test_what_was_asked_for_last_is_kept_within_its_bytes() -> None:
    memory = FileMemory(80)
    for number in range(9):
        memory.keep(b"%d" % number, f"/{number}", b"x" * 10)
        memory.find(b"0")
    assert memory.find(b"0") == ("/0", b"x" * 10) and memory.find(b"1") == ("", b"") and memory.size_bytes == 80
    memory.keep(b"again", "/0", b"x" * 10)
    assert memory.find(b"again")[0] == "/0" and memory.size_bytes == 80, "one file, however often it answers"
    memory.keep(b"0", "/new", b"y" * 10)
    assert memory.find(b"0") == ("/new", b"y" * 10), "what answered last"
    memory.keep(b"large", "/large", b"z" * 11)
    memory.keep(b"nowhere", "", b"z")
    assert memory.find(b"large") == memory.find(b"nowhere") == ("", b"") and memory.size_bytes == 80
    off = FileMemory(0)
    off.keep(b"a", "/a", b"a")
    assert off.find(b"a") == ("", b"")


def test_the_same_bytes_come_again_and_a_deleted_or_replaced_sound_does_not(http: httpx.Client) -> None:
    asked = {"prompt": "a kettle that is remembered", "duration_s": 0.5}
    heads = {"accept": "audio/*"}
    first = http.post("/v1/sounds", json=asked, headers=heads)
    again = http.post("/v1/sounds", json=asked, headers=heads)
    third = http.post("/v1/sounds", json=asked, headers=heads)
    assert first.content == again.content == third.content and third.headers["x-sound-cached"] == "true"
    assert http.post("/v1/sounds", json=asked, headers={"accept": "audio/flac"}).content.startswith(b"fLaC")
    anew = http.post("/v1/sounds", json={**asked, "force": True, "replace": True}, headers=heads)
    assert anew.content != first.content
    assert http.post("/v1/sounds", json=asked, headers=heads).content == anew.content, "the pool says which one it is"


def test_answers_are_held_for_a_moment_and_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(ready_files.time, "monotonic", lambda: now)
    ready = ReadyFiles(80)

    def keep(entry: int, asked: str, size: int = 10) -> None:
        ready.keep(entry, asked, AudioFile(b"x" * size, media_type="audio/wav"), ())

    keep(1, "wav")
    keep(1, "flac")
    keep(2, "wav")
    assert ready.find(1, "wav") is not None and ready.find(1, "ogg") is None and ready.size_bytes == 30
    ready.forget(1)
    assert ready.find(1, "flac") is None and ready.find(2, "wav") is not None and ready.size_bytes == 10
    now += ready_files.HOLDS_S
    assert ready.find(2, "wav") is None and ready.size_bytes == 0, "the pool alone knows whether it is still there"
    for entry in range(20):
        keep(entry, "wav")
    keep(30, "wav", 11)
    assert ready.size_bytes == 80 and ready.find(19, "wav") is not None and ready.find(30, "wav") is None


def test_a_file_on_its_way_to_many_is_in_memory_once() -> None:
    ready, asked = ReadyFiles(80), [0, 0]

    async def fetch() -> AudioResponse:
        asked[0] += 1
        await asyncio.sleep(0)
        return ready.keep(1, "wav", AudioFile(b"x" * 50, media_type="audio/wav"), ())  # too large to be held

    async def never() -> AudioResponse:
        try:
            return await asyncio.Event().wait()
        finally:
            asked[1] += 1

    async def run() -> None:
        first, second = await asyncio.gather(*(ready.answer(1, "wav", fetch) for _ in range(2)))
        later = await ready.answer(1, "wav", fetch)
        assert first._file is second._file is later._file and asked[0] == 2
        leaving = [asyncio.ensure_future(ready.answer(2, "wav", never)) for _ in range(2)]
        await asyncio.sleep(0)
        leaving[0].cancel()
        await asyncio.gather(leaving[0], return_exceptions=True)
        await asyncio.sleep(0)
        assert asked[1] == 0, "another waits"
        leaving[1].cancel()
        await asyncio.gather(leaving[1], return_exceptions=True)
        await asyncio.sleep(0)
        assert asked[1] == 1, "nobody does"

    asyncio.run(run())


@pytest.mark.parametrize("wanted", [b"bytes=0-", b"bytes=1-", b"bytes=0-1499999,1500001-"])
def test_a_large_answer_holds_its_file_until_it_has_room_to_go(wanted: bytes) -> None:
    sent: list[Message] = []

    async def run() -> None:
        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"method": "GET", "headers": [(b"range", wanted)]}
        await AudioResponse(AudioFile(b"x" * (3 << 20), media_type="audio/wav"))(scope, send, send)

    asyncio.run(run())
    assert sent[-1]["body"] == b"" and not sent[-1]["more_body"], "it returns when what is before it has gone"
    assert [type(one["body"]) for one in sent[1:] if len(one["body"]) > 1000].count(bytes) == 0, "no copies"


def test_equal_large_files_in_use_are_the_same_bytes() -> None:
    def made(letter: bytes, size: int = 3 << 20) -> AudioFile:
        return AudioFile(letter * size, media_type="audio/wav")

    first, other = made(b"x"), made(b"y")
    again, longer = made(b"x"), made(b"x", 3073 << 10)
    assert again.data is first.data and other.data == b"y" * (3 << 20) and len(longer.data) == 3073 << 10
    del first
    assert made(b"x").data == again.data
    wrongly_named = AudioFile(b"z" * 2_000_000, media_type="audio/wav", sha256="0" * 64)
    assert AudioFile(b"z" * 2_000_001, media_type="audio/wav", sha256="0" * 64).data != wrongly_named.data


def test_equal_large_answers_under_way_are_the_same_bytes() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        answers = [Answer(bytes(bytearray(b"x" * 2_000_000)), []) for _ in range(2)]
        for answer in (*answers, Answer(b"x" * 1_999_999 + b"y", []), Answer(b"small", [])):
            await answer({}, send, send)

    asyncio.run(run())
    bodies = [one["body"] for one in sent if one.get("body")]
    assert bodies[0] is bodies[1] and bodies[2][-1:] == b"y" and bodies[3] == b"small"


def test_a_kept_file_is_answered_from_memory_until_somebody_removes_it(http: httpx.Client) -> None:
    asked = {"prompt": "a kettle to be removed", "duration_s": 0.5}
    url = http.post("/v1/sounds", json=asked).json()["url"]
    first, again = http.get(url), http.get(url)
    assert first.content == again.content and first.headers["etag"] == again.headers["etag"]
    assert http.get(url, headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert http.get(url, headers={"range": "bytes=0-3"}).content == b"RIFF"
    assert http.get(url, params={"format": "flac"}).content.startswith(b"fLaC")
    assert http.delete(url.partition("/audio")[0]).status_code == 204
    assert http.get(url).status_code == 404
