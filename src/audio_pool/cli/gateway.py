"""``audio-pool gateway``: the HTTP door of a running pool, in a process of its own.

Owns: the command.
Must not know: how HTTP is spoken (gateway/).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path

import click

from audio_pool.cli.descriptor_limit import raise_descriptor_limit
from audio_pool.cli.options import config_option, connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import EngineUnavailable
from audio_pool.transport.keys import ClientKeys

__all__ = ["gateway"]

_LEAVE_S = 5.0
"""What is under way when the parent dies gets so long."""
_LOOK_S = 0.5


@click.command()
@with_options(
    connect_option,
    keys_option,
    click.option("--key-name", default="client", show_default=True, help="Which client's key of --keys."),
    config_option,
    click.option("--bind", help="Where to listen: HOST:PORT; port 0 lets the system choose."),
    # of 'serve', which keeps a gateway running
    click.option("--inherited", type=int, multiple=True, hidden=True, help="A listening descriptor."),
    click.option("--with-parent", type=int, hidden=True, help="End when the process of this id is no more the parent."),
    json_option,
)
def gateway(
    connect: str | None,
    keys: str | None,
    key_name: str,
    config_path: str | None,
    bind: str | None,
    inherited: tuple[int, ...],
    with_parent: int | None,
    as_json: bool,
) -> None:
    """Serve HTTP for a running pool, here or on another machine.

    Prints 'listening URL' for each address. Of the configuration the section [http] counts. Several gateways may
    stand before one pool. SIGTERM and SIGINT let what is under way finish.
    """
    from audio_pool.config import load_config
    from audio_pool.gateway.binding import bind_all, url_of

    overrides = {} if bind is None else {"http": {"bind": bind}}
    settings = load_config(config_path, overrides=overrides).http
    try:
        from audio_pool.gateway.process import run_gateway
    except ModuleNotFoundError as exc:
        raise EngineUnavailable(
            f"the gateway needs {exc.name}, which is not installed", hint="pip install 'audio-pool[http]'"
        ) from None
    client_keys = None if keys is None else ClientKeys.read(Path(keys), key_name)
    sockets = [socket.socket(fileno=number) for number in inherited] or bind_all(settings)

    def listening() -> None:
        for url in (url_of(one, settings) for one in sockets):
            if as_json:
                say_json({"event": "listening", "url": url})
            else:
                say(f"listening {url}")

    raise_descriptor_limit()
    if with_parent is not None:
        _end_with_parent(with_parent)
    logging.getLogger().setLevel(min(logging.getLogger().level, logging.WARNING))
    try:
        beside = with_parent is not None  # the parent has told where, and is told by a terminal's ^C as well
        told = (lambda: None) if beside else listening
        run_gateway(connect, settings, sockets, keys=client_keys, listening=told, heeds_interrupt=not beside)
    finally:
        for one in sockets:
            one.close()


def _end_with_parent(parent: int) -> None:
    """Leave when the process that keeps this one running has gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LEAVE_S)
        os._exit(4)

    threading.Thread(target=watch, name="audio-pool-parent", daemon=True).start()
