"""``audio-pool loop | master | convert | mix | sequence | check``: the product's craft on any file or folder.

Owns: the commands' options and what they print.
Must not know: how any of it is done (worker/crafting.py), which worker does it (crafting.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from audio_pool.cli.crafting import Done, Job, done, jobs_of, sound_files
from audio_pool.cli.options import (
    FILE_SECTION,
    SectionedCommand,
    SectionedOption,
    config_option,
    connect_option,
    json_option,
    keys_option,
    overwrite_option,
    with_options,
)
from audio_pool.cli.outputs import check_replaceable
from audio_pool.cli.terminal import say, say_json
from audio_pool.craft import Check, Convert, Craft, CraftForm, CraftReport, Loop, Master, Mix
from audio_pool.craft import Sequence as InSequence
from audio_pool.errors import AudioPoolError, InvalidRequest
from audio_pool.types import FORMATS
from audio_pool.validation import parse

__all__ = ["check", "convert", "loop", "master", "mix", "sequence"]

_FORM = (
    "format", "sample_rate", "bit_depth", "bit_rate", "target_lufs", "true_peak_dbfs", "limiter", "measure", "mono",
)  # fmt: skip


def _file(*names: str, **attributes: Any) -> Any:  # click's own arguments and decorator
    return click.option(*names, cls=SectionedOption, section=FILE_SECTION, **attributes)


_output = _file(
    "-o", "--output", type=click.Path(path_type=Path),
    help="A file; for several, a folder. Default: beside each, as NAME.COMMAND.ENDING.",
)  # fmt: skip
_form = with_options(
    _file("--format", type=click.Choice(FORMATS), help="Default: as the output's ending says, else as given."),
    _file("--sample-rate", type=click.IntRange(8_000, 192_000), help="Hz. Default: the highest of the given ones."),
    _file("--bit-depth", type=click.Choice(["16", "24", "32"]), help="WAV and FLAC. Default: as given."),
    _file("--bit-rate", type=click.IntRange(8, 320), help="Kilobits a second; MP3 and Opus."),
    _file("--mono", is_flag=True, help="Mix to one channel."),
    overwrite_option,
)
_level = with_options(
    _file("--loudness", "target_lufs", type=click.FloatRange(-70.0, 0.0), help="LUFS to reach."),
    _file("--true-peak", "true_peak_dbfs", type=click.FloatRange(-40.0, 0.0), help="dBFS that no peak may pass."),
    _file("--limiter", is_flag=True, help="Hold down peaks that would keep it under its loudness."),
    _file("--measure", type=click.Choice(["integrated", "short_term"]), help="Which loudness of a one-shot is meant."),
)
_pool = with_options(
    click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Files worked on at a time. Default: one per core."),
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(0.0, min_open=True), default=300.0, show_default=True,
        help="Seconds to wait for each file.",
    ),
    json_option, config_option, connect_option, keys_option,
)  # fmt: skip
_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.command(cls=SectionedCommand)
@_files
@with_options(
    click.option("--seconds", "duration_s", type=click.FloatRange(0.05, 600.0), help="Of one turn. Default: all."),
    click.option("--crossfade", "crossfade_s", type=click.FloatRange(0.0, 10.0), default=1.5, show_default=True,
                 help="The longest, in seconds."),
    click.option("--method", type=click.Choice(["auto", "native", "crossfade"]), default="auto", show_default=True,
                 help="auto: what repeats by itself stays as it is. crossfade: always crossfaded."),
    _output, _form, _level, _pool,
)  # fmt: skip
def loop(files: tuple[Path, ...], duration_s: float | None, crossfade_s: float, method: Any, **options: Any) -> None:
    """Make each of FILES (or of a folder's sounds) repeat without a seam."""
    _each(Loop(duration_s=duration_s, crossfade_s=crossfade_s, method=method), files, options)


@click.command(cls=SectionedCommand)
@_files
@with_options(
    click.option("--highpass", "highpass_hz", type=click.FloatRange(0.0, 1000.0),
                 help="Hz; 0: no filter. Default: as configured, lower where the sound lives down there."),
    _output, _form, _level, _pool,
)  # fmt: skip
def master(files: tuple[Path, ...], highpass_hz: float | None, **options: Any) -> None:
    """Filter each of FILES and bring it to its loudness, as generated sounds are."""
    _each(Master(highpass_hz=highpass_hz), files, options)


@click.command(cls=SectionedCommand)
@_files
@with_options(_output, _form, _pool)
def convert(files: tuple[Path, ...], **options: Any) -> None:
    """Write each of FILES in another form, at its own level; loop points are kept."""
    _each(Convert(), files, options)


@click.command(cls=SectionedCommand)
@_files
@with_options(
    click.option("--level", "levels_db", type=click.FloatRange(-96.0, 24.0), multiple=True, metavar="DB",
                 help="Of each file, in their order; once: of all."),
    click.option("--at", "offsets_s", type=click.FloatRange(0.0, 600.0), multiple=True, metavar="SECONDS",
                 help="When each begins, in their order."),
    click.option("--seconds", "duration_s", type=click.FloatRange(0.05, 600.0), help="Of the whole."),
    click.option("--loop", is_flag=True, help="It repeats without a seam; loops go on in it."),
    _output, _form, _level, _pool,
)  # fmt: skip
def mix(
    files: tuple[Path, ...], levels_db: tuple[float, ...], offsets_s: tuple[float, ...], duration_s: float | None,
    loop: bool, **options: Any,
) -> None:  # fmt: skip
    """Put FILES together, all at once or each at its time."""
    levels = levels_db * len(files) if len(levels_db) == 1 else levels_db
    _whole(Mix(levels_db=levels, offsets_s=offsets_s, duration_s=duration_s, loop=loop), files, options)


@click.command(cls=SectionedCommand)
@_files
@with_options(
    click.option("--crossfade", "crossfade_s", type=click.FloatRange(0.0, 10.0), default=0.5, show_default=True,
                 help="Between neighbours, in seconds."),
    click.option("--gap", "gap_s", type=click.FloatRange(0.0, 60.0), default=0.0, help="Silence, instead."),
    click.option("--loop", is_flag=True, help="The last leads into the first."),
    _output, _form, _level, _pool,
)  # fmt: skip
def sequence(files: tuple[Path, ...], crossfade_s: float, gap_s: float, loop: bool, **options: Any) -> None:
    """Put FILES one after the other."""
    _whole(InSequence(crossfade_s=crossfade_s, gap_s=gap_s, loop=loop), files, options)


@click.command(cls=SectionedCommand)
@_files
@with_options(
    click.option("--loop/--one-shot", "loop", default=None, help="Judge it as that. Default: as its file says."),
    click.option("--min-quality", type=click.FloatRange(0.0, 100.0), default=0.0, help="Exit with 1 below this score."),
    _pool,
)  # fmt: skip
def check(files: tuple[Path, ...], loop: bool | None, min_quality: float, as_json: bool, **options: Any) -> None:
    """Judge each of FILES: quality and its issues, loudness, how a loop closes."""
    jobs = [Job(Check(loop=loop), (source,)) for source, _ in sound_files(files)]
    poor = 0

    def line(report: CraftReport) -> str:
        nonlocal poor
        poor += report.quality.score < min_quality
        issues = ", ".join(report.quality.issues) or "no issues"
        seam = "" if report.loop is None else f", seam {report.loop.seam_score:.0f}"
        return f"{report.given[0].name}: quality {report.quality.score:.0f} ({issues}){seam}, {_figures(report)}"

    _told(done(jobs, {}, options, quiet=as_json), as_json, line)
    if poor:
        sys.exit(1)


def _each(craft: Craft, files: Sequence[Path], options: dict[str, Any]) -> None:
    form = _form_of(options)
    jobs = jobs_of(craft, files, options)
    as_json = options["as_json"]
    _told(done(jobs, form, options, quiet=as_json), as_json, _written)


def _whole(craft: Craft, files: Sequence[Path], options: dict[str, Any]) -> None:
    """Make one file of all given ones."""
    if options["output"] is None:
        raise InvalidRequest("--output: missing; give the file that they are to become")
    form = _form_of(options)
    sources = tuple(source for source, _ in sound_files(files))
    target: Path = options["output"].absolute()
    if options["output"].is_dir():
        raise InvalidRequest(f"--output: given the folder {str(target)!r}, allowed is a file's name")
    check_replaceable([target], options["overwrite"], "--output")
    as_json = options["as_json"]
    _told(done([Job(craft, sources, target)], form, options, quiet=as_json), as_json, _written)


def _form_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return how results are written; an output's ending says its format. Raises InvalidRequest."""
    output: Path | None = options["output"]
    ending = "" if output is None or output.is_dir() else output.suffix[1:].lower()
    if ending and options["format"] is None:
        if ending not in FORMATS:
            raise InvalidRequest(f"--output: given {output.name!r}, allowed endings are .{', .'.join(FORMATS)}")  # type: ignore[union-attr]
        options["format"] = ending
    if ending in FORMATS and ending != options["format"]:
        raise InvalidRequest(f"--output: given an ending .{ending} with --format {options['format']}; give one of them")
    form = {name: options[name] for name in _FORM if options.get(name) not in (None, False)}
    if "bit_depth" in form:
        form["bit_depth"] = int(form["bit_depth"])
    parse(CraftForm, form, error=InvalidRequest, what="form")
    return form


def _figures(report: CraftReport) -> str:
    level = "silent" if report.loudness_lufs is None else f"{report.loudness_lufs:.1f} LUFS"
    peak = "" if report.true_peak_dbfs is None else f", peak {report.true_peak_dbfs:.1f} dBFS"
    return f"{report.duration_s:.2f} s, {level}{peak}"


def _written(report: CraftReport) -> str:
    seam = "" if report.loop is None else f", seam {report.loop.seam_score:.0f}"
    return f"{report.path or 'written'}: {_figures(report)}{seam}"


def _told(results: Any, as_json: bool, line: Any) -> None:  # an iterator of Done; what tells of a report
    """Print what every job came to; exit with 1 where one failed."""
    failed: list[tuple[Done, AudioPoolError]] = []
    listed = []
    for one in results:
        if one.report is None:
            failed.append((one, one.error))
            listed.append({"file": str(one.job.files[0]), "error": one.error.message})
            continue
        said = line(one.report)
        if as_json:
            told = msgspec.to_builtins(one.report)
            told.pop("data", None)
            listed.append({**told, "path": None if one.job.target is None else str(one.job.target)})
        else:
            say(said)
            for warning in one.report.warnings:
                say(f"  {warning}")
    if as_json:
        say_json(listed)
    else:
        for one, error in failed:
            say(f"{one.job.files[0]}: {error.message}", err=True)
    if failed:
        sys.exit(1)
