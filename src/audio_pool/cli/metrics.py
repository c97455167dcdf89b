"""``audio-pool metrics``: a pool's numbers for Prometheus, and probes, in a process of its own.

Owns: the command, its signals.
Must not know: what is answered (monitoring/).
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.side_process import SideProcess
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import EngineUnavailable, InvalidConfig

if TYPE_CHECKING:
    from audio_pool.config import Config

__all__ = ["check_metrics", "metrics", "start_metrics"]


@click.command()
@with_options(
    connect_option,
    keys_option,
    click.option("--bind", default="127.0.0.1:9464", show_default=True, help="Where to listen: HOST:PORT."),
    click.option("--with-parent", type=int, hidden=True, help="End when the process of this id is no more the parent."),
    json_option,
)
def metrics(connect: str | None, keys: str | None, bind: str, with_parent: int | None, as_json: bool) -> None:
    """Answer Prometheus and probes for a running server: /metrics, /readyz, /livez.

    Asks the server at most twice a second, however often it is asked itself. Prints 'metrics URL' when it listens.
    'audio-pool serve --metrics HOST:PORT' runs it beside the server. Without --connect: the server at this user's
    default address.
    """
    _require_library()
    from audio_pool.monitoring.process import MetricsServer, PoolAsked

    pool = PoolAsked(connect, keys)
    try:
        with MetricsServer(bind, pool) as server:

            def stop(number: int, frame: object) -> None:
                # shutdown() waits for the loop that this handler has interrupted
                threading.Thread(target=server.shutdown, daemon=True).start()

            signal.signal(signal.SIGTERM, stop)
            # from a terminal it reaches the server, too, which drains: its numbers are wanted until the end
            signal.signal(signal.SIGINT, stop if with_parent is None else signal.SIG_IGN)
            if as_json:
                say_json({"event": "metrics", "url": server.url})
            else:
                say(f"metrics {server.url}")
            server.serve_while_parent_lives(os.getppid() if with_parent is None else with_parent)
    finally:
        pool.close()


def check_metrics(settings: Config) -> None:
    """Raise EngineUnavailable or InvalidConfig where a server's metrics could not be told."""
    server = settings.server
    if not server.metrics_bind:
        return
    _require_library()
    from audio_pool.monitoring.process import parse_bind

    parse_bind(server.metrics_bind)
    if server.keys_dir and not (Path(server.keys_dir) / "client.key_secret").is_file():
        raise InvalidConfig(
            f"metrics: {server.keys_dir} has no client.key_secret, by which the process beside would be let in",
            hint="make it by 'audio-pool keys create', or run 'audio-pool metrics --keys ...' yourself",
        )


def start_metrics(settings: Config, endpoint: str, *, as_json: bool) -> SideProcess:
    """Start ``audio-pool metrics`` beside a server."""
    server = settings.server
    command = [sys.executable, "-m", "audio_pool.cli", "metrics", "--connect", endpoint]
    command += ["--bind", server.metrics_bind, "--with-parent", str(os.getpid())]
    command += ["--keys", server.keys_dir] if server.keys_dir else []
    return SideProcess("metrics", [*command, *(["--json"] if as_json else [])])


def _require_library() -> None:
    if importlib.util.find_spec("prometheus_client") is None:
        raise EngineUnavailable("metrics need prometheus_client", hint="pip install 'audio-pool[metrics]'")
