"""``audio-pool mcp``: tools for agents by the Model Context Protocol, over a pipe or over HTTP.

Owns: the command.
Must not know: the protocol (agents/).
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import structs

from audio_pool.cli.descriptor_limit import raise_descriptor_limit
from audio_pool.cli.options import (
    SectionedCommand,
    cache_dir_option,
    config_option,
    connect_option,
    json_option,
    keep_stdout_free,
    keys_option,
    with_options,
)
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import EngineUnavailable, InvalidRequest
from audio_pool.transport.keys import ClientKeys

if TYPE_CHECKING:
    from audio_pool.agents.output_folder import OutputFolder

__all__ = ["mcp"]

_KIB = 1024


@click.command(cls=SectionedCommand)
@with_options(
    connect_option,
    keys_option,
    click.option("--serve", is_flag=True, help="Open a pool of its own, by --config or the built-in engine alone."),
    config_option,
    cache_dir_option,
    click.option(
        "--http",
        metavar="HOST:PORT",
        help="Answer over HTTP, at http://HOST:PORT/mcp, instead of on a pipe; [http] says with which keys.",
    ),
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("~/audio_pool"),
        show_default=True,
        help="Folder that sounds are written into, and nothing is replaced in; with keys none: callers read links.",
    ),
    click.option(
        "--audio-kib",
        type=click.IntRange(0, 16_384),
        default=512,
        show_default=True,
        help="Sound that one answer may carry beside path and link; several clients refuse answers over 1 MB. 0: none.",
    ),
    json_option,
)
def mcp(
    connect: str | None,
    keys: str | None,
    serve: bool,
    config_path: str | None,
    cache_dir: str | None,
    http: str | None,
    output: Path,
    audio_kib: int,
    as_json: bool,
) -> None:
    """Give agents tools that make and find sounds, by the Model Context Protocol (MCP).

    Speaks on standard input and output, for a client that starts this command; with --http it prints 'listening URL'
    and serves any number of them. Asks the pool of 'audio-pool serve', or one of its own with --serve.
    """
    if http is None:
        keep_stdout_free()
    if serve and connect is not None:
        raise InvalidRequest("--serve: given with --connect; leave one of them out")
    if cache_dir is not None and not serve:
        raise InvalidRequest("--cache-dir: given without --serve, where the server's own counts; leave it out")
    if config_path is not None and not serve and http is None:
        raise InvalidRequest("--config: given without --serve and --http, where nothing heeds it; leave it out")
    try:
        from audio_pool.agents.output_folder import OutputFolder
        from audio_pool.agents.stdio import serve_stdio
        from audio_pool.agents.tools import Tools
    except ModuleNotFoundError as exc:
        raise EngineUnavailable(
            f"the tools for agents need {exc.name}, which is not installed", hint="pip install 'audio-pool[mcp]'"
        ) from None
    client_keys = None if keys is None else ClientKeys.read(Path(keys), "client")
    folder = OutputFolder(output)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # by way of what ends a pool of its own
    with contextlib.ExitStack() as opened:
        endpoint = opened.enter_context(_pool(connect, serve, config_path, cache_dir))
        if http is not None:
            _serve_http(endpoint, folder, audio_kib * _KIB, http, config_path, client_keys, as_json=as_json)
            return
        import asyncio

        tools = Tools(folder, audio_kib * _KIB)
        asyncio.run(serve_stdio(endpoint, tools, keys=client_keys, leaving=opened.close))


def _serve_http(
    endpoint: str,
    folder: OutputFolder,
    most_audio_bytes: int,
    bind: str,
    config_path: str | None,
    keys: ClientKeys | None,
    *,
    as_json: bool,
) -> None:
    from audio_pool.agents.http_app import PATH, create_agents_app
    from audio_pool.agents.tools import Tools
    from audio_pool.config import load_config
    from audio_pool.gateway.binding import bind_all, url_of
    from audio_pool.gateway.process import run_app

    settings = structs.replace(load_config(config_path, overrides={"http": {"bind": bind}}).http, services={})
    sockets = bind_all(settings)
    raise_descriptor_limit()
    logging.getLogger().setLevel(min(logging.getLogger().level, logging.WARNING))

    def listening() -> None:
        url = url_of(sockets[0], settings) + PATH
        if as_json:
            say_json({"event": "listening", "url": url})
        else:
            say(f"listening {url}")

    try:
        tools = Tools(None if settings.keys_file else folder, most_audio_bytes)
        ports = tuple(int(one.getsockname()[1]) for one in sockets)
        app = create_agents_app(endpoint, tools, settings, keys=keys, ports=ports)
        run_app(app, settings, sockets, listening=listening)
    finally:
        for one in sockets:
            one.close()


@contextlib.contextmanager
def _pool(connect: str | None, serve: bool, config_path: str | None, cache_dir: str | None) -> Iterator[str]:
    """Yield the addresses of the pool that is asked; one of its own is ended afterwards."""
    if not serve:
        from audio_pool.client.addresses import parse_addresses

        yield ",".join(parse_addresses(connect))
        return
    from audio_pool.config import load_config
    from audio_pool.pool.pool import AudioPool

    with tempfile.TemporaryDirectory(prefix="audio_pool-") as place:
        overrides = {"server": {"bind": f"ipc://{place}/s"}}
        if cache_dir is not None:
            overrides["cache"] = {"dir": cache_dir}
        pool = AudioPool(load_config(config_path, overrides=overrides), serve=True)
        pool.start(wait=False)  # what is asked meanwhile waits for the models it needs
        try:
            yield pool.endpoint or ""
        finally:
            pool.stop(drain_timeout_s=0.0)
