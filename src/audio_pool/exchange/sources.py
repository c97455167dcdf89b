"""Where the sounds of a directory are, and what is told of each: a listing, sidecars, or the file itself.

Owns: Found, how each kind of directory is read, and looking beside for files that were elsewhere once.
Must not know: what a sound holds, the cache.

A directory may be several things at once. What lists its sounds goes first (``meta.jsonl`` of the first system,
``metadata.jsonl``, CSV files), then every other sound that lies in it, with its sidecar where there is one.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.exchange.plain_files import OLD_ENCODING, Json, json_at, json_in
from audio_pool.exchange.told import Told, readable, told_in

__all__ = ["FIRST_SYSTEM", "Found", "find_sounds"]

FIRST_SYSTEM = "meta.jsonl"
"""The listing that stands beside the first system's arrays: the array's row is the line's number."""
_LISTINGS = (FIRST_SYSTEM, "metadata.jsonl")
_ENDINGS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".w64", ".rf64", ".caf"}
)
_LONGEST_LINE = 1 << 20
_LARGEST_TABLE = 1 << 30
_PARTS = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One sound, or a line that should have named one."""

    place: str
    """For reports: the file relative to the directory, or the line of a listing."""
    audio: Path | None = None
    """None: there is none, and ``why`` says so."""
    told: Told = field(default_factory=Told)
    sidecar: Json | None = None
    """All that the sidecar says."""
    row: int | None = None
    """The line's number in ``meta.jsonl``, from 0."""
    why: str = ""


def find_sounds(directory: Path, *, table: Path | None = None, beside: Path | None = None) -> Iterator[Found]:
    """Yield the sounds of a directory, listed ones first; each file once for each listing that names it.

    Args:
        table: a CSV file; None: every ``.csv`` straight in the directory that names files and prompts.
        beside: another directory to look for listed files in.

    Raises:
        NotFound: no such directory or table. InvalidRequest: the table lacks a column.
    """
    if not directory.is_dir():
        raise NotFound(f"directory {str(directory)!r} does not exist", hint="check its path")
    if table is not None and not table.is_file():
        raise NotFound(f"{table}: no such file", hint="check its path")
    search = _Search([directory, *([beside] if beside else [])])
    listed: set[Path] = set()
    for found in _listed(directory, table, search):
        if found.audio is not None:
            listed.add(found.audio)
        yield found
    for path in search.sounds(directory):
        if path not in listed:
            yield _alone(directory, path)


def _listed(directory: Path, table: Path | None, search: _Search) -> Iterator[Found]:
    if table is not None:
        yield from _of_table(table, search, required=True)
        return
    for name in _LISTINGS:
        if (directory / name).is_file():
            yield from _of_lines(directory / name, search)
    for path in sorted(directory.glob("*.csv")):
        yield from _of_table(path, search, required=False)


# -- listings


def _of_lines(path: Path, search: _Search) -> Iterator[Found]:
    """Yield the sounds that a file of JSON lines names; a torn or foreign line is one that names none."""
    row = -1
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            if not line.strip():
                continue
            row += 1
            place = f"{path.name} line {row + 1}"
            try:
                fields = json_in(line)
            except (ValueError, RecursionError):
                torn = not line.endswith(b"\n")
                yield Found(place=place, row=row, why="the line is torn" if torn else "the line is no JSON")
                continue
            if not isinstance(fields, dict):
                yield Found(place=place, row=row, why="the line is no JSON object")
                continue
            yield _named(place, fields, search, row if path.name == FIRST_SYSTEM else None)


def _of_table(path: Path, search: _Search, *, required: bool) -> Iterator[Found]:
    """Yield the sounds that a CSV names, whatever separates its columns."""
    if path.stat().st_size > _LARGEST_TABLE:
        raise InvalidRequest(f"{path}: more than {_LARGEST_TABLE >> 20:,} MB", hint="split it")
    with path.open(encoding=_encoding_of(path), errors="replace", newline="") as file:
        head = file.readline()
        separator = max(",;\t", key=head.count)
        names = next(csv.reader(io.StringIO(head), delimiter=separator), [])
        probe = told_in(dict.fromkeys(names, "x"))
        if not (probe.path and probe.prompt):
            if required:
                raise InvalidRequest(
                    f"{path}: columns {', '.join(names) or 'none'}; needed are one for the file and one for the prompt",
                    hint="name them file and prompt",
                )
            return
        rows = csv.reader(file, delimiter=separator)
        number = 1
        while True:
            number += 1
            place = f"{path.name} row {number}"
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as exc:
                yield Found(place=place, why=f"the row cannot be read: {exc}")
                continue
            if any(cell.strip() for cell in row):
                yield _named(place, dict(zip(names, row, strict=False)), search, None)


