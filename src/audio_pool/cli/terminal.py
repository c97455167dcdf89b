"""Text for a terminal or a log: what others wrote cannot move the cursor, colour it, or pretend to be a line of ours.

Owns: which characters are shown as escapes, and how every command prints and asks.
Must not know: what is printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

import click

__all__ = [
    "Tone",
    "chosen",
    "confirmed",
    "draw",
    "end_redrawing",
    "one_line",
    "other_screen",
    "redraw",
    "say",
    "say_json",
]

Tone = Literal["plain", "head", "good", "bad"]
_TONES: dict[Tone, str] = {"plain": "", "head": "\x1b[1m", "good": "\x1b[32m", "bad": "\x1b[31m"}

_UNSAFE = re.compile(
    # C0 and C1 controls and DEL; line and paragraph separators; marks that change the direction of writing;
    # tags and other invisibles; halves of surrogate pairs, which no terminal can be sent
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)


def one_line(text: str) -> str:
    """Return ``text`` as one line that any terminal shows as it is: everything else as an escape, e.g. ``\\x1b``."""
    return _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape", "surrogatepass").decode("ascii")


def say(line: str = "", *, err: bool = False) -> None:
    """Print one line of text on standard output, or on standard error."""
    click.echo(one_line(line), err=err)


def say_json(value: object, *, err: bool = False, indent: int | None = None) -> None:  # whatever json can write
    """Print a value as JSON: what it reads back to is the value, and what is seen cannot move a cursor."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    lines = [_UNSAFE.sub(lambda found: json.dumps(found.group())[1:-1], line) for line in text.split("\n")]
    click.echo("\n".join(lines), err=err)


def redraw(line: str) -> None:
    """Write over the line on standard error that the cursor is in."""
    sys.stderr.write("\r" + one_line(line))
    sys.stderr.flush()


def end_redrawing() -> None:
    """Leave the line that was written over."""
    sys.stderr.write("\n")


@contextlib.contextmanager
def other_screen() -> Iterator[None]:
    """Draw on the terminal's other screen until Ctrl-C or the end: what was there before is there again then."""
    # a shell that starts it in the background has it ignore Ctrl-C, which is the only way out of here
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout.write("\x1b[?1049h\x1b[?25l")  # the other screen, without a cursor
    try:
        yield
    except KeyboardInterrupt:
        pass  # that is how it ends
    finally:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        signal.signal(signal.SIGINT, before)


def draw(lines: Sequence[tuple[str, Tone]]) -> None:
    """Write these lines over the screen; no more and no longer ones than it has room for.

    The cursor goes home and each line's rest is cleared behind it: nothing flickers.
    """
    colours = "NO_COLOR" not in os.environ
    shown = [
        f"{_TONES[tone]}{one_line(text)}\x1b[0m" if colours and tone != "plain" else one_line(text)
        for text, tone in lines
    ]
    sys.stdout.write("\x1b[H" + "\x1b[K\n".join(shown) + "\x1b[K\x1b[J")
    sys.stdout.flush()


def chosen(question: str, answers: Sequence[str]) -> str:
    """Ask on standard error until one of the answers is given; return it."""
    answer: str = click.prompt(one_line(question), type=click.Choice(answers), err=True)
    return answer


def confirmed(question: str) -> bool:
    """Ask on standard error; return the answer."""
    return click.confirm(one_line(question), err=True)
