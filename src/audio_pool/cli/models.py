"""``audio-pool models``: which models engines need, which are on this machine, fetching and checking them.

Owns: the commands' options and what they print.
Must not know: how models are found, fetched (weights.py, hub.py) or loaded.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.model_orders import COMMANDS
from audio_pool.cli.options import config_option, json_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.config import Config, EngineConfig, load_config
from audio_pool.engine_info import EngineInfo
from audio_pool.engines import engine_info, engine_infos, engine_names
from audio_pool.errors import AudioPoolError, EngineUnavailable, NotSupported
from audio_pool.models import hub, weights
from audio_pool.pool.plan import configured

__all__ = ["fetch_command", "group", "loads_weights"]


def loads_weights(info: EngineInfo, config: Config) -> bool:
    """Tell engines with a model from those without: these have their own name for one, hub ids have an owner."""
    return "/" in info.model or bool(config.engines.get(info.name, EngineConfig()).settings.get("model"))


def fetch_command(name: str, config_path: str | None = None, *options: str) -> str:
    """Return the command that fetches a model; named models are known to the configuration alone."""
    configuration = ["--config", config_path] if config_path else []
    return shlex.join(["audio-pool", "models", "fetch", name, *configuration, *options])


class _Wanted(Struct, frozen=True, kw_only=True):
    """The model that one engine loads, as the configuration has it."""

    info: EngineInfo
    """Of the implementation."""
    name: str
    model: str
    revision: str
    models_dir: str | None
    accepted: bool
    """The configuration acknowledges the engine's licence."""

    def find(self) -> weights.Found | None:
        """Return where the model is on this machine."""
        return weights.find(
            self.model, models_dir=self.models_dir, revision=self.revision, packaged=self.packaged
        )

    def locate(self) -> weights.Found:
        """Return where the model is on this machine.

        Raises:
            EngineUnavailable: it is not here, or not whole.
        """
        return weights.locate(
            self.model,
            engine=self.info.implementation,
            models_dir=self.models_dir,
            revision=self.revision,
            packaged=self.packaged,
        )

    @property
    def by_default(self) -> bool:
        return self.model == self.info.model

    @property
    def packaged(self) -> str:
        return self.info.packaged if self.by_default else ""

    def repositories(self, only: tuple[str, ...] = ()) -> list[hub.Repository]:
        """Return the model and what it needs beside it, as the hub has them."""
        infos = engine_infos()  # of all: one engine may load the model that is another's default
        own = hub.Repository(
            id=self.model,
            revision=self.revision,
            only=only or hub.files_of(self.model, infos),
            licence=self.info.licence if self.by_default else "",
            commercial_use=self.info.commercial_use or not self.by_default,
        )
        return [own, *hub.companions(self.model, infos)]


@click.group("models", cls=CommandGroup)
def group() -> None:
    """Models on disk: list, fetch, find and verify what engines load; in a running server's memory: where, load..."""


for _command in COMMANDS:
    group.add_command(_command)


_shared = with_options(
    config_option,
    click.option(
        "--models-dir",
        type=click.Path(file_okay=False),
        help="Directory of models, looked in before the hub's cache. Default: policy.models_dir.",
    ),
    json_option,
)
_one_model = with_options(
    click.argument("engine"),
    click.option("--model", default="", help="Hub id or path. Default: the engine's own."),
    click.option("--revision", default="", help="Branch, tag or commit. Default: the engine's own."),
)


@group.command("list")
@_shared
def list_models(config_path: str | None, models_dir: str | None, as_json: bool) -> None:
    """List every engine that loads a model: its model, its licence, and where it is on this machine."""
    config = load_config(config_path)
    rows = []
    for name in sorted({*engine_names(), *config.engines}):
        try:
            info = configured(name, config)
        except AudioPoolError:
            continue  # another package's engine that does not import; `audio-pool engines` says why
        if loads_weights(info, config):
            rows.append(_row(_wanted(config, name, models_dir=models_dir)))
    if as_json:
        say_json({"models": rows}, indent=2)
        return
    for row in rows:
        use = "commercial use allowed" if row["commercial_use"] else "no commercial use"
        say(f"{row['engine']}: {row['model']}  [{row['licence'] or 'licence unknown'}; {use}]")
        say(f"    {row['path'] or 'not here: ' + fetch_command(row['engine'], config_path)}")


