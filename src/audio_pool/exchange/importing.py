"""The sounds of a directory taken into a cache, so that a server on it answers with them.

Owns: ``import_sounds``: which sounds are new, what runs beside what, the report.
Must not know: the terminal, how a sound is prepared, how vectors are made.

A batch at a time: hashed on threads, those that are known passed over; prepared in processes; given their vectors;
put into place with their rows in one transaction. Whatever ends this between two steps costs one batch at the most,
and the next import goes on from there. Servers may go on with the cache, and find each batch at once.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import multiprocessing
import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from audio_pool.cache.entry import Adopted
from audio_pool.cache.limits import UNBOUNDED, Limits
from audio_pool.cache.sqlite.arrival import Arrived, arrive
from audio_pool.cache.sqlite.database import FILE
from audio_pool.cache.sqlite.sources import master_source
from audio_pool.cache.store import Store
from audio_pool.errors import InvalidRequest
from audio_pool.exchange.manifest import take_calibrations
from audio_pool.exchange.meaning import Meaning, Sample, Wanted
from audio_pool.exchange.preparing import (
    Job,
    NotTaken,
    Prepared,
    Rules,
    begin_process,
    inscribed_prompt,
    kept_of,
    prepare,
    with_similarity,
)
from audio_pool.exchange.preset_file import NAME as PRESETS
from audio_pool.exchange.preset_file import take_presets
from audio_pool.exchange.room import Room
from audio_pool.exchange.sidecar import Kept, kept_in
from audio_pool.exchange.sources import Found, find_sounds
from audio_pool.exchange.told import readable
from audio_pool.exchange.verdicts import VERDICTS, take_verdicts
from audio_pool.prompts.normalize import text_key

__all__ = ["Imported", "Skipped", "as_json", "import_sounds"]

_log = logging.getLogger(__name__)

_AT_ONCE = 32
_MOST_TOLD = 10_000
"""Skipped sounds that the report names; all are counted."""


class Skipped(NamedTuple):
    """A sound that was left out."""

    place: str
    reason: str
    detail: str


@dataclass(slots=True)
class Imported:
    """What an import came to."""

    found: int = 0
    made: int = 0
    """Entries that are new."""
    known: int = 0
    """Sounds that the cache had."""
    without_vectors: int = 0
    """Of those made: found by their words alone, because there is no encoder."""
    upsampled: int = 0
    non_commercial: int = 0
    """Of those made: their licence does not allow commercial use, or is not known."""
    issues: Counter[str] = field(default_factory=Counter)
    """Faults that were found in sounds that were taken all the same, by name."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why sounds were left out."""
    skipped: list[Skipped] = field(default_factory=list)
    arrays: dict[str, str] = field(default_factory=dict)
    """What became of the first system's vectors."""
    vectors_taken_over: int = 0
    encoder: str = ""
    judgements: int = 0
    """What people had judged of an export's hits, and is new."""

    def skip(self, place: str, reason: str, detail: str = "") -> None:
        """Count a sound that is left out."""
        self.reasons[reason] += 1
        if len(self.skipped) < _MOST_TOLD:
            self.skipped.append(Skipped(readable(place), reason, readable(detail)))

    @property
    def done(self) -> int:
        """Sounds that are dealt with."""
        return self.made + self.known + self.reasons.total()


class _New(NamedTuple):
    """A sound that the cache does not have."""

    found: Found
    job: Job
    kept: Kept | None
    namespace: str


