"""``audio-pool choose``, and what ``generate --keep-candidates`` writes and prints of those that were not chosen.

Owns: the names of their files beside the sound's, the lines that tell of them.
Must not know: how candidates are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import UNSET, structs

from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.outputs import Output, check_replaceable
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import InvalidRequest
from audio_pool.replacement import replacing
from audio_pool.reports import KeptCandidate
from audio_pool.results import AudioResult
from audio_pool.roots import ANYWHERE

if TYPE_CHECKING:
    from audio_pool.client.client import AudioClient
    from audio_pool.pool.pool import AudioPool

__all__ = ["candidate_lines", "check_beside", "choose", "heard", "written_beside"]


@click.command()
@click.argument("request_id")
@click.argument("number", type=click.IntRange(1, 1000))
@with_options(
    click.option("--by", default="", help="Who chooses, for the record. Default: as whom the server knows you."),
    connect_option,
    keys_option,
    click.option("--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Seconds to wait."),
    json_option,
)
def choose(
    request_id: str, number: int, by: str, connect: str | None, keys: str | None, timeout_s: float, as_json: bool
) -> None:
    """Keep candidate NUMBER of a request that was made with --keep-candidates, in place of the sound that is kept.

    The same request finds it from now on; the sound that was kept can be chosen again. Without --connect: the server
    at this user's default address.
    """
    from audio_pool.client.client import AudioClient

    with AudioClient(connect, keys=keys) as client:
        chosen = client.candidates.choose(request_id, number, by=by, timeout_s=timeout_s)
    if as_json:
        say_json(dict(chosen))
        return
    place = "" if chosen.replaced is None else f" in place of entry {chosen.replaced}"
    say(f"candidate {number} is kept as entry {chosen.entry}{place}, seed {chosen.metadata.seed}")
    for line in _lines(chosen.candidates_kept):
        say(line)


def heard(pool: AudioPool | AudioClient, result: AudioResult, output: Output) -> Mapping[int, bytes]:
    """Return the files of a result's candidates that are to be written beside it, by number."""
    if output.kind not in ("file", "directory"):
        return {}
    files = {}
    for one in _kept(result):
        found = pool.candidates.file(result.request_id, one.number, delivery="inline")
        assert isinstance(found.data, bytes), "inline delivery was asked for"
        files[one.number] = found.data
    return files


def check_beside(output: Output, overwrite: bool) -> None:
    """Check before a sound is made that its candidates can be written beside it; raises as ``check_replaceable``."""
    if output.kind == "file":
        there = sorted(output.path.parent.glob(f"{_escaped(output.path.stem)}.candidate-*{output.path.suffix}"))
        check_replaceable(there, overwrite, "--keep-candidates")


def written_beside(result: AudioResult, files: Mapping[int, bytes], *, gone: bool) -> AudioResult:
    """Write candidates as NAME.candidate-N beside the sound; return the result with where they are.

    Args:
        gone: those that are not written here go with the pool that made them.
    """
    told = []
    for one in _kept(result):
        path = None if gone else one.path
        if one.number in files:
            target = _beside(Path(result.path), one.number)
            with (
                ANYWHERE.folder_for("--output", str(target)) as (folder, name),
                replacing(folder, name, f"--output: {target}") as file,
            ):
                file.write(files[one.number])
            path = str(target)
        told.append(structs.replace(one, path=path))
    if not told:
        return result
    return structs.replace(result, metadata=structs.replace(result.metadata, candidates_kept=tuple(told)))


def candidate_lines(result: AudioResult, *, gone: bool) -> list[str]:
    """Return what a person wants to know of the candidates that were not chosen.

    Args:
        gone: the pool that made them has ended.
    """
    kept = _kept(result)
    if not kept:
        return []
    if gone:
        how = "--seed SEED --candidates 1 makes one again"
    else:
        how = f"audio-pool choose {result.request_id} NUMBER keeps one instead"
    return [*_lines(kept), f"  {how}"]


def _lines(kept: tuple[KeptCandidate, ...]) -> list[str]:
    lines = []
    for one in kept:
        figures = [f"seed {one.seed}", f"quality {one.quality.score:.0f}"]
        if one.clap_similarity is not None:
            figures.append(f"CLAP {one.clap_similarity:.2f}")
        if one.loudness_lufs is not None:
            figures.append(f"{one.loudness_lufs:.1f} LUFS")
        if one.loop is not None:
            figures.append(f"seam {one.loop.seam_score:.0f}")
        if one.verdict == "failed_gate":
            figures.append(f"failed the gate: {', '.join(one.quality.issues)}")
        place = "" if one.path is None else f": {one.path}"
        lines.append(f"  candidate {one.number}: {', '.join(figures)}{place}")
    return lines


def _kept(result: AudioResult) -> tuple[KeptCandidate, ...]:
    kept = result.metadata.candidates_kept
    return () if kept is UNSET else kept


def _beside(path: Path, number: int) -> Path:
    if not path.name:
        raise InvalidRequest(f"--output: given {str(path)!r}, allowed is a file's name")
    return path.with_name(f"{path.stem}.candidate-{number}{path.suffix}")


def _escaped(name: str) -> str:
    """Return a name as it stands in a pattern."""
    from glob import escape

    return escape(name)
