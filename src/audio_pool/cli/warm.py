"""``audio-pool warm``: the cache filled ahead from a list of prompts, by a pool started for it or by a server.

Owns: the command's options, the line that shows how far it is, and the report.
Must not know: the list's formats, how many sounds are asked for at a time and what is asked again (packs/).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from audio_pool.cli.options import (
    SectionedCommand,
    cache_dir_option,
    config_option,
    connect_option,
    json_option,
    keys_option,
    with_options,
)
from audio_pool.cli.request_options import request_fields, request_options
from audio_pool.cli.terminal import redraw, say, say_json
from audio_pool.errors import InvalidRequest

if TYPE_CHECKING:
    from audio_pool.packs.warming import Warmed

__all__ = ["NOT_OPTIONS", "warm"]

NOT_OPTIONS = (
    "output_path", "delivery", "force", "store", "seed", "init_audio", "init_strength", "mask_start_s",
    "mask_end_s", "extend_s", "deadline_ms", "durable", "keep_candidates",
    "variant", "variant_seed", "shuffle", "temperature", "prefetch", "best_by_deadline", "upgrade", "stand_in",
)  # fmt: skip
"""Fields of a request that are of no use for every line alike; a line may have them."""
_TOLD = 20
"""Failures that are listed as text."""
_REDRAW_S, _SAY_S = 0.2, 10.0
_INTERRUPTED = 130


@click.command(cls=SectionedCommand)
@click.argument("file", type=click.Path(path_type=Path))
@with_options(
    click.option("-n", "--count", type=click.IntRange(1, 100), default=1, show_default=True, help="Sounds of each."),
    click.option(
        "--parallel", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests in flight at a time."
    ),
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(0.0, min_open=True), default=600.0, show_default=True,
        help="Seconds to wait for each sound.",
    ),
    json_option,
    config_option,
    cache_dir_option,
    connect_option,
    keys_option,
    request_options(leave_out=NOT_OPTIONS),
)  # fmt: skip
def warm(
    file: Path, count: int, parallel: int, timeout_s: float, as_json: bool, **options: Any
) -> None:
    """Have every sound that FILE asks for in the cache, before anybody asks.

    FILE has one prompt a line; a .csv or .jsonl may have every field of a request. What is there already is a
    hit, so an interrupted list is simply begun again. Failures do not end it; they are listed, and the exit code is 1.
    """
    from audio_pool.cli.pools import asked_pool, own_configuration
    from audio_pool.packs.prompt_list import prompt_lines
    from audio_pool.packs.warming import warm as warm_pool

    fields = {"priority": "background", **request_fields(options)}
    total = 0
    for line in prompt_lines(file, fields):  # a wrong heading is told before anything is begun
        total += 1 if isinstance(line.request, InvalidRequest) else count
    shown = _Progress(total, quiet=as_json)
    with asked_pool(own_configuration(options), options, quiet=as_json) as pool:
        warmed = warm_pool(
            pool,
            prompt_lines(file, fields),
            count=count,
            at_once=parallel,
            timeout_s=timeout_s,
            on_progress=shown,
        )
    shown.clear()
    if as_json:
        say_json({"total": total, **msgspec.to_builtins(warmed)})
    else:
        for text in _report(warmed, total):
            say(text)
    if warmed.ended == "interrupted":
        sys.exit(_INTERRUPTED)
    if warmed.failed or warmed.ended:
        sys.exit(1)


class _Progress:
    """One line that is redrawn at a terminal; elsewhere one every ten seconds."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._silent = quiet and not self._terminal
        self._begun = time.monotonic()
        self._next = self._begun + (0.0 if self._terminal else _SAY_S)
        self._drawn = 0

    def __call__(self, warmed: Warmed) -> None:
        now = time.monotonic()
        if self._silent or now < self._next:
            return
        self._next = now + (_REDRAW_S if self._terminal else _SAY_S)
        rate = warmed.done / max(0.1, now - self._begun)
        line = f"{warmed.done:,} of {self._total:,}: {_counts(warmed)}, {rate:.1f}/s"
        if not self._terminal:
            say(line, err=True)
            return
        redraw(line.ljust(self._drawn))
        self._drawn = len(line)

    def clear(self) -> None:
        if self._drawn:
            redraw(" " * self._drawn)
            redraw("")


def _counts(warmed: Warmed) -> str:
    return f"{warmed.made:,} made, {warmed.there_already:,} there already, {warmed.failed:,} failed"


def _report(warmed: Warmed, total: int) -> Iterator[str]:
    yield f"{_counts(warmed)}, of {total:,}; {warmed.generate_s:,.1f} s of generating"
    if warmed.not_kept:
        yield f"{warmed.not_kept:,} of those made are not kept: too many of their prompt, not good enough, or no room"
    for one in warmed.failures[:_TOLD]:
        yield f"line {one.line}: {one.prompt!r}: {one.message}"
    if warmed.failed > _TOLD:
        yield f"... and {warmed.failed - _TOLD:,} more; --json lists up to 1,000"
    if warmed.ended:
        yield f"{warmed.ended}: begin it again, and what is there already is passed over"
