"""``audio-pool presets``: named sets of words and parameters listed, shown, set, removed, and as a file.

Owns: the commands' options and what they print.
Must not know: where presets are kept, how they are merged into a request.

Without ``--connect`` they are those of the cache directory, whether a server runs on it or not: a running one makes
sounds with what is set here from its next request on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, get_args

import click
import msgspec

from audio_pool.cache.opening import open_store
from audio_pool.cache.store import Store
from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import (
    cache_dir_option,
    config_option,
    connect_option,
    json_option,
    keys_option,
    with_options,
)
from audio_pool.cli.request_options import scalars
from audio_pool.cli.terminal import say, say_json
from audio_pool.client.client import AudioClient
from audio_pool.config import Config, load_config
from audio_pool.errors import InvalidRequest, NotFound, StorageError
from audio_pool.exchange.preset_file import read_presets, tree_of, write_presets
from audio_pool.pool.plan import hosted_infos, workers_of
from audio_pool.pool.preset_book import PresetBook, presets_of
from audio_pool.pool.presets import suiting_of
from audio_pool.presets import (
    MAX_AT_ONCE,
    Preset,
    PresetMetadata,
    PresetPage,
    PresetRemoved,
    PresetType,
    checked_preset,
)

__all__ = ["group", "preset_shelf"]


class _Shelf(Protocol):
    """Where presets are: a server's, or a cache directory's."""

    def page(self, type_: PresetType | None, engine: str | None, after: str | None) -> PresetPage: ...

    def get(self, preset_id: str) -> Preset: ...

    def set(self, presets: Sequence[Preset]) -> Sequence[Preset]: ...

    def remove(self, preset_id: str) -> PresetRemoved: ...


class _Served:
    """A server's."""

    def __init__(self, client: AudioClient) -> None:
        self._presets = client.presets

    def page(self, type_: PresetType | None, engine: str | None, after: str | None) -> PresetPage:
        return self._presets.list(type=type_, engine=engine, after=after)

    def get(self, preset_id: str) -> Preset:
        return self._presets.get(preset_id)

    def set(self, presets: Sequence[Preset]) -> Sequence[Preset]:
        return [
            self._presets.set(one.id, one.type, one.content, engines=one.engines, priority=one.metadata.priority)
            for one in presets
        ]

    def remove(self, preset_id: str) -> PresetRemoved:
        return self._presets.remove(preset_id)


class _Own:
    """A cache directory's, with those of the configuration and of the program."""

    def __init__(self, config: Config, store: Store | None) -> None:
        self._config = config
        self._book = PresetBook(presets_of(config), lambda: None if store is None else store.presets)

    def page(self, type_: PresetType | None, engine: str | None, after: str | None) -> PresetPage:
        infos = {} if engine is None else hosted_infos(workers_of(self._config), self._config)
        return self._book.page(type=type_, suiting=suiting_of(engine, infos), after=after or "", limit=MAX_AT_ONCE)

    def get(self, preset_id: str) -> Preset:
        return self._book.named([preset_id])[0]

    def set(self, presets: Sequence[Preset]) -> Sequence[Preset]:
        return self._book.set(presets)

    def remove(self, preset_id: str) -> PresetRemoved:
        return self._book.remove(preset_id)


@contextmanager
def preset_shelf(
    connect: str | None, keys: str | None, config_path: str | None, cache_dir: str | None, *, create: bool = False
) -> Iterator[_Shelf]:
    """Open where presets are: a server's at ``connect``, else a cache directory's.

    Args:
        create: make the directory where it does not exist; else there are those of the program and the configuration.

    Raises:
        InvalidRequest: both are given. StorageError: it cannot be opened.
    """
    if connect is not None:
        if config_path is not None or cache_dir is not None:
            raise InvalidRequest("--connect: given with --config or --cache-dir; give either")
        with AudioClient(connect, keys=keys) as client:
            yield _Served(client)
        return
    config = load_config(config_path, overrides={"cache": {"dir": cache_dir}} if cache_dir is not None else None)
    store: Store | None = None
    try:
        store = open_store(config.cache_dir, create=create)
    except (NotFound, StorageError):
        if create:
            raise
    try:
        yield _Own(config, store)
    finally:
        if store is not None:
            store.close()


