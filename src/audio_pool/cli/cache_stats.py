"""``audio-pool cache stats`` and ``report``: figures about the whole cache, as text and as a page.

Owns: which of them are printed, and how.
Must not know: where they are kept (cache/stats.py).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from audio_pool.api import Spread
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.stats import HITS, hit_rate
from audio_pool.cli.cache_command import cache_command, counts, date, figure, show, size
from audio_pool.cli.options import overwrite_option
from audio_pool.cli.outputs import check_replaceable
from audio_pool.cli.report_page import page
from audio_pool.replacement import replacing

__all__ = ["report", "stats"]

_PROMPTS = 5


@click.command()
@cache_command
def stats(cache: AudioSemanticCache, as_json: bool) -> None:
    """Show how much is in the cache, how it is used, and what would be worth making beforehand."""
    found = cache.get_cache_stats()
    lines = [
        f"directory           {found.cache_dir}",
        f"items               {found.total_items:,} ({found.unique_prompts:,} prompts)",
        f"size                {size(found.total_size_mb)}, with {found.renditions:,} renditions",
        f"average duration    {figure(found.average_duration, ' s')}",
        f"average CLAP        {figure(found.average_clap_similarity)}",
        f"oldest, newest      {date(found.oldest_item)}, {date(found.newest_item)}",
        f"missing files       {found.missing_files:,}",
        f"engines             {counts(found.engines)}",
        f"vectors             {counts(found.encoders)}",
        f"quarantine          {found.quarantined:,} files ({size(found.quarantined_size_mb)})",
        f"renders (not kept)  {found.renders:,} ({size(found.renders_size_mb)})",
        f"ages (days)         {_spread(found.ages_days)}",
        f"quality             {_spread(found.quality)}",
        f"CLAP                {_spread(found.clap_similarity)}",
        f"answers             {_answers(found.answers)}",
        f"  last 24 hours     {_answers(_sum([one.answers for one in found.hourly[-24:]]))}",
        f"saved               {found.saved_generation_s:,.0f} s of generating",
    ]
    for title, prompts in (("found most", found.top_prompts), ("worth warming", found.worth_warming)):
        lines += [f"{title:<20}{one.times:,} x {one.prompt!r}" for one in prompts[:_PROMPTS]]
    show(found.to_dict(), as_json, lines)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@overwrite_option
@cache_command
def report(cache: AudioSemanticCache, as_json: bool, file: Path, overwrite: bool) -> None:
    """Write the figures of ``stats`` as a page with plots into FILE (HTML): opens offline, loads nothing."""
    target = file.absolute()
    check_replaceable([target], overwrite, "FILE")
    text = page(cache.get_cache_stats(), time.time())
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with replacing(folder, target.name, str(file)) as out:
            out.write(text.encode())
    finally:
        os.close(folder)
    show({"file": str(target)}, as_json, [f"written to {target}"])


def _sum(parts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for stage, count in part.items():
            total[stage] = total.get(stage, 0) + count
    return total


def _answers(answers: dict[str, int]) -> str:
    """Return the share of hits and the number of each stage's."""
    rate = hit_rate(answers)
    if rate is None:
        return "none"
    stages = {stage: answers[stage] for stage in (*HITS, "joined", "looser", "new_generation") if answers.get(stage)}
    return f"{rate:.1%} hits: " + ", ".join(f"{stage} {count:,}" for stage, count in stages.items())


def _spread(spread: Spread) -> str:
    """Return the steps that have entries."""
    steps = zip(spread.edges, spread.entries, strict=False)  # one edge more may say where the last step ends
    return ", ".join(f"from {edge:g}: {count:,}" for edge, count in steps if count) or "none"
