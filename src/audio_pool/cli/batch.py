"""``audio-pool batch``: a list of sounds made into a folder, with a report.

Owns: the command's options, and what it prints.
Must not know: the list's formats, how many sounds are asked for at a time (packs/).
"""

from __future__ import annotations

import sys
from collections import Counter
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
from audio_pool.cli.warm import NOT_OPTIONS
from audio_pool.errors import InvalidRequest

if TYPE_CHECKING:
    from audio_pool.packs.batch import Row

__all__ = ["batch"]

_INTERRUPTED = 130


@click.command(cls=SectionedCommand)
@click.argument("file", metavar="LIST", type=click.Path(path_type=Path))
@with_options(
    click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="The folder."),
    click.option("--overwrite", is_flag=True, help="Make what is there anew."),
    click.option("--parallel", type=click.IntRange(1, 256), default=4, show_default=True, help="Sounds at a time."),
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(0.0, min_open=True), default=600.0, show_default=True,
        help="Seconds to wait for each.",
    ),
    json_option, config_option, cache_dir_option, connect_option, keys_option,
    request_options(leave_out=NOT_OPTIONS),
)  # fmt: skip
def batch(
    file: Path, out: Path, overwrite: bool, parallel: int, timeout_s: float, as_json: bool, **options: Any
) -> None:
    """Make every sound of LIST into a folder, named by its words, with a report.csv beside.

    LIST has one prompt a line; a .csv or .jsonl may have every field of a request. What is there is passed over, so
    an interrupted list is simply begun again. Failures do not end it, and the exit code is 1.
    """
    from audio_pool.cli.pools import asked_pool, own_configuration
    from audio_pool.packs.batch import make_list, write_report
    from audio_pool.packs.prompt_list import prompt_lines

    fields = request_fields(options)
    lines = list(prompt_lines(file, fields))  # a wrong heading is told before anything is begun
    if not lines:
        raise InvalidRequest(f"{file} has no line that asks for a sound")
    config = own_configuration(options)
    default = "wav" if config is None else config.defaults.format
    shown = _Progress(len(lines), quiet=as_json)
    with asked_pool(config, options, quiet=as_json) as pool:
        rows = make_list(
            pool, lines, out, default, overwrite=overwrite, at_once=parallel, timeout_s=timeout_s, on_row=shown
        )
    shown.clear()
    report = write_report(out, rows)
    if as_json:
        say_json([msgspec.to_builtins(row) for row in rows])
    else:
        for row in rows:
            if row.status == "failed":
                say(f"line {row.line}: {row.prompt!r}: {row.error}", err=True)
        counts = Counter(row.status for row in rows)
        say(f"{', '.join(f'{count} {status}' for status, count in sorted(counts.items()))}; {report}")
    if any(row.status == "left" for row in rows):
        sys.exit(_INTERRUPTED)
    if any(row.status == "failed" for row in rows):
        sys.exit(1)


class _Progress:
    """One line that is redrawn at a terminal."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total, self._done, self._drawn = total, 0, 0
        self._shown = not quiet and sys.stderr.isatty()

    def __call__(self, row: Row) -> None:
        self._done += 1
        if self._shown:
            line = f"{self._done:,} of {self._total:,}"
            redraw(line.ljust(self._drawn))
            self._drawn = len(line)

    def clear(self) -> None:
        if self._drawn:
            redraw(" " * self._drawn)
            redraw("")