@group.command("fetch")
@_one_model
@_shared
@click.option("--only", multiple=True, help="Shell pattern of the files wanted; may be given several times.")
@click.option("--accept-licence", is_flag=True, help="Acknowledge a licence without commercial use.")
def fetch(
    engine: str,
    model: str,
    revision: str,
    config_path: str | None,
    models_dir: str | None,
    as_json: bool,
    only: tuple[str, ...],
    accept_licence: bool,
) -> None:
    """Bring the model of ENGINE onto this machine; goes on where it was cut short.

    Serving reaches the network only for an engine with the setting offline = false.
    """
    wanted = _wanted(load_config(config_path), engine, models_dir=models_dir, model=model, revision=revision)
    if Path(wanted.model).expanduser().exists():
        raise NotSupported(f"{wanted.model} is a path on this machine already: there is nothing to fetch")
    fetched = []
    for repository in wanted.repositories(only):
        if not as_json:
            use = "allowed" if repository.commercial_use else "not allowed"
            licence = f"{repository.licence}; commercial use {use}" if repository.licence else "see its page"
            say(f"{repository.id}: licence: {licence} (https://huggingface.co/{repository.id})")
        path = hub.fetch(
            repository, models_dir=wanted.models_dir, accept_licence=accept_licence or wanted.accepted
        )
        fetched.append({"model": repository.id, "licence": repository.licence, "path": str(path)})
        if not as_json:
            say(f"    {path}")
    if as_json:
        say_json({"engine": engine, "fetched": fetched}, indent=2)


@group.command("path")
@_one_model
@_shared
def path_of(
    engine: str, model: str, revision: str, config_path: str | None, models_dir: str | None, as_json: bool
) -> None:
    """Print where the model of ENGINE is on this machine."""
    wanted = _wanted(load_config(config_path), engine, models_dir=models_dir, model=model, revision=revision)
    found = wanted.find() or wanted.locate()
    if as_json:
        report = {"engine": engine, "model": wanted.model, "path": str(found.path), "place": found.place}
        say_json({**report, "revision": found.revision}, indent=2)
    else:
        say(str(found.path))


@group.command("verify")
@_one_model
@_shared
@click.option("--quick", is_flag=True, help="Leave out checksums, which read every byte.")
def verify(
    engine: str,
    model: str,
    revision: str,
    config_path: str | None,
    models_dir: str | None,
    as_json: bool,
    quick: bool,
) -> None:
    """Check the files of the model of ENGINE: all there, readable, of the size and checksum known.

    Exits with 1 where something is wrong.
    """
    wanted = _wanted(load_config(config_path), engine, models_dir=models_dir, model=model, revision=revision)
    reports = []
    for repository in wanted.repositories():
        found = (
            wanted.find()
            if repository.id == wanted.model
            else weights.find(repository.id, models_dir=wanted.models_dir)
        )
        if found is None and repository.id != wanted.model:
            continue  # what a model needs beside it may lie where its engine's own settings say
        if found is None:
            found = wanted.locate()
        reports.append((repository.id, weights.verify(found.path, hashes=not quick)))
    if as_json:
        told = [
            {
                "model": name,
                "path": str(report.path),
                "files": report.files,
                "size_bytes": report.size_bytes,
                "hashed": report.hashed,
                "problems": list(report.problems),
            }
            for name, report in reports
        ]
        say_json({"engine": engine, "reports": told}, indent=2)
    else:
        for name, report in reports:
            size = f"{report.size_bytes / 1e9:.2f} GB"
            say(f"{name}: {report.files} files, {size}, {report.hashed} compared with the hub's checksums")
            for problem in report.problems:
                say(f"    {problem}")
    bad = [name for name, report in reports if report.problems]
    if bad:
        raise EngineUnavailable(
            f"{', '.join(bad)}: damaged or incomplete", hint=fetch_command(engine, config_path)
        )


def _wanted(
    config: Config, engine: str, *, models_dir: str | None = None, model: str = "", revision: str = ""
) -> _Wanted:
    """Resolve what an engine loads, by command line, configuration and its own default, in this order.

    Raises:
        UnknownEngine; NotSupported: the engine loads no weights.
    """
    given = config.engines.get(engine, EngineConfig())
    if not model and not loads_weights(configured(engine, config), config):
        raise NotSupported(f"engine {engine!r} loads no model: there is nothing to fetch or to check")
    info = engine_info(given.implementation or engine)
    chosen = model or str(given.settings.get("model") or info.model)
    default_revision = info.model_revision if chosen == info.model else ""
    return _Wanted(
        info=info,
        name=engine,
        model=chosen,
        revision=revision or (str(given.settings.get("revision") or "") if not model else "") or default_revision,
        models_dir=models_dir or str(given.settings.get("models_dir") or "") or config.policy.models_dir or None,
        accepted=not {engine, info.implementation}.isdisjoint(config.policy.accepted_licences),
    )


def _row(wanted: _Wanted) -> dict[str, Any]:
    found = wanted.find()
    own = wanted.repositories()[0]
    return {
        "engine": wanted.name,
        "model": wanted.model,
        "revision": (found.revision if found else "") or wanted.revision,
        "licence": own.licence,
        "commercial_use": own.commercial_use,
        "path": str(found.path) if found else None,
        "place": found.place if found else None,
    }
