"""Where one may bind and connect, and what a key directory holds. (Sockets: tests/process/test_sockets.)"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from audio_pool.errors import InvalidConfig, NotFound, Refused
from audio_pool.transport.endpoints import MAX_IPC_PATH_BYTES, check_bind, check_connect, local_endpoint
from audio_pool.transport.keys import ClientKeys, ServerKeys, create_keys


@pytest.mark.parametrize(
    "endpoint",
    ["ipc:///run/pool.sock", "tcp://127.0.0.1:5555", "tcp://127.8.8.8:1", "tcp://localhost:5", "tcp://[::1]:5", "tcp://127.0.0.1:*"],
)  # fmt: skip
def test_this_machine_may_always_be_bound(endpoint: str) -> None:
    assert check_bind(endpoint) == endpoint


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "*", "[::]", "192.168.1.5", "eth0", "example.org", "[fe80::1]", "localhost.example.org"]
)
def test_beyond_it_only_with_keys(host: str) -> None:
    endpoint = f"tcp://{host}:5555"
    assert check_bind(endpoint, has_keys=True) == endpoint
    with pytest.raises(Refused) as caught:
        check_bind(endpoint)
    assert "server.keys_dir" in caught.value.hint


def test_an_ipc_path_has_at_most_107_bytes(tmp_path: Path) -> None:
    at_most = "/" + "x" * (MAX_IPC_PATH_BYTES - 1)
    assert check_bind(f"ipc://{at_most}")
    with pytest.raises(InvalidConfig, match="108 bytes, allowed are at most 107"):
        check_bind(f"ipc://{at_most}x")
    with pytest.raises(InvalidConfig, match="108 bytes"):  # bytes, not characters
        check_bind("ipc:///" + "é" * 53 + "x")
    deep = tmp_path / ("d" * 200)
    with pytest.raises(InvalidConfig, match="use a shorter directory"):
        local_endpoint(deep / "pool.sock")


@pytest.mark.parametrize("endpoint", ["", "ipc://", "tcp://127.0.0.1", "tcp://:5", "http://x:1", "tcp://a b:", "5555"])
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(InvalidConfig, match="allowed is ipc://PATH"):
        check_bind(endpoint)
    with pytest.raises(InvalidConfig, match="allowed is ipc://PATH"):
        check_connect(endpoint)


# -- keys ------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_privately(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    written = create_keys(directory)
    assert {path.name for path in written} >= {"server.key", "server.key_secret", "client.key", "client.key_secret"}
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.suffix == ".key_secret" else 0o644) or (
            path.parent.name == "allowed_clients"
        )
    server, client = ServerKeys.read(directory), ClientKeys.read(directory)
    assert client.server == server.public and client.public != server.public
    assert (directory / "allowed_clients" / "client.key").read_bytes() == (directory / "client.key").read_bytes()
    with pytest.raises(Refused, match="never overwritten"):
        create_keys(directory)
    create_keys(directory, "second")
    assert ServerKeys.read(directory).secret == server.secret, "a second client does not change the server"
    assert ClientKeys.read(directory, "second").secret != client.secret


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no key at .*server.key_secret"):
        ServerKeys.read(tmp_path)
    create_keys(tmp_path)
    (tmp_path / "server.key").unlink()
    with pytest.raises(NotFound, match=r"no server key at .*server.key;"):
        ClientKeys.read(tmp_path)
    (tmp_path / "client.key_secret").write_bytes((tmp_path / "client.key").read_bytes())
    with pytest.raises(InvalidConfig, match="holds no secret key"):
        ClientKeys.read(tmp_path)
    (tmp_path / "allowed_clients" / "client.key").unlink()
    (tmp_path / "allowed_clients").rmdir()
    with pytest.raises(NotFound, match="no allow list"):
        ServerKeys.read(tmp_path)
