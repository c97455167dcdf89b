"""The gateway that ``serve --http`` keeps running beside its pool.

Owns: its sockets, which stay bound while it is started anew; its command line; its CURVE key.
Must not know: how a process is kept running (side_process.py), how HTTP is spoken.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from audio_pool.cli.side_process import SideProcess
from audio_pool.config import Config
from audio_pool.errors import EngineUnavailable
from audio_pool.gateway.binding import bind_all, url_of
from audio_pool.transport.keys import create_keys

__all__ = ["HttpDoor"]

_KEY = "gateway"
"""The client whose CURVE key it shows."""
_NEEDED = ("litestar", "uvicorn", "httptools", "uvloop")


class HttpDoor:
    """A gateway beside a pool.

    Args:
        config: of the pool; ``http.bind`` is set.
        config_path: the file that it was read from.

    Raises:
        AudioPoolError: an address that may not or cannot be bound; the extra is not installed.
    """

    def __init__(self, config: Config, config_path: str | None) -> None:
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise EngineUnavailable(
                f"http.bind needs {', '.join(missing)}, which is not installed", hint="pip install 'audio-pool[http]'"
            )
        self._config = config
        self._config_path = config_path
        self._sockets: list[socket.socket] = bind_all(config.http)
        self.urls = [url_of(one, config.http) for one in self._sockets]

    def start(self, endpoint: str) -> SideProcess:
        """Start it for the pool that listens there."""
        keys_dir = self._config.server.keys_dir
        if keys_dir and not (Path(keys_dir) / f"{_KEY}.key_secret").exists():
            create_keys(Path(keys_dir), _KEY)
        inherited = [one.fileno() for one in self._sockets]
        return SideProcess("gateway", self._command(endpoint), inherited=inherited)

    def _command(self, endpoint: str) -> Sequence[str]:
        command = [sys.executable, "-m", "audio_pool.cli", "gateway", "--connect", endpoint]
        command += ["--bind", self._config.http.bind, "--with-parent", str(os.getpid())]
        if self._config_path is not None:
            command += ["--config", str(Path(self._config_path).absolute())]
        if self._config.server.keys_dir:
            command += ["--keys", self._config.server.keys_dir, "--key-name", _KEY]
        for one in self._sockets:
            command += ["--inherited", str(one.fileno())]
        return command
