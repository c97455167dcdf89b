"""``audio-pool keys``: CURVE keys for servers that other machines may reach.

Owns: the command.
Must not know: what a key looks like (transport/keys.py).
"""

from __future__ import annotations

from pathlib import Path

import click

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.terminal import say
from audio_pool.transport.keys import create_keys

__all__ = ["group"]


@click.group("keys", cls=CommandGroup)
def group() -> None:
    """CURVE keys for binds beyond this machine."""


@group.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", default="client", show_default=True, help="The client these keys are for.")
def create(directory: Path, name: str) -> None:
    """Make a server's key pair (once) and a client's, and put the client on the allow list.

    Give the client's machine NAME.key_secret and server.key; remove allowed_clients/NAME.key to shut it out.
    """
    for path in create_keys(directory, name):
        say(str(path))
