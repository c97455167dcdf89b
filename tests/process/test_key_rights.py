"""What is written of a key beside it: namespace, places, an operator's rights; and two keys who share a routing id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.process.test_curve import TURNED_AWAY_S, curve, served
from tests.support.asker import Asker
from tests.support.command_line import command
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.client import AudioClient
from audio_pool.errors import Cancelled
from audio_pool.transport.keys import AllowList, KeySettings, create_keys

NAMES = ("one", "two", "game", "placed")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys") / "keys"
    for name in NAMES:
        create_keys(directory, name)
    made = command("keys", "create", str(directory), "--name", "boss", "--operator")
    assert made.returncode == 0 and "boss.toml" in made.stdout
    (directory / "allowed_clients" / "game.toml").write_text('namespace = "game"\n')
    place = directory.parent / "placed"
    place.mkdir()
    (directory / "allowed_clients" / "placed.toml").write_text(f'output_roots = ["{place}"]\n')
    return directory


@pytest.fixture(scope="module")
def server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    clients = {"one": {"max_requests": 3}}
    with Served(
        tmp_path_factory.mktemp("server"), "--keys", str(keys), bind="tcp://127.0.0.1:*", clients=clients
    ) as served:
        yield served.ready()


def asker(server: Served, keys: Path, name: str, **options: Any) -> Asker:
    return Asker(server.endpoint, **curve(keys, name), **options)


def held(tmp_path: Path) -> tuple[str, Path]:
    gate = tmp_path / f"gate-{os.urandom(4).hex()}"
    return f"hold {gate}", gate


def test_a_key_stops_and_judges_its_own_requests_on_any_connection_and_an_operators_key_all(server, keys, tmp_path):
    prompt, gate = held(tmp_path)
    with (
        asker(server, keys, "two") as ask, asker(server, keys, "two") as again,
        asker(server, keys, "game") as other, asker(server, keys, "boss") as boss,
    ):  # fmt: skip
        for name in ("a", "b"):
            ask.generate(name, f"{prompt} {name}", events=True)
            ask.event(name, "accepted")
        assert other.ask("cancel", target="a")["cancelled"] is False
        other.send("feedback", "f", target="a", verdict="good")
        assert other.final("f")["error"]["code"] == "not_found"
        assert again.ask("feedback", target="a", verdict="good")["noted"] is True
        assert again.ask("cancel", target="a")["cancelled"] is True
        assert boss.ask("feedback", target="b", verdict="good")["noted"] is True
        assert boss.ask("cancel", target="b")["cancelled"] is True
        assert ask.final("a")["type"] == ask.final("b")["type"] == "cancelled"
        assert str(server.place) not in str(other.ask("status")) and str(server.place) in str(boss.ask("status"))
    gate.touch()


def test_the_operators_command_stops_anybodys(server, keys, tmp_path):
    prompt, gate = held(tmp_path)
    with asker(server, keys, "two") as ask:
        ask.generate("stop-me", prompt, events=True)
        ask.event("stop-me", "accepted")
        operator = tmp_path / "operator"
        operator.mkdir()
        for source, name in (("boss.key_secret", "client.key_secret"), ("server.key", "server.key")):
            (operator / name).write_bytes((keys / source).read_bytes())
        told = command("cancel", "stop-me", "--connect", server.endpoint, "--keys", str(operator))
        assert told.returncode == 0, told.stderr
        assert ask.final("stop-me")["type"] == "cancelled"
    gate.touch()


def test_a_client_bound_to_a_namespace_lives_in_it_alone(server, keys):
    with asker(server, keys, "game") as game, asker(server, keys, "two") as two, asker(server, keys, "boss") as boss:
        def made(ask: Asker, name: str, **fields: Any) -> dict[str, Any]:
            ask.generate(name, "tone of a secret", **fields)
            return ask.final(name)

        assert made(two, "1")["metadata"]["cache_type"] == "new_generation"
        own = made(game, "2")["metadata"]
        assert (own["cache_type"], own["namespace"]) == ("new_generation", "game"), "no hit on another namespace's"
        assert made(game, "3", namespace="game")["metadata"]["cached"] is True
        assert made(game, "4", namespace="default")["error"]["code"] == "refused"
        assert made(game, "5", namespace="another", any_engine=True)["error"]["code"] == "refused"
        assert made(game, "6", namespace=7)["error"]["code"] == "refused"
        assert made(boss, "7", namespace="game")["metadata"]["cached"] is True
        game.generate("durable", "tone of a secret, kept", durable=True, namespace="default")
        assert game.final("durable")["error"]["code"] == "refused"
        game.generate("durable-own", "tone of a secret, kept", durable=True)
        assert game.final("durable-own")["metadata"]["namespace"] == "game"
        two.send("job", "j", target="durable-own")
        assert two.final("j")["error"]["code"] == "not_found", "another key's job is not there for it"
        assert game.ask("job", target="durable-own")["state"] == "done"


def test_a_key_writes_beneath_its_own_places_and_nowhere_without(server, keys, tmp_path):
    place, away = keys.parent / "placed", tmp_path / "away.wav"
    with (
        asker(server, keys, "two") as two,
        asker(server, keys, "placed") as placed,
        asker(server, keys, "boss") as boss,
    ):

        def code(ask: Asker, path: Path, **fields: Any) -> str:
            name = os.urandom(4).hex()
            ask.generate(name, "tone", output_path=str(path), **fields)
            final = ask.final(name)
            return str(final["error"]["code"] if "error" in final else final["type"])

        assert code(two, away) == code(two, place / "x.wav") == code(placed, away) == "path_not_allowed"
        assert code(placed, place / "deep" / "x.wav") == "result" and (place / "deep" / "x.wav").is_file()
        assert code(placed, away, durable=True) == "path_not_allowed"
        assert code(placed, place / "kept.wav", durable=True) == "result", "with its own rights, which go with the job"
        assert (place / "kept.wav").is_file()
        assert code(boss, away) == "result" and away.is_file()


def test_what_is_configured_for_a_clients_name_is_its_keys(server, keys, tmp_path):
    prompt, gate = held(tmp_path)
    with asker(server, keys, "one") as one, asker(server, keys, "one") as again, asker(server, keys, "two") as two:
        for number in range(3):
            one.generate(f"q{number}", f"{prompt} {number}", events=True)
            one.event(f"q{number}", "accepted")
        again.generate("q3", f"{prompt} 3")
        assert again.final("q3")["type"] == "busy", "its share is the key's, on however many connections"
        two.generate("own", f"{prompt} 4", events=True)
        two.event("own", "accepted")
        gate.touch()
        assert [one.final(f"q{number}")["type"] for number in range(3)] == ["result"] * 3
        assert two.final("own")["type"] == "result"


def test_two_keys_under_one_routing_id_get_each_their_own(server, keys, tmp_path):
    prompt, gate = held(tmp_path)
    with asker(server, keys, "one", ROUTING_ID=b"same") as one:
        one.generate("secret", prompt, events=True)
        one.event("secret", "progress")
        with asker(server, keys, "two", ROUTING_ID=b"same") as two:
            two.send("cancel", "c", target="secret")
            two.send("cancel", "c", target="secret")
            two.socket.poll(int(TURNED_AWAY_S * 1000))
            gate.touch()
            assert one.final("secret")["type"] == "result"
            while two.socket.poll(200):
                message = two.take()
                assert message["request_id"] == "c" and message["body"]["cancelled"] is False


def test_settings_that_cannot_be_read_turn_the_key_away(server, keys):
    create_keys(keys, "torn")
    settings = keys / "allowed_clients" / "torn.toml"
    assert served(server.endpoint, PATIENCE_S, **curve(keys, "torn"))
    for wrong in ("operator = 1", "opperator = true", "no toml", 'output_roots = ["relative"]', "x" * 70_000):
        settings.write_text(wrong)
        assert not served(server.endpoint, TURNED_AWAY_S / 3, **curve(keys, "torn")), wrong
    settings.write_bytes(b"\xff\xfe")
    assert not served(server.endpoint, TURNED_AWAY_S / 3, **curve(keys, "torn"))
    settings.unlink()
    assert served(server.endpoint, PATIENCE_S, **curve(keys, "torn"))


def test_the_allow_list_says_yes_to_its_keys_and_no_to_all_others(tmp_path: Path) -> None:
    for name in ("first", "second"):
        create_keys(tmp_path, name)
    create_keys(tmp_path / "elsewhere", "stranger")
    allowed = AllowList(tmp_path / "allowed_clients")
    (tmp_path / "allowed_clients" / "second.toml").write_text('namespace = "x"')

    def public(name: str) -> bytes:
        key = curve(tmp_path, name)["CURVE_PUBLICKEY"] if name != "stranger" else None
        return key or curve(tmp_path / "elsewhere", "stranger")["CURVE_PUBLICKEY"]

    assert allowed.callback("*", public("first")) is True and allowed.callback("*", public("second")) is True
    assert allowed.callback("*", public("stranger")) is False and allowed.callback("*", b"") is False
    assert allowed.settings(public("first").decode()) == ("first", KeySettings())
    assert allowed.settings(public("second").decode()) == ("second", KeySettings(namespace="x"))
    assert allowed.settings(public("stranger").decode()) == ("", KeySettings())
    (tmp_path / "allowed_clients" / "first.key").unlink()
    assert allowed.callback("*", public("first")) is False
    for wrong in ("operator = 1", "no toml"):
        (tmp_path / "allowed_clients" / "second.toml").write_text(wrong)
        assert allowed.callback("*", public("second")) is False, wrong


def test_an_operators_settings_do_not_outlive_its_key(tmp_path: Path) -> None:
    create_keys(tmp_path, "name", operator=True)
    settings = tmp_path / "allowed_clients" / "name.toml"
    assert settings.read_text() == "operator = true\n"
    for file in ("name.key", "name.key_secret", "allowed_clients/name.key"):
        (tmp_path / file).unlink()
    create_keys(tmp_path, "name")
    assert not settings.exists()


def test_a_clients_own_requests_by_our_client(server, keys, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for source, name in (("two.key_secret", "client.key_secret"), ("server.key", "server.key")):
        (own / name).write_bytes((keys / source).read_bytes())
    prompt, gate = held(tmp_path)
    with AudioClient(server.endpoint, keys=own) as client, AudioClient(server.endpoint, keys=own) as other:
        pending = client.submit(prompt)
        eventually(lambda: client.status().requests > 0, "it is there")
        assert other.cancel(pending.request_id).cancelled
        with pytest.raises(Cancelled):
            pending.result(PATIENCE_S)
    gate.touch()
