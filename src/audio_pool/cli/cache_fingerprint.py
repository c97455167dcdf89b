"""``audio-pool cache fingerprint``: fingerprints of sounds that were kept without one.

Owns: its options, reading the masters in this process, and how far it is.
Must not know: what a fingerprint is, where it is kept.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from audio_pool.cache.bringing import bring_entry_if_it_can_be
from audio_pool.cache.opening import open_store
from audio_pool.cli.cache_command import show
from audio_pool.cli.options import cache_dir_option, json_option, with_options
from audio_pool.cli.terminal import redraw
from audio_pool.config import load_config
from audio_pool.errors import AudioPoolError

__all__ = ["fingerprint"]

_AT_ONCE = 32


@click.command()
@click.option("--forget-gone", is_flag=True, help="Forget which sounds were made here that are not kept any more.")
@with_options(cache_dir_option, json_option)
def fingerprint(forget_gone: bool, cache_dir: str | None, as_json: bool) -> None:
    """Make fingerprints of the sounds that have none, for `audio-pool verify`. A server may be running."""
    from audio_pool.audio import codec
    from audio_pool.audio.fingerprint import fingerprint as marks_of

    place = Path(cache_dir) if cache_dir is not None else load_config(None).cache_dir
    made, failed, after = 0, 0, 0
    shown = not as_json and sys.stderr.isatty()
    with contextlib.closing(open_store(place, create=False)) as store:
        registry = store.registry
        forgotten = registry.forget_gone() if forget_gone else 0
        wanted = registry.counts()[2]
        while batch := registry.without(after, _AT_ONCE):
            found = []
            for one in batch:
                after = one.entry_id
                bring_entry_if_it_can_be(store, after)
                try:
                    audio, rate = codec.read(Path(one.path))
                    found.append((one.entry_id, marks_of(audio, rate, loop=one.loop).to_bytes()))
                except AudioPoolError:  # its file is gone or damaged: ``cache verify`` names it
                    failed += 1
            registry.fill(found)
            made += len(found)
            if shown:
                redraw(f"{made + failed:,} of {wanted:,}")
        if shown:
            redraw("")
        every, gone, _ = registry.counts()
    told = {"made": made, "unreadable": failed, "forgotten": forgotten, "registered": every, "not_kept_any_more": gone}
    lines = [f"made {made:,} fingerprints; {every:,} sounds are registered, {gone:,} of them not kept any more"]
    if forgotten:
        lines.insert(0, f"forgot {forgotten:,} sounds that were not kept any more")
    if failed:
        lines.append(f"{failed:,} files could not be read; audio-pool cache verify names them")
    show(told, as_json, lines)
