"""``audio-pool verify``: where files come from, by the cache as a registry.

Owns: its options, what it prints, and asking a cache without a server.
Must not know: how a sound is recognised (cache/recognition.py), how files are read (worker/recognizing.py).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import UNSET

from audio_pool.cli.crafting import sound_files
from audio_pool.cli.options import (
    SectionedCommand,
    cache_dir_option,
    config_option,
    connect_option,
    json_option,
    keys_option,
)
from audio_pool.cli.terminal import say, say_json
from audio_pool.config import Config, load_config
from audio_pool.errors import AudioPoolError, InvalidRequest
from audio_pool.origin import VerifyReport

__all__ = ["verify"]

_Ask = Callable[[Path], VerifyReport]


@click.command(cls=SectionedCommand)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.0, min_open=True), default=60.0, show_default=True,
    help="Seconds to wait for a server's answer to each file.",
)  # fmt: skip
@json_option
@cache_dir_option
@config_option
@connect_option
@keys_option
def verify(
    files: tuple[Path, ...],
    timeout_s: float,
    as_json: bool,
    cache_dir: str | None,
    config_path: str | None,
    connect: str | None,
    keys: Any,
) -> None:
    """Say of each of FILES (or of a folder's sounds) whether it was made here, when, by what, and what was changed.

    Without --connect the cache directory is asked, whether a server runs on it or not. Exit codes: 0 all were made
    here, 1 one is not known, 2 one cannot be read, or wrong usage.
    """
    worst = 0
    listed: list[dict[str, Any]] = []  # JSON, as documented in docs/provenance.md
    with _asking(cache_dir, config_path, connect, keys, timeout_s) as ask:
        for path, _ in sound_files(files):
            try:
                report = ask(path)
            except AudioPoolError as exc:
                worst = 2
                listed.append({"name": str(path), "error": exc.message})
                if not as_json:
                    say(f"{path}: {exc.message}", err=True)
                continue
            worst = max(worst, 0 if report.verdict == "made_here" else 1)
            listed.append({**msgspec.to_builtins(report), "changed": report.changes.told()})
            if not as_json:
                for line in lines_of(report):
                    say(line)
    if as_json:
        say_json(listed)
    if worst:
        sys.exit(worst)


_UNMEASURED = {
    "file": "nothing",
    "manifest": "nothing",
    "samples": "nothing in its samples; its bytes are those of no file that is known here",
}
"""What is said where no change was found, by how the sound was known."""


def lines_of(report: VerifyReport) -> list[str]:
    """Return a report as text: the verdict, and what else there is to say."""
    said = report.declares
    if report.verdict == "made_here" and report.origin is not None:
        made = report.origin
        when = time.strftime(" on %Y-%m-%d %H:%M", time.localtime(made.made_at)) if made.made_at else ""
        maker = made.engine + (f" ({made.model})" if made.model and made.model != made.engine else "")
        seed = "" if made.seed is None else f", seed {made.seed}"
        first = f"{report.name}: made here{when}{f', by {maker}' if maker else ''}{seed}"
        changed = ", ".join(report.changes.told())
        changed = changed or _UNMEASURED.get(report.by, "its bytes, and nothing that is measured")
        lines = [first, f"  changed since: {changed}", f"  {_known_by(report)}"]
        if isinstance(made.entry, int):
            lines.append(f"  kept as entry {made.entry}: {made.prompt}")
        else:
            lines.append("  not kept any more, or not yours to see")
        if made.licence:
            lines.append(f"  licence of what made it: {made.licence}")
    else:
        says = report.verdict == "says_so"
        lines = [f"{report.name}: {'says that it was made here; not proven' if says else 'not known here'}"]
    tells = [said.digital_source_type and f"source type {said.digital_source_type}", said.aigc and "an AIGC label"]
    tells += [said.manifest and f"a C2PA manifest ({said.manifest}, by {said.manifest_by or 'nobody named'})"]
    if any(tells):
        lines.append(f"  the file itself tells: {', '.join(str(one) for one in tells if one)}")
    return lines + [f"  {note}" for note in report.notes]


def _known_by(report: VerifyReport) -> str:
    match report.by:
        case "file":
            return "certain: the file is as it was written here"
        case "samples":
            return "certain: its samples are those that were made here"
        case "manifest":
            return "certain: it is as it was signed here"
    rate = "" if report.bit_error_rate is UNSET else f", bit error rate {report.bit_error_rate:.1%}"
    chance = f", by chance {report.false_match:.0e}" if isinstance(report.false_match, float) else ""
    return f"by its likeness{rate}{chance if report.false_match else ''}"


@contextlib.contextmanager
def _asking(
    cache_dir: str | None, config_path: str | None, connect: str | None, keys: Any, timeout_s: float
) -> Iterator[_Ask]:
    """Give what answers for one file: a server, or this process."""
    if connect is not None:
        from audio_pool.client.addresses import all_share_files
        from audio_pool.client.client import AudioClient

        if config_path is not None or cache_dir is not None:
            raise InvalidRequest("--config, --cache-dir: given with --connect, where the server's own count")
        with AudioClient(connect, keys=keys) as client:
            here = all_share_files(connect)
            yield lambda path: client.verify(
                path if here else None, sound=None if here else path, timeout_s=timeout_s
            )
        return
    config = load_config(config_path)
    from audio_pool.cache.opening import open_store
    from audio_pool.cache.recognition import Recognition

    place = config.cache_dir if cache_dir is None else Path(cache_dir)
    with contextlib.closing(open_store(place, create=False)) as store:
        recognition = Recognition(store)
        yield lambda path: _here(path, recognition, config)


def _here(path: Path, recognition: Any, config: Config) -> VerifyReport:  # Any: imported when it is needed
    from audio_pool.roots import ANYWHERE
    from audio_pool.signing.anchors import anchors_in
    from audio_pool.worker.recognizing import compared, heard

    anchors = anchors_in(config.provenance.certificate)
    found = heard(str(path.absolute()), ANYWHERE, str(path), anchors=anchors)
    suspects = recognition.suspects(found)
    against = [one.against for one in suspects if one.against is not None]
    beside = compared(str(path.absolute()), ANYWHERE, str(path), against) if against else []
    report: VerifyReport = recognition.report(found, suspects, beside)
    return report
