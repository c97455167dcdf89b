"""``audio-pool cache deny``, ``confirm`` and ``judged``: what people say of hits, at the terminal.

Owns: their options and what they print.
Must not know: what look-ups make of a judgement (cache/teaching.py).
"""

from __future__ import annotations

import click

from audio_pool.cache.judgements import Judged
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.cache_command import cache_command, date, show
from audio_pool.errors import CallerError

__all__ = ["confirm", "deny", "judged"]

_namespace = click.option("--namespace", default="default", show_default=True, help="Of the requests and the sounds.")
_undo = click.option("--undo", is_flag=True, help="Take back what was said of them.")


@click.command()
@click.argument("query")
@click.option("--prompt", help="The kept prompt that is not to answer for it, from either side.")
@click.option("--id", "entry_id", type=click.IntRange(1), help="The one sound that is not to be offered for it.")
@_namespace
@_undo
@cache_command
def deny(
    cache: AudioSemanticCache,
    as_json: bool,
    query: str,
    prompt: str | None,
    entry_id: int | None,
    namespace: str,
    undo: bool,
) -> None:
    """Deny a hit: QUERY is not answered by sounds of another prompt, or by one sound."""
    if (prompt is None) == (entry_id is None):
        raise CallerError("deny: given neither or both of --prompt and --id", hint="give one of them")
    _judge(cache, as_json, query, "none" if undo else "wrong", prompt, entry_id, namespace)


@click.command()
@click.argument("query")
@click.option("--prompt", required=True, help="The kept prompt that may answer for it, from either side.")
@_namespace
@_undo
@cache_command
def confirm(
    cache: AudioSemanticCache, as_json: bool, query: str, prompt: str, namespace: str, undo: bool
) -> None:
    """Confirm a pair: sounds of another prompt answer for QUERY, though a guard would object."""
    _judge(cache, as_json, query, "none" if undo else "right", prompt, None, namespace)


def _judge(
    cache: AudioSemanticCache,
    as_json: bool,
    query: str,
    verdict: Judged,
    prompt: str | None,
    entry_id: int | None,
    namespace: str,
) -> None:
    told = cache.judge(query, verdict, prompt=prompt, entry_id=entry_id, namespace=namespace)
    show(told, as_json, [_line(told)])


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@cache_command
def judged(cache: AudioSemanticCache, as_json: bool, limit: int) -> None:
    """List what people judged, the newest first."""
    found = cache.judged(limit)
    lines = [f"{date(one['judged_at'])}  {one['source']:<11}  {_line(one)}" for one in found]
    show({"judgements": found}, as_json, lines or ["nobody judged anything"])


def _line(one: dict[str, object]) -> str:
    word = {"wrong": "denied", "right": "confirmed"}.get(str(one["verdict"]), "taken back")
    what = f"entry {one['entry_id']} ({one['prompt']!r})" if one["entry_id"] is not None else repr(one["prompt"])
    where = "" if one["namespace"] == "default" else f" in namespace {one['namespace']!r}"
    return f"{word}: {what} for {one['query']!r}{where}"
