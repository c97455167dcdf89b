"""A server under a service manager: a socket of the test hears what systemd would."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

from audio_pool.cli.service_manager import ServiceManager


class Manager:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.door.bind("\0" + address[1:] if address.startswith("@") else address)
        self.door.settimeout(PATIENCE_S)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *exc: object) -> None:
        self.door.close()

    def hear(self, *words: str) -> list[str]:
        """The next message that has all of these lines, or begins of lines."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            lines = self.door.recv(4096).decode().split("\n")
            if all(any(line.startswith(word) for line in lines) for word in words):
                return lines
        raise AssertionError(f"never heard {words}")

    def falls_silent(self) -> bool:
        """True as soon as nothing has come for a second, which is three times what was asked for and more."""
        self.door.settimeout(1.0)
        try:
            for _ in range(1000):
                self.door.recv(4096)
            return False
        except TimeoutError:
            return True
        finally:
            self.door.settimeout(PATIENCE_S)


def test_it_hears_of_start_life_reload_and_stop(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with Served(tmp_path / "server", env=env) as server:
            server.ready()
            manager.hear("READY=1")
            manager.hear("STATUS=ready", "WATCHDOG=1")
            server.process.send_signal(signal.SIGHUP)
            manager.hear("RELOADING=1", "MONOTONIC_USEC=")
            manager.hear("READY=1")
            server.process.send_signal(signal.SIGTERM)
            manager.hear("STOPPING=1")


def test_a_server_that_is_stopped_feeds_no_watchdog(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with Served(tmp_path / "server", env=env) as server:
            server.ready()
            manager.hear("WATCHDOG=1")
            server.process.send_signal(signal.SIGSTOP)
            try:
                assert manager.falls_silent()
            finally:
                server.process.send_signal(signal.SIGCONT)
            manager.hear("WATCHDOG=1")


def test_a_start_is_extended_until_it_is_over_and_a_question_that_fails_starves_the_watchdog() -> None:
    address = f"@audio-pool-test-{time.monotonic_ns()}"
    with Manager(address) as manager:
        asked = iter(["starting", "starting"])
        ours = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000"})

        def state() -> str:
            try:
                return next(asked)
            except StopIteration:
                raise RuntimeError("it does not answer") from None

        ours.watch(state)
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.hear("STATUS=starting", "WATCHDOG=1"))
        manager.hear("WATCHDOG=1")
        ours.ready()
        assert manager.hear("READY=1") == ["READY=1"]
        assert manager.falls_silent()
        ours.stopping()
        manager.hear("STOPPING=1")


def test_without_a_manager_nothing_is_said_and_a_foreign_watchdog_is_not_ours(tmp_path: Path) -> None:
    asked: list[str] = []
    alone = ServiceManager({})
    alone.watch(lambda: asked.append("alone") or "ready")
    alone.ready()
    with Manager(str(tmp_path / "n")) as manager:
        ours = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
        ours.watch(lambda: "ready")
        assert not any("WATCHDOG" in line for line in manager.hear("STATUS=ready"))
        ours.stopping()
    assert not asked
