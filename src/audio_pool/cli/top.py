"""``audio-pool top``: what a running server is doing, in a terminal, anew every second.

Owns: the command, how often the server is asked, how far it looks back.
Must not know: what is shown where (top_view.py), the terminal's codes (terminal.py).
"""

from __future__ import annotations

import collections
import shutil
import sys
import time

import click

from audio_pool.cli.options import connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import draw, one_line, other_screen, say, say_json
from audio_pool.cli.top_view import Line, Look, cut, lines_of
from audio_pool.client.client import AudioClient
from audio_pool.errors import AudioPoolError

__all__ = ["top"]

_LOOKED_BACK_S = 60.0
"""Rates and times are of the last minute."""
_ENOUGH_LINES = 10_000


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
    for line in lines_of(look, None, width=width, height=_ENOUGH_LINES, epoch_s=time.time()):
        say(line.text.rstrip())


def _watch(client: AudioClient, interval_s: float) -> None:
    looks: collections.deque[Look] = collections.deque()
    with other_screen():
        while True:
            began = time.monotonic()
            size = shutil.get_terminal_size()
            try:
                look = _look(client, max(3.0, interval_s))
            except AudioPoolError as exc:
                draw([Line(cut(f"no answer: {one_line(exc.message)}", size.columns), "bad")])
            else:
                if looks and looks[-1].health.instance != look.health.instance:
                    looks.clear()  # another start has counted less
                looks.append(look)
                while looks[-1].at - looks[0].at > _LOOKED_BACK_S:
                    looks.popleft()
                before = looks[0] if len(looks) > 1 else None
                draw(lines_of(look, before, width=size.columns, height=size.lines, epoch_s=time.time()))
            time.sleep(max(0.0, began + interval_s - time.monotonic()))
