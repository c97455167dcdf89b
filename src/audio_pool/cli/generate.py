"""``audio-pool generate``: one sound, from a pool started for it or from a running server.

Owns: the command's options and what it prints.
Must not know: how a sound is made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from audio_pool.errors import InvalidRequest
from audio_pool.results import AudioResult
from audio_pool.types import FORMATS, AudioRequest
from audio_pool.validation import parse

__all__ = ["generate", "open_pool", "told_in_lines"]


def request_options(command: Any) -> Any:
    """The options that make up a request; shared by ``generate`` and ``variants``."""
    options = [
        click.option("--duration", "duration_s", type=float, help="Seconds; the engine may allow less than 600."),
        click.option("--loop/--no-loop", default=None, help="Make it loop seamlessly."),
        click.option("--engine", help="Which engine; 'audio-pool engines' lists them."),
        click.option("--seed", type=int, help="The same seed gives the same sound."),
        click.option("--candidates", type=int, help="Make so many and keep the best."),
        click.option("--steps", type=int, help="Inference steps, where the engine has them."),
        click.option("--guidance", "guidance_scale", type=float, help="Guidance scale, where the engine has it."),
        click.option("--negative", "negative_prompt", help="What should not be heard."),
        click.option(
            "--format", "format_", type=click.Choice(FORMATS), help="Default: of the output's name, else wav."
        ),
        click.option("--bit-depth", type=click.Choice(["16", "24", "32"]), help="wav and flac; 32 is float wav."),
        click.option("--sample-rate", type=int, help="Hz."),
        click.option("--lufs", "target_lufs", type=float, help="Integrated loudness to aim for."),
        click.option("--config", "config", type=click.Path(), help="A TOML file; see configs/."),
        click.option("--cache-dir", type=click.Path(), help="Where finished sounds are kept."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def fields_of(options: dict[str, Any]) -> dict[str, Any]:
    """Request fields from given options; what was not given is left to the configuration."""
    names = set(AudioRequest.__struct_fields__)
    fields = {name: value for name, value in options.items() if name in names and value is not None}
    if options.get("bit_depth") is not None:
        fields["bit_depth"] = int(options["bit_depth"])
    if options.get("format_"):
        fields["format"] = options["format_"]
    return fields


def open_pool(config: str | None, cache_dir: str | None, engine: str | None) -> Any:
    """A pool for one command, not yet started: ``--engine`` is hosted where no configuration says otherwise."""
    from audio_pool.config import load_config
    from audio_pool.pool.pool import AudioPool

    overrides: dict[str, dict[str, Any]] = {}
    if cache_dir is not None:
        overrides["cache"] = {"dir": cache_dir}
    if engine is not None and not load_config(config).workers:
        overrides["defaults"] = {"engine": engine}
    return AudioPool(load_config(config, overrides=overrides))


@click.command()
@click.argument("prompt")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file, or a directory that exists.")
@request_options
@click.option("--force", is_flag=True, help="Make a new one even if the cache has it.")
@click.option("--connect", metavar="ENDPOINT", help="Ask a running server instead, e.g. tcp://127.0.0.1:5555.")
@click.option("--keys", type=click.Path(), help="Directory of CURVE keys, for --connect.")
@click.option("--timeout", "timeout_s", type=float, default=600.0, show_default=True, help="Seconds to wait.")
@click.option("--spectrogram", type=click.Path(path_type=Path), help="Also draw the sound into this PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the metadata with 'path'.")
def generate(prompt: str, output: Path | None, as_json: bool, **options: Any) -> None:
    """Make (or find) the sound of PROMPT.

    Prints the file's path and what is known of it.
    """
    fields = fields_of(options)
    if output is not None and "format" not in fields and output.suffix[1:].lower() in FORMATS:
        fields["format"] = output.suffix[1:].lower()
    if output is not None and not output.is_dir():
        if output.suffix and output.suffix[1:].lower() != fields.get("format", "wav"):
            raise InvalidRequest(
                f"--output: given {output.name!r}, which is not a name for format {fields.get('format', 'wav')!r}; "
                f"allowed endings are .{', .'.join(FORMATS)}"
            )
        fields["output_path"] = str(output.absolute())
    request = parse(AudioRequest, {"prompt": prompt, "force": options["force"], **fields})
    if options["connect"]:
        result = _from_server(request, options)
    else:
        result = _from_own_pool(request, options, quiet=as_json)
    if output is not None and output.is_dir():
        result = _put_into(output, result)
    if as_json:
        click.echo(json.dumps({"path": result.path, **result.metadata}))
    else:
        for line in told_in_lines(result):
            click.echo(line)
    if options["spectrogram"] is not None:  # last: the sound is there even if its picture cannot be drawn
        _draw(result, options["spectrogram"])


def _from_own_pool(request: AudioRequest, options: dict[str, Any], *, quiet: bool) -> AudioResult:
    import concurrent.futures

    from audio_pool.client.progress import ProgressBar
    from audio_pool.errors import Timeout

    if not quiet and not sys.stderr.isatty():
        click.echo("starting a pool ...", err=True)
    with open_pool(options["config"], options["cache_dir"], options["engine"]) as pool:
        pending = pool.submit(request)
        try:
            with ProgressBar() as bar:
                for event in pending.events(options["timeout_s"]):
                    bar(event)
            result: AudioResult = pending.result(options["timeout_s"])
        except concurrent.futures.TimeoutError:
            raise Timeout(f"no sound within {options['timeout_s']:g} s", hint="raise --timeout") from None
        return result


def _from_server(request: AudioRequest, options: dict[str, Any]) -> AudioResult:
    from audio_pool.client.client import AudioClient
    from audio_pool.client.progress import ProgressBar

    with (
        AudioClient(options["connect"], timeout_s=options["timeout_s"], keys=options["keys"]) as client,
        ProgressBar() as bar,
    ):
        return client.generate(request, on_event=bar)


def _put_into(directory: Path, result: AudioResult) -> AudioResult:
    """A copy named after the prompt, never over another file."""
    import re
    import shutil

    import msgspec

    source = Path(result.path)
    words = re.sub(
        r"[^a-z0-9]+", "_", str(result.metadata.get("requested_prompt") or result.metadata["prompt"]).lower()
    )
    for number in range(1, 10_000):
        target = directory / f"{words.strip('_')[:60]}{'' if number == 1 else f'_{number}'}{source.suffix}"
        try:
            with target.open("xb") as file, source.open("rb") as read:
                shutil.copyfileobj(read, file)
            return msgspec.structs.replace(result, path=str(target.absolute()))
        except FileExistsError:
            continue
    raise InvalidRequest(f"--output: {directory} has 10,000 files of that name")


def _draw(result: AudioResult, png: Path) -> None:
    from audio_pool.audio import codec, spectrogram

    audio, rate = codec.read(Path(result.path))
    spectrogram.write_png(png, audio, rate, title=str(result.metadata.get("prompt", "")))


def told_in_lines(result: AudioResult) -> list[str]:
    """What a person wants to know of a result."""
    data = result.metadata
    loop = data.get("loop") if data.get("is_loop") else None
    seam = f", loop (seam score {loop['seam_score']:.0f} of 100)" if loop else ", loop" if data.get("is_loop") else ""
    came = f"from the cache ({data['hit_reason']})" if data.get("cached") else f"new, made by {data.get('engine')}"
    # null where there is none: silence, or under 400 ms
    loudness, peak = data.get("loudness_lufs"), data.get("true_peak_dbfs")
    level = "" if loudness is None else f", {loudness:.1f} LUFS"
    level += "" if peak is None else f", true peak {peak:.1f} dBFS"
    lines = [
        str(result.path),
        f"  {data.get('duration_s', 0):.2f} s, {data.get('sample_rate')} Hz{level}{seam}",
        f"  {came} in {data['timings_ms']['total']:.0f} ms, seed {data.get('seed')}",
    ]
    return lines + [f"  warning: {warning}" for warning in data.get("warnings", [])]
