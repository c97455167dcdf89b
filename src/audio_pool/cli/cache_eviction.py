"""``audio-pool cache plan-eviction``: what would go, and why.

Owns: its options and what it prints.
Must not know: what a sound is worth, which goes first (cache/eviction.py).
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.cache_command import Json, cache_command, date, figure, show, size
from audio_pool.cli.options import config_option
from audio_pool.config import load_config
from audio_pool.pool.cache_limits import limits_of

__all__ = ["plan_eviction"]


@click.command("plan-eviction")
@click.option("--max-size-gb", type=click.FloatRange(0), help="Instead of the configuration's.")
@click.option("--max-items", type=click.IntRange(0), help="Instead of the configuration's.")
@click.option("--ttl-days", type=click.FloatRange(0), help="Instead of the configuration's.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many are listed."
)
@config_option
@cache_command
def plan_eviction(
    cache: AudioSemanticCache, as_json: bool, config_path: str | None, limit: int, **instead: Any
) -> None:
    """Show what would be evicted now, and what each sound's worth consists of. Nothing is removed.

    The bounds are those of the configuration, or what the options say.
    """
    config = load_config(config_path).cache
    given = {name: value for name, value in instead.items() if value is not None}
    plan = cache.plan_eviction(limits_of(msgspec.structs.replace(config, **given)), limit)
    show(plan, as_json, list(_lines(plan)))


def _lines(plan: Json) -> list[str]:
    lines = [f"held        {plan['held_items']:,} sounds, {size(plan['held_mb'])}"]
    if not plan["items"]:
        return [*lines, "nothing would go" if plan["bounded"] else "no bound is set: nothing would ever go"]
    lines.append(f"would go    {plan['items']:,} sounds, {size(plan['size_mb'])}")
    if plan["delivered_just_now"]:
        lines.append(
            f"            {plan['delivered_just_now']:,} of them were delivered just now: nothing else is left"
        )
    lines.append(
        f"{'id':>6}  {'worth':>9}  {'cost s':>7}  {'hits':>5}  {'last used':<16}  {'quality':>7}"
        f"  {'variant':>7}  {'kB':>8}  because of      prompt"
    )
    for one in plan["victims"]:
        because = one["why"] + (f" of {one['scope']}" if one["scope"] else "")
        lines.append(
            f"{one['id']:>6}  {one['worth']:>9.3g}  {one['cost_s']:>7.2f}  {one['hits']:>5}  {date(one['last_used'])}"
            f"  {figure(one['quality']):>7}  {one['place']:>3}/{one['variants']:<3}  {one['size_kb']:>8.1f}"
            f"  {because:<14}  {one['prompt']}"
        )
    if plan["items"] > len(plan["victims"]):
        lines.append(f"... and {plan['items'] - len(plan['victims']):,} more; --limit shows them")
    return lines
