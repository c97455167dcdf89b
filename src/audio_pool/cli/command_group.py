"""Groups of commands: the nearest name is suggested for a mistyped one, and errors are shown in one line.

Owns: CommandGroup, Program, how an error is printed and which exit code it means.
Must not know: any single command.

Exit codes: 0 done; 1 it failed; 2 wrong usage or input; 130 interrupted.
"""

from __future__ import annotations

import traceback
from typing import Any

import click

from audio_pool.cli.options import prints_json
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import AudioPoolError, CallerError, StorageError, nearest_name

__all__ = ["CommandGroup", "Program", "print_error"]


class CommandGroup(click.Group):
    """A group that suggests a name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            near = nearest_name(name, self.list_commands(ctx))
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(self.list_commands(ctx))}"
            ctx.fail(f"No such command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


class Program(CommandGroup):
    """A group that is run as a program: it ends with an exit code, whatever a command raises."""

    def invoke(self, ctx: click.Context) -> Any:  # click's own: whatever a command returns
        verbose = bool(ctx.find_root().params.get("verbose"))
        try:
            return super().invoke(ctx)
        except AudioPoolError as exc:
            if verbose:
                _print_traceback()
            print_error(exc, as_json=prints_json(ctx))
            ctx.exit(2 if isinstance(exc, CallerError) else 1)
        except KeyboardInterrupt:
            say("interrupted", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:  # click ends quietly when the reader of the output has gone
            raise
        except Exception as exc:
            if verbose:
                _print_traceback()
            error: AudioPoolError
            if isinstance(exc, OSError) and exc.filename is not None:
                error = StorageError(f"{exc.filename}: {exc.strerror}")
            else:
                error = AudioPoolError(f"{type(exc).__name__}: {exc}", hint="this is a bug; -v shows where")
            print_error(error, as_json=prints_json(ctx))
            ctx.exit(1)


def _print_traceback() -> None:
    for line in traceback.format_exc().splitlines():
        say(line, err=True)


def print_error(error: AudioPoolError, *, as_json: bool = False) -> None:
    """Print an error in one line on standard error; with ``as_json`` also as an object on standard output."""
    if as_json:
        body = {"code": error.code, "message": error.message, "hint": error.hint}
        say_json({"error": body})
    hint = f" ({error.hint})" if error.hint else ""
    say(f"error: {error.message}{hint}", err=True)
