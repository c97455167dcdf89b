"""``audio-pool recipe``: how a file's sound was made, read from the file, and the sound made again.

Owns: the command's options and what it prints.
Must not know: how a file holds its recipe, how a sound is made again (exchange/).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from audio_pool.cli.options import (
    FILE_SECTION,
    SectionedCommand,
    SectionedOption,
    cache_dir_option,
    config_option,
    connect_option,
    json_option,
    keys_option,
    overwrite_option,
    with_options,
)
from audio_pool.cli.outputs import check_replaceable
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from audio_pool.exchange.recipe_in_file import FileRecipe
    from audio_pool.exchange.remaking import Remade

__all__ = ["recipe"]


@click.command(cls=SectionedCommand)
@click.argument("file", type=click.Path(path_type=Path))
@with_options(
    click.option("--remake", is_flag=True, help="Make the sound again, into --output, and compare."),
    click.option("--compare", is_flag=True, help="Make the sound again and compare; write nothing."),
    click.option("--anyway", is_flag=True, help="Also where something is other than when it was made."),
    click.option(
        "--init-audio", type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="The sound that it was made of; its hash must be the one in the recipe.",
    ),
    click.option("--store", is_flag=True, help="Keep the sound in the cache."),
    click.option(
        "-o", "--output", cls=SectionedOption, section=FILE_SECTION, type=click.Path(path_type=Path),
        help="The new file, in the format of FILE.",
    ),
    overwrite_option,
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(0.0, min_open=True), default=600.0, show_default=True,
        help="Seconds to wait for each sound.",
    ),
    json_option, config_option, cache_dir_option, connect_option, keys_option,
)  # fmt: skip
def recipe(file: Path, remake: bool, compare: bool, as_json: bool, **options: Any) -> None:
    """Show how the sound of FILE was made, as its file says, or make it again.

    With --json it is a request, as 'generate' and every client take it. Made again it is never found in the cache,
    and not kept there; the exit code is 1 where it is not the very same, sample for sample.
    """
    from audio_pool.exchange.recipe_in_file import file_recipe

    if remake and options["output"] is None:
        raise InvalidRequest("--remake: given without --output; say where the sound goes, or ask for --compare")
    if options["output"] is not None:
        if not remake:
            raise InvalidRequest("--output: given without --remake, which makes what goes there")
        check_replaceable([options["output"]], options["overwrite"], "--output")
    told, facts = file_recipe(file)
    if remake or compare:
        found = _remade(file, told, facts, options, quiet=as_json)
        if as_json:
            say_json(msgspec.to_builtins(found))
        else:
            for line in _outcome(found):
                say(line)
        sys.exit(0 if found.equal else 1)
    if as_json:
        if told is None:
            raise NotFound(
                f"{file}: its sound is made of others, and is no one request", hint="without --json they are named"
            )
        say_json(told.request())
        return
    say(str(file))
    for line in _shown(told, facts):
        say(line)


def _remade(
    file: Path, told: FileRecipe | None, facts: dict[str, Any], options: dict[str, Any], *, quiet: bool
) -> Remade:
    from audio_pool.cli.pools import asked_pool, own_configuration
    from audio_pool.exchange.remaking import remade

    engine = None if told is None else told.recipe.engine
    config = own_configuration({**options, "engine": engine})
    with tempfile.TemporaryDirectory() as folder, asked_pool(config, options, quiet=quiet) as pool:
        return remade(
            pool,
            file,
            told,
            facts,
            Path(folder),
            output=options["output"],
            init_audio=options["init_audio"],
            anyway=options["anyway"],
            store=options["store"],
            timeout_s=options["timeout_s"],
        )


def _shown(told: FileRecipe | None, facts: dict[str, Any]) -> list[str]:
    lines = []
    if told is not None:
        request = told.request()
        lines.append(f"  {request.pop('prompt')}")
        made = told.metadata
        model = f" ({made.model}{'@' + made.model_revision if made.model_revision else ''})" if made.model else ""
        lines.append(f"  made by {told.software or 'audio_pool'}, engine {told.recipe.engine}{model}")
        lines += [f"  {name}: {value}" for name, value in request.items() if name != "engine"]
        lines += [f"  {name}: {facts[name]}" for name in ("licence", "digital_source_type") if facts.get(name)]
        lines += [f"  not in it: {lack}" for lack in told.lacking]
    steps = facts.get("work")
    for step in steps if isinstance(steps, list) else ():
        lines += _work(step if isinstance(step, dict) else {}, "  ")
    if facts.get("AIGC"):
        lines.append(f"  AIGC: {facts['AIGC']}")
    return lines


def _work(step: dict[str, Any], margin: str) -> list[str]:
    craft = step.get("craft")
    told = dict(craft) if isinstance(craft, dict) else {}
    kind = told.pop("kind", "something")
    form = step.get("form")
    told |= form if isinstance(form, dict) else {}
    lines = [f"{margin}worked on: {kind} {', '.join(f'{name} {value}' for name, value in told.items())}".rstrip()]
    origins = step.get("of")
    for one in origins if isinstance(origins, list) else ():
        if isinstance(one, dict):
            name = one.get("prompt") or one.get("comment") or "a sound of which nothing is told"
            lines.append(f"{margin}  of: {name} (SHA-256 {one.get('sha256', 'not told')})")
    return lines


def _outcome(found: Remade) -> list[str]:
    lines = [f"other than when it was made: {what}" for what in found.differs]
    if found.equal:
        lines.append("the same sound, sample for sample" + ("; the same file, byte for byte" * found.same_bytes))
    elif not found.comparable:
        lines.append("another sound: of another rate, or another number of channels")
    else:
        level = "" if found.difference_db is None else f", the difference {found.difference_db:.1f} dB"
        lines.append(
            f"not the same samples: they differ by {found.max_difference:.6f} at the most{level}, "
            f"spectra by {found.spectral_distance_db:.2f} dB"
        )
    return [*lines, *([found.output] if found.output else [])]
