"""What the commands of ``audio-pool cache`` have in common: how they open the directory, and how they print.

Owns: the options of every such command; tables, sizes and dates as text.
Must not know: any single command.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.options import cache_dir_option, json_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.config import load_config

__all__ = ["Json", "cache_command", "counts", "date", "figure", "show", "size", "table", "when"]

Json = dict[str, Any]  # the documented output of docs/manager.md


def cache_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every command has; open the cache for it."""

    @with_options(cache_dir_option, json_option)
    @functools.wraps(function)
    def opened(*, cache_dir: str | None, as_json: bool, **options: Any) -> None:
        place = cache_dir if cache_dir is not None else str(load_config(options.get("config_path")).cache_dir)
        with AudioSemanticCache(place) as cache:
            function(cache, as_json, **options)

    return opened


def show(value: Json, as_json: bool, lines: list[str]) -> None:
    """Print the value as one JSON object, or the lines."""
    if as_json:
        say_json(value)
        return
    for line in lines:
        say(line)


def table(items: Sequence[Json]) -> list[str]:
    """Return entries, one a line, under a heading; nothing where there are none."""
    if not items:
        return []
    lines = [f"{'id':>6}  {'seconds':>7}  {'CLAP':>5}  {'kB':>8}  {'days':>6}  prompt"]
    for item in items:
        notes = "  [pinned]" if item["pinned"] else ""
        notes += "  [favourite]" if item["favourite"] else ""
        notes += f"  [{item['rating']} of 5]" if item["rating"] else ""
        notes += "" if item["file_exists"] else "  [file is missing]"
        lines.append(
            f"{item['id']:>6}  {item['duration_s']:>7.2f}  {figure(item['clap_similarity']):>5}"
            f"  {item['file_size_kb']:>8.1f}  {item['age_days']:>6.1f}  {item['prompt']}{notes}"
        )
    return lines


def size(mb: float) -> str:
    """Return a size as text."""
    return f"{mb:,.1f} MB" if mb >= 1 or mb == 0 else f"{mb * 1024:.1f} kB"


def when(after_s: float) -> str:
    """Say when space will be free; "" for at once."""
    return f" in {after_s:,.0f} s, for paths may just have been delivered; --now frees it at once" if after_s else ""


def figure(value: float | None, unit: str = "") -> str:
    """Return a figure as text; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}{unit}"


def date(value: float | None) -> str:
    """Return a time (seconds since 1970) as text."""
    return "-" if value is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(value))


def counts(found: dict[str, int]) -> str:
    """Return numbers by name as text."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(found.items())) or "none"
