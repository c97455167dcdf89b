"""``audio-pool workers``: workers of a running server listed, added, scaled, drained and removed.

Owns: how they are shown; a worker's fields as options.
Must not know: how a question travels (client/), when a worker has done what it holds (scheduler).
"""

from __future__ import annotations

import tomllib
from typing import Any

import click

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.client.client import AudioClient
from audio_pool.errors import InvalidRequest
from audio_pool.staffing import WorkersOrdered

__all__ = ["group"]

_server_options = with_options(
    connect_option,
    keys_option,
    click.option("--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Seconds to wait."),
    json_option,
)
_finishing_option = click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=300.0,
    show_default=True,
    help="Seconds to wait until it has done what it holds; the order stands all the same.",
)


@click.group(cls=CommandGroup)
def group() -> None:
    """Workers of a running server: list, add, scale, drain, resume, remove.

    Asks the server at --connect, or at this user's default address. All but list are for operators.
    """


@group.command("list")
@_server_options
def listed(connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """List the workers."""
    with AudioClient(connect, keys=keys) as client:
        workers = client.status(timeout_s=timeout_s).workers
    if as_json:
        say_json({name: dict(worker) for name, worker in workers.items()})
        return
    for name, worker in workers.items():
        why = f" ({worker.pending})" if worker.pending else ""
        on = f"GPU {','.join(worker.gpus)}" if worker.gpus else worker.device or "?"
        say(
            f"{name}: {worker.state}{why}, {', '.join(worker.engines) or 'no engines'} ({', '.join(worker.roles)}) "
            f"on {on}, {worker.tasks} tasks in hand, {worker.tasks_done} done"
        )


@group.command()
@click.argument("name")
@click.option("--like", help="A worker whose settings it has, where nothing else is given.")
@click.option("--gpu", help="What it is pinned to, e.g. 1.")
@click.option("--engine", "engines", multiple=True, help="An engine that it hosts. Repeatable.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(("generate", "master", "embed", "score")),
    help="What it does. Repeatable.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A further key of [[workers]], its value as in TOML, e.g. credit=1. Repeatable.",
)
@_server_options
def add(
    name: str,
    like: str | None,
    gpu: str | None,
    engines: tuple[str, ...],
    roles: tuple[str, ...],
    settings: tuple[str, ...],
    connect: str | None,
    keys: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Start a worker NAME more. It lasts until it is removed or the server ends; the configuration's last for ever."""
    fields: dict[str, Any] = dict(map(_setting, settings))
    if gpu is not None:
        fields["gpu"] = gpu
    if engines:
        fields["engines"] = list(engines)
    if roles:
        fields["roles"] = list(roles)
    with AudioClient(connect, keys=keys) as client:
        _show(client.workers.add(name, like=like, timeout_s=timeout_s, **fields), as_json)


@group.command()
@click.argument("name")
@click.argument("count", type=click.IntRange(0, 1024))
@_server_options
def scale(name: str, count: int, connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Have COUNT workers called NAME, or NAME-1, NAME-2, ...: start those that are missing, end those too many."""
    with AudioClient(connect, keys=keys) as client:
        _show(client.workers.scale(name, count, timeout_s=timeout_s), as_json)


@group.command()
@click.argument("name")
@connect_option
@keys_option
@_finishing_option
@json_option
def drain(name: str, connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Give worker NAME nothing new; end when it has done what it holds. It stays up."""
    with AudioClient(connect, keys=keys) as client:
        _show(client.workers.drain(name, timeout_s=timeout_s), as_json)


@group.command()
@click.argument("name")
@_server_options
def resume(name: str, connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Give worker NAME, which was drained, work again."""
    with AudioClient(connect, keys=keys) as client:
        _show(client.workers.resume(name, timeout_s=timeout_s), as_json)


@group.command()
@click.argument("name")
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(0.0, 3600.0),
    help="After so many seconds it is ended whatever it is at, which is begun again elsewhere.",
)
@connect_option
@keys_option
@_finishing_option
@json_option
def remove(
    name: str, within_s: float | None, connect: str | None, keys: str | None, timeout_s: float, as_json: bool
) -> None:
    """Have worker NAME do what it holds, and end for good; end when its process is gone."""
    with AudioClient(connect, keys=keys) as client:
        _show(client.workers.remove(name, within_s=within_s, timeout_s=timeout_s), as_json)


def _setting(text: str) -> tuple[str, Any]:
    """Return key and value of ``credit=1``. Raises InvalidRequest."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidRequest(f"--set: given {text!r}, allowed is KEY=VALUE, e.g. credit=1")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value  # words without quotation marks


def _show(ordered: WorkersOrdered, as_json: bool) -> None:
    if as_json:
        say_json(dict(ordered))
        return
    for name in ordered.workers:
        say(f"worker {name}: {ordered.state}")
