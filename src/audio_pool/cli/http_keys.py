"""``audio-pool keys http``: keys of the HTTP door.

Owns: the commands.
Must not know: what is kept of a key (gateway/key_file.py).
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import json_option
from audio_pool.cli.terminal import say, say_json
from audio_pool.gateway.key_file import HttpKey, create_key, read_keys, revoke_key

__all__ = ["group"]

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
_Amount = click.IntRange(0, 1_000_000)


@click.group("http", cls=CommandGroup)
def group() -> None:
    """Keys of the HTTP door, hashed in FILE (http.keys_file). Changes count at once, without a restart."""


@group.command()
@_file
@click.option("--name", default="client", show_default=True, help="Whom it is for.")
@click.option("--namespace", help="The only namespace that it reads and writes. Default: any.")
@click.option("--operator", is_flag=True, help="It may change and see what is anybody's.")
@click.option("--rate", type=_Amount, default=0, show_default=True, help="Requests a minute; 0: unbounded.")
@click.option("--concurrency", type=_Amount, default=0, show_default=True, help="Sounds at a time; 0: unbounded.")
@click.option("--queue", type=_Amount, default=100, show_default=True, help="Sounds that may wait beyond those.")
@json_option
def create(
    file: Path,
    name: str,
    namespace: str | None,
    operator: bool,
    rate: int,
    concurrency: int,
    queue: int,
    as_json: bool,
) -> None:
    """Make a key and print it: this once, as only its hash is kept."""

    def wanted(sha256: str) -> HttpKey:
        return HttpKey(
            name=name,
            sha256=sha256,
            namespace=namespace,
            operator=operator,
            rate=rate,
            concurrency=concurrency,
            queue=queue,
        )

    key = create_key(file, wanted)
    if as_json:
        say_json({"name": name, "key": key})
    else:
        say(key)


@group.command("list")
@_file
@json_option
def listed(file: Path, as_json: bool) -> None:
    """List the keys: names, rights and quotas."""
    keys = read_keys(file)
    if as_json:
        hidden = [{k: v for k, v in msgspec.to_builtins(key).items() if k != "sha256"} for key in keys]
        say_json({"keys": hidden})
        return
    for key in keys:
        made = time.strftime("%Y-%m-%d", time.localtime(key.created_at))
        rights = ["operator"] * key.operator + [f"namespace {key.namespace}"] * bool(key.namespace)
        bounds = [f"{key.rate} requests a minute"] * bool(key.rate)
        bounds += [f"{key.concurrency} sounds at a time, {key.queue} that wait"] * bool(key.concurrency)
        say(f"{key.name}: made {made}; {'; '.join([*rights, *bounds]) or 'unbounded'}")


@group.command()
@_file
@click.argument("name")
def revoke(file: Path, name: str) -> None:
    """Take a key out: who shows it is turned away from then on."""
    revoke_key(file, name)
    say(f"revoked {name}")
