"""``audio-pool models``: which models engines need, which are on this machine, fetching and checking them.

Owns: the commands' options and what they print.
Must not know: how models are found, fetched (weights.py, hub.py) or loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from audio_pool.config import Config, load_config
from audio_pool.engine_info import EngineInfo
from audio_pool.engines import engine_info, engine_names, minilm
from audio_pool.errors import AudioPoolError, EngineUnavailable, NotSupported
from audio_pool.models import hub, weights

__all__ = ["group"]

# Engines whose default model comes inside a Python package: where it lies, or None.
_CARRIED: dict[str, Callable[[], Path | None]] = {"minilm": minilm.packaged}


class _Wanted(Struct, frozen=True, kw_only=True):
    """What one engine loads, as the configuration has it."""

    info: EngineInfo
    model: str
    revision: str
    models_dir: str | None
    accepted: bool
    """The configuration acknowledges the engine's licence."""

    def find(self) -> weights.Found | None:
        """Where the model is on this machine."""
        carried = _CARRIED.get(self.info.name)
        path = carried() if carried is not None and self.by_default else None
        if path is not None:
            return weights.Found(path=path, place="directory")
        return weights.find(self.model, models_dir=self.models_dir, revision=self.revision)

    @property
    def by_default(self) -> bool:
        return self.model == self.info.model

    def repositories(self, only: tuple[str, ...] = ()) -> list[hub.Repository]:
        """The model and what it needs beside it, as the hub has them."""
        own = hub.Repository(
            id=self.model,
            revision=self.revision,
            only=only or hub.needed_of(self.model),
            licence=self.info.licence if self.by_default else "",
            commercial_use=self.info.commercial_use or not self.by_default,
        )
        return [own, *hub.companions(self.model)]


@click.group("models")
def group() -> None:
    """Models on disk: list, fetch, find and verify what engines load."""


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON value instead of text."),
        click.option(
            "--models-dir",
            type=click.Path(file_okay=False),
            help="Directory of models, looked in before the hub's cache. Default: policy.models_dir.",
        ),
        click.option("--config", "config_path", type=click.Path(), help="The pool's configuration file."),
    ):
        command = option(command)
    return command


def _one_model(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--revision", default="", help="Branch, tag or commit. Default: the engine's own."),
        click.option("--model", default="", help="Hub id or path. Default: the engine's own."),
        click.argument("engine"),
    ):
        command = option(command)
    return command


@group.command("list")
@_shared
def list_models(config_path: str | None, models_dir: str | None, as_json: bool) -> None:
    """Every engine that loads a model: its model, its licence, and where it is on this machine."""
    config = load_config(config_path)
    rows = []
    for name in engine_names():
        try:
            info = engine_info(name)
        except AudioPoolError:
            continue  # another package's engine that does not import; `audio-pool engines` tells why
        if _loads_weights(info, config):
            rows.append(_row(_wanted(config, name, models_dir=models_dir)))
    if as_json:
        click.echo(json.dumps({"models": rows}, indent=2))
        return
    for row in rows:
        use = "commercial use allowed" if row["commercial_use"] else "no commercial use"
        click.echo(f"{row['engine']}: {row['model']}  [{row['licence'] or 'licence unknown'}; {use}]")
        click.echo(f"    {row['path'] or 'not here: audio-pool models fetch ' + row['engine']}")


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

    The only command that reaches the network: serving never does.
    """
    wanted = _wanted(load_config(config_path), engine, models_dir=models_dir, model=model, revision=revision)
    if Path(wanted.model).expanduser().exists():
        raise NotSupported(f"{wanted.model} is a path on this machine already: there is nothing to fetch")
    fetched = []
    for repository in wanted.repositories(only):
        if not as_json:
            use = "allowed" if repository.commercial_use else "not allowed"
            licence = f"{repository.licence}; commercial use {use}" if repository.licence else "see its page"
            click.echo(f"{repository.id}: licence: {licence} (https://huggingface.co/{repository.id})")
        path = hub.fetch(
            repository, models_dir=wanted.models_dir, accept_licence=accept_licence or wanted.accepted
        )
        fetched.append({"model": repository.id, "licence": repository.licence, "path": str(path)})
        if not as_json:
            click.echo(f"    {path}")
    if as_json:
        click.echo(json.dumps({"engine": engine, "fetched": fetched}, indent=2))


@group.command("path")
@_one_model
@_shared
def path_of(
    engine: str, model: str, revision: str, config_path: str | None, models_dir: str | None, as_json: bool
) -> None:
    """Print where the model of ENGINE is on this machine."""
    wanted = _wanted(load_config(config_path), engine, models_dir=models_dir, model=model, revision=revision)
    found = wanted.find() or weights.locate(
        wanted.model, engine=engine, models_dir=wanted.models_dir, revision=wanted.revision
    )
    if as_json:
        told = {"engine": engine, "model": wanted.model, "path": str(found.path), "place": found.place}
        click.echo(json.dumps({**told, "revision": found.revision}, indent=2))
    else:
        click.echo(str(found.path))


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
        if repository.id == wanted.model:
            found = wanted.find()
        else:
            found = weights.find(repository.id, models_dir=wanted.models_dir)
        if found is None and repository.id != wanted.model:
            continue  # what a model needs beside it may lie where its engine's own settings say
        if found is None:
            found = weights.locate(
                repository.id, engine=engine, models_dir=wanted.models_dir, revision=repository.revision
            )
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
        click.echo(json.dumps({"engine": engine, "reports": told}, indent=2))
    else:
        for name, report in reports:
            size = f"{report.size_bytes / 1e9:.2f} GB"
            click.echo(f"{name}: {report.files} files, {size}, {report.hashed} compared with the hub's checksums")
            for problem in report.problems:
                click.echo(f"    {problem}")
    bad = [name for name, report in reports if report.problems]
    if bad:
        raise EngineUnavailable(
            f"{', '.join(bad)}: damaged or incomplete", hint=f"audio-pool models fetch {engine}"
        )


def _wanted(
    config: Config, engine: str, *, models_dir: str | None = None, model: str = "", revision: str = ""
) -> _Wanted:
    """What an engine loads, by command line, configuration and its own default, in this order.

    Raises:
        UnknownEngine; NotSupported: the engine loads no weights.
    """
    info = engine_info(engine)
    if not model and not _loads_weights(info, config):
        raise NotSupported(f"engine {engine!r} loads no model: there is nothing to fetch or to check")
    settings = config.engines.get(engine, {})
    chosen = model or str(settings.get("model") or info.model)
    default_revision = info.model_revision if chosen == info.model else ""
    return _Wanted(
        info=info,
        model=chosen,
        revision=revision or (str(settings.get("revision") or "") if not model else "") or default_revision,
        models_dir=models_dir or config.policy.models_dir or None,
        accepted=engine in config.policy.accepted_licences,
    )


def _loads_weights(info: EngineInfo, config: Config) -> bool:
    """An engine without weights has its own name for a model; hub ids have an owner."""
    return "/" in info.model or bool(config.engines.get(info.name, {}).get("model"))


def _row(wanted: _Wanted) -> dict[str, Any]:
    found = wanted.find()
    own = wanted.repositories()[0]
    return {
        "engine": wanted.info.name,
        "model": wanted.model,
        "revision": (found.revision if found else "") or wanted.revision,
        "licence": own.licence,
        "commercial_use": own.commercial_use,
        "path": str(found.path) if found else None,
        "place": found.place if found else None,
    }
