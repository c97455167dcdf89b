"""``audio-pool cache search``: kept sounds by words and by meaning.

Owns: its options and what it prints.
Must not know: how words and meaning are searched (cache/search.py).
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.cache_command import cache_command, date, figure, show
from audio_pool.cli.options import config_option
from audio_pool.errors import CallerError
from audio_pool.library import MAX_PAGE, KeptSound, SoundSearch
from audio_pool.validation import parse

__all__ = ["search"]


@click.command()
@click.argument("words", nargs=-1)
@click.option("--meaning", help="What the sounds are to be like, in other words; the nearest first.")
@click.option("--tag", "tags", multiple=True, help="Only entries that carry this tag; may be repeated.")
@click.option("--engine", help="Only entries of this named model.")
@click.option("--namespace", help="Only entries of this namespace. Default: default.")
@click.option("--shortest", "shortest_s", type=click.FloatRange(0), help="Least seconds.")
@click.option("--longest", "longest_s", type=click.FloatRange(0), help="Most seconds.")
@click.option("--loop/--no-loop", default=None, help="Only loops, or only one-shots.")
@click.option("--min-quality", type=click.FloatRange(0, 100), help="Least score of the quality gate.")
@click.option("--min-rating", type=click.IntRange(1, 5), help="Least rating.")
@click.option("--favourite/--no-favourite", default=None, help="Only favourites, or none of them.")
@click.option("--sort", help="newest, oldest, rating, quality, longest, shortest or last_used.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True, help="How many.")
@click.option("--after", help="The 'next' of the page before.")
@click.option("--encoder", default="auto", show_default=True, help="For --meaning: auto, or an embedder engine's name.")
@config_option
@cache_command
def search(
    cache: AudioSemanticCache,
    as_json: bool,
    words: tuple[str, ...],
    encoder: str,
    config_path: str | None,
    **asked: Any,
) -> None:
    """Search kept sounds: all WORDS stand in their prompts, whole, or with a star behind it as a beginning (thun*)."""
    fields = {name: value for name, value in asked.items() if value not in (None, ())}
    wanted = parse(SoundSearch, {**fields, "words": " ".join(words)}, what="search")
    vectors = None
    if wanted.meaning:
        from audio_pool.cli.explaining import meaning_of

        vectors, warnings = meaning_of(cache.directory, wanted.meaning, encoder, config_path)
        if not vectors:
            raise CallerError(f"meaning: {'; '.join(warnings) or 'nothing compares it'}", hint="search by words")
    found = cache.search(wanted, vectors)
    lines = [_line(one) for one in found.sounds] or ["no entry is like that"]
    if found.next:
        lines.append(f"more with --after {found.next}")
    show(msgspec.to_builtins(found), as_json, lines)


def _line(one: KeptSound) -> str:
    near = f"{one.score:5.2f}  " if isinstance(one.score, float) else ""
    marks = f"{'*' * (one.rating or 0):<5}{' favourite' if one.favourite else ''}"
    measured = f"{near}{one.duration_s:>7.2f} s  {figure(one.quality):>6}  {date(one.created_at)}"
    return f"{one.id:>6}  {measured}  {marks}  {one.prompt}"
