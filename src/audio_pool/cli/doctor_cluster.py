"""What ``audio-pool doctor --cluster`` looks at: everything beyond this machine that a configuration names.

Owns: what is asked of a database, an object store and a Ray cluster together, and of what heads share.
Must not know: how each is asked (the diagnosis modules), which are loaded where they are configured.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import sqlite3
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import msgspec

from audio_pool.config import Config, EngineConfig, WorkerConfig
from audio_pool.config.cluster_checks import on_nodes
from audio_pool.errors import AudioPoolError
from audio_pool.finding import Finding

if TYPE_CHECKING:
    from audio_pool.pool.launchers.ray_diagnosis import Wanted
    from audio_pool.pool.launchers.ray_look import Engine

__all__ = ["cluster_findings"]

_EXTRA = "pip install 'audio-pool[cluster]'"


def cluster_findings(config: Config) -> Iterator[Finding]:
    """Yield what there is to say of the machines beyond this one; each wait has an end."""
    beside = logging.getLogger("audio_pool.cache")
    level = beside.level
    beside.setLevel(logging.CRITICAL)  # what is found is told, not logged beside
    try:
        yield from _findings(config)
    finally:
        beside.setLevel(level)


def _findings(config: Config) -> Iterator[Finding]:
    if not (config.cache.store or config.cache.blobs or config.cluster.launcher != "local"):
        told = "names no other machine: cache.store, cache.blobs and cluster.launcher are at their defaults"
        yield Finding("cluster", "note", told, "docs/cluster.md says what each of them brings")
        return
    store_id, newest = "", list[str]()
    if config.cache.store:
        store_id, newest = yield from _database(config)
    elif config.cache.blobs:
        store_id = _own_store_id(config)
        told = "cache.blobs without cache.store: the rows are in this machine's directory, so there is one head"
        yield Finding("database", "ok", told)
    if config.cache.blobs:
        yield from _objects(config, store_id)
    elif config.cache.store:
        yield from _shared_folders(config, newest)
    if config.cache.store:
        yield from _jobs(config)
    if config.cluster.launcher == "ray":
        yield from _ray(config)
    elif config.cluster.launcher == "tcp":
        told = 'cluster.launcher = "tcp" starts workers on this machine, to try what another would cost'
        yield Finding("cluster", "note", told, 'launcher = "ray" for other machines')


def _lacks(module: str, what: str) -> Finding | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return Finding(what, "problem", f"needs {module}, which is not installed", _EXTRA)


def _database(config: Config) -> Generator[Finding, None, tuple[str, list[str]]]:
    """Look at the database; return which cache is in it, and the files of its newest sounds."""
    if lacking := (_lacks("psycopg", "database") or _lacks("psycopg_pool", "database")):
        yield lacking
        return "", []
    from audio_pool.cache.postgres.diagnosis import Diagnosis
    from audio_pool.pool.cache_files import configured_store

    shared = configured_store(config)
    assert shared is not None
    try:
        diagnosis = Diagnosis(shared, jobs=config.jobs.enabled)
    except AudioPoolError as exc:
        yield Finding("database", "problem", exc.message, exc.hint)
        return "", []
    yield from diagnosis.findings()
    return diagnosis.store_id, diagnosis.newest


def _own_store_id(config: Config) -> str:
    """Return which cache is in this machine's directory; "" where there is none yet."""
    from audio_pool.cache.sqlite.database import FILE

    try:
        with contextlib.closing(sqlite3.connect(f"{(config.cache_dir / FILE).as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT value FROM facts WHERE name = 'store_id'").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


def _objects(config: Config, store_id: str) -> Iterator[Finding]:
    """Look at the object store, and at the room for copies of what is in it."""
    if lacking := _lacks("obstore", "objects"):
        yield lacking
        return
    from audio_pool.cache.objects.diagnosis import findings
    from audio_pool.pool.cache_files import configured_place

    place = configured_place(config)
    assert place is not None
    yield from findings(place, store_id)
    here = config.cache_dir
    base = next(parent for parent in (here, *here.parents) if parent.exists())
    free, most = shutil.disk_usage(base).free, config.cache.objects.local_bytes
    told = f"{free / 1e9:.1f} GB are free in {here}, copies take up to "
    if not most:
        yield Finding("objects.copies", "note", f"{told}what there is", "set cache.objects.local_bytes")
    elif free < most and not (here / "audio").exists():
        mend = "lower cache.objects.local_bytes: copies go by themselves, but whatever else needs the disk does not"
        yield Finding("objects.copies", "note", f"{told}{most / 1e9:.1f} GB", mend)
    else:
        yield Finding("objects.copies", "ok", f"{told}{most / 1e9:.1f} GB")


def _shared_folders(config: Config, newest: list[str]) -> Iterator[Finding]:
    """Look whether the sounds of the database lie here: without an object store heads share their folders."""
    here = config.cache_dir
    lacking = [file for file in newest if not (here / file).is_file()]
    mend = f"have {here}/audio and {here}/renditions be the same folders on every head, or set cache.blobs"
    if lacking:
        told = f"{len(lacking)} of the {len(newest)} newest sounds of the database do not lie in {here}"
        yield Finding("cache.dir", "problem", told, mend)
    elif newest:
        yield Finding("cache.dir", "ok", f"the {len(newest)} newest sounds of the database lie in {here}")
    elif any((here / folder).is_symlink() or os.path.ismount(here / folder) for folder in ("", "audio")):
        yield Finding("cache.dir", "ok", f"{here}/audio lies elsewhere; there are no sounds yet to compare")
    else:
        yield Finding("cache.dir", "note", f"{here}/audio is this machine's alone, and cache.blobs is not set", mend)


def _jobs(config: Config) -> Iterator[Finding]:
    """Say whether all heads have the sounds of finished jobs."""
    if config.jobs.enabled and not config.cache.blobs:
        told = f"durable jobs are everybody's, their sounds lie in {config.jobs_dir}"
        yield Finding("jobs.dir", "note", told, "let it be one folder that all heads have, or set cache.blobs")


def _ray(config: Config) -> Iterator[Finding]:
    """Look at the Ray cluster and its nodes."""
    if lacking := _lacks("ray", "ray"):
        yield lacking
        return
    from audio_pool.pool.launchers.ray_diagnosis import findings_of, look

    wanted = [_wanted(worker) for worker in config.workers if on_nodes(worker, config.cluster)]
    if not wanted:
        told = "every worker is local: Ray is not asked for anything"
        yield Finding("ray", "note", told, "a [[workers]] entry without local = true")
        return
    engines = [_engine(name, config) for name in dict.fromkeys(name for one in wanted for name in one.engines)]
    cluster = config.cluster
    looked = look(cluster.address, cluster.bind, cluster.advertise, engines, wanted)
    yield from findings_of(looked, cluster.address, engines, wanted, ships=cluster.ship_models)


def _wanted(worker: WorkerConfig) -> Wanted:
    from audio_pool.gpu import parse_bytes
    from audio_pool.pool.launchers.ray_diagnosis import Wanted

    memory = float(parse_bytes(worker.memory, "memory")) if worker.memory else 0.0
    asks = {"GPU": worker.gpus, "CPU": float(worker.threads), "memory": memory, **worker.resources}
    return Wanted(name=worker.name, count=worker.count, asks=asks, engines=tuple(worker.engines), python=worker.python)


def _engine(name: str, config: Config) -> Engine:
    """Return what an engine needs of a node: no model that is here and will be brought."""
    from audio_pool.cli.models import loads_weights
    from audio_pool.models import weights
    from audio_pool.pool.launchers.ray_look import Engine
    from audio_pool.pool.plan import configured

    try:
        info = configured(name, config)
    except AudioPoolError:  # another interpreter's
        return Engine(name=name)
    needs = Engine(name=name, requires=tuple(info.requires))
    if not loads_weights(info, config):
        return needs
    settings = config.engines.get(name, EngineConfig()).settings
    models_dir = str(settings.get("models_dir") or config.policy.models_dir)
    revision = str(settings.get("revision") or "")
    found = weights.find(info.model, models_dir=models_dir or None, revision=revision, packaged=info.packaged)
    if config.cluster.ship_models and found is not None and found.place in ("models_dir", "hub_cache"):
        return needs
    return msgspec.structs.replace(
        needs, model=info.model, models_dir=models_dir, revision=revision, packaged=info.packaged
    )
