"""Options that several commands have, each declared once.

Owns: their names, types and help; ``with_options``; sections of a command's help.
Must not know: any single command.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "FILE_SECTION",
    "POOL_SECTION",
    "SectionedCommand",
    "SectionedOption",
    "cache_dir_option",
    "config_option",
    "connect_option",
    "json_option",
    "keep_stdout_free",
    "keys_option",
    "overwrite_option",
    "prints_json",
    "server_option",
    "spectrogram_option",
    "with_options",
]

F = TypeVar("F", bound=Callable[..., Any])  # click's own: a command's function, or the command
_JSON = "audio_pool.prints_json"
FILE_SECTION, POOL_SECTION, _OTHERS = "The file", "The pool", "Options"
"""Headings in a command's help; "Options" comes last."""


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options, which ``--help`` lists in the order given."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class SectionedOption(click.Option):
    """An option that ``--help`` lists under a heading of its own."""

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:  # click's own arguments
        super().__init__(*args, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose ``--help`` has a heading for each section of its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                section = parameter.section if isinstance(parameter, SectionedOption) else _OTHERS
                sections.setdefault(section, []).append(record)
        for title in sorted(sections, key=lambda title: title == _OTHERS):
            with formatter.section(title):
                formatter.write_dl(sections[title])


def _note_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    ctx.meta[_JSON] = value
    return value


def prints_json(ctx: click.Context) -> bool:
    """Return True where the command that runs was asked for JSON: its errors are then JSON, too."""
    return bool(ctx.meta.get(_JSON))


def keep_stdout_free() -> None:
    """Have errors of the command that runs on standard error alone: standard output carries a sound."""
    click.get_current_context().meta[_JSON] = False


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_note_json, help="Print JSON instead of text; errors, too."
)
config_option = click.option(
    "--config",
    "config_path",
    cls=SectionedOption,
    section=POOL_SECTION,
    type=click.Path(),
    help="A TOML file; see configs/. Default: the built-in configuration.",
)
cache_dir_option = click.option(
    "--cache-dir",
    cls=SectionedOption,
    section=POOL_SECTION,
    type=click.Path(),
    help="Where finished sounds are kept. Default: the configuration's.",
)
connect_option = click.option(
    "--connect",
    cls=SectionedOption,
    section=POOL_SECTION,
    metavar="ENDPOINT[,...]",
    help="Ask a running server, e.g. tcp://127.0.0.1:5577; 'serve' prints it. Of several heads, with commas between "
    "them, whichever answers.",
)
server_option = click.option(
    "--connect",
    cls=SectionedOption,
    section=POOL_SECTION,
    metavar="auto|never|ENDPOINT[,...]",
    default="auto",
    show_default=True,
    help="Ask a running server, e.g. tcp://127.0.0.1:5577; 'serve' prints it. auto: the one at this user's default "
    "address, where one listens and nothing else (--config, --cache-dir, --engine, --init-audio, AUDIO_POOL_*) says "
    "what a pool of its own is to be.",
)
keys_option = click.option(
    "--keys",
    cls=SectionedOption,
    section=POOL_SECTION,
    type=click.Path(),
    help="For --connect: directory of CURVE keys.",
)
spectrogram_option = click.option(
    "--spectrogram",
    cls=SectionedOption,
    section=FILE_SECTION,
    type=click.Path(path_type=Path),
    help="Also draw the sound into this PNG.",
)
overwrite_option = click.option(
    "--overwrite",
    cls=SectionedOption,
    section=FILE_SECTION,
    is_flag=True,
    help="Replace files that exist. Without it: asked at a terminal, else refused.",
)
