"""``audio-pool generate``: one sound, from a pool started for it or from a running server.

Owns: the command's options and what it prints.
Must not know: how a sound is made.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from audio_pool.cli.candidates import candidate_lines, check_beside, heard, written_beside
from audio_pool.cli.options import (
    FILE_SECTION,
    POOL_SECTION,
    SectionedCommand,
    SectionedOption,
    cache_dir_option,
    config_option,
    json_option,
    keep_stdout_free,
    keys_option,
    overwrite_option,
    server_option,
    spectrogram_option,
    with_options,
)
from audio_pool.cli.outputs import Output, check_output, check_picture, deliver, output_of
from audio_pool.cli.request_options import request_fields, request_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import InvalidRequest, StorageError, Timeout
from audio_pool.results import AudioResult, SoundMetadata
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

if TYPE_CHECKING:
    from audio_pool.config import Config

__all__ = ["generate", "summary_lines"]

_FULL = 0.9
"""Of half the rate: a sound that reaches so high fills it."""


@click.command(cls=SectionedCommand)
@click.argument("prompt")
@with_options(
    request_options(),
    overwrite_option,
    spectrogram_option,
    json_option,
    config_option,
    cache_dir_option,
    server_option,
    keys_option,
    click.option(
        "--pipe",
        cls=SectionedOption,
        section=FILE_SECTION,
        is_flag=True,
        help="-o names a named pipe or a device that is there: it is written through, not replaced.",
    ),
    click.option(
        "--request-id",
        cls=SectionedOption,
        section=POOL_SECTION,
        help="With --durable: the job's id; the same request under the same id is the same job.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        cls=SectionedOption,
        section=POOL_SECTION,
        type=click.FloatRange(0.0),
        default=600.0,
        show_default=True,
        help="Seconds to wait.",
    ),
)
def generate(prompt: str, as_json: bool, overwrite: bool, spectrogram: Path | None, **options: Any) -> None:
    """Make (or find) the sound of PROMPT.

    Prints the file's path and what is known of it; with '-o -' on standard error, since standard output then
    carries the sound. Without -o the file stays where the cache keeps it.
    """
    to_stdout = options["output_path"] == "-"
    if to_stdout:
        keep_stdout_free()
    found = _settle_server(options)
    config = _own_configuration(options)
    fields = request_fields(options)
    # a server's own default is not known here
    default_format = "wav" if config is None else config.defaults.format
    output = output_of(options["output_path"], fields.get("format"), default_format, pipe=options["pipe"])
    if output.format is not None:
        fields["format"] = output.format
    inline = fields.get("delivery") == "inline"
    if fields.get("delivery") == "raw":
        raise InvalidRequest("--delivery raw: is for programs; ask for --format wav --bit-depth 32, or pcm")
    if fields.get("stream"):
        if output.kind in ("kept", "directory"):
            raise InvalidRequest("--stream: given without a file to write; -o FILE.wav, -o FILE.pcm or -o -")
        fields["format"] = output.format or "wav"
    elif output.kind == "file" and not inline and not found:  # which paths a server writes to is its own to say
        fields["output_path"] = str(output.path)
    if output.kind == "kept" and inline:
        raise InvalidRequest("--delivery inline: given without --output; say where the sound goes")
    sent = _to_send(fields, options["connect"])
    request = parse(AudioRequest, {"prompt": prompt, **fields})
    check_output(output, overwrite)
    if request.keep_candidates:
        check_beside(output, overwrite)
    if spectrogram is not None:
        check_picture(spectrogram, overwrite)
    quiet = as_json or to_stdout
    if request.stream:
        result = _streamed(request, sent, config, options, output, quiet=quiet)
    else:

        def tell(made: AudioResult, files: Mapping[int, bytes]) -> AudioResult:
            result = written_beside(deliver(output, made, copied=found), files, gone=config is not None)
            _say(result, output, as_json=as_json, gone=config is not None)
            return result

        result = _generated(request, sent, config, options, output, tell, quiet=quiet)
    if request.stream:
        _say(result, output, as_json=as_json, gone=config is not None)
    if spectrogram is not None:  # last: the sound is there even if its picture cannot be drawn
        _draw(result, spectrogram)


def _settle_server(options: dict[str, Any]) -> bool:
    """Settle whom ``--connect auto`` means; return True if a server was found that nobody named."""
    from audio_pool.cli.pools import listening_server

    automatic = options["connect"] == "auto"
    if automatic:
        options["connect"] = listening_server(options)
    elif options["connect"] == "never":
        options["connect"] = None
    return automatic and options["connect"] is not None


def _own_configuration(options: dict[str, Any]) -> Config | None:
    """Return the configuration of this command's own pool; None: a server is asked, which has its own."""
    from audio_pool.cli.pools import own_configuration

    if options["connect"] is None and options["request_id"] is not None:
        raise InvalidRequest("--request-id: given without --connect; only a server keeps jobs")
    return own_configuration(options)


def _to_send(fields: dict[str, Any], server: str | None) -> dict[str, Path]:
    """Take the sound to start from out of a request's fields where it is sent: to what may be another machine."""
    if server is None or "init_audio" not in fields:
        return {}
    from audio_pool.client.addresses import all_share_files

    if all_share_files(server):
        return {}
    return {"init_audio": Path(fields.pop("init_audio"))}


