"""Clients with the addresses of two served heads on one database: heads are killed, paused and closed in a flood.

Every request has one answer, and none of them is an error; each recipe is kept once, whoever was asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.command_line import command
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.postgres import PostgresServer
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AsyncAudioClient, AudioClient, AudioResult
from audio_pool.errors import AudioPoolError, Disconnected, InvalidRequest, Refused
from audio_pool.transport.keys import create_keys

FOREIGN = Path(__file__).parents[2] / "examples" / "several_heads.py"
_EACH = 4
"""A recipe is asked for so often, by different clients, at about the same time."""
_numbers = itertools.count(1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Pair:
    """Two heads: ``start`` and ``stop`` them by name."""

    def __init__(self, url: str, place: Path, keys: Path | None) -> None:
        self.url, self.place, self.keys = url, place, keys
        self.addresses = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("a", "b")}
        self.heads: dict[str, Served] = {}
        for folder in ("audio", "renditions"):
            (place / "files" / folder).mkdir(parents=True)
            for name in self.addresses:
                (place / name / "cache").mkdir(parents=True, exist_ok=True)
                (place / name / "cache" / folder).symlink_to(place / "files" / folder)

    @property
    def both(self) -> str:
        return ",".join(self.addresses.values())

    def start(self, *names: str) -> None:
        """Start heads at once, and wait until they are ready."""
        options = ("--keys", str(self.keys)) if self.keys else ()
        for name in names:
            cache = {"store": self.url, "store_connect_s": 2.0, "store_timeout_s": 10.0}
            jobs = {"dir": str(self.place / "jobs"), "lease_s": 4.0}
            bind = self.addresses[name]
            self.heads[name] = Served(self.place / name, *options, bind=bind, brings=("stage",), cache=cache, jobs=jobs)
        for name in names:
            self.heads[name].ready()

    def name_of(self, address: str) -> str:
        return next((name for name, one in self.addresses.items() if one == address), "")

    def diary(self) -> list[str]:
        return [line for head in self.heads.values() for line in head.diary()]

    def close(self) -> None:
        for head in self.heads.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(head.process.pid).resume()
            head.close()


@pytest.fixture(scope="module")
def pair(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two heads that know their clients by keys."""
    place = tmp_path_factory.mktemp("pair")
    create_keys(place / "keys")
    with postgres.database("clients_with_keys") as url, contextlib.closing(Pair(url, place, place / "keys")) as pair:
        pair.start("a", "b")
        yield pair


class Flood:
    """Counting clients: threads that block on clients of their own, and tasks that await, each at any head."""

    def __init__(
        self, pair: Pair, name: str, blocking: int = 4, awaiting: int = 4, through: tuple[FaultProxy, ...] = ()
    ) -> None:
        self.name, self._pair = name, pair
        self._addresses = ",".join(f"tcp://{host}:{port}" for host, port in (one.address for one in through))
        self._stop = threading.Event()
        self._counter = itertools.count()
        self.asked: Counter[str] = Counter()
        self.answers: list[tuple[str, AudioResult]] = []
        self.errors: list[str] = []
        self.at: dict[int, str] = {}
        """Which head each client asked last."""
        self._threads = [threading.Thread(target=self._block, args=(number,)) for number in range(blocking)]
        self._threads += [
            threading.Thread(target=lambda n=number: asyncio.run(self._await(n)))
            for number in range(blocking, blocking + awaiting)
        ]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let everybody have the answer that he waits for."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a request has no answer"

    def _prompt(self) -> str:
        prompt = f"take 0.02 {self.name} {next(self._counter) // _EACH}"
        self.asked[prompt] += 1
        return prompt

    def _block(self, number: int) -> None:
        with AudioClient(self._addresses or self._pair.both, keys=self._pair.keys, timeout_s=PATIENCE_S) as client:
            while not self._stop.is_set():
                prompt = self._prompt()
                try:
                    self.answers.append((prompt, client.generate(prompt, seed=7)))
                except AudioPoolError as exc:
                    self.errors.append(f"{type(exc).__name__}: {exc}")
                self.at[number] = client.address

    async def _await(self, number: int) -> None:
        addresses = (self._addresses or self._pair.both).split(",")
        async with AsyncAudioClient(addresses, keys=self._pair.keys, timeout_s=PATIENCE_S) as client:
            while not self._stop.is_set():
                prompts = [self._prompt(), self._prompt()]
                found = await asyncio.gather(
                    *(client.generate(prompt, seed=7) for prompt in prompts), return_exceptions=True
                )
                for prompt, one in zip(prompts, found, strict=True):
                    if isinstance(one, AudioResult):
                        self.answers.append((prompt, one))
                    else:
                        self.errors.append(f"{type(one).__name__}: {one}")
                self.at[number] = client.address

    def answered(self, more: int) -> None:
        """Wait until so many further answers are there."""
        until = len(self.answers) + len(self.errors) + more
        eventually(lambda: len(self.answers) + len(self.errors) >= until, f"{more} further answers")

    def all_at(self, *names: str) -> bool:
        return len(self.at) == len(self._threads) and {self._pair.name_of(at) for at in self.at.values()} <= set(names)

    def check(self, *, begun_again: int) -> None:
        """Everything asked for was answered once; each recipe is one sound, and was begun once but for so many."""
        assert self.errors == []
        assert Counter(prompt for prompt, _ in self.answers) == self.asked
        sounds: dict[str, set[str]] = {}
        for prompt, result in self.answers:
            sounds.setdefault(prompt, set()).add(hashlib.sha256(Path(result.path).read_bytes()).hexdigest())
        assert {prompt: found for prompt, found in sounds.items() if len(found) != 1} == {}
        made = Counter(line for line in self._pair.diary() if line.split()[2] == self.name)
        assert set(made) == set(self.asked)
        again = {prompt: times for prompt, times in made.items() if times > 1}
        assert sum(times - 1 for times in again.values()) <= begun_again, again


