"""The service manager above a server: what it is told by ``sd_notify`` (systemd's protocol of one datagram a message).

Owns: the socket's address, the words, how often the watchdog is fed.
Must not know: what a pool is; it is given a question to ask.

Source: sd_notify(3) and systemd.service(5). Nothing is sent, and no thread runs, where ``NOTIFY_SOCKET`` is unset.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

__all__ = ["ServiceManager"]

log = logging.getLogger(__name__)

_MOST_PAUSE_S = 10.0
"""The longest pause between two looks at the server's state, so that ``systemctl status`` is up to date."""


class ServiceManager:
    """Who started this process and wants to hear how it is.

    Args:
        environment: where ``NOTIFY_SOCKET`` (a path, or ``@name`` for an abstract one), ``WATCHDOG_USEC`` and
            ``WATCHDOG_PID`` are looked for.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "0")
        self._watchdog_s = int(usec) / 1e6 if meant and usec.isdigit() else 0.0
        self._ready = threading.Event()
        self._over = threading.Event()

    def watch(self, state: Callable[[], str]) -> None:
        """Begin to report ``state()``, from a thread; feed the watchdog for as long as that answers without an error.

        Until ``ready`` the time that a start may take is extended at every look: a model that loads for minutes is
        no start that failed.
        """
        if self._address:
            threading.Thread(target=self._watch, args=(state,), name="service manager", daemon=True).start()

    def ready(self) -> None:
        """Say that the start is over."""
        self._ready.set()
        self._tell("READY=1")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the configuration is read again, and when it was. A start goes on being one."""
        if self._ready.is_set():
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        yield
        if self._ready.is_set():
            self._tell("READY=1")

    def stopping(self) -> None:
        """Say that what is under way is finished, and nothing new taken."""
        self._over.set()
        self._tell("STOPPING=1", "STATUS=stopping")

    def _watch(self, state: Callable[[], str]) -> None:
        pause_s = min(self._watchdog_s / 3 or _MOST_PAUSE_S, _MOST_PAUSE_S)
        while not self._over.is_set():
            try:
                status = state()
            except Exception as exc:  # the watchdog starves, which is what it is for
                log.warning("the service manager is not told that all is well: %s", exc)
            else:
                self._tell(*self._words(" ".join(status.split()), pause_s))
            self._over.wait(pause_s)

    def _words(self, status: str, pause_s: float) -> list[str]:
        words = [f"STATUS={status}"]
        if self._watchdog_s:
            words.append("WATCHDOG=1")
        if not self._ready.is_set():
            words.append(f"EXTEND_TIMEOUT_USEC={int((3 * pause_s + 5) * 1e6)}")
        return words

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),  # it is gone: nobody is there who could be told
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door,
        ):
            door.settimeout(1.0)
            door.connect(self._address)
            door.sendall("\n".join(lines).encode())
