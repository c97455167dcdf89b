"""A served pool that other machines may reach: only with keys, and only for those on its list."""

from __future__ import annotations

import asyncio
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from tests.support.asker import Asker
from tests.support.command_line import command
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.client import AudioClient
from audio_pool.errors import Disconnected, Refused
from audio_pool.transport.keys import create_keys

TURNED_AWAY_S = 1.5
"""A client that is let in answers within this on any machine; one that is not hears nothing however long."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the command makes them, for two clients."""
    directory = tmp_path_factory.mktemp("keys") / "keys"
    for name in ("client", "other"):
        made = command("keys", "create", str(directory), "--name", name)
        assert made.returncode == 0, made.stderr
    return directory


@pytest.fixture(scope="module")
def server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Bound to every address of this machine."""
    place = tmp_path_factory.mktemp("server")
    with Served(place, "--keys", str(keys), bind="tcp://0.0.0.0:*") as served:
        served.ready()
        served.endpoint = served.endpoint.replace("0.0.0.0", "127.0.0.1")
        yield served


def curve(keys: Path, name: str = "client", server: str = "server") -> dict[str, bytes]:
    """Options of a plain zmq socket."""
    public, secret = zmq.auth.load_certificate(keys / f"{name}.key_secret")
    assert secret is not None
    return {
        "CURVE_PUBLICKEY": public,
        "CURVE_SECRETKEY": secret,
        "CURVE_SERVERKEY": zmq.auth.load_certificate(keys / f"{server}.key")[0],
    }


def served(endpoint: str, within_s: float, **options: bytes) -> bool:
    """Whether a client with these keys gets an answer."""
    with Asker(endpoint, **options) as ask:
        ask.send("health", "h")
        return bool(ask.socket.poll(int(within_s * 1000)))


def test_keys_are_made_private_and_never_twice(keys):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()}
    assert modes == {
        "server.key": 0o644, "server.key_secret": 0o600, "client.key": 0o644, "client.key_secret": 0o600,
        "other.key": 0o644, "other.key_secret": 0o600, "allowed_clients": 0o700}  # fmt: skip
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {path.name for path in (keys / "allowed_clients").iterdir()} == {"client.key", "other.key"}
    assert not any(b"secret-key" in path.read_bytes() for path in (keys / "allowed_clients").iterdir())
    before = (keys / "client.key_secret").read_bytes()
    again = command("keys", "create", str(keys))
    assert again.returncode == 2 and "never overwritten" in again.stderr
    assert (keys / "client.key_secret").read_bytes() == before
    for name in ("server", "../away", ""):
        assert command("keys", "create", str(keys), "--name", name).returncode == 2


def test_other_addresses_are_refused_without_keys_and_the_setting_is_named(tmp_path):
    for bind in ("tcp://0.0.0.0:*", "tcp://192.0.2.1:5599", "tcp://[::]:*"):
        told = command("serve", "--bind", bind, "--cache-dir", str(tmp_path))
        assert told.returncode == 2 and "server.keys_dir" in told.stderr and "keys create" in told.stderr
    missing = command("serve", "--bind", "tcp://0.0.0.0:*", "--keys", str(tmp_path), "--cache-dir", str(tmp_path))
    assert missing.returncode == 2 and "server.key_secret" in missing.stderr


def test_a_client_with_its_keys_is_served(server, keys):
    with AudioClient(server.endpoint, keys=keys) as client:
        assert Path(client.generate("tone by key").path).is_file()
        assert client.health()["state"] == "ready"
    made = command("generate", "tone by key", "--connect", server.endpoint, "--keys", str(keys))
    assert made.returncode == 0, made.stderr


def test_who_is_not_on_the_list_hears_it(server, keys, tmp_path):
    stranger = tmp_path / "stranger"
    create_keys(stranger)
    shutil.copy(keys / "server.key", stranger / "server.key")
    with AudioClient(server.endpoint, keys=stranger) as client, pytest.raises(Refused):
        client.health(timeout_s=PATIENCE_S)
    assert not served(server.endpoint, TURNED_AWAY_S, **curve(stranger))


def test_it_is_heard_however_late_the_client_looks(server, keys, tmp_path, monkeypatch):
    stranger = tmp_path / "stranger"
    create_keys(stranger)
    shutil.copy(keys / "server.key", stranger / "server.key")
    monitor = zmq.Socket.get_monitor_socket

    def late(*given):
        time.sleep(0.3)
        return monitor(*given)

    monkeypatch.setattr(zmq.Socket, "get_monitor_socket", late)
    with AudioClient(server.endpoint, keys=stranger) as client:
        for _ in range(2):  # the second time, too, at once
            with pytest.raises(Refused, match="turned this client's key away"):
                client.health(timeout_s=PATIENCE_S)


def test_who_awaits_hears_it_as_often_as_he_asks(server, keys, tmp_path):
    stranger = tmp_path / "stranger"
    create_keys(stranger)
    shutil.copy(keys / "server.key", stranger / "server.key")

    async def asked() -> list[BaseException | object]:
        async with AsyncAudioClient(server.endpoint, keys=stranger) as client:
            heard = []
            for _ in range(3):
                heard += await asyncio.gather(
                    *(client.health(timeout_s=10 * PATIENCE_S) for _ in range(20)), return_exceptions=True
                )
            return heard

    assert {type(one) for one in asyncio.run(asyncio.wait_for(asked(), PATIENCE_S))} == {Refused}


def test_a_client_that_was_turned_away_is_let_in_once_its_key_is_there(server, keys, tmp_path):
    late = tmp_path / "late"
    create_keys(late)
    shutil.copy(keys / "server.key", late / "server.key")
    with AudioClient(server.endpoint, keys=late) as client:
        with pytest.raises(Refused):
            client.health(timeout_s=PATIENCE_S)
        shutil.copy(late / "client.key", keys / "allowed_clients" / "late.key")

        def let_in():
            try:
                return client.health(timeout_s=PATIENCE_S)["state"] == "ready"
            except Refused:
                return False

        eventually(let_in, "the list counts for every new connection")


def test_another_server_s_key_or_none_at_all_gets_an_error_within_the_timeout(server, keys, tmp_path):
    create_keys(tmp_path / "elsewhere")
    shutil.copytree(keys, tmp_path / "mixed")
    shutil.copy(tmp_path / "elsewhere" / "server.key", tmp_path / "mixed" / "server.key")
    for given, doubt in ((tmp_path / "mixed", "are the keys the server's"), (None, "does the server ask for keys")):
        with AudioClient(server.endpoint, keys=given) as client, pytest.raises(Disconnected, match=doubt):
            client.health(timeout_s=1.0)
    assert not served(server.endpoint, TURNED_AWAY_S)
    assert served(server.endpoint, PATIENCE_S, **curve(keys))  # nobody else was disturbed


def test_the_list_counts_for_every_new_connection(server, keys):
    entry = keys / "allowed_clients" / "other.key"
    assert served(server.endpoint, PATIENCE_S, **curve(keys, "other"))
    kept = entry.read_bytes()
    entry.unlink()
    assert not served(server.endpoint, TURNED_AWAY_S, **curve(keys, "other"))
    (keys / "allowed_clients" / "torn.key").write_text("not a key")
    assert served(server.endpoint, PATIENCE_S, **curve(keys))
    entry.write_bytes(kept)
    assert served(server.endpoint, PATIENCE_S, **curve(keys, "other"))


def test_a_flood_of_strangers_disturbs_nobody(server, keys):
    with Asker(server.endpoint, **curve(keys)) as ask:
        strangers = [Asker(server.endpoint) for _ in range(30)]
        try:
            for stranger in strangers:
                stranger.send("health", "h")
            for number in range(20):
                ask.generate(f"g{number}", "tone by key", match="strict")
                assert ask.final(f"g{number}")["type"] == "result"
            assert not any(stranger.socket.poll(0) for stranger in strangers)
            eventually(lambda: ask.ask("health")["state"] == "ready", "it is well")
        finally:
            for stranger in strangers:
                stranger.socket.close(0)
