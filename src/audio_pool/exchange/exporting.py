"""A cache written out as plain files: each master with a sidecar that holds its whole entry, and a manifest.

Owns: ``export``: names, the order of steps, what a run that goes on need not do again.
Must not know: the terminal, how entries are stored.

    manifest.json                       what this is, of which cache, and whether it is complete
    sounds.csv                          a line for each sound, for people and other programs
    judgements.jsonl                    what people judged of hits
    sounds/0000/000012_rain.flac        and 000012_rain.json beside it

A sound is written before its sidecar, each under a temporary name first: what a sidecar describes is there. A server
may go on; what it keeps meanwhile comes along where the export has not passed it, and a sound that is removed
meanwhile can be read for its grace.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from audio_pool.cache.checks import KeptFile
from audio_pool.cache.entry import Entry, Vector
from audio_pool.cache.files import storage_errors
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.errors import AudioPoolError, InvalidRequest
from audio_pool.exchange.sidecar import sidecar_of
from audio_pool.exchange.verdicts import VERDICTS, verdict_lines
from audio_pool.inscription import comment_of
from audio_pool.packs.names import slug

__all__ = ["ExportFormat", "Exported", "as_json", "export"]

ExportFormat = Literal["flac", "wav"]
MANIFEST, TABLE = "manifest.json", "sounds.csv"
_KIND, _VERSION = "cache export", 1
_AT_ONCE = 64
_COLUMNS = ("file", "prompt", "duration_s", "loop", "licence", "commercial_use", "namespace", "tags", "master_sha256")
_PARTS = 1 << 20


class Left(NamedTuple):
    """A sound that could not be written out."""

    file: str
    why: str


@dataclass(slots=True)
class Exported:
    """What an export came to."""

    entries: int = 0
    """Sounds that lie there, those of earlier runs too."""
    written: int = 0
    size_bytes: int = 0
    skipped: list[Left] = field(default_factory=list)


class _Written(NamedTuple):
    """One sound as it lies in the export."""

    entry: Entry
    file: str
    size_bytes: int
    sha256: bytes
    is_new: bool


def export(
    store: SqliteStore,
    directory: Path,
    *,
    format: ExportFormat = "flac",
    jobs: int = 1,
    on_progress: Callable[[Exported], None] | None = None,
) -> Exported:
    """Write every entry of a cache into a directory; go on with an export that was interrupted.

    Args:
        directory: empty, not there yet, or with an earlier export of this very cache in this format.
        format: ``flac``: the masters as they are; ``wav``: the same samples, 24 bits.
        jobs: sounds written at the same time.
        on_progress: called after each batch.

    Raises:
        InvalidRequest: the directory holds something else, or is in the cache.
        StorageError: it cannot be written; what is there stays, and the next run goes on.
    """
    place, report = Path(os.path.realpath(directory)), Exported()
    if place.is_relative_to(os.path.realpath(store.location)):
        raise InvalidRequest(f"{directory} is the cache itself, or in it", hint="name another directory")
    with storage_errors("exporting the cache", str(place)):
        place.mkdir(parents=True, exist_ok=True)
        _begin(place, store.store_id, format)
        spaces: dict[str, int] = {}
        with _replacing(place / TABLE) as part, part.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            with ThreadPoolExecutor(max(1, jobs)) as threads:
                for batch in _batches(store):
                    for one in _write(store, place, batch, format, threads, spaces, report):
                        table.writerow(_row(one))
                    if on_progress is not None:
                        on_progress(report)
        with _replacing(place / VERDICTS) as part, part.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in verdict_lines(store))
        told = {"complete": True, "entries": report.entries, "size_bytes": report.size_bytes, "vectors": spaces}
        _write_json(place / MANIFEST, {**_head(store.store_id, format), **told, "skipped": _skipped(report)})
    return report


def _begin(place: Path, store_id: str, format: ExportFormat) -> None:
    """Refuse a directory that holds something else; say what is being made here."""
    path = place / MANIFEST
    if not path.exists():
        if any(place.iterdir()):
            raise InvalidRequest(f"{place} is not empty and holds no export", hint="name another directory")
    else:
        try:
            found = json.loads(path.read_bytes())
            known = {name: found.get(name) for name in ("audio_pool", "store", "format")}
        except (ValueError, AttributeError):
            known = {}
        head = _head(store_id, format)
        if known.get("audio_pool") != head["audio_pool"] or known.get("store") != store_id:
            raise InvalidRequest(f"{place} holds something else than an export of this cache", hint="name another one")
        if known.get("format") != format:
            raise InvalidRequest(
                f"{place} holds an export as {known.get('format')}, given is {format}", hint="name another directory"
            )
    _write_json(path, {**_head(store_id, format), "complete": False})


def _head(store_id: str, format: ExportFormat) -> dict[str, Any]:
    return {"audio_pool": {"kind": _KIND, "version": _VERSION}, "store": store_id, "format": format}


def _batches(store: SqliteStore) -> Iterator[list[KeptFile]]:
    after = 0
    while batch := store.checks.masters_after(after, _AT_ONCE):
        after = batch[-1].entry_id
        yield batch


def _write(
    store: SqliteStore,
    place: Path,
    batch: list[KeptFile],
    format: ExportFormat,
    threads: ThreadPoolExecutor,
    spaces: dict[str, int],
    report: Exported,
) -> list[_Written]:
    ids = [kept.entry_id for kept in batch]
    vectors: dict[int, dict[str, Vector]] = {entry_id: {} for entry_id in ids}
    for space in store.vectors.spaces():
        for entry_id, vector in store.vectors.of(space, ids).items():
            vectors[entry_id][space] = vector
    done: list[_Written] = []
    uses, pinned = store.uses.of(ids), store.pins.pinned()

    def write(kept: KeptFile) -> _Written | Left | None:
        entry = store.entries.entry(kept.entry_id)
        if entry is None:
            return Left(kept.file, "its row cannot be read") if store.checks.exists(kept.entry_id) else None
        file = f"{_stem(entry)}.{format}"
        of, use = vectors[kept.entry_id], uses.get(kept.entry_id)
        told = sidecar_of(entry, Path(file).name, kept.sha256, of, use, pinned=kept.entry_id in pinned)
        return _write_one(store, place, kept, entry, file, told)

    for one in threads.map(write, batch):
        if isinstance(one, Left):
            report.skipped.append(one)
        elif one is not None:
            done.append(one)
            report.entries += 1
            report.written += one.is_new
            report.size_bytes += one.size_bytes
            for space in vectors[one.entry.id or 0]:
                spaces[space] = spaces.get(space, 0) + 1
    return done


def _stem(entry: Entry) -> str:
    return f"sounds/{(entry.id or 0) // 1000:04d}/{entry.id or 0:06d}_{slug(entry.recipe.prompt, 40)}"


def _write_one(
    store: SqliteStore, place: Path, kept: KeptFile, entry: Entry, file: str, told: dict[str, Any]
) -> _Written | Left | None:
    """Write one sound and its sidecar, as far as they are not there; None where it was removed meanwhile."""
    target, beside = place / file, (place / file).with_suffix(".json")
    found = _sidecar_at(beside)
    size = target.stat().st_size if target.is_file() else -1
    is_new = not (found.get("master_sha256") == kept.sha256.hex() and found.get("size_bytes") == size)
    if is_new:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(target) as part:
            why = _copied(Path(entry.path), part, kept)
            if not why and target.suffix == ".wav":
                why = _decoded(part, entry)
            if why:
                part.unlink(missing_ok=True)
                return Left(kept.file, why) if store.checks.exists(kept.entry_id) else None
        size = target.stat().st_size
    told = {**told, "size_bytes": size}
    if is_new or found != json.loads(json.dumps(told)):
        _write_json(beside, told)
    return _Written(entry, file, size, kept.sha256, is_new)


def _sidecar_at(path: Path) -> dict[str, Any]:
    """Return what an earlier run wrote; nothing where that cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _copied(master: Path, part: Path, kept: KeptFile) -> str:
    """Copy a master; return why not, "" where it is what was stored."""
    digest = hashlib.sha256()
    try:
        with master.open("rb") as read, part.open("xb") as write:
            while data := read.read(_PARTS):
                digest.update(data)
                write.write(data)
    except FileNotFoundError:
        return "its file is gone"
    return "" if digest.digest() == kept.sha256 else "its content is not what was stored"


