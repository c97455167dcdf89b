"""``audio-pool status`` and ``cancel``: questions to a running server.

Owns: how the answers are shown, and which exit code they mean.
Must not know: how a question travels (client/).
"""

from __future__ import annotations

import click

from audio_pool.cli.command_group import print_error
from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.client.client import AudioClient
from audio_pool.errors import NotFound

__all__ = ["cancel", "status"]


_server_options = with_options(
    connect_option,
    keys_option,
    click.option("--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Seconds to wait."),
    json_option,
)


@click.command()
@_server_options
def status(connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Show what a running server is doing: workers, queue, counters. Exit code 1 where it is not ready.

    Without --connect: the server at this user's default address.
    """
    with AudioClient(connect, keys=keys) as client:
        found = client.status(timeout_s=timeout_s)
        healthy = client.health(timeout_s=timeout_s)
        told_by = f", told by {client.address}" if connect and "," in connect else ""
    if as_json:
        say_json({**found, "reasons": healthy.reasons})
    else:
        say(f"{healthy.state}: {found.requests} requests, {found.waiting} waiting{told_by}")
        for reason in healthy.reasons:
            say(f"  {reason}")
        for name, worker in found.workers.items():
            lacks = f" ({worker.pending})" if worker.pending else ""
            engines = ", ".join(worker.engines) or "no engines"
            say(
                f"  {name}: {worker.state}{lacks}, {engines} on {worker.device or '?'}, "
                f"{worker.tasks} tasks in hand, {worker.tasks_done} done, {worker.crashes} crashes in a row"
            )
        say(f"  look-up by meaning: {found.semantic}; cache: {found.cache}")
        for head in found.heads:
            say(f"  another head of this cache: {head}")
        say(f"  answers: {found.answers}; from: {found.cache_types}")
    if healthy.state != "ready":
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("request_id")
@_server_options
def cancel(request_id: str, connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Cancel the request with this id on a running server.

    Without --connect: the server at this user's default address.
    """
    with AudioClient(connect, keys=keys) as client:
        cancellation = client.cancel(request_id, timeout_s=timeout_s)
    if as_json:
        say_json(dict(cancellation))
    elif cancellation.cancelled:
        say(f"cancelled {request_id}")
    if not cancellation.cancelled:
        print_error(NotFound(f"no request {request_id!r} is in flight; it may have finished"))
        raise click.exceptions.Exit(2)
