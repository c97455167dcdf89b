"""The start of a worker's process: its end with its parent, its log, and the worker that it is.

Owns: what a worker's command line and standard input say.
Must not know: the conversation with the router (process.py).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from audio_pool.worker.parent import die_with
from audio_pool.worker.process import THREAD_BROKEN, Worker

if TYPE_CHECKING:
    from audio_pool.worker.remote import Remote

__all__ = ["main"]

log = logging.getLogger(__name__)

_SWITCH_S = 0.001
"""How long a thread keeps the interpreter from another that wants it: a prompt is embedded beside generating."""


def main(arguments: list[str]) -> int:
    """Run a worker process.

    Args:
        arguments: endpoint, name, incarnation, parent's pid, descriptor of the inherited pipe.
    """
    endpoint, name, incarnation, parent, pipe = arguments
    die_with(int(parent), int(pipe))
    secret = sys.stdin.readline().strip()  # not on the command line, which everybody can read
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is the parent's to handle
    level, known = os.environ.get("AUDIO_POOL_LOG_LEVEL", "INFO").upper(), logging.getLevelNamesMapping()
    if level not in known:
        sys.exit(f"AUDIO_POOL_LOG_LEVEL: given {level!r}, allowed is one of {', '.join(known)}")
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    os.umask(0o077)
    sys.setswitchinterval(_SWITCH_S)
    remote = _remote(secret)
    try:
        code = Worker(endpoint, name, int(incarnation), secret if remote is None else remote.secret, remote).run()
    except BaseException:  # without the control thread there is nothing to wait for, whatever threads still run
        log.exception("the control thread has broken")
        code = THREAD_BROKEN
    if remote is not None:
        remote.close()
    logging.shutdown()
    sys.stdout.flush()
    # engines' libraries may hold threads that never end; everything of ours is done by now
    os._exit(code)


def _remote(line: str) -> Remote | None:
    """Return what a worker of another machine needs more, by what its standard input says; None: it is none."""
    if not line.startswith("{"):
        return None
    from audio_pool.transport.worker_keys import WorkerCredentials
    from audio_pool.worker.remote import Remote

    return Remote(WorkerCredentials.of(line))
