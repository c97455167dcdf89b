"""The figures of a cache as one page: opens offline, needs no script, light or dark as its reader's system is.

Owns: what the page shows and how it looks.
Must not know: where the figures come from, files.

Prompts are other people's words: each is escaped, and what could move or hide text is shown as an escape.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape

from audio_pool.api import AnswersOver, CacheStats, PromptCount, Spread
from audio_pool.cache.stats import HITS, hit_rate
from audio_pool.cli.svg_plot import Bar, Line, plot
from audio_pool.cli.terminal import one_line

__all__ = ["page"]

_HOUR_S, _DAY_S = 3600, 86_400
_STAGES = {
    "exact": "the same words",
    "canonical": "words that say the same",
    "semantic": "by meaning",
    "global": "by sound",
    "joined": "joined one in the making",
    "new_generation": "made anew",
}
"""From the floor of a bar up."""
_AGES = ("today", "1 to 6 days", "1 to 4 weeks", "1 to 3 months", "3 to 12 months", "over a year")
_WARMING = "missed most often, and without a sound even now"

_STYLE = """
:root { color-scheme: light dark;
  --paper: #fdfcfa; --card: #ffffff; --ink: #1d1b22; --grey: #66626e; --grid: #e4e1e8; --line: #1d1b22;
  --exact: #2f6fb0; --canonical: #2a9a94; --semantic: #7b5cb8; --global: #b8487e; --joined: #a8a4b0;
  --new_generation: #d98a2b; --plain: #2f6fb0; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #16151a; --card: #1f1e25; --ink: #eceaf0; --grey: #a19dab; --grid: #35333d; --line: #eceaf0;
  --exact: #6aa5e0; --canonical: #4dc2bb; --semantic: #a98be6; --global: #e377aa; --joined: #77737f;
  --new_generation: #eba94f; --plain: #6aa5e0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 32px 24px 64px; max-width: 1560px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 24px; } h2 { margin: 0 0 10px; font-size: 16px; }
p.note, p.under { margin: 4px 0 0; color: var(--grey); overflow-wrap: anywhere; } p.under { margin: 0 0 24px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 14px; margin-bottom: 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); gap: 14px; }
.tile, .card { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 14px 18px; }
.tile b { display: block; font-size: 22px; line-height: 1.3; } .tile span { color: var(--grey); }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--grey); } .tick { text-anchor: end; } .label { text-anchor: middle; }
.grid { stroke: var(--grid); stroke-width: 1; } .hover { fill: transparent; } .share { text-anchor: start; }
.line { fill: none; stroke: var(--line); stroke-width: 1.5; } .dot { fill: var(--line); }
.exact { fill: var(--exact); } .canonical { fill: var(--canonical); } .semantic { fill: var(--semantic); }
.global { fill: var(--global); } .joined { fill: var(--joined); } .new_generation { fill: var(--new_generation); }
.plain { fill: var(--plain); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin-top: 8px; color: var(--grey); font-size: 13px; }
.legend svg { display: inline-block; width: 11px; height: 11px; margin-right: 5px; }
table { width: 100%; border-collapse: collapse; } td, th { padding: 5px 0; text-align: left; vertical-align: top; }
th { color: var(--grey); font-weight: normal; border-bottom: 1px solid var(--grid); }
td { border-bottom: 1px solid var(--grid); overflow-wrap: anywhere; } tr:last-child td { border: 0; }
td.n, th.n { text-align: right; padding-left: 16px; white-space: nowrap; font-variant-numeric: tabular-nums; }
"""


def page(found: CacheStats, now: float) -> str:
    """Return the page as HTML.

    Args:
        now: seconds since 1970.
    """
    cards = [
        _answers("Answers by day", found.daily, _DAY_S, "no day of the last 90 had an answer"),
        _answers("Answers by hour", found.hourly, _HOUR_S, "no hour of the last 48 had an answer"),
        _saved(found.daily),
        _kept(found, now),
        _spread("Ages", found.ages_days, _AGES),
        _spread("Quality", found.quality, note="score of the gate, 0 to 100"),
        _spread("CLAP similarity", found.clap_similarity, note="of prompt and sound; entries without one are left out"),
        _counts("Entries by engine", found.engines),
        _prompts("Found most often", found.top_prompts, "found", "last found"),
        _prompts("Worth warming", found.worth_warming, "missed", "last missed", _WARMING),
    ]
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Sound cache, {made}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Sound cache</h1>
<p class="under">{_shown(found.cache_dir)}, {made}</p>
<div class="tiles">{_tiles(found)}</div>
<div class="cards">
{"".join(cards)}
</div>
</body>
</html>
"""


def _tiles(found: CacheStats) -> str:
    rate = "–" if found.hit_rate is None else f"{found.hit_rate:.1%}"
    clap = "–" if found.average_clap_similarity is None else f"{found.average_clap_similarity:.2f}"
    tiles = (
        (f"{found.total_items:,}", f"sounds of {found.unique_prompts:,} prompts"),
        (_size(found.total_size_mb), f"with {found.renditions:,} renditions"),
        (rate, f"of {sum(found.answers.values()):,} answers from the cache"),
        (_time(found.saved_generation_s), "of generating saved"),
        (_time(found.total_duration_s), "of sound"),
        (clap, "average CLAP similarity"),
        (f"{found.missing_files:,}", "missing files"),
        (f"{found.quarantined:,}", "files in quarantine"),
    )
    return "".join(f'<div class="tile"><b>{escape(value)}</b><span>{what}</span></div>' for value, what in tiles)


