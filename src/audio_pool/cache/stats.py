"""The figures about a whole cache, put together from where each is kept.

Owns: ``stats_of``: which figures there are, over which times and in which steps.
Must not know: any database, the terminal, the wire.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from audio_pool.api import AnswersOver, CacheStats, KeptOver, PromptCount, Spread
from audio_pool.cache.blobs import Render
from audio_pool.cache.figures import CLAP_STEP, QUALITY_STEP, Kept
from audio_pool.cache.quarantine import Quarantined
from audio_pool.cache.store import Store
from audio_pool.cache.uses import Answers

__all__ = ["HITS", "hit_rate", "stats_of"]

HITS = ("exact", "canonical", "semantic", "global")
"""Stages whose answer was a kept sound, in the order that they are asked in."""
_MB = 1 << 20
_HOUR_S, _DAY_S = 3600, 86_400
_HOURS, _DAYS = 48, 90
_AGES_D = (0, 1, 7, 30, 90, 365)
_PROMPTS = 10


def stats_of(store: Store, now: float, *, renders: Sequence[Render], apart: Sequence[Quarantined]) -> CacheStats:
    """Return all figures.

    Args:
        now: seconds since 1970.
        renders: delivered results that are not kept.
        apart: what is in quarantine.
    """
    inventory, figures = store.inventory, store.figures
    totals = inventory.totals()
    hour = int(now // _HOUR_S)
    told = figures.answers(hour - _HOURS + 1, hour // 24 - _DAYS + 1)
    answers = {one.stage: one.answers for one in told.ever}
    days = figures.days()
    return CacheStats(
        total_items=totals.entries,
        total_size_mb=(totals.size_bytes + totals.renditions_size_bytes) / _MB,
        oldest_item=totals.oldest,
        newest_item=totals.newest,
        average_duration=totals.average_duration_s,
        unique_prompts=totals.prompts,
        average_clap_similarity=totals.average_clap_similarity,
        missing_files=inventory.missing_files(),
        total_duration_s=totals.duration_s,
        renditions=totals.renditions,
        engines=inventory.engines(),
        encoders=store.vectors.counts(),
        renders=len(renders),
        renders_size_mb=sum(render.size_bytes for render in renders) / _MB,
        quarantined=len(apart),
        quarantined_size_mb=sum(item.size_bytes for item in apart) / _MB,
        cache_dir=store.location,
        answers={str(stage): count for stage, count in answers.items()},
        hit_rate=hit_rate({str(stage): count for stage, count in answers.items()}),
        saved_generation_s=round(sum(one.saved_s for one in told.ever), 3),
        hourly=_over(told.hourly),
        daily=_over(told.daily),
        masters_size_mb=totals.size_bytes / _MB,
        kept_daily=tuple(
            KeptOver(start=float(one.day * _DAY_S), entries=one.entries, size_mb=one.size_bytes / _MB)
            for one in days
            if one.day > hour // 24 - _DAYS
        ),
        ages_days=_ages(days, now),
        quality=_spread(figures.qualities(), 0.0, QUALITY_STEP, 100 // QUALITY_STEP),
        clap_similarity=_spread(figures.similarities(), -1.0, CLAP_STEP, round(2 / CLAP_STEP)),
        top_prompts=tuple(
            PromptCount(namespace=one.namespace, prompt=one.prompt, times=one.hits, last=one.last)
            for one in figures.top_prompts(_PROMPTS)
        ),
        worth_warming=tuple(
            PromptCount(namespace=one.namespace, prompt=one.prompt, times=one.times, last=one.last)
            for one in figures.worth_warming(_PROMPTS)
        ),
    )


def hit_rate(answers: dict[str, int]) -> float | None:
    """Return the share of answers that a kept sound gave; None where there was none."""
    total = sum(answers.values())
    return sum(answers.get(stage, 0) for stage in HITS) / total if total else None


def _over(found: Iterable[Answers]) -> tuple[AnswersOver, ...]:
    """Return answers by the hour or day that they were given in; one without any is left out."""
    counts: dict[int, dict[str, int]] = {}
    saved: dict[int, float] = {}
    for one in found:
        counts.setdefault(one.hour, {})[one.stage] = one.answers
        saved[one.hour] = saved.get(one.hour, 0.0) + one.saved_s
    return tuple(
        AnswersOver(start=float(hour * _HOUR_S), answers=answers, saved_s=round(saved[hour], 3))
        for hour, answers in counts.items()
    )


def _ages(days: Iterable[Kept], now: float) -> Spread:
    counts = [0] * len(_AGES_D)
    for one in days:
        age = math.floor(now / _DAY_S) - one.day
        counts[sum(age >= least for least in _AGES_D[1:])] += one.entries
    return Spread(edges=tuple(float(least) for least in _AGES_D), entries=tuple(counts))


def _spread(found: dict[int, int], first: float, step: float, count: int) -> Spread:
    """Return the steps from the first that has an entry to the last."""
    used = sorted(number for number in found if 0 <= number < count)
    if not used:
        return Spread()
    numbers = range(used[0], used[-1] + 1)
    edges = tuple(round(first + number * step, 6) for number in (*numbers, used[-1] + 1))
    return Spread(edges=edges, entries=tuple(found.get(number, 0) for number in numbers))
