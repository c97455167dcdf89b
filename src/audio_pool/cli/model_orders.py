"""``audio-pool models where | load | unload | pin | unpin | switch``: models in a running server's memory.

Owns: how they are shown; that ``load`` waits until the model is there.
Must not know: how a question travels (client/), what an order takes (scheduler).
"""

from __future__ import annotations

import time

import click

from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.client.client import AudioClient
from audio_pool.errors import EngineUnavailable, Timeout
from audio_pool.residents import ModelReport, ModelsReport

__all__ = ["COMMANDS"]

_LOOK_EVERY_S = 0.2
_worker_option = click.option("--worker", help="Only on this worker.")
_server_options = with_options(
    connect_option,
    keys_option,
    click.option("--timeout", "timeout_s", type=float, default=600.0, show_default=True, help="Seconds to wait."),
    json_option,
)


@click.command("where")
@_server_options
def where(connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """List which engines of a running server are in memory, on which workers, and what they take."""
    with AudioClient(connect, keys=keys) as client:
        _show(client.models.list(timeout_s=timeout_s), as_json)


@click.command("load")
@click.argument("engine")
@_worker_option
@_server_options
def load(
    engine: str, worker: str | None, connect: str | None, keys: str | None, timeout_s: float, as_json: bool
) -> None:
    """Have a running server load ENGINE though nobody asks for it; ends when it is in memory."""
    with AudioClient(connect, keys=keys) as client:
        client.models.load(engine, worker=worker)
        _show(_settled(client, engine, worker, timeout_s, ("loaded",)), as_json)


@click.command("unload")
@click.argument("engine")
@_worker_option
@_server_options
def unload(
    engine: str, worker: str | None, connect: str | None, keys: str | None, timeout_s: float, as_json: bool
) -> None:
    """Have a running server take ENGINE out of memory; ends when that is free. Who asks for it later has it loaded."""
    with AudioClient(connect, keys=keys) as client:
        client.models.unload(engine, worker=worker)
        _show(_settled(client, engine, worker, timeout_s, ("out", "down", "failed")), as_json)


@click.command("pin")
@click.argument("engine")
@_worker_option
@_server_options
def pin(
    engine: str, worker: str | None, connect: str | None, keys: str | None, timeout_s: float, as_json: bool
) -> None:
    """Have a running server load ENGINE and keep it, whoever else needs the room."""
    with AudioClient(connect, keys=keys) as client:
        client.models.pin(engine, worker=worker)
        _show(_settled(client, engine, worker, timeout_s, ("loaded",)), as_json)


@click.command("unpin")
@click.argument("engine")
@_worker_option
@_server_options
def unpin(
    engine: str, worker: str | None, connect: str | None, keys: str | None, timeout_s: float, as_json: bool
) -> None:
    """Let ENGINE go again where its room is needed."""
    with AudioClient(connect, keys=keys) as client:
        _show(client.models.unpin(engine, worker=worker, timeout_s=timeout_s), as_json)


@click.command("switch")
@click.argument("engine")
@click.option("--model", required=True, help="Hub id, or a directory of the server's machine.")
@click.option("--revision", help="Branch, tag or commit.")
@_server_options
def switch(
    engine: str,
    model: str,
    revision: str | None,
    connect: str | None,
    keys: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Have another model come in the place of ENGINE's, while requests are served; ends when it is asked.

    It lasts until the server ends: write it into the configuration, too, if it is to stay.
    """
    with AudioClient(connect, keys=keys) as client:
        hosted = client.models.switch(engine, model, revision=revision).models[0].engine
        _show(_settled(client, hosted, None, timeout_s, ("loaded",)), as_json)


COMMANDS = (where, load, unload, pin, unpin, switch)


def _settled(
    client: AudioClient, engine: str, worker: str | None, timeout_s: float, wanted: tuple[str, ...]
) -> ModelsReport:
    """Wait until an engine is as wanted: somewhere where it is to be loaded, everywhere where it is to go.

    Raises:
        EngineUnavailable: it could not be loaded. Timeout: the order stands all the same.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = [one for one in client.models.list().models if one.engine == engine and worker in (None, one.worker)]
        there = [one.state in wanted for one in found]
        if any(there) if "loaded" in wanted else all(there):
            return ModelsReport(models=tuple(found))
        failed = next((one for one in found if one.state == "failed"), None)
        if failed is not None and not any(one.state == "loading" for one in found):
            raise EngineUnavailable(f"engine {engine!r} could not be loaded: {failed.error}")
        if time.monotonic() >= deadline:
            raise Timeout(f"engine {engine!r} is not there after {timeout_s:g} s; the order stands")
        time.sleep(_LOOK_EVERY_S)


def _show(report: ModelsReport, as_json: bool) -> None:
    if as_json:
        say_json(report.to_dict())
        return
    for one in report.models:
        say(_line(one))


def _line(one: ModelReport) -> str:
    takes = f", {one.memory_bytes >> 20:,} MB" if one.memory_bytes else ""
    idle = f", idle for {one.idle_s:.0f} s" if one.idle_s else ""
    why = f": {one.error}; tried again in {one.retry_in_s:.0f} s" if one.retry_in_s is not None else ""
    return f"{one.engine} on {one.worker}: {one.state}{', pinned' if one.pinned else ''}{takes}{idle}{why}"
