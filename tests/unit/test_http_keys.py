"""Keys of the HTTP door: the file, who a key stands for, and what it may use."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from audio_pool.errors import InvalidConfig, NotFound, Refused
from audio_pool.gateway.key_file import HttpKey, create_key, hash_of, read_keys, revoke_key
from audio_pool.gateway.keyring import Keyring, key_in
from audio_pool.gateway.problems import TooMany, Unauthenticated
from audio_pool.gateway.quota import Quota


def made(path: Path, name: str = "game", **settings: int | str) -> str:
    return create_key(path, lambda sha256: HttpKey(name=name, sha256=sha256, **settings))  # type: ignore[arg-type]


def test_a_file_holds_hashes_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "http.json"
    key = made(path, namespace="game", rate=60)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key not in path.read_text() and hash_of(key) in path.read_text()
    (kept,) = read_keys(path)
    assert (kept.name, kept.namespace, kept.rate) == ("game", "game", 60) and kept.created_at > 0
    with pytest.raises(Refused, match="has a key 'game'"):
        made(path)
    made(path, "web")
    revoke_key(path, "game")
    assert [one.name for one in read_keys(path)] == ["web"]
    with pytest.raises(NotFound, match="has no key 'game'; it has web"):
        revoke_key(path, "game")


@pytest.mark.parametrize("written", ["{", '{"keys": [{"name": "a"}]}', '{"key": []}', '{"keys": 3}'])
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, written: str) -> None:
    path = tmp_path / "http.json"
    path.write_text(written)
    path.chmod(0o600)
    with pytest.raises(InvalidConfig, match=r"http\.json"):
        read_keys(path)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "http.json"
    made(path)
    path.chmod(0o640)
    with pytest.raises(Refused, match="mode 0640"):
        read_keys(path)


@pytest.mark.parametrize(
    ("authorization", "xi", "key"),
    [
        ("Bearer ap_x", "", "ap_x"),
        ("bearer  ap_x", "", "ap_x"),
        ("Key ap_x", "", "ap_x"),
        ("Key id:ap_x", "", "ap_x"),
        ("", "ap_x", "ap_x"),
        ("Basic YTpi", "ap_x", "ap_x"),
        ("Basic YTpi", "", ""),
        ("Bearer", "", ""),
        ("", "", ""),
    ],
)
def test_where_a_key_stands(authorization: str, xi: str, key: str) -> None:
    assert key_in(authorization, xi) == key


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, now = tmp_path / "http.json", [0.0]
    first = made(path, namespace="game")
    keyring = Keyring(path, lambda: now[0])
    caller = keyring.caller(first)
    assert caller.name == "game" and caller.namespace_of(None) == "game" == caller.namespace_of("game")
    with pytest.raises(Refused, match="this key's is 'game', given was 'default'"):
        caller.namespace_of("default")
    second = made(path, "web")
    now[0] = 1.0
    assert keyring.caller(second).namespace_of(None) == "default"
    revoke_key(path, "game")
    now[0] = 2.0
    with pytest.raises(Unauthenticated, match="not known"):
        keyring.caller(first)
    path.chmod(0o644)  # what cannot be trusted lets nobody in
    now[0] = 3.0
    with pytest.raises(Unauthenticated):
        keyring.caller(second)
    path.chmod(0o600)
    now[0] = 4.0
    assert keyring.caller(second).name == "web"
    path.unlink()
    now[0] = 5.0
    with pytest.raises(Unauthenticated):
        keyring.caller(second)
    with pytest.raises(Unauthenticated, match="no key"):
        keyring.caller("")


def test_a_minute_s_requests_are_counted() -> None:
    quota = Quota(HttpKey(name="a", sha256="0" * 64, rate=2), now=0.0)
    quota.count(0.0)
    quota.count(0.0)
    with pytest.raises(TooMany, match="2 requests a minute") as told:
        quota.count(10.0)
    assert told.value.retry_after_ms == 20_000
    quota.count(31.0)
    with pytest.raises(TooMany):
        quota.count(31.0)


def test_sounds_wait_for_their_turn_and_no_more_than_may() -> None:
    async def run() -> list[str]:
        quota = Quota(HttpKey(name="a", sha256="0" * 64, concurrency=1, queue=2), now=0.0)
        told: list[str] = []
        go_on = asyncio.Event()

        async def sound(name: str) -> None:
            try:
                async with quota.turn():
                    told.append(name)
                    await go_on.wait()
            except TooMany as exc:
                told.append(f"{name}: {exc.code}")

        tasks = [asyncio.ensure_future(sound(name)) for name in "abcd"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[1].cancel()  # who goes away leaves his place in the queue
        await asyncio.gather(tasks[1], return_exceptions=True)
        tasks.append(asyncio.ensure_future(sound("e")))
        await asyncio.sleep(0)
        assert told == ["a", "d: too_many"]
        with pytest.raises(TooMany):
            quota.take()
        go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert quota.idle
        return told

    assert asyncio.run(run()) == ["a", "d: too_many", "c", "e"]


def test_a_place_given_to_one_who_has_just_gone_is_given_on() -> None:
    async def run() -> None:
        quota = Quota(HttpKey(name="a", sha256="0" * 64, concurrency=1), now=0.0)
        quota.take()

        async def sound() -> None:
            async with quota.turn():
                pass

        first, second = asyncio.ensure_future(sound()), asyncio.ensure_future(sound())
        await asyncio.sleep(0)
        quota.leave()  # the place is the first one's; it has not run yet
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert first.cancelled() and not second.cancelled() and quota.idle

    asyncio.run(run())