def _decoded(part: Path, entry: Entry) -> str:
    from audio_pool.audio import codec

    try:
        audio, rate = codec.read(part)
        comment = codec.inspect(part)["comment"] or comment_of(entry.recipe, entry.metadata)
        part.unlink()
        codec.write(part, audio, rate, "wav", 24, comment, entry.metadata.is_loop)
    except AudioPoolError as exc:
        return exc.message
    return ""


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give a path to write, which takes the target's place where something was written and nothing was raised."""
    part = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        yield part
        if part.exists():
            os.replace(part, target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with _replacing(path) as part:
        part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _row(one: _Written) -> tuple[object, ...]:
    metadata = one.entry.metadata
    return (
        one.file,
        one.entry.recipe.prompt,
        round(metadata.duration_s, 6),
        str(metadata.is_loop).lower(),
        metadata.licence,
        str(metadata.commercial_use).lower(),
        metadata.namespace,
        ";".join(metadata.tags),
        one.sha256.hex(),
    )


def _skipped(report: Exported) -> list[dict[str, str]]:
    return [{"file": one.file, "why": one.why} for one in report.skipped]


def as_json(report: Exported) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    """Return the report as JSON values."""
    return {
        "entries": report.entries,
        "written": report.written,
        "size_mb": report.size_bytes / 2**20,
        "skipped": _skipped(report),
    }
