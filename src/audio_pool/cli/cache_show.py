"""``audio-pool cache show``: everything that is known of one entry.

Owns: what it prints.
Must not know: where each part is kept (cache/manage.py).
"""

from __future__ import annotations

import click

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.cache_command import cache_command, counts, date, figure, show, size

__all__ = ["show_entry"]


@click.command("show")
@click.argument("entry_id", metavar="ID", type=click.IntRange(1))
@cache_command
def show_entry(cache: AudioSemanticCache, as_json: bool, entry_id: int) -> None:
    """Show the entry ID: its file, how it was made, what was measured of it and what people judged."""
    found = cache.show(entry_id)
    made = {name: value for name, value in found["recipe"].items() if value not in (None, "", [], {})}
    bandwidth_hz = found["metadata"].get("bandwidth_hz")
    reach = "" if bandwidth_hz is None else f", up to {bandwidth_hz:.0f} Hz"
    missing = "" if found["file_exists"] else "  [file is missing]"
    lines = [
        f"entry       {found['id']}{'  [pinned]' if found['pinned'] else ''}",
        f"prompt      {found['prompt']!r}",
        f"file        {found['path']} ({size(found['file_size_kb'] / 1024)}){missing}",
        f"sha256      {found['sha256']}",
        f"kept        {date(found['timestamp'])}",
        f"sound       {found['duration_s']:.2f} s{', a loop' if found['is_loop'] else ''}{reach}, quality "
        f"{figure(found['quality'])}, CLAP {figure(found['clap_similarity'])}",
        *(f"recipe      {name} = {value!r}" for name, value in made.items()),
        f"vectors     {counts(found['vectors'])}",
        *(f"rendition   {one['file']} ({size(one['size_kb'] / 1024)})" for one in found["renditions"]),
        *(f"judged      {one['verdict']} for {one['query']!r}" for one in found["judgements"]),
    ]
    if found["rating"] or found["favourite"]:
        rated = f"{found['rating']} of 5" if found["rating"] else "not rated"
        lines.append(f"rating      {rated}{', a favourite' if found['favourite'] else ''}")
    if found["tags"]:
        lines.append(f"tags        {', '.join(found['tags'])}")
    if found["labels"]:
        lines.append(f"labels      {found['labels']}")
    show(found, as_json, lines)
