"""``audio-pool serve``: a pool behind a socket, until it is told to stop.

Owns: the process's signals, its log, its exit code.
Must not know: how requests are served.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import click

__all__ = ["serve"]

log = logging.getLogger(__name__)


@click.command()
@click.option("--config", type=click.Path(), help="A TOML file; see configs/.")
@click.option("--bind", help="Where to listen: ipc://PATH or tcp://127.0.0.1:PORT (* lets the system choose).")
@click.option("--cache-dir", type=click.Path(), help="Where finished sounds are kept.")
@click.option("--log-dir", type=click.Path(), help="Where the server's and the workers' logs go.")
@click.option("--keys", "keys_dir", type=click.Path(), help="CURVE keys; needed for binds beyond this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print what is printed as JSON objects, one a line.")
def serve(
    config: str | None,
    bind: str | None,
    cache_dir: str | None,
    log_dir: str | None,
    keys_dir: str | None,
    as_json: bool,
) -> None:
    """Serve sounds to clients over ZMQ.

    Answers (health, status) as soon as it listens; prints 'ready ENDPOINT' when every worker is ready.
    SIGTERM and SIGINT let what is under way finish (limits.drain_timeout_s), then exit with 0; a second
    one stops at once.
    """
    from audio_pool.config import load_config
    from audio_pool.pool.pool import AudioPool

    overrides: dict[str, dict[str, Any]] = {}
    for section, key, value in (
        ("server", "bind", bind),
        ("server", "log_dir", log_dir),
        ("server", "keys_dir", keys_dir),
        ("cache", "dir", cache_dir),
    ):
        if value is not None:
            overrides.setdefault(section, {})[key] = value
    settings = load_config(config, overrides=overrides)
    logs = Path(settings.server.log_dir).expanduser() if settings.server.log_dir else settings.cache_dir / "logs"
    _log_to(logs)
    # put() may be called by a signal's handler whatever the thread was doing; Event.set() could wait for ever
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    stopping = False

    def on_signal(number: int, frame: object) -> None:
        if stopping:  # a second one while draining: the operator means it; the workers die with this process
            os._exit(128 + number)
        signals.put(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    pool = AudioPool(settings, serve=True).start(wait=False)
    try:
        _say(as_json, "listening", pool.endpoint)
        threading.Thread(target=_announce, args=(pool, as_json), daemon=True).start()
        while pool.running:
            with contextlib.suppress(queue.Empty):
                log.info("stopping: signal %d", signals.get(timeout=0.5))
                break
        else:
            raise click.ClickException("the pool ended by itself; see the log")
    finally:
        stopping = True
        pool.stop()
    _say(as_json, "stopped", None)


def _announce(pool: Any, as_json: bool) -> None:
    from audio_pool.errors import AudioPoolError, PoolClosed

    try:
        pool.wait_ready()
        _say(as_json, "ready", pool.endpoint)
    except PoolClosed:
        return  # it was told to stop before
    except AudioPoolError as exc:
        # the server stays up and says "degraded": other workers may serve, and an operator can see why
        log.error("not ready: %s", exc)
        click.echo(f"degraded: {exc}", err=True)
        with contextlib.suppress(PoolClosed):
            _say(as_json, "degraded", pool.endpoint)


def _log_to(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(directory / "server.log", maxBytes=16 << 20, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    for other in root.handlers:
        if other is not handler and other.level == logging.NOTSET:
            other.setLevel(root.level)
    root.setLevel(min(root.level, logging.INFO))


def _say(as_json: bool, what: str, endpoint: str | None) -> None:
    if as_json:
        click.echo(json.dumps({"event": what, "endpoint": endpoint}))
    else:
        click.echo(f"{what} {endpoint}" if endpoint else what)