def import_sounds(
    directory: Path,
    store: Store,
    rules: Rules,
    meaning: Meaning,
    *,
    table: Path | None = None,
    beside: Path | None = None,
    from_names: bool = False,
    limits: Limits = UNBOUNDED,
    jobs: int = 1,
    on_progress: Callable[[Imported], None] | None = None,
) -> Imported:
    """Take the sounds of a directory into a cache. The directory is left as it is.

    Args:
        directory: of the first system, of an export, or any that holds sounds.
        rules: what holds for all of them.
        meaning: gives them their vectors.
        table: a CSV file of prompts; None: those in the directory.
        beside: another directory to look for listed files in.
        from_names: words of a file's name are its prompt where none is told.
        limits: how much the cache may hold; what would be more is left out.
        jobs: processes that decode and measure; 1: this one.
        on_progress: called after each batch.

    Raises:
        NotFound, InvalidRequest: the directory or the table. StorageError: what was taken so far stays.
    """
    place, root = Path(os.path.realpath(directory)), Path(os.path.realpath(store.location))
    if place == root or place.is_relative_to(root):
        raise InvalidRequest(f"{directory} is the cache itself, or in it", hint="see audio-pool cache rebuild")
    if (place / FILE).exists():
        raise InvalidRequest(f"{directory} is a cache itself", hint="export it first, or see audio-pool cache backup")
    report = Imported(encoder=meaning.encoder)
    sounds = find_sounds(place, table=table, beside=beside)
    with ExitStack() as rest:
        threads = rest.enter_context(ThreadPoolExecutor(max(1, jobs)))
        preparing = rest.enter_context(_Preparing(rules, jobs))
        sounds = _with_arrays(place, sounds, meaning, report)
        while batch := list(itertools.islice(sounds, _AT_ONCE)):
            report.found += len(batch)
            room = Room(store, limits)
            fresh = _fresh(batch, store, rules, threads, report, from_names)
            fresh = [one for one in fresh if _has_room(one, room, 0, _made_at(one), report)]
            results = preparing.all([one.job for one in fresh])
            ready = [_ready(one, result, room, report) for one, result in zip(fresh, results, strict=True)]
            _take([one for one in ready if one is not None], store, meaning, report)
            report.vectors_taken_over = meaning.taken_over
            if on_progress is not None:
                on_progress(report)
    take_calibrations(store, place)
    try:
        take_presets(place, store.presets)
    except InvalidRequest as exc:
        report.skip(PRESETS, "presets that are none", exc.message)
    report.judgements, left = take_verdicts(store, place)
    for _ in range(left):
        report.skip(VERDICTS, "judgement of a sound that is not here, or torn")
    return report


def _with_arrays(
    directory: Path, sounds: Iterator[Found], meaning: Meaning, report: Imported
) -> Iterator[Found]:
    """Try the first system's arrays on some of its lines before the first sound is taken."""
    lines: list[Found] = []
    first: Found | None = None
    for found in sounds:
        if found.row is None:
            first = found
            break
        lines.append(found)
    if lines:
        told = [
            Sample(one.row, one.told.prompt, one.audio)
            for one in lines
            if one.row is not None and one.audio is not None and one.told.prompt
        ]
        meaning.try_arrays(directory, told)
        report.arrays = meaning.notes
    return itertools.chain(lines, [first] if first else [], sounds)


# -- which are new


def _fresh(
    batch: Sequence[Found],
    store: Store,
    rules: Rules,
    threads: ThreadPoolExecutor,
    report: Imported,
    from_names: bool,
) -> list[_New]:
    """Return what is to be prepared of a batch; count the rest."""
    there = []
    for found in batch:
        if found.audio is None:
            report.skip(found.place, found.why)
        else:
            there.append((found, found.audio))
    digests = threads.map(_digest, [audio for _, audio in there])
    fresh: list[_New] = []
    for (found, audio), digest in zip(there, digests, strict=True):
        if isinstance(digest, str):
            report.skip(found.place, "cannot be read", digest)
            continue
        kept = kept_in(found.sidecar)
        prompt = kept.recipe.prompt if kept else found.told.prompt or inscribed_prompt(audio)
        if not prompt and from_names:
            prompt = _words_of(audio.stem)
        if not prompt:
            report.skip(found.place, "no prompt")
            continue
        if kept is not None and store.sources.has_master(kept.recipe.namespace, prompt, kept.sha256):
            report.known += 1
            continue
        loop = rules.loop if found.told.loop is None else found.told.loop
        words = f"{rules.recipe.namespace}\0{text_key(prompt)}\0{loop}"
        source = hashlib.sha256(digest + words.encode()).hexdigest()
        out = store.blobs.incoming / f"{secrets.token_hex(16)}.flac"
        job = Job(
            audio=str(audio),
            out=str(out),
            prompt=prompt,
            told=found.told,
            source=source,
            kept=kept_of(kept) if kept else None,
        )
        fresh.append(_New(found, job, kept, kept.recipe.namespace if kept else rules.recipe.namespace))
    known = store.sources.known({bytes.fromhex(one.job.source) for one in fresh})
    left = [one for one in fresh if bytes.fromhex(one.job.source) not in known]
    report.known += len(fresh) - len(left)
    return left


def _digest(path: Path) -> bytes | str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return "it is no regular file"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as exc:
        return exc.strerror or str(exc)


