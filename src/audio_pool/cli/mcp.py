"""``audio-pool mcp``: tools for agents by the Model Context Protocol, over a pipe or over HTTP.

Owns: the command.
Must not know: the protocol (agents/).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from audio_pool.cli.options import (
    SectionedCommand,
    cache_dir_option,
    config_option,
    connect_option,
    keys_option,
    with_options,
)
from audio_pool.errors import EngineUnavailable, InvalidRequest
from audio_pool.transport.keys import ClientKeys

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
        "-o",
        "--output",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("~/audio_pool"),
        show_default=True,
        help="Folder that sounds are written into; nothing there is ever replaced.",
    ),
    click.option(
        "--audio-kib",
        type=click.IntRange(0, 16_384),
        default=512,
        show_default=True,
        help="Sound that one answer may carry beside path and link; several clients refuse answers over 1 MB. 0: none.",
    ),
)
def mcp(
    connect: str | None,
    keys: str | None,
    serve: bool,
    config_path: str | None,
    cache_dir: str | None,
    output: Path,
    audio_kib: int,
) -> None:
    """Give agents tools that make and find sounds, by the Model Context Protocol (MCP).

    Speaks on standard input and output, for a client that starts this command. Asks the pool of 'audio-pool serve',
    or one of its own with --serve.
    """
    import asyncio

    if serve and connect is not None:
        raise InvalidRequest("--serve: given with --connect; leave one of them out")
    if cache_dir is not None and not serve:
        raise InvalidRequest("--cache-dir: given without --serve, where the server's own counts; leave it out")
    try:
        from audio_pool.agents.output_folder import OutputFolder
        from audio_pool.agents.stdio import serve_stdio
        from audio_pool.agents.tools import Tools
    except ModuleNotFoundError as exc:
        raise EngineUnavailable(
            f"the tools for agents need {exc.name}, which is not installed", hint="pip install 'audio-pool[mcp]'"
        ) from None
    client_keys = None if keys is None else ClientKeys.read(Path(keys), "client")
    with _pool(connect, serve, config_path, cache_dir) as endpoint:
        tools = Tools(OutputFolder(output), audio_kib * _KIB)
        asyncio.run(serve_stdio(endpoint, tools, keys=client_keys))


@contextlib.contextmanager
def _pool(connect: str | None, serve: bool, config_path: str | None, cache_dir: str | None) -> Iterator[str]:
    """Yield the endpoint of the pool that is asked; one of its own is ended afterwards."""
    if not serve:
        from audio_pool.transport.endpoints import check_connect, default_connect

        yield default_connect() if connect is None else check_connect(connect)
        return
    from audio_pool.config import load_config
    from audio_pool.pool.pool import AudioPool

    with tempfile.TemporaryDirectory(prefix="audio_pool-mcp-") as place:
        overrides = {"server": {"bind": f"ipc://{place}/s"}}
        if cache_dir is not None:
            overrides["cache"] = {"dir": cache_dir}
        pool = AudioPool(load_config(config_path, overrides=overrides), serve=True)
        pool.start(wait=False)  # what is asked meanwhile waits for the models it needs
        try:
            yield pool.endpoint or ""
        finally:
            pool.stop(drain_timeout_s=0.0)