def _encoding_of(path: Path) -> str:
    """Return what a text file is written in."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while data := file.read(_PARTS):
            if file.tell() == len(data) and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            try:
                decoder.decode(data)
            except UnicodeDecodeError:
                return OLD_ENCODING
    return "utf-8-sig"


def _named(place: str, fields: Json, search: _Search, row: int | None) -> Found:
    told = told_in(fields)
    if not told.path:
        return Found(place=place, told=told, row=row, why="names no file")
    audio = search.find(told.path)
    if audio is None:
        return Found(place=place, told=told, row=row, why="its file is missing")
    return Found(place=place, audio=audio, told=told, row=row, sidecar=_sidecar(audio))


# -- files with a sidecar, or alone


def _alone(directory: Path, path: Path) -> Found:
    sidecar = _sidecar(path)
    told = told_in(sidecar) if sidecar else Told()
    return Found(place=readable(str(path.relative_to(directory))), audio=path, told=told, sidecar=sidecar)


def _sidecar(path: Path) -> Json | None:
    """Return what ``rain.json`` or ``rain.wav.json`` says of ``rain.wav``; None where there is neither."""
    for place in (path.with_suffix(".json"), path.with_name(f"{path.name}.json")):
        found = json_at(place)
        if found is not None:
            return found
    return None


class _Search:
    """Looks for files where a listing says, and beside it by their names."""

    def __init__(self, roots: list[Path]) -> None:
        self._roots = [Path(os.path.abspath(root)) for root in roots]
        self._by_name: dict[str, list[Path]] | None = None

    def sounds(self, directory: Path) -> Iterator[Path]:
        """Yield every sound file in a directory, by name; hidden ones and links to directories are passed over."""
        for folder, folders, names in os.walk(directory):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and Path(name).suffix.lower() in _ENDINGS:
                    yield Path(os.path.abspath(folder), name)

    def find(self, told: str) -> Path | None:
        """Return the file that a listing means: there, else the longest end of its path that exists here.

        A path of another machine, of Windows too, leads to the file of the same name beside the listing, whose letter
        case and composition do not matter; of several of that name to the one with most of the path in common, and
        to none where two have equally much.
        """
        if os.path.isabs(told) and os.path.isfile(told):
            return Path(os.path.abspath(told))
        pure = PureWindowsPath(told) if "\\" in told else PurePosixPath(told)
        parts = [part for part in pure.parts if part not in (pure.anchor, "..", ".")]
        for start in range(len(parts)):
            for root in self._roots:
                # the first system kept its sounds in a directory beside that of its listing
                for base in (root, root.parent) if len(parts) - start > 1 else (root,):
                    path = base.joinpath(*parts[start:])
                    if path.is_file():
                        return path
        return self._same_name(parts)

    def _same_name(self, parts: list[str]) -> Path | None:
        if self._by_name is None:
            self._by_name = {}
            for root in self._roots:
                for path in self.sounds(root):
                    self._by_name.setdefault(_folded(path.name), []).append(path)
        found = self._by_name.get(_folded(parts[-1]), []) if parts else []
        alike = sorted(((_common(path.parts, parts), path) for path in found), reverse=True)
        if len(alike) > 1 and alike[0][0] == alike[1][0]:
            return None
        return alike[0][1] if alike else None


def _folded(name: str) -> str:
    """Return a name as file systems that ignore letter case, or decompose letters, compare it."""
    return unicodedata.normalize("NFC", name).casefold()


def _common(path: tuple[str, ...], parts: list[str]) -> int:
    count = 0
    for one, other in zip(reversed(path), reversed(parts), strict=False):
        if _folded(one) != _folded(other):
            break
        count += 1
    return count