def _words_of(stem: str) -> str:
    """Return the words of a file's name: ``Rain_TinRoof-03`` says "rain tin roof"."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", stem)
    words = re.findall(r"[^\W\d_]+", spaced)
    return " ".join(words).lower()


# -- taking them


def _made_at(one: _New) -> float:
    """Return when a sound was made, as far as that is told."""
    return one.kept.created_at if one.kept is not None else one.found.told.timestamp or math.inf


def _has_room(one: _New, room: Room, size_bytes: int, made_at: float, report: Imported) -> bool:
    """Return whether a sound may come in; where it may not, that is reported. Pinned ones stay, whatever the bounds."""
    if one.kept is not None and one.kept.pinned:
        return True
    refusal = room.refusal(one.namespace, size_bytes, made_at)
    if refusal:
        report.skip(one.found.place, "no room", refusal)
    return not refusal


def _ready(one: _New, result: Prepared | NotTaken, room: Room, report: Imported) -> tuple[_New, Adopted] | None:
    """Return what was prepared of a sound; None where it is left out, which is reported."""
    if isinstance(result, NotTaken):
        report.skip(one.found.place, result.reason, result.detail)
    else:
        adopted = result.adopted()
        if _has_room(one, room, adopted.size_bytes, adopted.created_at, report):
            room.take(one.namespace, adopted.size_bytes)
            return one, adopted
    Path(one.job.out).unlink(missing_ok=True)
    return None


def _take(
    ready: Sequence[tuple[_New, Adopted]], store: Store, meaning: Meaning, report: Imported
) -> None:
    """Give what was prepared its vectors, its place and its row."""
    wanted = [Wanted(one.job.prompt, Path(one.job.out), one.found.row) for one, _ in ready]
    made = meaning.vectors(wanted)
    arriving = []
    for (one, adopted), vectors, similarity in zip(ready, made, meaning.similarities(wanted, made), strict=True):
        if one.kept is not None:
            vectors = {**vectors, **one.kept.vectors}
            kept = one.kept
            source = master_source(kept.recipe.namespace, kept.recipe.prompt, kept.sha256)
            adopted = adopted._replace(pinned=kept.pinned, hits=kept.hits, last_used=kept.last_used, source=source)
            adopted = adopted._replace(preferred=kept.preferred, marked=kept.marked)
        elif similarity is not None:
            adopted = with_similarity(Path(one.job.out), adopted, similarity)
        arriving.append(Arrived(Path(one.job.out), adopted._replace(vectors={**adopted.vectors, **vectors})))
    for arrived, is_new in zip(arriving, arrive(store, arriving), strict=True):
        if is_new:
            _count(arrived.adopted, meaning.encoder, report)
        else:
            report.known += 1


def _count(one: Adopted, encoder: str, report: Imported) -> None:
    metadata = one.sound.metadata
    report.made += 1
    report.without_vectors += not encoder or encoder not in one.vectors
    report.upsampled += any(warning.startswith("upsampled") for warning in metadata.warnings)
    report.non_commercial += not metadata.commercial_use
    report.issues.update(metadata.quality.issues)


class _Preparing:
    """Processes that prepare sounds; none for one job at a time."""

    def __init__(self, rules: Rules, jobs: int) -> None:
        self._rules = rules
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> _Preparing:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def all(self, jobs: Sequence[Job]) -> list[Prepared | NotTaken]:
        """Prepare a batch; results in the same order. A sound that ends its process is not taken."""
        if self._jobs == 1 or len(jobs) < 2:
            return [prepare(job, self._rules) for job in jobs]
        pool = self._opened()
        futures = [pool.submit(prepare, job, self._rules) for job in jobs]
        results: list[Prepared | NotTaken | None] = []
        for future in futures:
            try:
                results.append(future.result())
            except BrokenProcessPool:
                results.append(None)
        return [self._alone(job) if one is None else one for job, one in zip(jobs, results, strict=True)]

    def _opened(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = _processes(self._jobs)
        return self._pool

    def _alone(self, job: Job) -> Prepared | NotTaken:
        """Try once more a sound that was in work when a process ended: only the one that ends it again is to blame."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        Path(job.out).unlink(missing_ok=True)
        with _processes(1) as pool:
            try:
                return pool.submit(prepare, job, self._rules).result()
            except BrokenProcessPool:
                return NotTaken("cannot be decoded", "its decoder ended the process")


def _processes(count: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=begin_process, initargs=(os.getpid(),))


def as_json(report: Imported) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    """Return the report as JSON values."""
    return {
        "found": report.found,
        "made": report.made,
        "known": report.known,
        "skipped": report.reasons.total(),
        "reasons": dict(report.reasons),
        "skipped_sounds": [one._asdict() for one in report.skipped],
        "encoder": report.encoder,
        "without_vectors": report.without_vectors,
        "vectors_taken_over": report.vectors_taken_over,
        "arrays": report.arrays,
        "judgements": report.judgements,
        "upsampled": report.upsampled,
        "non_commercial": report.non_commercial,
        "issues": dict(report.issues),
    }