def _generated(
    request: AudioRequest,
    sent: dict[str, Path],
    config: Config | None,
    options: dict[str, Any],
    output: Output,
    tell: Callable[[AudioResult, Mapping[int, bytes]], AudioResult],
    *,
    quiet: bool,
) -> AudioResult:
    """Tell of the result, and of the better one where that is waited for; return what was told last.

    Args:
        tell: gets a result, and the files of its candidates that are to be written beside it.
    """
    kept = None if config is None else _kept(config, request)
    if kept is not None:
        return tell(kept, {})
    from audio_pool.cli.pools import asked_pool
    from audio_pool.client.progress import ProgressBar

    with asked_pool(config, options, quiet=quiet, ready=False) as pool, ProgressBar() as bar:
        try:
            named: dict[str, Any] = dict(sent)
            if options["request_id"] is not None:
                named["request_id"] = options["request_id"]
            pending = pool.submit(request, events=True, timeout_s=options["timeout_s"], **named)
            made = pending.wait(on_event=bar)
            result = tell(made, heard(pool, made, output))
            if pending.upgraded is not None:
                better = pending.upgraded.wait(options["timeout_s"], on_event=bar)
                result = tell(better, heard(pool, better, output))
            return result
        except Timeout as exc:
            exc.hint = exc.hint.replace("timeout_s", "--timeout")
            raise


def _streamed(
    request: AudioRequest,
    sent: dict[str, Path],
    config: Config | None,
    options: dict[str, Any],
    output: Output,
    *,
    quiet: bool,
) -> AudioResult:
    """Write a sound while it is made; return it with the path where it is then."""
    from audio_pool.cli.pools import asked_pool
    from audio_pool.cli.streamed import write_stream

    with asked_pool(config, options, quiet=quiet, ready=False) as pool:
        stream = pool.stream(request, timeout_s=options["timeout_s"], **sent)
        result = write_stream(output, stream, request.format or "wav")
    return result if output.kind == "stdout" else structs.replace(result, path=str(output.path))


def _say(result: AudioResult, output: Output, *, as_json: bool, gone: bool) -> None:
    """Print what is known of a result; where standard output carries the sound, on standard error."""
    to_stdout = output.kind == "stdout"
    if as_json:
        say_json({"path": "-" if to_stdout else result.path, **result.metadata}, err=to_stdout)
        return
    for line in (*summary_lines(result, output), *candidate_lines(result, gone=gone)):
        say(line, err=to_stdout)


def _kept(config: Config, request: AudioRequest) -> AudioResult | None:
    from audio_pool.pool.kept import kept_sound

    try:
        return kept_sound(config, request)
    except StorageError:  # a pool makes the sound all the same, and says what is wrong
        return None


def _draw(result: AudioResult, picture: Path) -> None:
    from audio_pool.audio import codec, spectrogram

    with contextlib.ExitStack() as stack:
        path = Path(result.path)
        if result.data is not None:  # a server's file, sent; it is somewhere else
            file = stack.enter_context(tempfile.NamedTemporaryFile(suffix=path.suffix))
            file.write(result.data)
            file.flush()
            path = Path(file.name)
        audio, rate = codec.read(path)
    spectrogram.write_png(picture, audio, rate, title=result.metadata.prompt)


def _narrower(data: SoundMetadata) -> str:
    """Return up to where a sound reaches, if its rate promises more."""
    reach = data.bandwidth_hz
    return "" if reach is None or reach > _FULL * data.sample_rate / 2 else f" (sound up to {reach:.0f} Hz)"


def summary_lines(result: AudioResult, output: Output | None = None) -> list[str]:
    """Return what a person wants to know of a result."""
    data = result.metadata
    seam = ""
    if data.is_loop:
        seam = f", loop (seam score {data.loop.seam_score:.0f} of 100)" if data.loop else ", loop"
    came = f"from the cache ({data.hit_reason})" if data.cached else f"new, made by {data.engine}"
    # what ``cache show``, ``pin`` and ``delete --id`` want to know
    kept = "" if data.entry_id is None else f", entry {data.entry_id}"
    if data.approximate is True:
        likeness = "" if data.cache_similarity is None else f" to {data.cache_similarity:.2f}"
        like = f"like {data.matched_prompt!r}{likeness}" if data.rung == "looser" else "by the built-in engine"
        came += f", approximate: {like};"
    # None where there is none: silence, or under 400 ms
    level = "" if data.loudness_lufs is None else f", {data.loudness_lufs:.1f} LUFS"
    level += "" if data.true_peak_dbfs is None else f", true peak {data.true_peak_dbfs:.1f} dBFS"
    lines = [
        "written to standard output" if output is not None and output.kind == "stdout" else result.path,
        f"  {data.duration_s:.2f} s, {data.sample_rate} Hz{_narrower(data)}{level}{seam}",
        f"  {came} in {data.timings_ms.total:.0f} ms, seed {data.seed}{kept}",
    ]
    return lines + [f"  warning: {warning}" for warning in data.warnings]
