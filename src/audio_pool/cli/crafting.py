"""Given files worked on by workers: which files are meant, where each result goes, and what became of them all.

Owns: files found in folders, names of results, the pool that does the work, the line that shows how far it is.
Must not know: any craft's options.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct

from audio_pool.cli.outputs import check_replaceable
from audio_pool.cli.terminal import redraw
from audio_pool.craft import Craft, CraftReport
from audio_pool.errors import AudioPoolError, CallerError, InvalidRequest, NotFound
from audio_pool.replacement import replacing
from audio_pool.roots import ANYWHERE
from audio_pool.types import FORMATS

if TYPE_CHECKING:
    from audio_pool.client.client import AudioClient
    from audio_pool.pool.pool import AudioPool

__all__ = ["Done", "Job", "done", "jobs_of", "sound_files", "target_of"]

_SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".caf", ".w64", ".au")
_DEPTH = 64
"""Folders within folders."""


class Job(Struct, frozen=True):
    """One question to the pool."""

    craft: Craft
    files: tuple[Path, ...]
    target: Path | None = None
    """Where the result goes; None: nothing is written."""


class Done(Struct, frozen=True):
    """What a job came to."""

    job: Job
    report: CraftReport | None = None
    error: AudioPoolError | None = None


def sound_files(given: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return every file that is meant, and its place within the folder that was given.

    Raises:
        NotFound: nothing is there, or a folder without a sound.
    """
    found: list[tuple[Path, Path]] = []
    for one in given:
        if one.is_dir():
            within = sorted(path for path in _walk(one, _DEPTH) if path.suffix.lower() in _SOUNDS)
            if not within:
                raise NotFound(f"{one}: no sound files in it", hint=f"their endings are {', '.join(_SOUNDS)}")
            found += [(path, path.relative_to(one)) for path in within]
        elif one.exists():
            found.append((one, Path(one.name)))
        else:
            raise NotFound(f"{one}: no such file or folder")
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if depth:
                yield from _walk(path, depth - 1)
        elif path.is_file() and not path.name.startswith("."):
            yield path


def target_of(source: Path, within: Path, craft: str, output: Path | None, alone: bool, format_: str | None) -> Path:
    """Return where the result of one file goes.

    Args:
        within: its place in the folder that was given.
        output: of ``--output``: a file where one is worked on, a folder where several are.
        alone: one file is worked on.

    Raises:
        InvalidRequest: several results for one file's name.
    """
    ending = f".{format_}" if format_ else source.suffix
    if ending.lower() == ".oga":
        ending = ".ogg"
    if _format_of(ending) is None:
        ending = ".wav"
    if output is None:
        return source.with_name(f"{source.stem}.{craft}{ending}")
    if output.is_dir() or str(output).endswith("/") or not alone:
        if output.exists() and not output.is_dir():
            raise InvalidRequest(f"--output: given {str(output)!r}, a file, for several; allowed is a folder")
        return output / within.with_suffix(ending)
    return output


def _format_of(ending: str) -> str | None:
    return next((format_ for format_ in FORMATS if ending.lower() == f".{format_}"), None)


def jobs_of(craft: Craft, given: Sequence[Path], options: Mapping[str, Any]) -> list[Job]:
    """Return a job for each file that is meant, after a look at where the results go.

    Args:
        options: of the command: output, overwrite, format.

    Raises:
        NotFound, InvalidRequest: what is given. CallerError: a result is not to replace what is there.
    """
    files = sound_files(given)
    output: Path | None = options["output"]
    if output is None and any(one.is_dir() for one in given):
        raise InvalidRequest("--output: missing; for a folder's files give the folder that the results go to")
    alone = len(files) == 1 and not given[0].is_dir()
    kind = str(craft.__struct_config__.tag)
    jobs = [
        Job(craft, (source,), target_of(source, within, kind, output, alone, options["format"]).absolute())
        for source, within in files
    ]
    targets = [job.target for job in jobs if job.target is not None]
    twice = next((path for path, count in Counter(targets).items() if count > 1), None)
    if twice is not None:
        raise InvalidRequest(f"--output: several of the given files would become {twice}; give them one by one")
    check_replaceable(targets, options["overwrite"], "--output")
    return jobs


