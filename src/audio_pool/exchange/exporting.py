"""A cache written out as plain files: each master with a sidecar that holds its whole entry, and a manifest.

Owns: ``export``: names, the order of steps, what a run that goes on need not do again.
Must not know: the terminal, how entries are stored.

    manifest.json                       what this is, of which cache, and whether it is complete
    files.sha256                        what was written, for ``sha256sum -c``
    sounds.csv                          a line for each sound, for people and other programs
    judgements.jsonl                    what people judged of hits
    presets.json                        the presets that are kept, where there are any
    sounds/0000/000012_rain.flac        and 000012_rain.json beside it

A sound is written before its sidecar, each under a temporary name first: what a sidecar describes is there. A server
may go on; what it keeps meanwhile comes along where the export has not passed it, and a sound that is removed
meanwhile can be read for its grace. Files of sounds that were removed since the last run go, unless somebody changed
them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from audio_pool.cache.checks import KeptFile
from audio_pool.cache.entry import Entry, Vector
from audio_pool.cache.files import storage_errors
from audio_pool.cache.marks import Marked
from audio_pool.cache.store import Store
from audio_pool.errors import AudioPoolError, InvalidRequest, NotFound, StorageError
from audio_pool.exchange.checksums import Checksums
from audio_pool.exchange.manifest import ExportFormat, begin, complete
from audio_pool.exchange.plain_files import json_at, replacing, write_json
from audio_pool.exchange.preset_file import write_kept
from audio_pool.exchange.sidecar import sidecar_of
from audio_pool.exchange.verdicts import VERDICTS, verdict_lines
from audio_pool.inscription import comment_of
from audio_pool.packs.names import slug

__all__ = ["ExportFormat", "Exported", "as_json", "export"]

_TABLE = "sounds.csv"
_ENTRY_OF = re.compile(r"sounds/[0-9]+/([0-9]{1,18})_[^/]*")  # more digits are no id
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
    removed: int = 0
    """Files of earlier runs whose sounds are not kept any more."""
    changed: list[str] = field(default_factory=list)
    """Such files that somebody changed; they stay."""


class _Written(NamedTuple):
    """One sound as it lies in the export."""

    entry: Entry
    file: str
    size_bytes: int
    sha256: bytes
    is_new: bool
    files: tuple[tuple[str, str], ...]
    """The sound and its sidecar, and the SHA-256 of each."""


def export(
    store: Store,
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
        begin(place, store.store_id, format)
        spaces: dict[str, int] = {}
        with (
            Checksums(place) as sums,
            replacing(place / _TABLE) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            with ThreadPoolExecutor(max(1, jobs)) as threads:
                for batch in _batches(store):
                    written = _write(store, place, batch, format, threads, spaces, report)
                    table.writerows(_row(one) for one in written)
                    sums.add(file for one in written for file in one.files)
                    if on_progress is not None:
                        on_progress(report)
            report.removed, report.changed = sums.settle(lambda name: _is_kept(store, name))
        with replacing(place / VERDICTS) as part, part.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in verdict_lines(store))
        write_kept(place, store.presets)
        told = {"entries": report.entries, "size_bytes": report.size_bytes, "vectors": spaces}
        complete(place, store, format, {**told, "skipped": _skipped(report)})
    return report


def _is_kept(store: Store, file: str) -> bool:
    """Return False for a file of an entry that was removed; what is not named like one is none of ours to remove."""
    found = _ENTRY_OF.fullmatch(file)
    return found is None or store.checks.exists(int(found[1]))


def _batches(store: Store) -> Iterator[list[KeptFile]]:
    after = 0
    while batch := store.checks.masters_after(after, _AT_ONCE):
        after = batch[-1].entry_id
        yield batch


def _write(
    store: Store,
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
    uses, pinned, preferred = store.uses.of(ids), store.pins.pinned(), store.entries.preferred_among(ids)
    marks = store.marks.of(ids)

    def write(kept: KeptFile) -> _Written | Left | None:
        entry = store.entries.entry(kept.entry_id)
        if entry is None:
            return Left(kept.file, "its row cannot be read") if store.checks.exists(kept.entry_id) else None
        file = f"{_stem(entry)}.{format}"
        of, use = vectors[kept.entry_id], uses.get(kept.entry_id)
        told = sidecar_of(
            entry,
            Path(file).name,
            kept.sha256,
            of,
            use,
            pinned=kept.entry_id in pinned,
            preferred=kept.entry_id in preferred,
            marked=marks.get(kept.entry_id, Marked()),
        )
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
    store: Store, place: Path, kept: KeptFile, entry: Entry, file: str, told: dict[str, Any]
) -> _Written | Left | None:
    """Write one sound and its sidecar, as far as they are not there; None where it was removed meanwhile."""
    target, beside = place / file, (place / file).with_suffix(".json")
    found = json_at(beside) or {}
    size = target.stat().st_size if target.is_file() else -1
    is_new = not (found.get("master_sha256") == kept.sha256.hex() and found.get("size_bytes") == size)
    if is_new:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            why = _brought(store, kept) or _copied(Path(entry.path), part, kept)
            if not why and target.suffix == ".wav":
                why = _decoded(part, entry)
            if why:
                part.unlink(missing_ok=True)
                return Left(kept.file, why) if store.checks.exists(kept.entry_id) else None
        size = target.stat().st_size
    told["size_bytes"] = size
    if target.suffix == ".flac":
        told["file_sha256"] = told["master_sha256"]
    else:  # the same samples, and other bytes
        told["file_sha256"] = _digest(target) if is_new else found.get("file_sha256", "")
    if is_new or found != json.loads(json.dumps(told)):
        write_json(beside, told)
    files = ((file, told["file_sha256"]), (str(Path(file).with_suffix(".json")), _digest(beside)))
    return _Written(entry, file, size, kept.sha256, is_new, files)


def _brought(store: Store, kept: KeptFile) -> str:
    """Have a master here; return why it does not come."""
    try:
        store.blobs.bring(kept.file, kept.size_bytes)
    except (NotFound, StorageError) as exc:
        return exc.message
    return ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        "removed": report.removed,
        "changed": report.changed,
    }
