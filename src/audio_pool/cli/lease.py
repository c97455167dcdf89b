"""``audio-pool lease``: a GPU of a running server lent to another program, and returned.

Owns: how leases are shown.
Must not know: how a question travels (client/), how a device is left (scheduler).
"""

from __future__ import annotations

import signal
import subprocess

import click

from audio_pool.cli.command_group import CommandGroup, print_error
from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.client.client import AudioClient
from audio_pool.errors import NotFound
from audio_pool.staffing import LeaseReport

__all__ = ["group"]

_server_options = with_options(
    connect_option,
    keys_option,
    click.option("--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Seconds to wait."),
    json_option,
)
_within_option = click.option(
    "--within",
    "within_s",
    type=click.FloatRange(0.0, 3600.0),
    default=10.0,
    show_default=True,
    help="Seconds in which the device is to be free: what is at work there may end meanwhile.",
)
_holder_option = click.option("--holder", help="A name for who has it. Default: this user.")


@click.group(cls=CommandGroup)
def group() -> None:
    """GPUs lent to other programs: take, return, list, run.

    Asks the server at --connect, or at this user's default address. For operators.
    """


@group.command()
@click.argument("device")
@_within_option
@click.option(
    "--for",
    "for_s",
    type=click.FloatRange(0.1, 604_800.0),
    default=600.0,
    show_default=True,
    help="Seconds for which it is lent, from when it is free. Take it again to have it longer.",
)
@click.option("--until-returned", is_flag=True, help="Instead of --for: without an end.")
@_holder_option
@_server_options
def take(
    device: str,
    within_s: float,
    for_s: float,
    until_returned: bool,
    holder: str | None,
    connect: str | None,
    keys: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Have every worker leave DEVICE (as a worker's 'gpu' names it, e.g. 1); end when it is free."""
    with AudioClient(connect, keys=keys) as client:
        lease = client.leases.take(
            device,
            within_s=within_s,
            for_s=None if until_returned else for_s,
            holder=holder,
            timeout_s=within_s + timeout_s,
        )
    if as_json:
        say_json(dict(lease))
    else:
        say(_line(lease))


@group.command("return")
@click.argument("device")
@_server_options
def give_back(device: str, connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """Return DEVICE: its workers come back."""
    with AudioClient(connect, keys=keys) as client:
        returned = client.leases.give_back(device, timeout_s=timeout_s)
    if as_json:
        say_json(dict(returned))
    elif returned.returned:
        say(f"device {device} is returned")
    if not returned.returned:
        print_error(NotFound(f"device {device!r} is not lent"))
        raise click.exceptions.Exit(2)


@group.command("list")
@_server_options
def listed(connect: str | None, keys: str | None, timeout_s: float, as_json: bool) -> None:
    """List the devices that are lent."""
    with AudioClient(connect, keys=keys) as client:
        leases = client.leases.list(timeout_s=timeout_s)
    if as_json:
        say_json({"leases": [dict(lease) for lease in leases]})
        return
    for lease in leases:
        say(_line(lease))
    if not leases:
        say("no device is lent")


@group.command(context_settings={"ignore_unknown_options": True})
@click.argument("device")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_within_option
@_holder_option
@connect_option
@keys_option
def run(
    device: str, command: tuple[str, ...], within_s: float, holder: str | None, connect: str | None, keys: str | None
) -> None:
    """Take DEVICE, run COMMAND once it is free, and return it when that ends; also when this is killed.

    Ends with the command's exit code. Options of this command go before DEVICE.
    """
    with AudioClient(connect, keys=keys) as client:
        client.leases.take(device, within_s=within_s, for_s=None, holder=holder, while_connected=True)
        try:
            with subprocess.Popen(command) as process:
                code = _code_of(process)
        finally:
            client.leases.give_back(device)
    raise click.exceptions.Exit(code)


def _code_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command, which hears of a ^C itself and of a TERM through this."""
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def _line(lease: LeaseReport) -> str:
    state = "free" if lease.state == "free" else f"being left, {lease.free_in_s:.0f} s at most"
    left = "until it is returned" if lease.left_s is None else f"for {lease.left_s:.0f} s"
    again = f"; {lease.begun_again} jobs are begun again" if lease.begun_again else ""
    return f"device {lease.device}: {state}, lent to {lease.holder!r} {left}; away: {', '.join(lease.workers)}{again}"
