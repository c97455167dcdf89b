"""``audio-pool keys``: CURVE keys for servers that other machines may reach; keys of the HTTP door beneath ``http``.

Owns: the command that makes CURVE keys.
Must not know: what a key looks like (transport/keys.py).
"""

from __future__ import annotations

from pathlib import Path

import click

from audio_pool.cli import http_keys
from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.terminal import say
from audio_pool.transport.keys import create_keys

__all__ = ["group"]


@click.group("keys", cls=CommandGroup)
def group() -> None:
    """CURVE keys for binds beyond this machine, and keys of the HTTP door."""


group.add_command(http_keys.group)


@group.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", default="client", show_default=True, help="The client these keys are for.")
@click.option("--operator", is_flag=True, help="It may cancel and see anybody's requests, and name any path.")
def create(directory: Path, name: str, operator: bool) -> None:
    """Make a server's key pair (once) and a client's, and put the client on the allow list.

    Give the client's machine NAME.key_secret and server.key; remove allowed_clients/NAME.key to shut it out.
    What else it may do is said in allowed_clients/NAME.toml: see docs/security.md.
    """
    for path in create_keys(directory, name, operator=operator):
        say(str(path))
