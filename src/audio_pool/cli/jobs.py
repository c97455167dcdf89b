"""``audio-pool jobs``: the durable jobs of this user on a running server, or those that a stopped one left.

Owns: how jobs are shown.
Must not know: how a question travels (client/), how jobs are kept (jobs/).
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from audio_pool.api import JobReport, JobState
from audio_pool.cli.command_group import CommandGroup, print_error
from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.client.client import AudioClient
from audio_pool.errors import NotFound

__all__ = ["group"]

_STATES: tuple[JobState, ...] = ("pending", "running", "done", "failed", "cancelled", "expired")
_server_options = with_options(
    connect_option,
    keys_option,
    click.option("--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Seconds to wait."),
    json_option,
)


@click.group(cls=CommandGroup)
def group() -> None:
    """Durable jobs: list, show, cancel, retry.

    Asks the server at --connect, or at this user's default address, for the jobs of whoever asks.
    """


@group.command("list")
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="Only such jobs. Repeatable.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The newest so many.")
@click.option("--offline", metavar="PLACE", help="Read this jobs.dir, or postgresql:// database, and ask no server.")
@click.option("--schema", default="audio_pool", show_default=True, help="Of a database that --offline names.")
@_server_options
def listed(
    states: tuple[JobState, ...],
    limit: int,
    offline: str | None,
    schema: str,
    connect: str | None,
    keys: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """List durable jobs, the newest first."""
    if offline is not None:
        found = _left_in(offline, schema, states, limit)
    else:
        with AudioClient(connect, keys=keys) as client:
            found = client.jobs(states, limit, timeout_s=timeout_s).jobs
    if as_json:
        say_json({"jobs": [dict(job) for job in found]})
        return
    for job in found:
        say(f"{job.request_id}  {job.state:9}  {_ago(job.created_at)}  {job.prompt}")
    if not found:
        say("no jobs")


@group.command()
@click.argument("request_id")
@click.option("--wait", "wait_s", type=click.FloatRange(0.0, 60.0), default=0.0, help="Seconds to wait for its end.")
@_server_options
def show(
    request_id: str, wait_s: float, connect: str | None, keys: str | None, timeout_s: float, as_json: bool
) -> None:
    """Show one durable job. Exit code 1 where it ended without a sound."""
    with AudioClient(connect, keys=keys) as client:
        job = client.job(request_id, wait_s=wait_s, timeout_s=timeout_s)
    _print(job, as_json)
    if job.state in ("failed", "cancelled", "expired"):
        raise click.exceptions.Exit(1)


@group.command()
@click.argument("request_id")
@_server_options
def cancel(request_id: str, connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Cancel a durable job that has not ended, for good."""
    with AudioClient(connect, keys=keys) as client:
        cancellation = client.cancel(request_id, timeout_s=timeout_s)
    if as_json:
        say_json(dict(cancellation))
    elif cancellation.cancelled:
        say(f"cancelled {request_id}")
    if not cancellation.cancelled:
        print_error(NotFound(f"no job {request_id!r} of yours is unfinished"))
        raise click.exceptions.Exit(2)


@group.command()
@click.argument("request_id")
@_server_options
def retry(request_id: str, connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Have a durable job that ended without a sound done again."""
    with AudioClient(connect, keys=keys) as client:
        _print(client.retry(request_id, timeout_s=timeout_s), as_json)


def _left_in(place: str, schema: str, states: tuple[JobState, ...], limit: int) -> tuple[JobReport, ...]:
    from audio_pool.cache.shared import SharedStore
    from audio_pool.jobs.record import report_of
    from audio_pool.pool.job_parts import looked_at

    with looked_at(SharedStore(url=place, schema=schema) if "://" in place else Path(place).absolute()) as journal:
        records = [record for owner in journal.owners() for record in journal.newest(owner, states or _STATES, limit)]
    records.sort(key=lambda record: record.created_at, reverse=True)
    return tuple(report_of(record, whole=False) for record in records[:limit])


def _print(job: JobReport, as_json: bool) -> None:
    if as_json:
        say_json(dict(job))
        return
    say(f"{job.request_id}: {job.state}")
    say(f"  {job.prompt}")
    say(f"  asked for {_ago(job.created_at)}, given to a worker {job.attempts} times")
    if job.path is not None:
        say(f"  {job.path}")
    if job.error is not None:
        say(f"  {job.error.code}: {job.error.message}")
    if job.expires_at is not None:
        say(f"  kept for {max(0.0, job.expires_at - time.time()):.0f} s more")


def _ago(when: float) -> str:
    return f"{max(0.0, time.time() - when):.0f} s ago"
