"""``audio-pool cache``: what is in a cache directory, and keeping it tidy.

Owns: the commands' options, questions, tables and exit codes.
Must not know: how entries are kept, selected and removed (cache/manage.py).

Exit codes: 0 done; 1 failed, or ``verify`` found something; 2 wrong usage or input, or not confirmed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from audio_pool.api import CacheStats
from audio_pool.cache.manage import AudioSemanticCache, Selection
from audio_pool.cli.cache_calibrate import calibrate
from audio_pool.cli.cache_command import Json, cache_command, date, show, size, table, when
from audio_pool.cli.cache_eviction import plan_eviction
from audio_pool.cli.cache_fingerprint import fingerprint
from audio_pool.cli.cache_gc import gc
from audio_pool.cli.cache_judging import confirm, deny, judged
from audio_pool.cli.cache_list import list_items
from audio_pool.cli.cache_marks import favourite, rate, tag
from audio_pool.cli.cache_move import move_command
from audio_pool.cli.cache_pins import pin, unpin
from audio_pool.cli.cache_search import search
from audio_pool.cli.cache_show import show_entry
from audio_pool.cli.cache_spectrogram import spectrogram
from audio_pool.cli.cache_stats import report, stats
from audio_pool.cli.command_group import Program
from audio_pool.cli.moving import export_command, import_command
from audio_pool.cli.options import cache_dir_option, config_option, json_option, with_options
from audio_pool.cli.terminal import confirmed
from audio_pool.config import load_config
from audio_pool.errors import CallerError

__all__ = ["group"]


@click.group("cache", cls=Program)
def group() -> None:
    """The cache of finished sounds: look into it, tidy it, check it.

    Works on a directory while a server runs on it. Exit codes: 0 done, 1 failed, 2 wrong usage or input.
    """


for _one in (
    stats, report, list_items, search, show_entry, rate, tag, favourite, pin, unpin, deny, confirm, judged, calibrate,
    plan_eviction, import_command, export_command, spectrogram, fingerprint, gc, move_command,
):  # fmt: skip
    group.add_command(_one)

_removing = with_options(
    click.option("--dry-run", is_flag=True, help="Only show what would be removed."),
    click.option("--confirm", is_flag=True, help="Do not ask. Needed where there is no terminal."),
    click.option("--now", is_flag=True, help="Free the space at once, though paths in it were delivered just now."),
)

_pinned_too = click.option("--pinned-too", is_flag=True, help="Pinned entries, too; otherwise they are spared.")


_by = click.option(
    "--by",
    type=click.Choice(["any", "prompt", "sound"]),
    default="any",
    show_default=True,
    help="The same words and settings, the same sound, or either.",
)


# -- looking


@group.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many prompts.")
@cache_command
def grouped(cache: AudioSemanticCache, as_json: bool, limit: int) -> None:
    """List the entries by prompt, those with most variants first."""
    groups = cache.group_by_prompt(limit)
    lines = []
    for found in groups:
        lines.append(f"{found['count']:>4} x {found['prompt']!r} ({size(found['size_mb'])})")
        lines += [f"       {line}" for line in table(found["items"])[1:]]
    show({"groups": groups}, as_json, lines or ["the cache is empty"])


@group.command()
@click.argument("prompt")
@click.option("--duration", "duration_s", type=float, help="Seconds. Default: the configuration's.")
@click.option("--loop/--no-loop", default=None, help="Default: the configuration's.")
@click.option("--engine", help="Default: the configuration's.")
@click.option("--seed", type=int, help="An explicit seed matches only the identical recipe.")
@click.option(
    "--match",
    type=click.Choice(["strict", "tolerant", "threshold", "global"]),
    help="What counts as a hit. Default: the configuration's.",
)
@click.option("--encoder", default="auto", show_default=True, help="auto, off, or an embedder engine's name.")
@config_option
@cache_command
def explain(
    cache: AudioSemanticCache, as_json: bool, prompt: str, encoder: str, config_path: str | None, **asked: Any
) -> None:
    """Explain why PROMPT would hit or miss: the sound offered, the near misses, and what speaks against each."""
    from audio_pool.cli.explaining import explained

    given = {name: value for name, value in asked.items() if value is not None}
    report = explained(cache.directory, {"prompt": prompt, **given}, encoder, config_path)
    lines = [f"{prompt!r}, encoder {report['encoder'] or 'off'}: {'hit' if report['hit'] else 'miss'}"]
    lines += [f"note: {warning}" for warning in report["warnings"]]
    for found in report["entries"]:
        mark = "+" if found["accepted"] else "-"
        lines.append(f"{mark} {found['id']:>6}  {found['stage']:<9}  {found['prompt']!r}")
        lines.append(f"          {found['reason']}")
    if not report["entries"]:
        lines.append("nothing in the cache comes near")
    lines += _beside(report["made"], report["present_settings"])
    show(report, as_json, lines)


def _beside(made: dict[str, Any] | None, present: dict[str, Any]) -> list[str]:
    """Lay what the sound on offer was made with beside what a new one would be; what neither has is left out."""
    shown = [name for name, value in present.items() if value is not None or (made or {}).get(name) is not None]
    if made is None:
        return [f"now would be  {name} = {present[name]}" for name in shown]
    rows = [("", "was made with", "now would be"), *((n, made.get(n, ""), present[n]) for n in shown)]
    return [f"{name:<16}{'-' if was is None else was!s:<20}{'-' if now is None else now}" for name, was, now in rows]


@group.command()
@click.option("--remove-duplicates", is_flag=True, help="Remove all but the best of each group.")
@_by
@_pinned_too
@_removing
@cache_command
def duplicates(
    cache: AudioSemanticCache, as_json: bool, remove_duplicates: bool, by: Any, pinned_too: bool, **removing: bool
) -> None:
    """List entries that are one too many: the same words and settings, or the same sound."""
    if remove_duplicates:
        _remove(cache, cache.select_duplicates(by, pinned_too=pinned_too), "duplicates", as_json, **removing)
        return
    groups = cache.find_duplicates(by)
    lines = []
    for found in groups:
        lines.append(f"{found['prompt']!r}: {found['reason']}; keeps {found['keep']['id']}, could remove")
        lines += [f"  {line}" for line in table(found["duplicates"])[1:]]
    count = sum(len(found["duplicates"]) for found in groups)
    lines.append(f"{count} duplicates in {len(groups)} groups" if groups else "no duplicates")
    show({"groups": groups, "duplicates": count}, as_json, lines)


# -- removing


@group.command()
@click.option("--days", type=click.FloatRange(0), required=True, help="Remove what is older than this.")
@_pinned_too
@_removing
@cache_command
def clean(cache: AudioSemanticCache, as_json: bool, days: float, pinned_too: bool, **removing: bool) -> None:
    """Remove entries, and delivered results that are not kept, by age."""
    selection = cache.select_older_than(days, pinned_too=pinned_too)
    _remove(cache, selection, f"older than {days:g} days", as_json, **removing)


@group.command()
@_pinned_too
@_removing
@cache_command
def clear(cache: AudioSemanticCache, as_json: bool, pinned_too: bool, **removing: bool) -> None:
    """Remove everything."""
    _remove(cache, cache.select_all(pinned_too=pinned_too), "everything", as_json, **removing)


@group.command("remove-pattern")
@click.argument("regex")
@_pinned_too
@_removing
@cache_command
def remove_pattern(cache: AudioSemanticCache, as_json: bool, regex: str, pinned_too: bool, **removing: bool) -> None:
    """Remove entries in whose prompt REGEX (as Python's re, letter case ignored) is found."""
    selection = cache.select_pattern(regex, pinned_too=pinned_too)
    _remove(cache, selection, f"prompt matches {regex!r}", as_json, **removing)


@group.command()
@click.option("--id", "ids", type=click.IntRange(1), multiple=True, required=True, help="May be repeated.")
@_removing
@cache_command
def delete(cache: AudioSemanticCache, as_json: bool, ids: tuple[int, ...], **removing: bool) -> None:
    """Remove entries by id, as ``list`` shows it; pinned ones, too."""
    _remove(cache, cache.select_ids(ids), f"id {', '.join(map(str, ids))}", as_json, **removing)


@group.command()
@click.option("--fix", is_flag=True, help="Quarantine files without a row; remove dangling links and what is derived.")
@click.option("--confirm", is_flag=True, help="With --fix: remove rows without their sound, too.")
@click.option("--however-many", is_flag=True, help="With --fix: although so much is amiss that no disk may be mounted.")
@click.option("--quick", is_flag=True, help="Trust files of the right size instead of reading every byte.")
@click.option("--dry-run", is_flag=True, help="Only show what --fix would mend.")
@cache_command
def verify(
    cache: AudioSemanticCache,
    as_json: bool,
    fix: bool,
    confirm: bool,
    however_many: bool,
    quick: bool,
    dry_run: bool,
) -> None:
    """Check that rows, files, vectors and index agree. Exit code 1 where something is left amiss."""
    report = cache.verify(fix and not dry_run, quick, confirm, however_many=however_many)
    lines = [f"{found['kind']}: {found['what']}: {found['detail']}" for found in report["problems"]]
    lines.append(f"{report['entries']:,} entries and {report['files']:,} files checked")
    if report["fixed"]:
        lines.append(f"{report['fixed']} mended, {size(report['freed_space_mb'])} freed")
    left = len(report["problems"]) - report["fixed"]
    lines.append("nothing is amiss" if report["ok"] else f"{left} problems" + ("" if fix else "; --fix mends"))
    if report["unconfirmed"]:
        lines.append(f"{report['unconfirmed']} of them would lose a row: --fix --confirm mends those, too")
    lines += [f"refused: {why}" for why in report["refused"]]
    show(report, as_json, lines)
    if not report["ok"]:
        raise click.exceptions.Exit(1)


@group.command()
@click.option("--encoder", default="auto", show_default=True, help="auto, off, or an embedder engine's name.")
@config_option
@with_options(cache_dir_option, json_option)
def rebuild(encoder: str, config_path: str | None, cache_dir: str | None, as_json: bool) -> None:
    """Make rows of masters: after a lost or damaged database. Removes and changes nothing."""
    from audio_pool.cli.rebuilding import rebuilt

    place = Path(cache_dir) if cache_dir is not None else load_config(config_path).cache_dir
    report = rebuilt(place, encoder, config_path)
    lines = [f"skipped: {found['file']}: {found['why']}" for found in report["skipped"]]
    lines.append(f"{report['made']:,} rows made from masters, {report['known']:,} masters had one")
    if report["salvaged"]:
        lines.append(f"{report['salvaged']:,} rows read from the damaged database")
    if report["without_vectors"]:
        lines.append(f"{report['without_vectors']:,} of those made are found by their words alone (no encoder)")
    if report["put_away"]:
        lines.append(f"the old database lies in {report['put_away']}")
    show(report, as_json, lines)


@group.command()
@click.argument("action", type=click.Choice(["list", "restore", "purge"]))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is there, for restore and purge.")
@click.option("--confirm", is_flag=True, help="Needed by purge, which removes for good.")
@cache_command
def quarantine(
    cache: AudioSemanticCache, as_json: bool, action: str, names: tuple[str, ...], everything: bool, confirm: bool
) -> None:
    """Look at the files that were set apart; give masters their place again, or remove files for good."""
    items = cache.quarantined()
    if action == "list":
        lines = [f"{date(item['since'])}  {item['size_kb']:>10,.1f} kB  {item['name']}" for item in items]
        show({"items": items}, as_json, lines or ["nothing is in quarantine"])
        return
    if bool(names) == everything:
        raise CallerError(f"quarantine {action}: given neither or both of NAMES and --all", hint="give one of them")
    chosen = [item["name"] for item in items] if everything else names
    if action == "restore":
        from audio_pool.cache.sqlite.rebuild import restore

        done, left = restore(cache.directory, chosen)
        lines = [f"skipped: {found.file}: {found.why}" for found in left]
        told = {"restored": done, "skipped": [{"file": found.file, "why": found.why} for found in left]}
        show(told, as_json, [*lines, f"{len(done)} restored"])
        return
    report = cache.purge_quarantine(chosen, confirm)
    if "error" in report:
        raise CallerError(report["error"], hint="give --confirm")
    show(report, as_json, [f"{report['removed_files']} files removed, {size(report['freed_space_mb'])} freed"])


@group.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@cache_command
def backup(cache: AudioSemanticCache, as_json: bool, file: Path) -> None:
    """Write all entries into the tar FILE, while servers go on."""
    from audio_pool.cache.sqlite.backup import as_json as told
    from audio_pool.cache.sqlite.backup import backup as backed_up

    _copied(told(backed_up(cache.directory, file)), as_json, "copied")


@group.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_options(cache_dir_option, json_option)
def restore(file: Path, cache_dir: str | None, as_json: bool) -> None:
    """Add the sounds of a backup FILE that the cache lacks, while servers go on."""
    from audio_pool.cache.sqlite.backup import as_json as told
    from audio_pool.cache.sqlite.backup import restore as restored

    place = Path(cache_dir) if cache_dir is not None else load_config(None).cache_dir
    _copied(told(restored(file, place)), as_json, "restored")


def _copied(report: Json, as_json: bool, done: str) -> None:
    """Print the report; exit code 1 where something is left out."""
    lines = [f"skipped: {found['file']}: {found['why']}" for found in report["skipped"]]
    lines.append(f"{report['entries']:,} entries {done}, {size(report['size_mb'])}")
    if report["known"]:
        lines.append(f"{report['known']:,} were there")
    show(report, as_json, lines)
    if report["skipped"]:
        raise click.exceptions.Exit(1)


def _remove(
    cache: AudioSemanticCache, selection: Selection, what: str, as_json: bool, dry_run: bool, confirm: bool, now: bool
) -> None:
    """Show, ask, remove and report."""
    files = f" and {len(selection.renders)} renders" if selection.renders else ""
    would = f"{len(selection.items)} items{files} ({size(selection.size_mb)}): {what}"
    if selection.spared:
        would += f"; {selection.spared} pinned are spared"
    if dry_run:
        listed = list(selection.items) if as_json else []
        report = {"dry_run": True, "would_remove_items": len(selection.items), "items": listed}
        report |= {"would_remove_renders": len(selection.renders), "would_free_mb": selection.size_mb}
        report["spared"] = selection.spared
        show(report, as_json, [*table(selection.items), f"would remove {would}; nothing was removed"])
        return
    if not confirm:
        if not sys.stdin.isatty():
            raise CallerError(
                f"not confirmed: would remove {would}; nothing was removed",
                hint="there is no terminal to ask at: give --confirm, or --dry-run to see what would go",
            )
        if not confirmed(f"Remove {would}?"):
            raise CallerError("not confirmed; nothing was removed")
    before = cache.get_cache_stats()
    done = cache.remove(selection, now=now)
    after = cache.get_cache_stats()
    report = {**done, "spared": selection.spared, "before": _brief(before), "after": _brief(after)}
    lines = [
        f"before   {before.total_items:,} items, {size(before.total_size_mb)}",
        f"removed  {done['removed_items']:,} items, {done['removed_files']:,} files",
        f"after    {after.total_items:,} items, {size(after.total_size_mb)}",
        f"freed    {size(done['freed_space_mb'])}{when(done['freed_after_s'])}",
    ]
    show(report, as_json, lines)


def _brief(found: CacheStats) -> Json:
    return {"total_items": found.total_items, "total_size_mb": found.total_size_mb}
