"""The parts that keep durable jobs: in this server's own directory, or in the database that heads share.

Owns: which journal that is, and what belongs to it; nothing of the other one is loaded.
Must not know: what becomes of a job.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as Keeper
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from audio_pool.api import HealthState, JobState
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.shared import SharedStore, read_shared
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, InvalidConfig, NotFound
from audio_pool.jobs.record import JobRecord
from audio_pool.jobs.result_files import ResultFiles, ResultFolder
from audio_pool.jobs.sqlite import FILE, SqliteJournal
from audio_pool.pool.cache_files import configured_place, configured_store
from audio_pool.pool.durable_jobs import DurableJobs
from audio_pool.pool.inbox import Inbox
from audio_pool.pool.intake import Intake
from audio_pool.pool.job_marks import JobMarks
from audio_pool.pool.requests import RequestTable
from audio_pool.scheduler.worker_state import WorkerState

if TYPE_CHECKING:
    from audio_pool.cache.postgres.database import PostgresDatabase
    from audio_pool.jobs.bell import Bell
    from audio_pool.jobs.postgres import PostgresJournal

__all__ = ["Looked", "keep_jobs", "looked_at"]

_AT_ONCE = 4
"""Results on their way to an object store, or from it, at a time."""
log = logging.getLogger(__name__)

_PASS = 4
"""Sounds of one pass of an engine that makes as many at a time as are asked for."""


class Looked(Protocol):
    """A journal that is only read."""

    def owners(self) -> list[str]:
        """Return everybody who has jobs here."""
        ...

    def newest(
        self, owner: str, states: Sequence[JobState], limit: int, before: float | None = None
    ) -> list[JobRecord]:
        """Return an owner's jobs, the newest first."""
        ...


def keep_jobs(
    config: Config,
    intake: Intake,
    requests: RequestTable,
    inbox: Inbox,
    health: Callable[[], HealthState],
    workers: Callable[[], Iterable[WorkerState]],
    rest: contextlib.ExitStack,
) -> DurableJobs:
    """Return the durable jobs; their journal's thread is started after the router.

    Args:
        workers: those there are.
        rest: what ends with the pool, in the reverse order.
    """
    shared = configured_store(config)
    place = None if shared is None else configured_place(config)
    files = ResultFolder(config.jobs_dir / "results") if place is None else _objects(config, place)
    keeper = ThreadPoolExecutor(_AT_ONCE if files.remote else 1, thread_name_prefix="audio-pool-keeper")
    rest.callback(files.close)
    if shared is not None:
        jobs = _among_heads(config, shared, intake, requests, keeper, files, inbox, health, workers, rest)
    else:
        jobs = DurableJobs(
            config, intake, requests, keeper, files, inbox.post,
            health=health,
            open_journal=lambda: SqliteJournal(config.jobs_dir),
            journal_exists=(config.jobs_dir / FILE).exists(),
        )  # fmt: skip
        rest.callback(jobs.journal.close)
    rest.callback(keeper.shutdown)
    return jobs


def _among_heads(
    config: Config,
    shared: SharedStore,
    intake: Intake,
    requests: RequestTable,
    keeper: Keeper,
    files: ResultFiles,
    inbox: Inbox,
    health: Callable[[], HealthState],
    workers: Callable[[], Iterable[WorkerState]],
    rest: contextlib.ExitStack,
) -> DurableJobs:
    _tell_left(config.jobs_dir)
    database, journal_class, bell_class = _postgres(shared)
    from audio_pool.jobs.postgres import mark_made

    rest.callback(database.close)
    head = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
    lease_s = config.jobs.lease_s
    jobs = DurableJobs(
        config, intake, requests, keeper, files, inbox.post,
        health=health,
        open_journal=lambda: journal_class(database, head, lease_s),
        journal_exists=True,  # there may be jobs that other heads have left
        places=lambda: sum(map(_places, workers())),
    )  # fmt: skip
    jobs.also_of = JobMarks(requests, mark_made).also_of
    rest.callback(jobs.journal.close)
    bell = bell_class(database, head, lease_s, inbox.post, jobs.rung)
    rest.callback(bell.stop)  # before the head leaves, or it would be there again
    bell.start()
    return jobs


def _objects(config: Config, place: ObjectPlace) -> ResultFiles:
    from audio_pool.cache.objects.bucket import Bucket  # obstore, where it is asked for
    from audio_pool.pool.result_objects import ResultObjects

    settings = config.cache.objects
    return ResultObjects(
        Bucket(place),
        config.jobs_dir / "results",
        fetch_s=settings.fetch_s,
        most_bytes=settings.local_bytes,
        spare_s=place.grace_s,
        orphan_grace_s=settings.orphan_grace_s,
    )


def _tell_left(directory: Path) -> None:
    """Say so where this server has jobs of its own from before it shared them: nobody goes on with these."""
    if not (directory / FILE).exists():
        return
    with contextlib.suppress(AudioPoolError):
        journal = SqliteJournal(directory, read_only=True)
        left = len(journal.unfinished())
        journal.close()
        if left:
            log.warning("%d durable jobs in %s are left; serve without cache.store to have them done", left, directory)


@contextlib.contextmanager
def looked_at(place: SharedStore | Path) -> Iterator[Looked]:
    """Yield the jobs of servers that may or may not run; nothing is changed.

    Args:
        place: the database, or a server's jobs.dir or cache.dir; where that says that its rows are in a database, those
            there.

    Raises:
        NotFound: there are none.
        StorageError, InvalidConfig.
    """
    shared = place if isinstance(place, SharedStore) else read_shared(place) or read_shared(place.parent)
    with contextlib.ExitStack() as rest:
        if shared is not None:
            database, journal_class, _ = _postgres(shared, create=False)
            rest.callback(database.close)
            if not database.holds("jobs"):
                raise NotFound(f"the database {database.where} holds no jobs", hint="name its schema with --schema")
            yield journal_class(database, "", 0.0)
        else:
            assert isinstance(place, Path)
            journal = SqliteJournal(place, read_only=True)
            rest.callback(journal.close)
            yield journal


def _postgres(
    shared: SharedStore, *, create: bool = True
) -> tuple[PostgresDatabase, type[PostgresJournal], type[Bell]]:
    try:
        from audio_pool.cache.postgres.database import PostgresDatabase
        from audio_pool.jobs.bell import Bell
        from audio_pool.jobs.postgres import PostgresJournal
    except ImportError as exc:
        raise InvalidConfig(
            f"durable jobs are in a PostgreSQL database, and {exc.name} is not installed",
            hint="pip install 'audio-pool[cluster]'",
        ) from exc
    return PostgresDatabase(shared, create=create), PostgresJournal, Bell


def _places(worker: WorkerState) -> int:
    """Return how many sounds a worker can have in hand now."""
    if not worker.ready or "generate" not in worker.plan.roles:
        return 0
    return worker.plan.credit * max((one.most or _PASS for one in worker.batching.values()), default=1)
