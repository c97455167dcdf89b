"""``audio-pool cache rate``, ``tag`` and ``favourite``: what people mark of kept sounds, at the terminal.

Owns: their options and what they print.
Must not know: where marks are kept (cache/marks.py).
"""

from __future__ import annotations

import click

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.cache_command import cache_command, show
from audio_pool.errors import CallerError
from audio_pool.library import SoundMarks
from audio_pool.validation import parse

__all__ = ["favourite", "rate", "tag"]

_id = click.argument("entry_id", metavar="ID", type=click.IntRange(1))
_undo = click.option("--undo", is_flag=True, help="Take it back.")


@click.command()
@_id
@click.argument("rating", type=click.IntRange(0, 5))
@cache_command
def rate(cache: AudioSemanticCache, as_json: bool, entry_id: int, rating: int) -> None:
    """Rate the entry ID with 1 to 5; 0 takes a rating back."""
    found = cache.mark(entry_id, SoundMarks(rating=rating))
    told = f"rated {found['rating']} of 5" if found["rating"] else "not rated any more"
    show(found, as_json, [f"entry {entry_id} is {told}"])


@click.command()
@_id
@click.option("--add", "added", metavar="TAG", multiple=True, help="A tag that it is to have; may be repeated.")
@click.option("--remove", "removed", metavar="TAG", multiple=True, help="A tag that it is to lose; may be repeated.")
@cache_command
def tag(
    cache: AudioSemanticCache, as_json: bool, entry_id: int, added: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Change the tags of the entry ID, by which it is found."""
    if not added and not removed:
        raise CallerError("tag: given neither --add nor --remove", hint="give at least one tag")
    change = parse(SoundMarks, {"add_tags": list(added), "remove_tags": list(removed)}, what="tag")
    found = cache.mark(entry_id, change)
    show(found, as_json, [f"entry {entry_id} has the tags {', '.join(found['tags']) or 'none'}"])


@click.command()
@_id
@_undo
@cache_command
def favourite(cache: AudioSemanticCache, as_json: bool, entry_id: int, undo: bool) -> None:
    """Make the entry ID a favourite."""
    found = cache.mark(entry_id, SoundMarks(favourite=not undo))
    told = "a favourite" if found["favourite"] else "no favourite any more"
    show(found, as_json, [f"entry {entry_id} is {told}"])
