"""``audio-pool pack``: a game's sounds as a manifest, built, proved and exported.

Owns: the commands' options, and what they print.
Must not know: how a pack is planned, built, checked or exported (packs/).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import (
    SectionedCommand,
    cache_dir_option,
    config_option,
    connect_option,
    json_option,
    keys_option,
    with_options,
)
from audio_pool.cli.terminal import redraw, say, say_json
from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.packs.exports import TARGETS

if TYPE_CHECKING:
    from audio_pool.packs.pack_build import Built
    from audio_pool.packs.pack_lock import Lock
    from audio_pool.packs.pack_manifest import Manifest

__all__ = ["group"]

_INTERRUPTED = 130
_REDRAW_S, _SAY_S = 0.2, 10.0
_folder = click.argument("folder", type=click.Path(path_type=Path), default=Path())


@click.group("pack", cls=CommandGroup)
def group() -> None:
    """Sounds of a whole level: a manifest built into files, again and again the same."""


@group.command("init")
@_folder
def init(folder: Path) -> None:
    """Write an example of a pack.toml into FOLDER."""
    from audio_pool.packs.pack_template import EXAMPLE, name_of

    say(f"{_written(folder, EXAMPLE.replace('{name}', name_of(folder)))}: an example; then 'audio-pool pack build'")


@group.command("import")
@click.argument("list_file", metavar="LIST", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def import_(list_file: Path, folder: Path) -> None:
    """Begin a pack in FOLDER with an item for every line of LIST (.txt, .csv with a heading, .jsonl)."""
    from audio_pool.packs.pack_template import manifest_of_lines, name_of
    from audio_pool.packs.prompt_list import prompt_lines

    text = manifest_of_lines(name_of(folder), prompt_lines(list_file, {}))
    say(f"{_written(folder, text)}: {text.count('[[items]]')} items")


@group.command("plan")
@_folder
@with_options(json_option, config_option, cache_dir_option, connect_option, keys_option)
def plan(folder: Path, as_json: bool, **options: Any) -> None:
    """Show what a build of FOLDER would do; nothing is made. Presets that it names are those of the pool's cache."""
    from audio_pool.packs.pack_lock import read_lock
    from audio_pool.packs.pack_manifest import read_manifest
    from audio_pool.packs.pack_plan import plan_of

    manifest = read_manifest(folder)
    steps = plan_of(manifest, read_lock(folder), folder, _revisions(manifest, options))
    if as_json:
        say_json([{"file": one.file, "step": one.kind, "why": list(one.why)} for one in steps])
        return
    for one in steps:
        if one.kind != "keep":
            say(f"{one.kind:8} {one.file}{''.join(f'  ({why})' for why in one.why)}")
    counts = Counter(one.kind for one in steps)
    say(", ".join(f"{count} to {kind}" for kind, count in sorted(counts.items())) or "nothing is asked for")


@group.command("build", cls=SectionedCommand)
@_folder
@with_options(
    click.option("--frozen", is_flag=True, help="Nothing but what the lock has: any difference is an error."),
    click.option("--overwrite", is_flag=True, help="Make files anew that somebody changed."),
    click.option("--parallel", type=click.IntRange(1, 256), default=4, show_default=True, help="Sounds at a time."),
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(0.0, min_open=True), default=600.0, show_default=True,
        help="Seconds to wait for each.",
    ),
    json_option, config_option, cache_dir_option, connect_option, keys_option,
)  # fmt: skip
def build(
    folder: Path, frozen: bool, overwrite: bool, parallel: int, timeout_s: float, as_json: bool, **options: Any
) -> None:
    """Make what is missing in FOLDER, by a pool started for it or a server's; what is there stays.

    An interrupted build is simply begun again. Failures do not end it; they are listed, and the exit code is 1.
    """
    from audio_pool.cli.pools import asked_pool, own_configuration
    from audio_pool.packs.pack_build import build as build_pack
    from audio_pool.packs.pack_check import out_of_line
    from audio_pool.packs.pack_lock import read_lock
    from audio_pool.packs.pack_manifest import read_manifest
    from audio_pool.packs.pack_plan import plan_of

    manifest, lock = read_manifest(folder), read_lock(folder)
    steps = plan_of(manifest, lock, folder, _revisions(manifest, options))
    todo = sum(step.kind in ("make", "remake", "restore") or (overwrite and step.kind == "edited") for step in steps)
    shown = _Progress(todo, quiet=as_json)
    options["engine"] = None

    def built_by(pool: Any) -> Built:  # an AudioPool or an AudioClient
        return build_pack(
            pool, folder, manifest, lock, steps, frozen=frozen, overwrite=overwrite, here=options["connect"] is None,
            at_once=parallel, timeout_s=timeout_s, on_progress=shown,
        )  # fmt: skip

    if todo:
        with asked_pool(own_configuration(options), options, quiet=as_json) as pool:
            built = built_by(pool)
    else:
        built = built_by(None)  # files are renamed or removed at the most
    shown.clear()
    _tell(built, len(steps), as_json)
    now = read_lock(folder)
    if now is not None and not as_json:
        for line in out_of_line(now):
            say(f"out of line: {line}")
    if built.interrupted:
        sys.exit(_INTERRUPTED)
    if built.failed:
        sys.exit(1)