def _command(*, create: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options of every command, and opens the shelf for it."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @with_options(connect_option, keys_option, config_option, cache_dir_option, json_option)
        @functools.wraps(function)
        def opened(
            *,
            connect: str | None,
            keys: str | None,
            config_path: str | None,
            cache_dir: str | None,
            as_json: bool,
            **options: Any,  # click's: a command's own
        ) -> None:
            with preset_shelf(connect, keys, config_path, cache_dir, create=create) as shelf:
                function(shelf, as_json, **options)

        return opened

    return decorate


_id_argument = click.argument("preset_id", metavar="ID")


@click.group(cls=CommandGroup)
def group() -> None:
    """Presets: named sets of words and parameters for requests.

    Without --connect: those of the cache directory; a server that runs on it makes sounds with what is set from its
    next request on. See docs/presets.md.
    """


@group.command("list")
@click.option("--type", "type_", type=click.Choice(get_args(PresetType)), help="Those of this type alone.")
@click.option("--engine", help="Those that suit this engine, or kind:NAME, alone.")
@_command()
def list_command(shelf: _Shelf, as_json: bool, type_: PresetType | None, engine: str | None) -> None:
    """List presets: the kept ones, the configuration's, and those that come with the program."""
    presets = list(_all(shelf, type_, engine))
    if as_json:
        say_json({"presets": [msgspec.to_builtins(one) for one in presets]})
        return
    for one in presets:
        kind = "words" if one.type == "prompt" else "parameters"
        engines = f"  for {', '.join(one.engines)}" if one.engines else ""
        say(f"{one.id:<24}  {kind:<10}  {one.metadata.priority:>3}  {one.metadata.source:<8}{engines}  {_said(one)}")


@group.command("show")
@_id_argument
@_command()
def show_command(shelf: _Shelf, as_json: bool, preset_id: str) -> None:
    """Show what the preset ID says."""
    _show(shelf.get(preset_id), as_json)


@group.command("set")
@_id_argument
@click.option("--before", metavar="WORDS", help="Words before a request's own.")
@click.option("--after", metavar="WORDS", help="Words after them.")
@click.option("--negative", metavar="WORDS", help="What sounds are to be without.")
@click.option(
    "--scene",
    "scene",
    multiple=True,
    metavar="ASPECT=VALUE",
    help="place, space, mood, time, weather, period or distance. Repeatable.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of a request, e.g. duration_s=2, or options.NAME=VALUE; instead of words. Repeatable.",
)
@click.option("--for", "engines", multiple=True, metavar="ENGINE", help="An engine, or kind:NAME. Repeatable.")
@click.option("--priority", type=click.IntRange(0, 100), default=50, show_default=True, help="The higher is stronger.")
@_command(create=True)
def set_command(
    shelf: _Shelf,
    as_json: bool,
    preset_id: str,
    scene: tuple[str, ...],
    fields: tuple[str, ...],
    engines: tuple[str, ...],
    priority: int,
    **words: str | None,
) -> None:
    """Keep the preset ID, in the place of what has its name: words, or with --field parameters."""
    content: dict[str, Any] = {name: text for name, text in words.items() if text is not None}  # opaque: checked below
    if scene:
        content["scene"] = {name: str(value) for name, _, value in (pair.partition("=") for pair in scene)}
    if fields and content:
        raise InvalidRequest("--field: given with words; a preset has either, and a request may name several")
    if fields:
        content = _parameters(fields)
    preset = checked_preset(
        {
            "id": preset_id,
            "type": "generation_parameters" if fields else "prompt",
            "content": content,
            "engines": list(engines),
        },
        metadata=PresetMetadata(priority=priority),
    )
    _show(shelf.set([preset])[0], as_json)


@group.command("remove")
@_id_argument
@_command()
def remove_command(shelf: _Shelf, as_json: bool, preset_id: str) -> None:
    """Remove the kept preset ID; one that it stood before counts again."""
    removed = shelf.remove(preset_id)
    if as_json:
        say_json(msgspec.to_builtins(removed))
        return
    uncovered = f"; the one of source {removed.uncovered!r} counts again" if removed.uncovered else ""
    say(f"removed preset {removed.id!r}{uncovered}")


@group.command("export")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file. Default: standard output.")
@click.option("--all", "all_", is_flag=True, help="With those of the configuration and of the program.")
@_command()
def export_command(shelf: _Shelf, as_json: bool, output: Path | None, all_: bool) -> None:
    """Write the kept presets as JSON, for 'import'."""
    presets = [one for one in _all(shelf, None, None) if all_ or one.metadata.source == "user"]
    if output is None:
        say_json(tree_of(presets), indent=2)
        return
    write_presets(output, presets)
    if as_json:
        say_json({"path": str(output), "presets": len(presets)})
    else:
        say(f"wrote {len(presets)} preset{'' if len(presets) == 1 else 's'} to {output}")


@group.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@_command(create=True)
def import_command(shelf: _Shelf, as_json: bool, file: Path) -> None:
    """Keep the presets of FILE, as 'export' writes them, in the place of those of their names; all or none."""
    kept = shelf.set(read_presets(file))
    if as_json:
        say_json({"presets": [one.id for one in kept]})
    else:
        say(f"kept {len(kept)} preset{'' if len(kept) == 1 else 's'}")


def _all(shelf: _Shelf, type_: PresetType | None, engine: str | None) -> Iterator[Preset]:
    after: str | None = None
    while True:
        page = shelf.page(type_, engine, after)
        yield from page.presets
        after = page.following
        if after is None:
            return


def _parameters(pairs: Sequence[str]) -> dict[str, Any]:  # opaque: checked when it becomes a preset
    content: dict[str, Any] = {}
    for name, value in scalars(pairs, "--field").items():
        group_, dot, option = name.partition(".")
        if dot and group_ == "options":
            content.setdefault("options", {})[option] = value
        else:
            content[name] = value
    return content


def _said(preset: Preset) -> str:
    """Return what a preset says, in a few words."""
    said: list[str] = []
    for name, value in preset.content.items():
        parts = value.items() if isinstance(value, dict) else [(name, value)]
        said += [f"{part}: {text}" for part, text in parts]
    line = ", ".join(said)
    return line if len(line) <= 80 else line[:79] + "…"


def _show(preset: Preset, as_json: bool) -> None:
    if as_json:
        say_json(msgspec.to_builtins(preset) | {"revision": preset.revision})
        return
    say(f"{preset.id}: {'words' if preset.type == 'prompt' else 'parameters'}, priority {preset.metadata.priority}, "
        f"source {preset.metadata.source}")  # fmt: skip
    if preset.engines:
        say(f"  for {', '.join(preset.engines)}")
    for name, value in preset.content.items():
        told = ", ".join(f"{part} {text}" for part, text in value.items()) if isinstance(value, dict) else value
        say(f"  {name}: {told}")