def test_a_head_that_is_closed_finishes_what_it_has_and_its_clients_go_to_the_other(pair: Pair) -> None:
    with Flood(pair, f"closed{next(_numbers)}") as flood:
        eventually(lambda: flood.all_at("a", "b"), "all of them have begun")
        pair.heads["a"].signal(signal.SIGTERM)
        assert pair.heads["a"].wait() == 0
        eventually(lambda: flood.all_at("b"), "all of them are at the other")
        pair.start("a")
        pair.heads["b"].signal(signal.SIGTERM)
        assert pair.heads["b"].wait() == 0
        eventually(lambda: flood.all_at("a"), "and back")
        pair.start("b")
        flood.answered(20)
    flood.check(begun_again=0)


def test_connections_that_are_cut_and_refused_at_random_cost_no_answer_and_no_work(pair: Pair) -> None:
    chance = random.Random(5)
    proxies = tuple(FaultProxy("127.0.0.1", int(one.rpartition(":")[2])) for one in pair.addresses.values())
    try:
        with Flood(pair, f"cut{next(_numbers)}", through=proxies) as flood:
            for _ in range(25):
                modes: tuple[Mode, ...] = ("pass", "pass", "gone", "slow")
                chance.choice(proxies).set(chance.choice(modes), delay_s=0.05)
                time.sleep(chance.uniform(0.05, 0.4))
            for proxy in proxies:
                proxy.set("pass")
            flood.answered(20)
        flood.check(begun_again=0)
    finally:
        for proxy in proxies:
            proxy.close()


def test_a_head_that_is_killed_loses_no_request(pair: Pair) -> None:
    with Flood(pair, f"killed{next(_numbers)}") as flood:
        flood.answered(20)
        pair.heads["a"].process.kill()
        pair.heads["a"].wait()
        eventually(lambda: flood.all_at("b"), "all of them are at the other")
        flood.answered(20)
    flood.check(begun_again=1)
    pair.start("a")


def test_durable_requests_submitted_through_one_head_are_waited_for_through_the_other(pair: Pair) -> None:
    name, gate = f"durable{next(_numbers)}", pair.place / "gate"
    prompts = {f"{name}-{number}": f"hold {gate} {name} {number}" for number in range(6)}
    with (
        AudioClient(pair.both, keys=pair.keys, order="given", timeout_s=PATIENCE_S) as client,
        AudioClient(pair.addresses["b"], keys=pair.keys, timeout_s=PATIENCE_S) as other,
    ):
        waiting = [client.submit(prompt, durable=True, request_id=one, seed=3) for one, prompt in prompts.items()]
        eventually(lambda: {job.request_id for job in other.jobs().jobs} >= set(prompts), "all are written down")
        assert pair.name_of(client.address) == "a" and not any(one.done() for one in waiting)
        pair.heads["a"].process.kill()
        pair.heads["a"].wait()
        gate.touch()
        for pending, request_id in zip(waiting, prompts, strict=True):
            sound = pending.result(PATIENCE_S)
            assert sound.request_id == request_id
            assert other.fetch(request_id, delivery="inline").data == Path(sound.path).read_bytes()
        assert pair.name_of(client.address) == "b"
        made = Counter(line for line in pair.diary() if line in prompts.values())
        assert set(made) == set(prompts.values()) and sum(made.values()) <= len(prompts) + 2, "but what was in hand"
    pair.start("a")