@group.command("check")
@_folder
@json_option
def check(folder: Path, as_json: bool) -> None:
    """Prove the files of FOLDER against its lock; exit code 1 where one is not what was built."""
    from audio_pool.packs.pack_check import check as check_pack
    from audio_pool.packs.pack_check import out_of_line
    from audio_pool.packs.pack_manifest import read_manifest

    lock = _lock_of(folder)
    wrong = list(check_pack(folder, read_manifest(folder), lock))
    odd = list(out_of_line(lock))
    if as_json:
        say_json({"files": len(lock.files), "wrong": wrong, "out_of_line": odd})
    else:
        for line in wrong:
            say(line)
        for line in odd:
            say(f"out of line: {line}")
        say(f"{len(lock.files)} files, {len(wrong)} not as they should be")
    if wrong:
        sys.exit(1)


@group.command("export")
@_folder
@click.option("--target", type=click.Choice(TARGETS), required=True, help="What it is for.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A new, or empty, folder.")
@click.option("--guard", is_flag=True, help="Godot: WAV loops with the frame that its mixer steps over.")
def export(folder: Path, target: str, output: Path, guard: bool) -> None:
    """Write the built pack of FOLDER as a game engine or an audio tool takes it."""
    from audio_pool.packs.exports import built_pack
    from audio_pool.packs.exports import export as export_pack
    from audio_pool.packs.pack_manifest import read_manifest

    written = export_pack(target, built_pack(folder, read_manifest(folder), _lock_of(folder)), output, guard=guard)
    say(f"{output}: {len(written)} files")


@group.command("diff")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("now", type=click.Path(path_type=Path))
def diff(before: Path, now: Path) -> None:
    """Show what is different between two built packs; exit code 1 where anything is."""
    from audio_pool.packs.pack_plan import differences

    found = list(differences(_lock_of(before), _lock_of(now)))
    for line in found:
        say(line)
    if found:
        sys.exit(1)


def _revisions(manifest: Manifest, options: Mapping[str, Any]) -> dict[str, str]:
    """Return what the presets say that a manifest names. Raises NotFound."""
    from audio_pool.packs.pack_manifest import wanted_files

    named = dict.fromkeys(name for wanted in wanted_files(manifest) for name in wanted.presets)
    if not named:
        return {}
    from audio_pool.cli.presets import preset_shelf

    places = ("connect", "keys", "config_path", "cache_dir")
    with preset_shelf(*(options[place] for place in places)) as shelf:
        return {name: shelf.get(name).revision for name in named}


def _lock_of(folder: Path) -> Lock:
    from audio_pool.packs.pack_lock import LOCK, read_lock

    lock = read_lock(folder)
    if lock is None:
        raise NotFound(f"{folder / LOCK}: there is no such file", hint="'audio-pool pack build' writes it")
    return lock


def _written(folder: Path, text: str) -> Path:
    """Write a new manifest. Raises InvalidRequest: there is one."""
    from audio_pool.packs.pack_manifest import MANIFEST

    path = folder / MANIFEST
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidRequest(f"{path} exists already; it is not replaced") from None
    return path


def _tell(built: Built, total: int, as_json: bool) -> None:
    if as_json:
        say_json({"files": total, **msgspec.to_builtins(built)})
        return
    for file in built.edited:
        say(f"{file}: changed by somebody, and left alone; --overwrite makes it anew")
    for one in built.failed:
        say(f"{one.file}: {one.message}", err=True)
    parts = [f"{len(built.made)} made ({built.there_already} of them from the cache)", f"{built.kept} as they were"]
    others = (("renamed", built.renamed), ("removed", built.removed))
    parts += [f"{len(names)} {what}" for what, names in others if names]
    say(", ".join([*parts, f"{len(built.failed)} failed"]))
    if built.interrupted:
        say("interrupted: begin it again, and what is there stays")


class _Progress:
    """One line that is redrawn at a terminal; elsewhere one every ten seconds."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._silent = quiet and not self._terminal
        self._next = time.monotonic() + (0.0 if self._terminal else _SAY_S)
        self._drawn = 0

    def __call__(self, built: Built) -> None:
        now = time.monotonic()
        if self._silent or now < self._next:
            return
        self._next = now + (_REDRAW_S if self._terminal else _SAY_S)
        line = f"{built.done:,} of {self._total:,}, {len(built.failed)} failed"
        if not self._terminal:
            say(line, err=True)
            return
        redraw(line.ljust(self._drawn))
        self._drawn = len(line)

    def clear(self) -> None:
        if self._drawn:
            redraw(" " * self._drawn)
            redraw("")