def _card(title: str, body: str, note: str = "") -> str:
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="card"><h2>{escape(title)}</h2>{body}{told}</section>\n'


def _nothing(why: str) -> str:
    return f'<p class="note">{escape(why)}</p>'


def _answers(title: str, over: Sequence[AnswersOver], step_s: int, nothing: str) -> str:
    if not over:
        return _card(title, _nothing(nothing))
    bars, rates = [], []
    for one in _without_gaps(over, step_s):
        rate = hit_rate(one.answers)
        rates.append(rate)
        label = time.strftime("%d %b" if step_s == _DAY_S else "%H:%M", time.gmtime(one.start))
        told = ", ".join(f"{_STAGES.get(stage, stage)} {count:,}" for stage, count in one.answers.items())
        tip = f"{label}: {told}; {rate:.1%} hits" if rate is not None else f"{label}: none"
        parts = tuple((stage, float(one.answers.get(stage, 0))) for stage in _STAGES)
        bars.append(Bar(label, parts, tip))
    there = [stage for stage in _STAGES if any(one.answers.get(stage) for one in over)]
    keys = "".join(
        f'<span><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{stage}" width="10" height="10"/></svg>'
        f"{_STAGES[stage]}</span>"
        for stage in there
    )
    drawn = plot(title, bars, line=Line("hit rate", tuple(rates)))
    note = f"the line: share of hits ({', '.join(_STAGES[stage] for stage in HITS)}); times are UTC"
    return _card(title, f'{drawn}<div class="legend">{keys}</div>', note)


def _without_gaps(over: Sequence[AnswersOver], step_s: int) -> list[AnswersOver]:
    """Return every hour or day from the first to the last, also those in which nothing was asked."""
    known = {one.start: one for one in over}
    count = round((over[-1].start - over[0].start) / step_s) + 1
    starts = [over[0].start + number * step_s for number in range(count)]
    return [known.get(start, AnswersOver(start=start)) for start in starts]


def _saved(daily: Sequence[AnswersOver]) -> str:
    title = "Seconds of generating saved by day"
    if not any(one.saved_s for one in daily):
        return _card(title, _nothing("nothing was saved in the last 90 days"))
    bars = []
    for one in _without_gaps(daily, _DAY_S):
        label = time.strftime("%d %b", time.gmtime(one.start))
        bars.append(Bar(label, (("plain", one.saved_s),), f"{label}: {_time(one.saved_s)}"))
    return _card(title, plot(title, bars, unit=" s"), "what the sounds that were found took to make, once")


def _kept(found: CacheStats, now: float) -> str:
    title = "Size by day"
    if not found.kept_daily:
        return _card(title, _nothing("nothing was kept in the last 90 days"))
    today, known = int(now // _DAY_S), {int(one.start // _DAY_S): one for one in found.kept_daily}
    first = min(known)
    unit, part = ("GB", 1024) if found.masters_size_mb >= 10 * 1024 else ("MB", 1)
    total = found.masters_size_mb - sum(one.size_mb for one in found.kept_daily)
    bars = []
    for day in range(first, max(today, max(known)) + 1):
        new = known.get(day)
        total += new.size_mb if new else 0.0
        label = time.strftime("%d %b", time.gmtime(day * _DAY_S))
        told = f"{new.entries:,} kept, {_size(new.size_mb)}" if new else "nothing kept"
        bars.append(Bar(label, (("plain", max(0.0, total) / part),), f"{label}: {_size(max(0.0, total))}; {told}"))
    note = "masters that are there today, by the day that they were kept"
    return _card(title, plot(title, bars, unit=f" {unit}"), note)


def _spread(title: str, spread: Spread, names: Sequence[str] = (), note: str = "") -> str:
    if not any(spread.entries):
        return _card(title, _nothing("no entry has one"))
    bars = []
    for number, count in enumerate(spread.entries):
        label = names[number] if names else f"{spread.edges[number]:g}"
        upto = f" to {spread.edges[number + 1]:g}" if not names and number + 1 < len(spread.edges) else ""
        bars.append(Bar(label, (("plain", float(count)),), f"{label}{upto}: {count:,} entries"))
    return _card(title, plot(title, bars), note)


def _counts(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return _card(title, _nothing("there is no entry"))
    bars = [
        Bar(one_line(name)[:16], (("plain", float(count)),), f"{one_line(name)}: {count:,}")
        for name, count in sorted(counts.items(), key=lambda pair: -pair[1])
    ]
    return _card(title, plot(title, bars))


def _prompts(title: str, prompts: Sequence[PromptCount], times: str, last: str, note: str = "") -> str:
    if not prompts:
        return _card(title, _nothing("none"), note)
    spaces = len({one.namespace for one in prompts}) > 1
    rows = "".join(
        f"<tr><td>{_shown(one.prompt)}{f' ({_shown(one.namespace)})' if spaces else ''}</td>"
        f'<td class="n">{one.times:,}</td><td class="n">{time.strftime("%Y-%m-%d", time.localtime(one.last))}</td></tr>'
        for one in prompts
    )
    head = f'<tr><th>prompt</th><th class="n">{times}</th><th class="n">{last}</th></tr>'
    return _card(title, f"<table>{head}{rows}</table>", note)


def _shown(text: str) -> str:
    return escape(one_line(text))


def _size(mb: float) -> str:
    return f"{mb / 1024:,.1f} GB" if mb >= 10 * 1024 else f"{mb:,.1f} MB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / _HOUR_S:,.1f} h"
