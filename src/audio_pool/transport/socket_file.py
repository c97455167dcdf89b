"""The file of an ipc socket that is about to be bound.

Owns: refusing a path where a living server listens.
Must not know: what is bound there.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["own_socket_file"]


def own_socket_file(endpoint: str) -> None:
    """Refuse a path where a living server listens: zmq itself would silently take it over."""
    path = endpoint[len("ipc://") :]
    parent = Path(path).parent
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if parent.stat().st_uid not in (os.getuid(), 0):
        raise OSError(f"{parent} belongs to another user")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return
    raise OSError(f"{path} is in use by a running server")
