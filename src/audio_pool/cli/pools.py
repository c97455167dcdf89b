"""The pool that one command asks: one opened for its configuration, its start shown at a terminal, or a server's.

Owns: which of the two, which engine its own pool hosts, and the line that tells how far its start is.
Must not know: what the command asks of it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audio_pool.cli.terminal import redraw, say
from audio_pool.config import Config, load_config
from audio_pool.errors import AudioPoolError, InvalidRequest, Refused

__all__ = ["asked_pool", "configuration", "listening_server", "own_configuration", "started"]

if TYPE_CHECKING:
    from audio_pool.client.client import AudioClient
    from audio_pool.pool.pool import AudioPool

_REDRAW_S = 0.1
_CONNECT_S = 1.0
_PROBE_S = 3.0
"""A server that nobody named is not waited for: stopped, hung, behind keys, or something else altogether."""


def configuration(config_path: str | None, cache_dir: str | None, engine: str | None) -> Config:
    """Return a command's configuration: ``--engine`` is hosted where no worker is configured."""
    overrides: dict[str, dict[str, str]] = {}
    if cache_dir is not None:
        overrides["cache"] = {"dir": cache_dir}
    config = load_config(config_path, overrides=overrides)
    if engine is None or config.workers or engine.startswith("kind:"):
        return config
    return load_config(config_path, overrides={**overrides, "defaults": {"engine": engine}})


def own_configuration(options: Mapping[str, Any]) -> Config | None:
    """Return the configuration of a command's own pool; None: ``--connect`` asks a server, which has its own.

    Args:
        options: of the command: connect, config_path, cache_dir, engine.

    Raises:
        InvalidRequest: what a server's own decides is given as well.
    """
    if options["connect"] is None:
        return configuration(options["config_path"], options["cache_dir"], options["engine"])
    for name, option in (("config_path", "--config"), ("cache_dir", "--cache-dir")):
        if options[name] is not None:
            raise InvalidRequest(f"{option}: given with --connect, where the server's own counts; leave it out")
    return None


def listening_server(options: Mapping[str, Any]) -> str | None:
    """Return the endpoint of the server at this user's default address; None: a command opens a pool of its own.

    It does where no server listens or answers, and where something says how its pool is to be: what is set for one
    command would be lost on a server.

    Args:
        options: of the command: config_path, cache_dir, engine, init_audio, keys.
    """
    if any(options.get(name) is not None for name in ("config_path", "cache_dir", "engine", "init_audio")):
        return None
    from audio_pool.transport.endpoints import default_connect

    if load_config(None) != Config():
        return None
    try:
        endpoint = default_connect()
    except Refused:  # another user's, perhaps
        return None
    if not _listens(endpoint):
        return None
    state = _state_of(endpoint, options.get("keys"))
    if state in ("", "draining", "down"):
        say(f"the server at {endpoint} {f'is {state}' if state else 'does not answer'}: not asked", err=True)
        return None
    return endpoint


def _listens(endpoint: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            probe.connect(endpoint.removeprefix("ipc://"))
        except OSError:
            return False
    return True


def _state_of(endpoint: str, keys: str | None) -> str:
    """Return what a server says of its health; "" where it does not answer, or not as one of this version."""
    from audio_pool.client.client import AudioClient

    with AudioClient(endpoint, keys=keys) as client:
        try:
            return client.health(timeout_s=_PROBE_S).state
        except AudioPoolError:
            return ""


@contextlib.contextmanager
def asked_pool(
    config: Config | None, options: Mapping[str, Any], *, quiet: bool, ready: bool = True
) -> Iterator[AudioPool | AudioClient]:
    """Yield the pool that a command asks: its own, or (``config`` None) a client of a server's.

    Args:
        ready: a pool of its own is waited for until every worker and encoder is ready.
    """
    if config is None:
        from audio_pool.client.client import AudioClient

        with AudioClient(options["connect"], keys=options["keys"], resume=bool(options.get("durable"))) as client:
            yield client
        return
    with started(config, quiet=quiet, ready=ready) as pool:
        yield pool


@contextlib.contextmanager
def started(config: Config, *, quiet: bool, ready: bool = True) -> Iterator[AudioPool]:
    """Yield a pool. Its start is shown on standard error: as a line that is redrawn, or in three words.

    Args:
        quiet: not where there is no terminal.
        ready: wait until it is; otherwise what is asked for waits for what it needs alone.
    """
    from audio_pool.pool.pool import AudioPool

    ready = ready or any(worker.python for worker in config.workers)  # only there is it known what those host
    terminal = sys.stderr.isatty()
    if not terminal and not quiet:
        say("starting a pool ...", err=True)
    pool = AudioPool(config)
    if terminal or not ready:
        pool.start(wait=False)
    if terminal:
        try:
            _show_start(pool)
            if ready:
                pool.wait_ready()
        except BaseException:
            pool.stop(drain_timeout_s=0.0)
            raise
    with pool:  # waits until it is ready, where it has not been shown
        yield pool


def _show_start(pool: AudioPool) -> None:
    """Redraw one line until every worker has started or failed to, then remove it."""
    begun, drawn = time.monotonic(), 0
    try:
        while True:
            workers = pool.status().workers
            states = {worker.state for worker in workers.values()}
            if "broken" in states or not states & {"down", "starting", "loading"}:
                break
            coming = (
                f"{name} {worker.state} {', '.join(worker.engines)}".rstrip()
                for name, worker in workers.items()
                if worker.state != "ready"
            )
            line = f"starting a pool: {'; '.join(coming)} ({time.monotonic() - begun:.0f} s)"
            redraw(line.ljust(drawn))
            drawn = len(line)
            time.sleep(_REDRAW_S)
    finally:
        redraw(" " * drawn)
        redraw("")
