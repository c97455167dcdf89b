"""``audio-pool provenance``: the certificate and the key that files are signed with.

Owns: the command that makes one's own.
Must not know: how keys and certificates are made (signing/own_chain.py).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import json_option
from audio_pool.cli.terminal import say, say_json

__all__ = ["group"]

_DAYS = click.IntRange(1, 3650)


@click.group("provenance", cls=CommandGroup)
def group() -> None:
    """What files are signed with: see docs/provenance.md."""


@group.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--organisation", default="audio_pool", show_default=True, help="Whom signatures name.")
@click.option("--days", type=_DAYS, default=730, show_default=True, help="How long the certificate may sign.")
@json_option
def init(directory: Path | None, organisation: str, days: int, as_json: bool) -> None:
    """Make a certificate of one's own and its key in DIRECTORY, and say what to configure.

    Who reads a signature by it is told that it holds and that nobody knows the signer, unless he trusts authority.pem.
    The default DIRECTORY is ~/.config/audio_pool/provenance.
    """
    from audio_pool.signing.own_chain import make_own_chain

    made = make_own_chain(directory or _default(), organisation, days=days, now=time.time())
    if as_json:
        say_json(
            {
                "certificate": str(made.certificate.absolute()),
                "private_key": str(made.private_key.absolute()),
                "authority": str(made.authority.absolute()),
                "not_after": made.not_after,
            }
        )
        return
    say("[provenance]")
    say('sign = "auto"')
    say(f'certificate = "{made.certificate.absolute()}"')
    say(f'private_key = "{made.private_key.absolute()}"')
    say(f"# until {time.strftime('%Y-%m-%d', time.gmtime(made.not_after))}; who trusts {made.authority.absolute()}")
    say("# finds the signatures trusted")


def _default() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "audio_pool" / "provenance"
