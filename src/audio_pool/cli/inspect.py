"""``audio-pool inspect``: what a file is, and the recipe inside it.

Owns: how it is shown.
Must not know: any file format (audio/codec.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audio_pool.cli.options import json_option, overwrite_option, spectrogram_option, with_options
from audio_pool.cli.outputs import check_picture
from audio_pool.cli.terminal import say, say_json

__all__ = ["inspect"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_options(spectrogram_option, overwrite_option, json_option)
def inspect(file: Path, spectrogram: Path | None, overwrite: bool, as_json: bool) -> None:
    """Show format, length, loop points, loudness and the recipe of FILE."""
    from audio_pool.audio import codec
    from audio_pool.audio.loudness import loudness_lufs, true_peak_dbfs

    if spectrogram is not None:
        check_picture(spectrogram, overwrite)
    found: dict[str, Any] = codec.inspect(file)  # JSON as printed
    audio, rate = codec.read(file)
    circular = bool(found.get("loop"))
    found["loudness_lufs"] = round(loudness_lufs(audio, rate, circular=circular), 2)
    found["true_peak_dbfs"] = round(true_peak_dbfs(audio, rate, circular=circular), 2)
    if spectrogram is not None:
        from audio_pool.audio.spectrogram import write_png

        write_png(spectrogram, audio, rate, title=file.name)
    if as_json:
        say_json({"path": str(file), **found})
        return
    say(str(file))
    for key, value in found.items():
        if key != "recipe" and not (key == "comment" and found.get("recipe")):
            say(f"  {key}: {value}")
    if not found.get("recipe"):
        say("  no recipe inside: the file was not made by audio_pool, or another program rewrote it")
    for key, value in (found.get("recipe") or {}).items():
        if key not in ("recipe", "metadata"):  # the same once more, for a cache that has to be made anew
            say(f"  recipe.{key}: {value}")
