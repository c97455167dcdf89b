"""``audio-pool top``: what a running server is doing, in a terminal, anew every second.

Owns: the command, the terminal while it shows, how often the server is asked.
Must not know: what is shown where (top_view.py).

Plain ANSI codes, so that it works over ssh and in any size of window: the cursor goes home and every line is written
over, which does not flicker.
"""

from __future__ import annotations

import collections
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say_json
from audio_pool.cli.top_view import Line, Look, joined, lines_of
from audio_pool.client.client import AudioClient
from audio_pool.errors import AudioPoolError

__all__ = ["top"]

_LOOKED_BACK_S = 60.0
"""Rates and times are of the last minute."""
_ENOUGH_LINES = 10_000
_TONES = {"plain": "", "head": "\x1b[1m", "good": "\x1b[32m", "bad": "\x1b[31m"}
_RESET, _TO_LINE_END, _TO_END = "\x1b[0m", "\x1b[K", "\x1b[J"
_HOME, _HIDE, _SHOW, _OTHER_SCREEN, _FIRST_SCREEN = "\x1b[H", "\x1b[?25l", "\x1b[?25h", "\x1b[?1049h", "\x1b[?1049l"


@click.command()
@with_options(
    connect_option,
    keys_option,
    click.option("--interval", "interval_s", type=click.FloatRange(1.0, 3600.0), default=1.0, show_default=True,
                 help="Seconds between two looks."),
    click.option("--once", is_flag=True, help="Show it once, as plain text, of all since the server was started."),
    json_option,
)  # fmt: skip
def top(connect: str | None, keys: str | None, interval_s: float, once: bool, as_json: bool) -> None:
    """Show what a running server is doing: workers, cards, queue, hits, times, last errors.

    Rates and times are of the last minute; Ctrl-C ends it. --json prints one object for each look. Where standard
    output is no terminal it is shown once. Without --connect: the server at this user's default address.
    """
    with AudioClient(connect, keys=keys) as client:
        if once or (not as_json and not sys.stdout.isatty()):
            _show_once(client, as_json=as_json)
        elif as_json:
            while True:
                say_json(_plain(_look(client, 10.0)))
                sys.stdout.flush()
                time.sleep(interval_s)
        else:
            _watch(client, interval_s)


def _look(client: AudioClient, timeout_s: float) -> Look:
    status = client.status(numbers=True, timeout_s=timeout_s)
    return Look(at=time.monotonic(), status=status, health=client.health(timeout_s=timeout_s))


def _plain(look: Look) -> dict[str, object]:  # whatever json can write
    return {**look.status.to_dict(), "health": look.health.to_dict()}


def _show_once(client: AudioClient, *, as_json: bool) -> None:
    look = _look(client, 10.0)
    if not look.numbers.disk.total_bytes or not look.numbers.worker_bytes:
        time.sleep(0.3)  # the server looks at its machine when it is first asked
        look = _look(client, 10.0)
    if as_json:
        say_json(_plain(look))
        return
    width = shutil.get_terminal_size((100, 40)).columns
    click.echo(joined(lines_of(look, None, width=width, height=_ENOUGH_LINES, epoch_s=time.time())))


def _watch(client: AudioClient, interval_s: float) -> None:
    looks: collections.deque[Look] = collections.deque()
    with _other_screen():
        while True:
            began = time.monotonic()
            size = shutil.get_terminal_size()
            try:
                look = _look(client, max(3.0, interval_s))
            except AudioPoolError as exc:
                _draw([Line(f"no answer: {exc.message}", "bad"), Line("Ctrl-C ends this")], size)
            else:
                if looks and looks[-1].health.instance != look.health.instance:
                    looks.clear()  # another start has counted less
                looks.append(look)
                while looks[-1].at - looks[0].at > _LOOKED_BACK_S:
                    looks.popleft()
                before = looks[0] if len(looks) > 1 else None
                _draw(
                    lines_of(look, before, width=size.columns, height=size.lines, epoch_s=time.time()), size
                )
            time.sleep(max(0.0, began + interval_s - time.monotonic()))


@contextmanager
def _other_screen() -> Iterator[None]:
    """Draw on the terminal's other screen, so that what was there is there again at the end."""
    sys.stdout.write(_OTHER_SCREEN + _HIDE)
    try:
        yield
    except KeyboardInterrupt:
        pass  # that is how it ends
    finally:
        sys.stdout.write(_SHOW + _FIRST_SCREEN)
        sys.stdout.flush()


def _draw(lines: list[Line], size: os.terminal_size) -> None:
    colours = "NO_COLOR" not in os.environ
    shown = [
        f"{_TONES[line.tone]}{line.text}{_RESET}" if colours and line.tone != "plain" else line.text
        for line in lines[: size.lines]
    ]
    sys.stdout.write(_HOME + f"{_TO_LINE_END}\n".join(shown) + _TO_LINE_END + _TO_END)
    sys.stdout.flush()
