"""``audio-pool cache import`` and ``cache export``: sounds into a cache, and out of it.

Owns: the commands' options, progress and reports; what a configuration says of the sounds that come in.
Must not know: how sounds are found, prepared and written (exchange/).

Exit codes: 0 done; 1 failed, or an export left something out; 2 wrong usage or input; 130 interrupted, to be gone on
with by the same command.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from audio_pool.cli.cache_command import counts, show, size
from audio_pool.cli.options import cache_dir_option, config_option, json_option, with_options
from audio_pool.cli.terminal import end_redrawing, redraw, say
from audio_pool.config import Config, load_config
from audio_pool.errors import StorageError
from audio_pool.types import AudioRequest, Recipe
from audio_pool.validation import parse

if TYPE_CHECKING:
    from audio_pool.exchange.meaning import Meaning
    from audio_pool.exchange.preparing import Rules

__all__ = ["export_command", "import_command"]

_MOST_JOBS = 32
_OFTEN_S = 0.2
_SELDOM_S = 10.0
_ANY = "any"

_jobs_option = click.option(
    "--jobs", type=click.IntRange(1, _MOST_JOBS), help="Sounds worked on at once. Default: one a core, up to 8."
)


@click.command("import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Files and their prompts. Default: any in it.")
@click.option("--sounds", "beside", type=click.Path(path_type=Path), help="Where else to look for listed files.")
@click.option("--names", "from_names", is_flag=True, help="Take a file's name for its prompt where none is told.")
@click.option("--loop/--no-loop", default=None, help="For sounds of which neither a sidecar nor a tag says it.")
@click.option("--licence", default="", help="Of sounds that tell none. Without one: unknown, not for commercial use.")
@click.option("--commercial", is_flag=True, help="That licence allows commercial use, whatever its name.")
@click.option("--tag", "tags", multiple=True, help="Give it to every sound. May be repeated.")
@click.option("--namespace", default="default", show_default=True, help="Keep the sounds for requests of this one.")
@click.option(
    "--engine",
    help=f"Whose requests they answer: a named model, or '{_ANY}': only requests that take any engine's. Default: the "
    "configuration's.",
)
@click.option("--min-quality", type=click.FloatRange(0, 100), default=0.0, help="Least score of the gate. Default: 0.")
@click.option("--keep-level", is_flag=True, help="Do not bring sounds to the configuration's loudness.")
@click.option("--encoder", default="auto", show_default=True, help="auto, off, or an embedder engine's name.")
@_jobs_option
@config_option
@with_options(cache_dir_option, json_option)
def import_command(
    directory: Path,
    table: Path | None,
    beside: Path | None,
    from_names: bool,
    encoder: str,
    jobs: int | None,
    config_path: str | None,
    cache_dir: str | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Take the sounds of DIRECTORY into the cache, so that a server on it answers with them.

    It may be an export, a directory of the first system (meta.jsonl), or any folder of sounds with a JSON beside each
    or a CSV of prompts. Nothing in it is changed. What the cache has already is passed over, so that the command can
    be given again.
    """
    from audio_pool.cache.opening import open_store
    from audio_pool.exchange.importing import Imported, import_sounds
    from audio_pool.exchange.importing import as_json as told
    from audio_pool.pool.cache_limits import limits_of

    config = load_config(config_path)
    rules = _rules(config, **wanted)
    place = Path(cache_dir) if cache_dir is not None else config.cache_dir
    if not directory.is_dir():  # before a cache is made for nothing
        raise click.BadParameter(f"{directory} is no directory", param_hint="DIRECTORY")
    with contextlib.closing(open_store(place)) as store, _meaning(config, encoder) as meaning, _Progress() as progress:

        taken = Imported()

        def shown(report: Imported) -> None:
            nonlocal taken
            taken = report
            progress.show(f"{report.found:,} found: {report.made:,} new, {report.known:,} known, "
                          f"{report.reasons.total():,} left out")  # fmt: skip

        try:
            report = import_sounds(
                directory,
                store,
                rules,
                meaning,
                table=table,
                beside=beside,
                from_names=from_names,
                limits=limits_of(config.cache),
                jobs=jobs or _cores(),
                on_progress=shown,
            )
        except StorageError:
            say(f"{taken.made:,} sounds were taken in before this; the same command goes on from there", err=True)
            raise
    lines = [f"left out: {one.place}: {one.reason}{f': {one.detail}' if one.detail else ''}" for one in report.skipped]
    lines += [f"{name}: {what}" for name, what in report.arrays.items()]
    lines.append(f"{report.made:,} sounds taken in, {report.known:,} were there, {report.reasons.total():,} left out")
    if report.reasons:
        lines.append(f"left out            {counts(dict(report.reasons))}")
    if report.reasons["no room"]:
        lines.append("there is no room: `audio-pool cache plan-eviction` shows what is held and what it is worth")
    if report.issues:
        lines.append(f"faults of those in  {counts(dict(report.issues))}")
    if report.judgements:
        lines.append(f"{report.judgements:,} judgements taken in")
    if report.upsampled:
        lines.append(f"{report.upsampled:,} had a lower sample rate than the pool's and were brought up to it")
    if report.non_commercial:
        lines.append(f"{report.non_commercial:,} have no licence that is known to allow commercial use")
    if report.without_vectors:
        lines.append(f"{report.without_vectors:,} are found by their words alone (no encoder)")
    show(told(report), as_json, lines)