def done(
    jobs: Sequence[Job], form: Mapping[str, Any], options: Mapping[str, Any], *, quiet: bool
) -> Generator[Done, None, None]:
    """Yield what each job came to, as they end.

    Args:
        form: how results are written; of CraftForm.
        options: of the command: connect, keys, config_path, jobs, timeout_s.
    """
    count = options["jobs"] or min(len(jobs), os.cpu_count() or 1)
    shown = _Progress(len(jobs), quiet=quiet)
    with _workers(options, count) as (pool, far):
        threads = ThreadPoolExecutor(count)
        try:
            futures = [threads.submit(_one, pool, job, form, far, options["timeout_s"]) for job in jobs]
            for number, future in enumerate(as_completed(futures), 1):
                shown(number)
                yield future.result()
        finally:
            # who interrupts does not wait for the files that are in hand: they end with the pool, or the connection
            threads.shutdown(wait=False, cancel_futures=True)
            shown.clear()


@contextlib.contextmanager
def _workers(options: Mapping[str, Any], count: int) -> Iterator[tuple[AudioPool | AudioClient, bool]]:
    """Yield a server's client, or a pool of workers that do nothing else; and whether files are to be sent."""
    if options["connect"] is not None:
        from audio_pool.client.addresses import all_share_files
        from audio_pool.client.client import AudioClient

        if options["config_path"] is not None:
            raise InvalidRequest("--config: given with --connect, where the server's own counts; leave it out")
        with AudioClient(options["connect"], keys=options["keys"]) as client:
            yield client, not all_share_files(options["connect"])
        return
    from audio_pool.config import Config, load_config
    from audio_pool.config.sections import CacheConfig, JobsConfig, WorkerConfig
    from audio_pool.pool.pool import AudioPool

    asked = load_config(options["config_path"])
    config = Config(
        sound=asked.sound,
        limits=asked.limits,
        policy=asked.policy,
        cache=CacheConfig(enabled=False),
        jobs=JobsConfig(enabled=False),
        workers=[WorkerConfig(name="craft", roles=["master"], count=min(count, 64), aux_credit=1)],
    )
    with AudioPool(config) as pool:
        yield pool, False


def _one(
    pool: AudioPool | AudioClient, job: Job, form: Mapping[str, Any], far: bool, timeout_s: float
) -> Done:
    files = [path.absolute() for path in job.files]
    if job.target is not None and "format" not in form:  # what is in a file is what its ending says
        form = {**form, "format": _format_of(job.target.suffix)}
    try:
        if far:
            report = pool.craft(job.craft, sounds=files, delivery="inline", timeout_s=timeout_s, **form)
            if job.target is not None and report.data is not UNSET:
                _write(job.target, report.data)
        else:
            report = pool.craft(job.craft, files, output_path=job.target, timeout_s=timeout_s, **form)
    except AudioPoolError as exc:
        return Done(job, error=exc)
    except OSError as exc:
        return Done(job, error=CallerError(f"{job.target}: {exc.strerror}"))
    return Done(job, report=report)


def _write(target: Path, data: bytes) -> None:
    with (
        ANYWHERE.folder_for("--output", str(target)) as (folder, name),
        replacing(folder, name, f"--output: {target}") as file,
    ):
        file.write(data)


class _Progress:
    """One line that is redrawn at a terminal."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total = total
        self._shown = total > 1 and not quiet and sys.stderr.isatty()
        self._drawn = 0

    def __call__(self, number: int) -> None:
        if self._shown:
            line = f"{number:,} of {self._total:,}"
            redraw(line.ljust(self._drawn))
            self._drawn = len(line)

    def clear(self) -> None:
        if self._drawn:
            redraw(" " * self._drawn)
            redraw("")

