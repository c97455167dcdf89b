"""A list of sounds made into a folder: one file a line, several at a time, and a report.

Owns: ``make_list``: names, what is passed over, the report's rows.
Must not know: the list's formats (prompt_list.py), the command line.
"""

from __future__ import annotations

import csv
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, structs

from audio_pool.api import Asked
from audio_pool.errors import AudioPoolError, InvalidRequest
from audio_pool.packs.names import slug
from audio_pool.packs.prompt_list import PromptLine
from audio_pool.pending import Pending

__all__ = ["REPORT", "Row", "make_list", "write_report"]

REPORT = "report.csv"
_SLACK_S = 10.0
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class _Pool(Protocol):
    """An AudioPool or an AudioClient."""

    def submit(self, prompt: Asked, *, timeout_s: float | None = None, **fields: Any) -> Pending: ...


class Row(Struct, frozen=True, kw_only=True):
    """What came of one line."""

    line: int
    prompt: str
    file: str = ""
    status: str
    """made, cached, there (its file was there already), failed, left (interrupted)."""
    error: str = ""
    seed: int | None = None
    engine: str = ""
    licence: str = ""
    duration_s: float | None = None
    loudness_lufs: float | None = None
    quality: float | None = None
    warnings: str = ""


def make_list(
    pool: _Pool,
    lines: Iterable[PromptLine],
    out: Path,
    default_format: str,
    *,
    overwrite: bool = False,
    at_once: int = 4,
    timeout_s: float = 600.0,
    on_row: Callable[[Row], object] = lambda _: None,
) -> list[Row]:
    """Make the sound of every line as ``out/NAME.FORMAT``; return a row for each line, in the list's order.

    The same words a second time are another variant. Names are made of the prompts; equal ones are numbered in the
    list's order, so that they are the same each time.
    A file that is there is passed over, so that an interrupted list goes on where it stopped.
    """
    out.mkdir(parents=True, exist_ok=True)
    named = list(_named(lines, out, default_format))
    flying: set[Pending] = set()
    guard, stopped = threading.Lock(), threading.Event()

    def one(line: PromptLine, target: Path) -> Row:
        row = Row(line=line.number, prompt=line.prompt, file=target.name, status="left")
        if isinstance(line.request, InvalidRequest):
            return structs.replace(row, file="", status="failed", error=line.request.message)
        if target.exists() and not overwrite:
            return structs.replace(row, status="there")
        if stopped.is_set():
            return row
        try:
            asked = structs.replace(line.request, delivery="inline", output_path=None)
            with guard:
                pending = pool.submit(asked, timeout_s=timeout_s)
                flying.add(pending)
            try:
                result = pending.result(timeout_s + _SLACK_S)
            finally:
                with guard:
                    flying.discard(pending)
            _put(target, result.data or b"")
        except AudioPoolError as exc:
            return row if stopped.is_set() else structs.replace(row, file="", status="failed", error=exc.message)
        except OSError as exc:
            return structs.replace(row, file="", status="failed", error=f"{target}: {exc.strerror}")
        told = result.metadata
        return structs.replace(
            row,
            status="cached" if told.cached else "made",
            seed=told.base_seed,
            engine=told.engine,
            licence=told.licence,
            duration_s=told.duration_s,
            loudness_lufs=told.loudness_lufs,
            quality=told.quality.score,
            warnings="; ".join(told.warnings),
        )

    rows: dict[int, Row] = {}
    with ThreadPoolExecutor(max(1, at_once)) as threads:
        futures = {threads.submit(one, line, target): place for place, (line, target) in enumerate(named)}
        try:
            for future in as_completed(futures):
                rows[futures[future]] = future.result()
                on_row(rows[futures[future]])
        except KeyboardInterrupt:
            stopped.set()
            with guard:
                left = list(flying)
            for pending in left:
                pending.cancel()
    for future, place in futures.items():
        rows.setdefault(place, future.result())
    return [rows[place] for place in sorted(rows)]


def write_report(out: Path, rows: Sequence[Row]) -> Path:
    """Write ``report.csv``, a row for each line of the list; return its path."""
    path = out / REPORT
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row.__struct_fields__)
        writer.writerows([_cell(getattr(row, name)) for name in Row.__struct_fields__] for row in rows)
    return path


def _cell(value: str | float | None) -> str | float | None:
    """Return what a table may have in a cell: a text that a spreadsheet would take for a formula begins with a '."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _named(lines: Iterable[PromptLine], out: Path, default_format: str) -> Iterable[tuple[PromptLine, Path]]:
    numbers: dict[str, int] = {}
    used: set[str] = set()
    asked: dict[str, int] = {}
    for line in lines:
        request = line.request
        ending = default_format
        if not isinstance(request, InvalidRequest):
            ending = request.format or default_format
            asked[request.prompt] = asked.get(request.prompt, 0) + 1
            if asked[request.prompt] > 1 and request.seed is None and request.variant is None:
                # the same words once more: another sound of them
                line = line._replace(request=structs.replace(request, variant=asked[request.prompt]))
        stem = slug(line.prompt)
        number = numbers.get(stem, 0) + 1
        while (name := stem if number == 1 else f"{stem}_{number:02d}") in used:  # "rain" twice, and "rain 02"
            number += 1
        numbers[stem] = number
        used.add(name)
        yield line, out / f"{name}.{ending}"


def _put(target: Path, data: bytes) -> None:
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_bytes(data)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
