"""``audio-pool cache move``: a whole cache carried into another store, while servers go on with it.

Owns: its options, progress and report; where the two stores are.
Must not know: what is carried, and in which order (exchange/moving.py).

Exit codes: 0 done; 1 failed, or something was left out; 2 wrong usage or input; 130 interrupted, to be gone on with by
the same command.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path

import click
from msgspec import structs

from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.opening import open_store
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.store import Store
from audio_pool.cli.cache_command import Json, show, size
from audio_pool.cli.options import cache_dir_option, config_option, json_option, with_options
from audio_pool.cli.terminal import end_redrawing, redraw
from audio_pool.config import Config, load_config
from audio_pool.errors import InvalidRequest
from audio_pool.exchange.moving import Moved, MoveLog, move

__all__ = ["move_command"]

_MB = 1024 * 1024
_SCRATCH = "moving-"


@click.command("move")
@click.option("--to", "target", default="", help="The other store: a directory, or postgresql://USER@HOST:5432/NAME.")
@click.option("--blobs", default="", help="Where its sounds go: s3://BUCKET/PREFIX, gs://, az:// or file:///FOLDER.")
@click.option("--endpoint", default="", help="Of an S3-compatible server. Default: the configuration's or the cloud's.")
@click.option("--schema", default="", help="Of that database. Default: the configuration's, audio_pool.")
@click.option("--into", type=click.Path(path_type=Path), help="A head's directory that is to have copies of them.")
@config_option
@with_options(cache_dir_option, json_option)
def move_command(
    target: str,
    blobs: str,
    endpoint: str,
    schema: str,
    into: Path | None,
    config_path: str | None,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Carry every sound and all that is known of it into another store; nothing of this one is changed.

    Servers may go on with either. The same command again carries what has come since, and takes away what has gone.
    """
    config = load_config(config_path)
    here = Path(cache_dir) if cache_dir is not None else config.cache_dir
    with contextlib.ExitStack() as rest:
        source = rest.enter_context(contextlib.closing(open_store(here, create=False)))
        place = _place(config, blobs, endpoint)
        folder = into or (_scratch(here, rest) if _is_database(target) else Path(target))
        other = rest.enter_context(contextlib.closing(_target(config, target, schema, place, folder, here)))
        whose = other.blobs.store_id
        if whose == source.blobs.store_id:
            raise InvalidRequest("both are the same store", hint="name another one: --to")
        log = MoveLog(here / f"moved-{hashlib.sha256(whose.encode()).hexdigest()[:16]}.sqlite3")
        rest.callback(log.close)
        shown = not as_json and sys.stderr.isatty()

        def told(done: int, wanted: int) -> None:
            if shown:
                redraw(f"{done:,} of {wanted:,}")

        report = move(source, other, log, told=told, copies=into is not None or not other.blobs.remote)
        if shown:
            end_redrawing()
        _tell(report, as_json)
    if report.skipped or report.behind:
        raise click.exceptions.Exit(1)


def _is_database(target: str) -> bool:
    return target.startswith(("postgresql://", "postgres://"))


def _place(config: Config, blobs: str, endpoint: str) -> ObjectPlace | None:
    """Return the object store that is named on the command line."""
    if not blobs:
        return None
    settings = config.cache.objects
    if endpoint:
        settings = structs.replace(settings, endpoint=endpoint, allow_http=endpoint.startswith("http://"))
    return ObjectPlace(url=blobs, settings=settings, grace_s=config.cache.delivered_grace_s)


def _target(
    config: Config, target: str, schema: str, place: ObjectPlace | None, folder: Path, here: Path
) -> Store:
    """Open the other store."""
    if not target:
        raise InvalidRequest("--to: which store? a directory, or postgresql://USER@HOST:5432/NAME")
    if "://" in target and not _is_database(target):
        scheme = target.partition("://")[0]
        raise InvalidRequest(f"--to: {scheme}:// is neither a directory nor postgresql://; sounds go to --blobs")
    if folder.absolute() == here.absolute():
        raise InvalidRequest(f"{folder} is the cache that is to be moved", hint="name another directory")
    shared = None
    if _is_database(target):
        if place is None and folder.name.startswith(_SCRATCH):
            raise InvalidRequest("--blobs: where do the sounds go? An object store, or --into a shared folder")
        shared = SharedStore(
            url=target,
            schema=schema or config.cache.store_schema,
            connect_timeout_s=config.cache.store_connect_s,
            statement_timeout_s=config.cache.store_timeout_s,
        )
    return open_store(folder, shared=shared, blobs=None if place is None else open_files(folder, place=place))


def _scratch(here: Path, rest: contextlib.ExitStack) -> Path:
    """Return a directory for as long as this takes: a head's, whose truth is elsewhere."""
    return Path(rest.enter_context(tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=here.parent)))


def _tell(report: Moved, as_json: bool) -> None:
    size_mb = report.size_bytes / _MB
    told: Json = {
        "carried": report.carried,
        "renditions": report.renditions,
        "there_before": report.there,
        "removed": report.removed,
        "size_mb": size_mb,
        "skipped": [{"id": entry_id, "why": why} for entry_id, why in sorted(report.skipped.items())],
        "behind": report.behind,
    }
    lines = [f"carried {report.carried:,} sounds, {size(size_mb)}, and {report.renditions:,} other formats"]
    if report.there:
        lines.append(f"{report.there:,} were there")
    if report.removed:
        lines.append(f"{report.removed:,} that have been removed here were removed there")
    lines += [f"skipped: entry {entry_id}: {why}" for entry_id, why in sorted(report.skipped.items())]
    if report.behind:
        lines.append("sounds are kept faster than they are carried: the same command again carries the rest")
    show(told, as_json, lines)
