"""``audio-pool variants``: several takes of one sound that differ audibly and are equally loud.

Owns: how many seeds are tried until the takes differ, and the report.
Must not know: how a sound is made or described.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import click

from audio_pool.cli.generate import fields_of, open_pool, request_options
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["variants"]

_TRIES_A_VARIANT = 4


@click.command()
@click.argument("prompt")
@click.option("-n", "--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Directory.")
@request_options
@click.option(
    "--least-distance", type=float, default=0.1, show_default=True, help="Between any two, in spectral descriptors."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def variants(prompt: str, count: int, output: Path, as_json: bool, least_distance: float, **options: Any) -> None:
    """Write COUNT takes of PROMPT: the same loudness, audibly different.

    For footsteps and the like, where the same file twice in a row is heard. Takes closer to another than
    --least-distance are made anew with another seed, a few times; the report tells each one's nearest.
    """
    from audio_pool.audio import codec
    from audio_pool.audio.descriptors import descriptors, distance

    fields = fields_of(options)
    base = fields.pop("seed", None)
    base = secrets.randbits(48) if base is None else base
    output.mkdir(parents=True, exist_ok=True)
    ending = fields.get("format", "wav")
    takes: list[dict[str, Any]] = []
    described: list[Any] = []
    with open_pool(options["config"], options["cache_dir"], options["engine"]) as pool:
        for tried in range(count * _TRIES_A_VARIANT):
            if len(takes) == count:
                break
            target = output.absolute() / f"variant_{len(takes) + 1:02d}.{ending}"
            request = parse(
                AudioRequest,
                {"prompt": prompt, **fields, "seed": base + tried, "output_path": str(target)},
            )
            result = pool.generate(request)
            audio, rate = codec.read(Path(result.path))
            vector = descriptors(audio, rate)
            nearest = min((float(distance(vector, other)) for other in described), default=None)
            tries_left = (count * _TRIES_A_VARIANT - tried - 1) - (count - len(takes) - 1)
            if nearest is not None and nearest < least_distance and tries_left > 0:
                continue
            described.append(vector)
            takes.append(
                {
                    "path": result.path,
                    "seed": base + tried,
                    "loudness_lufs": result.metadata["loudness_lufs"],
                    "nearest_distance": nearest,
                    "warnings": result.metadata.get("warnings", []),
                }
            )
    distances = [float(distance(a, b)) for i, a in enumerate(described) for b in described[:i]]
    summary = {"prompt": prompt, "variants": takes, "least_distance": min(distances, default=None)}
    if as_json:
        click.echo(json.dumps(summary))
        return
    for take in takes:
        near = "" if take["nearest_distance"] is None else f", {take['nearest_distance']:.3f} from the nearest before"
        loudness = "" if take["loudness_lufs"] is None else f"{take['loudness_lufs']:.1f} LUFS, "
        click.echo(f"{take['path']}  {loudness}seed {take['seed']}{near}")
    for warning in dict.fromkeys(warning for take in takes for warning in take["warnings"]):
        click.echo(f"warning: {warning}")
    if distances:
        click.echo(f"distance between any two: {min(distances):.3f} to {max(distances):.3f}")
