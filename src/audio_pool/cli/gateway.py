"""``audio-pool gateway``: the HTTP door of a running pool, in a process of its own.

Owns: the command.
Must not know: how HTTP is spoken (gateway/).
"""

from __future__ import annotations

import logging

import click

from audio_pool.cli.options import config_option, connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import EngineUnavailable

__all__ = ["gateway"]


@click.command()
@with_options(
    connect_option,
    keys_option,
    config_option,
    click.option("--bind", help="Where to listen: HOST:PORT; port 0 lets the system choose."),
    json_option,
)
def gateway(
    connect: str | None, keys: str | None, config_path: str | None, bind: str | None, as_json: bool
) -> None:
    """Serve HTTP for a running pool, here or on another machine.

    Prints 'listening URL' for each address. Of the configuration the section [http] counts. Several gateways may
    stand before one pool. SIGTERM and SIGINT let what is under way finish.
    """
    from audio_pool.config import load_config

    overrides = {} if bind is None else {"http": {"bind": bind}}
    settings = load_config(config_path, overrides=overrides).http
    try:
        from audio_pool.gateway.process import run_gateway
    except ModuleNotFoundError as exc:
        raise EngineUnavailable(
            f"the gateway needs {exc.name}, which is not installed", hint="pip install 'audio-pool[http]'"
        ) from None

    def listening(urls: list[str]) -> None:
        for url in urls:
            if as_json:
                say_json({"event": "listening", "url": url})
            else:
                say(f"listening {url}")

    logging.getLogger().setLevel(min(logging.getLogger().level, logging.WARNING))
    run_gateway(connect, settings, keys=keys, listening=listening)
