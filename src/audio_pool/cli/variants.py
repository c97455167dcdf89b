"""``audio-pool variants``: several takes of one sound that differ audibly and are equally loud.

Owns: the command's options, and the report.
Must not know: when two takes differ, which seeds are tried (packs/variants.py).
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import click
import msgspec

from audio_pool.cli.options import (
    SectionedCommand,
    cache_dir_option,
    config_option,
    connect_option,
    json_option,
    keys_option,
    overwrite_option,
    with_options,
)
from audio_pool.cli.outputs import check_replaceable
from audio_pool.cli.request_options import request_fields, request_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.packs.names import DEFAULT_PATTERN, numbered_names
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["NOT_OPTIONS", "variants"]

NOT_OPTIONS = (
    "output_path", "priority", "deadline_ms", "match", "any_engine", "duration_tolerance", "temperature",
    "variant_seed", "shuffle", "variant", "prefetch", "tau_use", "tau_prompt_sem", "durable", "stream",
    "keep_candidates", "best_by_deadline", "upgrade", "stand_in",
)  # fmt: skip
"""Fields of a request that are of no use here: each take has a seed of its own, which matches only itself."""


@click.command(cls=SectionedCommand)
@click.argument("prompt")
@with_options(
    click.option("-n", "--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many."),
    click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Directory.  [default: this]"),
    click.option(
        "--name",
        default=DEFAULT_PATTERN,
        show_default=True,
        help="Of each file, without its ending: {slug} stands for the prompt, {n} and {nn} for 1 and 01.",
    ),
    overwrite_option,
    click.option(
        "--least-distance",
        type=click.FloatRange(0.0),
        default=0.1,
        show_default=True,
        help="Between any two, in spectral descriptors.",
    ),
    json_option,
    config_option,
    cache_dir_option,
    connect_option,
    keys_option,
    request_options(leave_out=NOT_OPTIONS),
)
def variants(
    prompt: str,
    count: int,
    output: Path,
    name: str,
    overwrite: bool,
    least_distance: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Write COUNT takes of PROMPT: the same loudness, audibly different.

    For footsteps and the like, where the same file twice in a row is noticed. Takes closer to another than
    --least-distance are made anew with another seed, a few times; the report tells each one's nearest.
    """
    from audio_pool.cli.pools import asked_pool, own_configuration
    from audio_pool.client.progress import ProgressBar
    from audio_pool.packs.variants import Take, make_variants

    config = own_configuration(options)
    fields = request_fields(options)
    # a server's own default is not known here
    ending = fields.setdefault("format", "wav" if config is None else config.defaults.format)
    fields.setdefault("seed", secrets.randbits(48))
    request = parse(AudioRequest, {"prompt": prompt, **fields})
    paths = [output.absolute() / f"{stem}.{ending}" for stem in numbered_names(name, prompt, count)]
    check_replaceable(paths, overwrite, "--output")

    bar = ProgressBar()

    def show(take: Take) -> None:
        bar.clear()
        near = "" if take.nearest_distance is None else f", {take.nearest_distance:.3f} from the nearest before"
        loudness = "" if take.loudness_lufs is None else f"{take.loudness_lufs:.1f} LUFS, "
        say(f"{take.path}  {loudness}seed {take.seed}{near}")

    with asked_pool(config, options, quiet=as_json) as pool, bar:
        made = make_variants(
            pool, request, paths, least_distance=least_distance, on_event=bar, on_take=None if as_json else show
        )
    if as_json:
        takes = msgspec.to_builtins(made.takes)
        say_json({"prompt": made.prompt, "variants": takes, "least_distance": made.least_distance})
        return
    for warning in dict.fromkeys(warning for take in made.takes for warning in take.warnings):
        say(f"warning: {warning}")
    if made.least_distance is not None:
        say(f"distance between any two: {made.least_distance:.3f} to {made.greatest_distance:.3f}")
