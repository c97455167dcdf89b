"""``audio-pool serve``: a pool behind a socket, until a signal stops it.

Owns: the process's signals, its log, its exit code.
Must not know: how requests are served.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audio_pool.cli.descriptor_limit import raise_descriptor_limit
from audio_pool.cli.metrics import check_metrics, start_metrics
from audio_pool.cli.options import cache_dir_option, config_option, json_option, with_options
from audio_pool.cli.server_log import JsonLines, ServerLog, TextLines
from audio_pool.cli.service_manager import ServiceManager
from audio_pool.cli.terminal import say, say_json

if TYPE_CHECKING:
    from audio_pool.cli.http_door import HttpDoor
    from audio_pool.config import Config
    from audio_pool.pool.pool import AudioPool

__all__ = ["serve"]

log = logging.getLogger(__name__)

_SWITCH_S = 0.0002
"""How long a thread that computes keeps the interpreter from the router's. That one lets go of it a dozen times in
a hit, and would wait 5 ms each time, as Python has it."""


class _PoolDown(click.ClickException):
    """A bug has ended the pool."""

    exit_code = 70  # EX_SOFTWARE of sysexits.h


@click.command()
@with_options(
    config_option,
    click.option("--bind", help="Where to listen: ipc://PATH or tcp://127.0.0.1:PORT (* lets the system choose)."),
    cache_dir_option,
    click.option("--log-dir", type=click.Path(), help="Where the server's and the workers' logs go."),
    click.option("--keys", "keys_dir", type=click.Path(), help="CURVE keys; needed for binds beyond this machine."),
    click.option("--metrics", "metrics_bind", help="Answer Prometheus and probes at HOST:PORT, in a process beside."),
    click.option("--http", help="Also keep an HTTP gateway running: HOST:PORT; see docs/http.md."),
    click.option("--log-format", type=click.Choice(["text", "json"]), help="How the server's log is written."),
    json_option,
)
def serve(
    config_path: str | None,
    bind: str | None,
    cache_dir: str | None,
    log_dir: str | None,
    keys_dir: str | None,
    metrics_bind: str | None,
    http: str | None,
    log_format: str | None,
    as_json: bool,
) -> None:
    """Serve sounds to clients over ZMQ.

    Answers (health, status) as soon as it listens; prints 'ready ENDPOINT' when every worker is ready.
    SIGTERM and SIGINT let what is under way finish (limits.drain_timeout_s), then exit with 0; a second
    one stops at once. SIGHUP opens the log anew and reads the configuration again: limits take effect at
    once, and the log says what needs a restart.
    """
    from audio_pool.config import load_config
    from audio_pool.pool.orphans import adopt_orphans, end_orphans
    from audio_pool.pool.pool import AudioPool

    overrides: dict[str, dict[str, str]] = {}
    for section, key, value in (
        ("server", "bind", bind),
        ("server", "log_dir", log_dir),
        ("server", "keys_dir", keys_dir),
        ("server", "metrics_bind", metrics_bind),
        ("http", "bind", http),
        ("logs", "format", log_format),
        ("cache", "dir", cache_dir),
    ):
        if value is not None:
            overrides.setdefault(section, {})[key] = value

    def read() -> Config:
        return load_config(config_path, overrides=overrides)

    raise_descriptor_limit()
    sys.setswitchinterval(_SWITCH_S)
    adopt_orphans()  # this process is ours alone; a host program's is not
    settings = read()
    check_metrics(settings)
    server_log = _log_to(settings)
    # put() may be called by a signal's handler whatever the thread was doing; Event.set() could wait for ever
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    stopping = False

    def on_signal(number: int, frame: object) -> None:
        if stopping:  # a second one while draining: the operator means it
            end_orphans((), (), within_s=5.0)  # the workers, too
            os._exit(128 + number)
        signals.put(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGHUP, lambda number, frame: signals.put(number))
    manager = ServiceManager()
    door = _http_door(settings, config_path)
    pool = AudioPool(settings, serve=True).start(wait=False)
    beside = contextlib.ExitStack()
    try:
        _print_event(as_json, "listening", pool.endpoint)
        if settings.server.metrics_bind:
            beside.callback(start_metrics(settings, pool.endpoint or "", as_json=as_json).stop)
        if door is not None:
            beside.callback(door.start(pool.endpoint or "").stop)
            for url in door.urls:
                _print_event(as_json, "http", url)
        manager.watch(lambda: _state(pool))
        threading.Thread(target=_announce, args=(pool, manager, as_json), daemon=True).start()
        while pool.running:
            with contextlib.suppress(queue.Empty):
                number = signals.get(timeout=0.5)
                if number == signal.SIGHUP:
                    with manager.reloading():
                        _reload(pool, server_log, read)
                    continue
                log.info("stopping: signal %d", number)
                break
        else:
            raise _PoolDown(f"the pool is down: {pool.health().reasons[0]}; see the log")
    finally:
        stopping = True
        manager.stopping()
        pool.stop()
        beside.close()
    _print_event(as_json, "stopped", None)


def _reload(pool: AudioPool, server_log: ServerLog, read: Callable[[], Config]) -> None:
    from audio_pool.errors import AudioPoolError

    server_log.reopen()
    try:
        settings = read()
        plan = pool.reload(settings)
    except AudioPoolError as exc:
        log.error("reload: nothing is changed: %s", exc)
        return
    logs = plan.config.logs
    server_log.configure(_lines(plan.config), max_bytes=logs.max_bytes, files=logs.files)
    log.info("reload: now in force: %s", ", ".join(plan.applied) or "nothing was changed")
    if plan.restart:
        log.warning("reload: changed, but needs a restart: %s", ", ".join(plan.restart))


def _state(pool: AudioPool) -> str:
    health = pool.health()
    return f"{health.state}: {'; '.join(health.reasons)}" if health.reasons else health.state


def _announce(pool: AudioPool, manager: ServiceManager, as_json: bool) -> None:
    from audio_pool.errors import AudioPoolError, PoolClosed

    try:
        pool.wait_ready()
        # What is there now stays: a collection of all of it would hold every thread up for tens of milliseconds.
        gc.freeze()
        health = pool.health()
        without = "failed" in health.engines.values()
        if without:  # it works without one of its engines
            say(f"degraded: {'; '.join(health.reasons)}", err=True)
        _print_event(as_json, "degraded" if without else "ready", pool.endpoint)
        manager.ready()
    except PoolClosed:
        return  # it was stopped before
    except AudioPoolError as exc:
        # the server stays up and says "degraded": other workers may serve, and an operator can see why
        log.error("not ready: %s", exc)
        say(f"degraded: {exc}", err=True)
        with contextlib.suppress(PoolClosed):
            _print_event(as_json, "degraded", pool.endpoint)
        manager.ready()


def _http_door(settings: Config, config_path: str | None) -> HttpDoor | None:
    """Bind the gateway's addresses, if there is to be one; what is wrong with them is told before anything starts."""
    if not settings.http.bind:
        return None
    from audio_pool.cli.http_door import HttpDoor

    return HttpDoor(settings, config_path)


def _log_to(settings: Config) -> ServerLog:
    """Begin the server's log."""
    logs = settings.logs
    place = Path(settings.server.log_dir).expanduser() if settings.server.log_dir else settings.cache_dir / "logs"
    handler = ServerLog(place / "server.log", _lines(settings), max_bytes=logs.max_bytes, files=logs.files)
    if not settings.server.log_dir:
        place.chmod(0o700)  # the operator's own directory keeps the mode that it was given
    root = logging.getLogger()
    for other in root.handlers:
        other.setFormatter(_lines(settings))
        if other.level == logging.NOTSET:
            other.setLevel(root.level)
    root.addHandler(handler)
    root.setLevel(min(root.level, logging.INFO))
    return handler


def _lines(settings: Config) -> logging.Formatter:
    form = JsonLines if settings.logs.format == "json" else TextLines
    return form(prompts=settings.logs.prompts)


def _print_event(as_json: bool, what: str, endpoint: str | None) -> None:
    if as_json:
        say_json({"event": what, "endpoint": endpoint})
    else:
        say(f"{what} {endpoint}" if endpoint else what)