def test_a_head_that_stands_still_is_left_and_what_it_does_when_it_wakes_is_nobodys(pair: Pair) -> None:
    with (
        AudioClient(pair.both, keys=pair.keys, order="given") as orders,
        Flood(pair, f"still{next(_numbers)}") as flood,
    ):
        made = orders.generate(f"take 0.02 order {next(_numbers)}", seed=1)
        assert pair.name_of(orders.address) == "a" and isinstance(made.metadata.entry_id, int)
        flood.answered(20)
        paused = psutil.Process(pair.heads["a"].process.pid)
        paused.suspend()
        with pytest.raises(Disconnected, match="not asked twice"):
            orders.library.remove(made.metadata.entry_id, timeout_s=PATIENCE_S)
        assert orders.library.search(made.metadata.prompt, timeout_s=PATIENCE_S).sounds
        assert pair.name_of(orders.address) == "b"
        eventually(lambda: flood.all_at("b"), "all of them are at the other")
        flood.answered(20)
        paused.resume()
        flood.answered(20)
        with AudioClient(pair.addresses["a"], keys=pair.keys) as client:
            eventually(lambda: client.health().state == "ready", "it is well again")
    flood.check(
        begun_again=12
    )  # what it had in its queue it may begin when it wakes: the work is done twice, the sound is one


def test_orders_about_one_heads_workers_are_refused(pair: Pair) -> None:
    with AudioClient(pair.both, keys=pair.keys) as client, pytest.raises(InvalidRequest, match="workers of one head"):
        client.workers.drain("w")


def test_commands_take_several_addresses_and_pass_over_who_does_not_answer(pair: Pair, tmp_path: Path) -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    place = ("--connect", f"{nobody},{pair.both}", "--keys", str(pair.keys))
    made = command("generate", "take 0.02 command", "--delivery", "inline", "-o", str(tmp_path / "x.wav"), *place)
    assert made.returncode == 0 and (tmp_path / "x.wav").read_bytes().startswith(b"RIFF"), made.stderr
    told = command("status", *place)
    assert told.returncode == 0 and "ready" in told.stdout, told.stderr
    assert any(f"told by {address}" in told.stdout for address in pair.addresses.values())
    refused = command("workers", "drain", "w", *place)
    assert refused.returncode == 2 and "one head" in refused.stderr
    nonsense = command("status", "--connect", "tcp://127.0.0.1:1,127.0.0.1:2")
    assert nonsense.returncode == 2 and "commas between them" in nonsense.stderr


def test_without_keys_a_foreign_client_moves_on_too_and_each_heads_own_token_shows_who_asks(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with postgres.database("clients_without") as url, contextlib.closing(Pair(url, tmp_path, None)) as pair:
        pair.start("a", "b")
        command = [sys.executable, str(FOREIGN), pair.both, "take 0.1 foreign", "--count", "20", "--duration", "0.2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as foreign:
            eventually(lambda: len(pair.diary()) >= 3, "its sounds are made")
            lost, other = sorted(pair.heads, key=lambda name: not pair.heads[name].diary())
            assert not pair.heads[other].diary(), "it asks one head at a time"
            with AudioClient([pair.addresses[lost], pair.addresses[other]], order="given") as client:
                for name in (lost, other):
                    path = str(tmp_path / f"{name}.wav")
                    made = client.generate(f"take 0.02 {name}", output_path=path, timeout_s=PATIENCE_S)
                    assert made.path == path and pair.name_of(client.address) == name
                    if name == lost:
                        pair.heads[lost].process.kill()
            told, wrong = foreign.communicate(timeout=PATIENCE_S)
        assert foreign.returncode == 0, wrong
        assert sorted(json.loads(line)["seed"] for line in told.splitlines()) == list(range(20))
        assert pair.heads[other].diary().count("take 0.1 foreign") >= 5


def test_where_no_head_answers_the_error_names_each_and_comes_in_time(pair: Pair) -> None:
    nobody, silent = f"tcp://127.0.0.1:{free_port()}", socket.create_server(("127.0.0.1", 0))
    with silent, AudioClient([nobody, f"tcp://127.0.0.1:{silent.getsockname()[1]}"], keys=pair.keys) as client:
        begun, used = time.monotonic(), time.process_time()
        with pytest.raises(Disconnected) as raised:
            client.health(timeout_s=3.0)
        assert f"{nobody}: no connection" in str(raised.value) and "no greeting in time" in str(raised.value)
        assert time.monotonic() - begun >= 3.0 and time.process_time() - used < 2.0


def test_who_is_turned_away_by_every_head_is_told_so_at_once(pair: Pair, tmp_path: Path) -> None:
    assert pair.keys is not None
    create_keys(tmp_path / "keys", "stranger")
    (tmp_path / "keys" / "server.key").write_bytes((pair.keys / "server.key").read_bytes())
    (tmp_path / "keys" / "stranger.key_secret").rename(tmp_path / "keys" / "client.key_secret")
    with (
        AudioClient(pair.both, keys=tmp_path / "keys") as client,
        pytest.raises(Refused, match="every one of them") as raised,
    ):
        client.health(timeout_s=PATIENCE_S)
    assert all(address in str(raised.value) for address in pair.addresses.values())
