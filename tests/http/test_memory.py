"""Files that need not be sent again: what is kept of them, and that the pool's word counts all the same."""

from __future__ import annotations

import httpx

from audio_pool.gateway.memory import FileMemory


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
