"""``audio-pool cache list``: the entries, filtered and sorted.

Owns: its options and what it prints.
Must not know: how entries are found (cache/inventory.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.cache_command import cache_command, show, table

__all__ = ["list_items"]

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]


def _name_and_value(
    context: click.Context, parameter: click.Parameter, given: str | None
) -> tuple[str, str] | None:
    """Part NAME=VALUE at its first equals sign."""
    if given is None:
        return None
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"given {given!r}, allowed is NAME=VALUE, e.g. game=harbour")
    return name, value


@click.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--tag", help="Only entries that carry this tag.")
@click.option("--label", metavar="NAME=VALUE", callback=_name_and_value, help="Only entries with this label.")
@click.option("--engine", help="Only entries of this named model.")
@click.option("--namespace", help="Only entries of this namespace.")
@click.option("--since", type=click.DateTime(_DATES), help="Only entries kept on this day or later.")
@click.option("--until", type=click.DateTime(_DATES), help="Only entries kept before this day.")
@click.option("--min-quality", type=click.FloatRange(0, 100), help="Least score of the quality gate.")
@click.option("--min-clap", type=click.FloatRange(-1, 1), help="Least CLAP similarity.")
@click.option("--loop/--no-loop", default=None, help="Only loops, or only one-shots.")
@click.option("--min-rating", type=click.IntRange(1, 5), help="Least rating.")
@click.option("--favourite/--no-favourite", default=None, help="Only favourites, or none of them.")
@click.option(
    "--sort",
    type=click.Choice(["timestamp", "clap_similarity", "duration", "prompt", "size", "hits", "last_use"]),
    default="timestamp",
    show_default=True,
    help="Newest, best, longest, from A to Z, largest, most or latest used first.",
)
@click.option("--oldest-first", is_flag=True, help="The other way round: oldest, worst, shortest, from Z to A, ...")
@cache_command
def list_items(
    cache: AudioSemanticCache,
    as_json: bool,
    limit: int,
    sort: str,
    oldest_first: bool,
    since: datetime | None,
    until: datetime | None,
    **only: Any,
) -> None:
    """List the entries, one per line."""
    only["since"] = None if since is None else since.timestamp()
    only["until"] = None if until is None else until.timestamp()
    reverse = oldest_first if sort == "prompt" else not oldest_first
    items = cache.list_cache_items(limit, sort, reverse, **only)
    filtered = any(value is not None for value in only.values())
    nothing = "no entry is like that" if filtered else "the cache is empty"
    show({"items": items}, as_json, table(items) or [nothing])