@click.command("export")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(["flac", "wav"]), default="flac", show_default=True,
              help="The masters as they are, or the same samples as 24-bit WAV.")  # fmt: skip
@_jobs_option
@config_option
@with_options(cache_dir_option, json_option)
def export_command(
    directory: Path, format_: Any, jobs: int | None, config_path: str | None, cache_dir: str | None, as_json: bool
) -> None:
    """Write every entry into DIRECTORY: a sound, a JSON with all that is known of it, a manifest.

    Servers may go on. Given again, the command goes on where it was interrupted, and adds what is new.
    """
    from audio_pool.cache.opening import open_store
    from audio_pool.exchange.exporting import Exported, export
    from audio_pool.exchange.exporting import as_json as told

    place = Path(cache_dir) if cache_dir is not None else load_config(config_path).cache_dir
    with contextlib.closing(open_store(place, create=False)) as store, _Progress() as progress:

        def shown(report: Exported) -> None:
            progress.show(f"{report.entries:,} sounds, {size(report.size_bytes / 2**20)}")

        report = export(store, directory, format=format_, jobs=jobs or _cores(), on_progress=shown)
    found = told(report)
    lines = [f"left out: {one['file']}: {one['why']}" for one in found["skipped"]]
    lines += [f"not kept any more, but changed since, so it stays: {name}" for name in report.changed]
    if report.removed:
        lines.append(f"{report.removed:,} files of sounds that are not kept any more removed")
    lines.append(f"{report.entries:,} sounds in {directory}, {size(found['size_mb'])}; {report.written:,} written now")
    show(found, as_json, lines)
    if report.skipped:
        raise click.exceptions.Exit(1)


def _cores() -> int:
    return max(1, min(8, len(os.sched_getaffinity(0))))


# -- what the configuration says of sounds that come in


def _rules(
    config: Config,
    *,
    engine: str | None,
    namespace: str,
    keep_level: bool,
    licence: str,
    commercial: bool,
    loop: bool | None,
    min_quality: float,
    tags: tuple[str, ...],
) -> Rules:
    """Return the settings that a plain request of this configuration looks for, to be those of the sounds."""
    from audio_pool.cache.sqlite.sources import IMPORTED
    from audio_pool.exchange.preparing import Rules
    from audio_pool.pool.plan import configured, hosted_infos, workers_of
    from audio_pool.pool.resolve import resolve

    given = {"prompt": "a sound", "namespace": namespace, "tags": list(tags)}
    if engine is not None and engine != _ANY:
        given["engine"] = engine
    asked = parse(AudioRequest, given)
    name = asked.engine or config.defaults.engine
    infos = hosted_infos(workers_of(config), config)
    if not name.startswith("kind:") and name not in infos:
        infos[name] = configured(name, config)
    resolved = resolve(asked, config, infos)
    recipe: Recipe = structs.replace(resolved.recipe, candidates=1, crossfade_s=None)
    if engine == _ANY:
        recipe = structs.replace(
            recipe, engine=IMPORTED, implementation=IMPORTED, model="", model_revision="", options=()
        )
    rendition = structs.replace(resolved.rendition, limiter=False, mono=False, measure="integrated")
    return Rules(
        recipe=recipe,
        rendition=structs.replace(rendition, target_lufs=None) if keep_level else rendition,
        least_rate=recipe.sample_rate,
        min_quality=min_quality,
        loop=loop,
        licence=licence,
        commercial_use=commercial,
        tags=tags,
    )


@contextlib.contextmanager
def _meaning(config: Config, encoder: str) -> Iterator[Meaning]:
    """Load the encoder and the scorer that a server would use."""
    from audio_pool.cli.explaining import loaded
    from audio_pool.engines import Embedder, Scorer
    from audio_pool.exchange.meaning import Meaning
    from audio_pool.models.encoders import pick_encoder
    from audio_pool.pool.plan import encoder_infos, vector_space

    name = None
    if encoder != "off":
        wanted = config.cache.encoder if encoder == "auto" else encoder
        name = pick_encoder(wanted, encoder_infos(config), models_dir=config.policy.models_dir)
    scorer = config.cache.scorer

    def load_embedder() -> Embedder:
        found = loaded(name or "", config)
        assert isinstance(found, Embedder), "pick_encoder names no other"
        return found

    def load_scorer() -> Scorer:
        found = loaded(scorer, config)
        assert isinstance(found, Scorer), "a pool with another does not start"
        return found

    texts = None if name is None else (vector_space(name, config), load_embedder)
    sounds = None if scorer == "off" else (vector_space(scorer, config), load_scorer)
    with contextlib.closing(Meaning(texts, sounds)) as meaning:
        yield meaning


class _Progress:
    """One line on standard error: drawn over at a terminal, else a new one now and then."""

    def __init__(self) -> None:
        self._drawn = sys.stderr.isatty()
        self._last = time.monotonic()
        self._width = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._width:
            end_redrawing()

    def show(self, line: str) -> None:
        """Show how far it is, if it is time to."""
        now = time.monotonic()
        if now - self._last < (_OFTEN_S if self._drawn else _SELDOM_S):
            return
        self._last = now
        if self._drawn:
            redraw(line.ljust(self._width))
            self._width = len(line)
        else:
            say(line, err=True)
