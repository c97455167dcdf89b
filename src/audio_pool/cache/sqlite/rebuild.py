"""Making the cache's rows anew: from its masters, and from what can be read of a damaged database.

Owns: ``rebuild``: which way is taken, what is made, what is left and why.
Must not know: hits, the pool, the terminal; how a master holds its recipe (inscription.py, audio/codec.py).

    the database is whole      masters without a row get one, while servers go on
    it is gone, or damaged     a new one is made beside it and takes its place in one step; the old one stays
                               beside it under another name. Refused while a server has the cache open: what it
                               writes meanwhile would go into the file that is put away

No file is moved or changed, and no row that could be read is left out, also where its master is missing: it may
lie on a disk that is not mounted. It can be run again at any time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from audio_pool.audio import codec
from audio_pool.cache.carrying import part_of
from audio_pool.cache.files import storage_errors
from audio_pool.cache.opening import open_store
from audio_pool.cache.quarantine import Quarantine
from audio_pool.cache.shared import refuse_shared
from audio_pool.cache.sqlite.database import FILE
from audio_pool.cache.sqlite.salvage import Salvage
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.store import Adopted, Store, Vector
from audio_pool.cache.trust import fingerprint
from audio_pool.claims import gate, is_claimed
from audio_pool.errors import AudioPoolError, NotFound, StorageError
from audio_pool.inscription import sound_in
from audio_pool.results import FinishedSound

__all__ = ["Rebuilt", "Skipped", "as_json", "rebuild", "restore"]

_AT_ONCE = 100
_GATE_S = 10.0
_ENDINGS = ("-wal", "-journal")

Embed = Callable[[Sequence[str]], Sequence[Mapping[str, Vector]]]
"""Prompts in, for each its vectors by space."""


class Skipped(NamedTuple):
    """A file that got no row."""

    file: str
    why: str


@dataclass(slots=True)
class Rebuilt:
    """What a rebuilding came to."""

    way: Literal["in_place", "from_masters", "from_damaged"]
    made: int = 0
    """Rows made from masters."""
    salvaged: int = 0
    """Rows read from the damaged database."""
    known: int = 0
    """Masters that had a row."""
    without_vectors: int = 0
    """Of those made: found by their words alone, until their sound is made or kept anew."""
    skipped: list[Skipped] = field(default_factory=list)
    put_away: str = ""
    """Where the old database lies."""


def rebuild(directory: Path | str, *, embed: Embed | None = None) -> Rebuilt:
    """Make rows of a cache's masters.

    Args:
        directory: the cache directory.
        embed: gives prompts their vectors; None: they get none.

    Raises:
        NotFound: there is no such directory, or neither database nor masters in it.
        StorageError: a server has it open and the database must be replaced; it cannot be written.
    """
    refuse_shared(directory, "making rows anew", "restore its database; each head's replica is made by itself")
    root = Path(os.path.abspath(directory))
    database = root / FILE
    if not database.exists() and not (root / "audio").is_dir():
        raise NotFound(f"directory {str(directory)!r} holds no sound cache", hint="check its path")
    if database.exists() and not _damage(database):
        report = Rebuilt("in_place")
        store = SqliteStore(root, create=False)
        try:
            _from_masters(root, store, report, embed, store.checks.known_files())
        finally:
            store.close()
        return report
    return _replaced(root, embed)


def _damage(database: Path) -> str:
    """Return what is wrong with the database, without changing anything; "" where nothing is."""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
            found = "; ".join(row[0] for row in db.execute("PRAGMA quick_check(5)"))
            return "" if found == "ok" else found
    except sqlite3.DatabaseError as exc:
        if getattr(exc, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return str(exc)
        raise StorageError(f"rebuilding the cache: {database}: {exc}", hint="check its owner and its mount") from exc


# -- a new database in the place of the old one


def _replaced(root: Path, embed: Embed | None) -> Rebuilt:
    database = root / FILE
    report = Rebuilt("from_damaged" if database.exists() else "from_masters")
    with storage_errors("rebuilding the cache", str(root)), contextlib.ExitStack() as rest:
        _refuse_while_open(root)
        work = Path(rest.enter_context(tempfile.TemporaryDirectory(prefix=".rebuild-", dir=root)))
        store = SqliteStore(work)  # with folders of its own: nothing here is swept on account of rows not made yet
        try:
            known = _salvage(root, store, work, report) if database.exists() else set()
            _from_masters(root, store, report, embed, known)
        finally:
            store.close()
        (root / "incoming").mkdir(mode=0o700, exist_ok=True)
        with gate(root / "incoming" / ".lock", _GATE_S) as inside:
            if not inside:
                raise StorageError(f"another process keeps {root / 'incoming'} locked", hint="try again")
            _refuse_while_open(root)
            report.put_away = _exchange(work / FILE, database)
    return report


def _refuse_while_open(root: Path) -> None:
    owned = [path for path in (root / "incoming").glob("*/.lock") if is_claimed(path)]
    if owned:
        raise StorageError(
            f"a server has the cache {root} open (process {owned[0].parent.name.partition('-')[0]}), and its database "
            "must be replaced",
            hint="stop it, rebuild, and start it again; while the database is whole it may go on",
        )


def _exchange(new: Path, database: Path) -> str:
    """Put the new database in its place; return where the old one lies from now on, "" where there was none."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    aside = ""
    if database.exists():
        aside = f"{database}.{time.strftime('%Y%m%d-%H%M%S')}.{os.getpid()}.old"
        os.link(database, aside)
    for ending in _ENDINGS:  # of the old one: it must not be taken for the new one's
        old = Path(f"{database}{ending}")
        if old.exists() and aside:
            os.rename(old, f"{aside}{ending}")
        old.unlink(missing_ok=True)
    Path(f"{database}-shm").unlink(missing_ok=True)
    os.replace(new, database)
    handle = os.open(database.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return aside


def _salvage(root: Path, store: SqliteStore, work: Path, report: Rebuilt) -> set[str]:
    """Take over what can be read of the damaged database; return the files that are spoken for."""
    copy = work / "damaged.sqlite3"
    for ending in ("", *_ENDINGS):
        if Path(f"{root / FILE}{ending}").exists():
            shutil.copyfile(f"{root / FILE}{ending}", f"{copy}{ending}")
    known: set[str] = set()
    with contextlib.closing(Salvage(copy)) as salvage:
        leaving = salvage.leaving()
        rows = salvage.entries()
        while saved := list(islice(rows, _AT_ONCE)):
            batch = []
            for one in saved:
                adopted = one.adopted
                if adopted is None:  # the row is there, the recipe is not: the master has it
                    found = _looked_into(root, one.file, one.created_at)
                    adopted = found._replace(entry_id=one.entry_id) if isinstance(found, Adopted) else None
                if adopted is not None and one.file not in known:
                    known.add(one.file)
                    batch.append(adopted)
            report.salvaged += sum(store.entries.adopt(batch))
        judged = salvage.judgements()
        store.judgements.give(one for one in judged if one.entry_id is None or store.checks.exists(one.entry_id))
        store.registry.note(salvage.gone())
        store.presets.restore(salvage.presets())
        for measured in salvage.calibrations():
            store.calibrations.keep(measured)
        store.leaving.let_go(file for file in leaving if file not in known)
        return known | set(leaving)


# -- masters


def _from_masters(
    root: Path, store: SqliteStore, report: Rebuilt, embed: Embed | None, known: set[str]
) -> None:
    masters = _masters(root)
    while files := list(islice(masters, _AT_ONCE)):
        fresh = [file for file in files if file not in known]
        report.known += len(files) - len(fresh)
        looked = [(file, _looked_into(root, file)) for file in fresh if not store.blobs.in_flight(file)]
        report.skipped += [Skipped(file, found) for file, found in looked if isinstance(found, str)]
        batch = [found for _, found in looked if isinstance(found, Adopted)]
        if embed is not None and batch:
            vectors = embed([one.sound.recipe.prompt for one in batch])
            batch = [one._replace(vectors=of) for one, of in zip(batch, vectors, strict=True)]
        for one, made in zip(batch, store.entries.adopt(batch), strict=True):
            if made:
                report.made += 1
                report.without_vectors += not one.vectors
            else:
                report.skipped.append(Skipped(one.file, "another master of the same recipe is kept"))


def restore(directory: Path | str, names: Sequence[str]) -> tuple[list[str], list[Skipped]]:
    """Give masters that lie in quarantine a place and a row again; return which, and which not and why.

    Args:
        directory: a cache directory; servers may go on with it.
        names: as ``Quarantine.items`` gives them.

    Raises:
        NotFound: there is no cache, or one of the files is not there; nothing was done.
        StorageError.
    """
    root = Path(os.path.abspath(directory))
    with contextlib.closing(open_store(root, create=False)) as store:
        done: list[str] = []
        left: list[Skipped] = []
        for name in Quarantine(root).known(names):
            why = _restored(root, store, f"quarantine/{name}")
            if why:
                left.append(Skipped(name, why))
            else:
                done.append(name)
        return done, left


def _restored(root: Path, store: Store, source: str) -> str:
    """Give one master a place and a row; return why not, where it stays."""
    found = _looked_into(root, source)
    if isinstance(found, str):
        return found
    key = secrets.token_hex(16)
    file = f"audio/{key[:2]}/{key}.flac"
    with storage_errors("restoring a sound", str(root)):
        (root / file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(root / source, root / file)
        if store.entries.adopt([found._replace(file=file)])[0]:
            return ""
        shutil.move(root / file, root / source)
    return "another master of the same recipe is kept"


def _masters(root: Path) -> Iterator[str]:
    for folder in sorted((root / "audio").glob("*/")):
        for path in sorted(folder.iterdir()):
            if path != part_of(path):  # a copy on its way from another disk
                yield str(path.relative_to(root))


def _looked_into(root: Path, file: str, created_at: float | None = None) -> Adopted | str:
    """Return what a master says of itself, or why it gets no row."""
    path = root / file
    if path.is_symlink() or not path.is_file():
        return "is not a regular file"
    try:
        digest, size = fingerprint(path)
        codec.read(path)  # all of it: what is cut short or has flipped bits is not offered to anybody
        told = codec.inspect(path)
    except (AudioPoolError, OSError) as exc:
        return f"cannot be read: {exc}"
    if told["recipe"] is None:
        return "no recipe is written in it"
    found = sound_in(told["recipe"], frames=told["frames"], sample_rate=told["sample_rate"])
    if found is None:
        return "what is written in it is no recipe of ours"
    recipe, metadata = found
    if not metadata.accepted:
        return "it was not accepted when it was made"
    sound = FinishedSound(path="", recipe=recipe, metadata=metadata, accepted=True)
    made_at = created_at or metadata.generation_timestamp or path.stat().st_mtime
    return Adopted(sound, file, size, digest, made_at, preferred=metadata.forced)


def as_json(report: Rebuilt) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    """Return the report as JSON values."""
    return {
        "way": report.way,
        "made": report.made,
        "salvaged": report.salvaged,
        "known": report.known,
        "without_vectors": report.without_vectors,
        "skipped": [{"file": one.file, "why": one.why} for one in report.skipped],
        "put_away": report.put_away,
    }
