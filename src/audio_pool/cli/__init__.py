"""The command line: sets up logging, asks the library, prints, and chooses an exit code.

Owns: the list of commands, each loaded when it is first needed.
Must not know: how anything is done.

Exit codes: 0 done; 1 it failed; 2 wrong usage or input; 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import sys

import click

from audio_pool.cli.command_group import Program
from audio_pool.cli.server_log import TextLines

__all__ = ["main"]

_COMMANDS = {
    "generate": ("audio_pool.cli.generate", "generate"),
    "variants": ("audio_pool.cli.variants", "variants"),
    "warm": ("audio_pool.cli.warm", "warm"),
    "choose": ("audio_pool.cli.candidates", "choose"),
    "inspect": ("audio_pool.cli.inspect", "inspect"),
    "recipe": ("audio_pool.cli.recipe", "recipe"),
    "loop": ("audio_pool.cli.craft", "loop"),
    "master": ("audio_pool.cli.craft", "master"),
    "convert": ("audio_pool.cli.craft", "convert"),
    "mix": ("audio_pool.cli.craft", "mix"),
    "sequence": ("audio_pool.cli.craft", "sequence"),
    "check": ("audio_pool.cli.craft", "check"),
    "verify": ("audio_pool.cli.verify", "verify"),
    "pack": ("audio_pool.cli.pack", "group"),
    "batch": ("audio_pool.cli.batch", "batch"),
    "prompt": ("audio_pool.cli.prompt", "group"),
    "presets": ("audio_pool.cli.presets", "group"),
    "engines": ("audio_pool.cli.engines", "engines"),
    "serve": ("audio_pool.cli.serve", "serve"),
    "gateway": ("audio_pool.cli.gateway", "gateway"),
    "mcp": ("audio_pool.cli.mcp", "mcp"),
    "metrics": ("audio_pool.cli.metrics", "metrics"),
    "top": ("audio_pool.cli.top", "top"),
    "status": ("audio_pool.cli.server", "status"),
    "cancel": ("audio_pool.cli.server", "cancel"),
    "jobs": ("audio_pool.cli.jobs", "group"),
    "keys": ("audio_pool.cli.keys", "group"),
    "provenance": ("audio_pool.cli.provenance", "group"),
    "cache": ("audio_pool.cli.cache", "group"),
    "lease": ("audio_pool.cli.lease", "group"),
    "workers": ("audio_pool.cli.workers", "group"),
    "models": ("audio_pool.cli.models", "group"),
    "env": ("audio_pool.cli.env", "group"),
    "clap": ("audio_pool.cli.clap", "group"),
    "doctor": ("audio_pool.cli.doctor", "doctor"),
}


class _Commands(Program):
    """Loads a command's module only when it is asked for: ``--help`` stays quick and needs no extra."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = _COMMANDS.get(cmd_name)
        if found is None:
            return None
        command: click.Command = getattr(importlib.import_module(found[0]), found[1])
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", count=True, help="Show the log; with an error, show where it came from.")
@click.version_option(package_name="audio-pool", prog_name="audio-pool")
def main(verbose: int) -> None:
    """Sound on demand: ask in words, get a finished, loopable, loudness-matched audio file.

    Exit codes: 0 done, 1 failed, 2 wrong usage or input.
    """
    level = {0: logging.ERROR, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(TextLines())
