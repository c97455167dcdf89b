"""``audio-pool cache spectrogram``: a picture of a kept sound, drawn where there is none yet.

Owns: its options, and drawing in this process.
Must not know: how pictures are kept (cache/store.py: Renditions), how one is drawn.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import click

from audio_pool.cache.bringing import bring_entry
from audio_pool.cache.opening import open_store
from audio_pool.cache.store import Store
from audio_pool.cli.cache_command import show
from audio_pool.cli.options import cache_dir_option, json_option, overwrite_option, with_options
from audio_pool.cli.outputs import check_replaceable
from audio_pool.config import load_config
from audio_pool.errors import NotFound
from audio_pool.replacement import replacing
from audio_pool.types import Picture

__all__ = ["spectrogram"]


@click.command()
@click.argument("id", type=click.IntRange(1))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Also copy the picture (PNG) to here.")
@click.option("--mel-bands", type=click.IntRange(0, 320), default=0, help="Bands of the picture. Default: one a row.")
@click.option("--fmax", "highest_hz", type=click.FloatRange(500, 96_000), help="Top of the picture in Hz.")
@click.option("--dark/--light", default=False, help="Light text on a dark ground.")
@overwrite_option
@with_options(cache_dir_option, json_option)
def spectrogram(
    id: int,
    output: Path | None,
    mel_bands: int,
    highest_hz: float | None,
    dark: bool,
    overwrite: bool,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Draw the entry ID: its waveform above its spectrogram. The picture is kept beside the sound, and goes with it."""
    if output is not None:
        check_replaceable([output.absolute()], overwrite, "--output")
    place = Path(cache_dir) if cache_dir is not None else load_config(None).cache_dir
    with contextlib.closing(open_store(place, create=False)) as store:
        path, is_new = _picture(store, id, Picture(mel_bands=mel_bands, highest_hz=highest_hz, dark=dark))
        if output is not None:
            _copy(path, output.absolute())
    told = {"entry": id, "path": path, "drawn": is_new}
    show(told, as_json, [str(output.absolute()) if output is not None else path])


def _picture(store: Store, entry_id: int, picture: Picture) -> tuple[str, bool]:
    """Return where the picture lies, and whether it was drawn now."""
    entry = store.entries.entry(entry_id)
    if entry is None:
        raise NotFound(f"no entry with id {entry_id}")
    kept = store.renditions.find(entry_id, picture)
    if kept is not None:
        store.blobs.bring(kept.file, kept.size_bytes)
        return store.blobs.path_of(kept.file), False
    from audio_pool.worker.drawing import drawn

    bring_entry(store, entry_id)
    out = store.blobs.incoming / f"{secrets.token_hex(12)}.png"
    drawn(Path(entry.path), picture, out, entry.recipe.prompt)
    return store.renditions.put(entry_id, picture, out), True


def _copy(source: str, target: Path) -> None:
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with replacing(folder, target.name, str(target)) as out:
            out.write(Path(source).read_bytes())
    finally:
        os.close(folder)
