"""The options of a request: one for every field of AudioRequest, with its type and bounds.

Owns: the options' names and help; what is given, as fields of a request.
Must not know: what a field makes the pool do.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import Struct, inspect

from audio_pool.cli.options import FILE_SECTION, F, SectionedOption, with_options
from audio_pool.errors import InvalidRequest
from audio_pool.types import AudioRequest, Label

__all__ = ["REQUEST_OPTIONS", "request_fields", "request_options", "scalars"]

_SOUND, _FILE, _CACHE, _QUEUE = "The sound", FILE_SECTION, "The cache", "The queue"


class _Option(Struct, frozen=True):
    """How a field is written on the command line; its type and bounds are those of the field."""

    section: str
    names: tuple[str, ...]
    help: str
    scale: float = 1.0
    """The field's unit is this much of the option's: 1000 for milliseconds given in seconds."""


REQUEST_OPTIONS: Mapping[str, _Option] = {
    "duration_s": _Option(_SOUND, ("--duration",), "Seconds; the engine may allow less."),
    "loop": _Option(_SOUND, ("--loop/--no-loop",), "Make it loop seamlessly."),
    "engine": _Option(
        _SOUND, ("--engine",), "An engine or named model, or kind:NAME; 'audio-pool engines' lists them."
    ),
    "seed": _Option(_SOUND, ("--seed",), "The same seed gives the same sound."),
    "candidates": _Option(_SOUND, ("--candidates",), "Make so many and keep the best."),
    "keep_candidates": _Option(
        _SOUND, ("--keep-candidates",), "Keep those that are not chosen, too, for a while; with -o beside the sound."
    ),
    "steps": _Option(_SOUND, ("--steps",), "Inference steps, where the engine has them."),
    "guidance_scale": _Option(_SOUND, ("--guidance",), "Guidance scale, where the engine has it."),
    "negative_prompt": _Option(_SOUND, ("--negative",), "What is not wanted in the sound, where the engine can."),
    "voice": _Option(_SOUND, ("--voice",), "One of the engine's voices."),
    "options": _Option(
        _SOUND,
        ("--option",),
        "One of the engine's own parameters, which 'audio-pool engines NAME' lists. Repeatable. VALUE: a number, true, "
        'false, or text; "..." in quotes is always text.',
    ),
    "presets": _Option(
        _SOUND, ("--preset",), "A kept set of words or parameters; 'audio-pool presets list' shows them. Repeatable."
    ),
    "init_audio": _Option(
        _SOUND, ("--init-audio",), "A sound file to start from, where the engine can; sent to a server at tcp://."
    ),
    "init_strength": _Option(_SOUND, ("--init-strength",), "0 keeps that sound, 1 ignores it."),
    "mask_start_s": _Option(_SOUND, ("--mask-start",), "Make that sound anew from here, seconds, ..."),
    "mask_end_s": _Option(_SOUND, ("--mask-end",), "... to here, and leave the rest as it is."),
    "extend_s": _Option(_SOUND, ("--extend-s", "--extend"), "Seconds by which that sound is continued."),
    "loop_method": _Option(_SOUND, ("--loop-method",), "How a loop closes: made so by the engine, or by a crossfade."),
    "crossfade_s": _Option(_SOUND, ("--crossfade",), "A loop's longest crossfade, seconds."),
    "highpass_hz": _Option(_SOUND, ("--highpass",), "Cut-off of the high-pass filter, Hz; 0: no filter."),
    "strict": _Option(
        _SOUND, ("--strict",), "Fail where the sound is not quite what the words ask for, instead of a warning."
    ),
    "format": _Option(_FILE, ("--format",), "Default: of the output's name, else the configuration's."),
    "bit_depth": _Option(_FILE, ("--bit-depth",), "For wav and flac; 32 is float and for wav."),
    "bit_rate": _Option(_FILE, ("--bit-rate",), "Kilobits a second; for mp3 and opus."),
    "sample_rate": _Option(_FILE, ("--sample-rate",), "Hz, of the sound."),
    "rendition_rate": _Option(_FILE, ("--rendition-rate",), "Hz, of the file, where the sound's is not wanted."),
    "target_lufs": _Option(_FILE, ("--lufs",), "Integrated loudness to aim for."),
    "true_peak_dbfs": _Option(_FILE, ("--true-peak",), "Never above this true peak, dBFS."),
    "loudness_profile": _Option(
        _FILE, ("--loudness",), "game, broadcast, web, film, or a profile of the configuration."
    ),
    "limiter": _Option(_FILE, ("--limiter/--no-limiter",), "Hold peaks down where the loudness needs it."),
    "output_path": _Option(
        _FILE,
        ("-o", "--output"),
        "A file; a directory (exists, or ends with '/') for a name made of the prompt; '-' for standard output. A name "
        "without an ending gets the format's.",
    ),
    "delivery": _Option(
        _FILE, ("--delivery",), "inline: the server sends the file itself, for servers on other machines."
    ),
    "stream": _Option(
        _FILE, ("--stream",), "With -o: written while it is made, as wav or pcm; -o - plays at once in a pipe."
    ),
    "force": _Option(_CACHE, ("--force",), "Make a new one even if the cache has it."),
    "replace": _Option(_CACHE, ("--replace",), "With --force: it takes the place of the kept ones of its settings."),
    "store": _Option(_CACHE, ("--store/--no-store",), "Keep a new sound in the cache.  [default: keep it]"),
    "namespace": _Option(_CACHE, ("--namespace",), "Which part of the cache: entries of others are never found."),
    "match": _Option(_CACHE, ("--match",), "What counts as a hit."),
    "any_engine": _Option(_CACHE, ("--any-engine",), "Sounds of other engines may answer, too."),
    "duration_tolerance": _Option(
        _CACHE, ("--duration-tolerance",), "Relative difference in length that a hit may have; 0 is exact."
    ),
    "temperature": _Option(_CACHE, ("--temperature",), "Of the draw among several fitting sounds; 0: the best."),
    "shuffle": _Option(_CACHE, ("--shuffle/--no-shuffle",), "Each of several fitting sounds once before any again."),
    "variant": _Option(_CACHE, ("--variant",), "The sound of these words with this number, or a new one."),
    "prefetch": _Option(_CACHE, ("--prefetch",), "Sounds of these words to have: what lacks is made later."),
    "variant_seed": _Option(_CACHE, ("--variant-seed",), "Makes that draw reproducible."),
    "tau_use": _Option(_CACHE, ("--tau-use",), "Least CLAP similarity of the words and a hit's sound."),
    "tau_accept_new": _Option(_CACHE, ("--tau-accept-new",), "Least CLAP similarity of a new sound."),
    "tau_prompt_sem": _Option(_CACHE, ("--tau-prompt-sem",), "Least similarity of a hit's words, calibrated."),
    "min_quality": _Option(_CACHE, ("--min-quality",), "Least score of the quality gate of a new sound."),
    "on_quality_failure": _Option(
        _CACHE, ("--on-quality-failure",), "Where nothing passes the gate: an error, or the best there is."
    ),
    "metadata": _Option(
        _CACHE, ("--label",), "A label of your own, kept with the sound. Repeatable; VALUE as for --option."
    ),
    "tags": _Option(_CACHE, ("--tag",), "A word to find the entry by, kept with it. Repeatable."),
    "priority": _Option(_QUEUE, ("--priority",), "Which goes first on a busy server."),
    "deadline_ms": _Option(
        _QUEUE, ("--deadline",), "Seconds after which the sound is not wanted any more.", scale=1000.0
    ),
    "best_by_deadline": _Option(
        _QUEUE,
        ("--best-by-deadline",),
        "By the deadline the best there is by then: a looser match, or the built-in engine's sound.",
    ),
    "upgrade": _Option(
        _QUEUE, ("--upgrade",), "Where something stands in, wait for the sound itself, and print that, too."
    ),
    "stand_in": _Option(_QUEUE, ("--stand-in",), "Whatever is at hand at once, and the sound itself later."),
    "durable": _Option(
        _QUEUE, ("--durable",), "With --connect: done even if the server dies; 'audio-pool jobs' tells of it."
    ),
}
"""By field of AudioRequest; ``prompt`` is the commands' argument."""


def request_options(*, leave_out: Collection[str] = ()) -> Callable[[F], F]:
    """Return a decorator with the options of a request, by section.

    Args:
        leave_out: fields for which the command has no use.
    """
    chosen = [name for name in REQUEST_OPTIONS if name not in leave_out]
    options = [_option(name) for name in chosen]
    if "mask_end_s" in chosen:
        options.insert(chosen.index("mask_end_s") + 1, _mask_option)
    return with_options(*options)


_mask_option = click.option(
    "--mask",
    cls=SectionedOption,
    section=_SOUND,
    metavar="START:END",
    help="The same as --mask-start START --mask-end END.",
)


def _option(name: str) -> Callable[[F], F]:
    found = REQUEST_OPTIONS[name]
    node = _without_none(_field_types()[name])
    keywords: dict[str, Any] = {}  # click's own
    match node:
        case inspect.BoolType():
            keywords |= {"is_flag": True, "default": None}
        case inspect.DictType():
            keywords |= {"multiple": True, "metavar": "NAME=VALUE"}
        case inspect.ListType():
            keywords |= {"multiple": True, "metavar": "WORD"}
        case _:
            keywords["type"] = _type_of(node, found.scale)
    return click.option(*found.names, name, cls=SectionedOption, section=found.section, help=found.help, **keywords)


@functools.cache
def _field_types() -> dict[str, inspect.Type]:
    """Return the types of a request's fields; found once, as all are read each time: a command's start waits for it."""
    return {field.name: field.type for field in inspect.type_info(AudioRequest).fields}  # type: ignore[attr-defined]


def _without_none(node: inspect.Type) -> inspect.Type:
    if isinstance(node, inspect.UnionType):
        return next(one for one in node.types if not isinstance(one, inspect.NoneType))
    return node


def _type_of(node: inspect.Type, scale: float) -> click.ParamType[Any]:
    """Return click's type for a field's, with its bounds."""
    match node:
        case inspect.IntType() if scale == 1.0:
            return click.IntRange(node.ge, node.le)
        case inspect.IntType() | inspect.FloatType():
            low, high = (None if bound is None else bound / scale for bound in (node.ge, node.le))
            return click.FloatRange(low, high)
        case inspect.LiteralType():
            return click.Choice([str(value) for value in node.values])
        case _:
            return click.STRING


def request_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that were given; the rest is left to the configuration.

    ``output_path`` is not among them: where a sound goes is decided by outputs.py.

    Args:
        options: a command's, by field; others are passed over.

    Raises:
        InvalidRequest: a label or option that is not NAME=VALUE, or given twice.
    """
    fields: dict[str, Any] = {}
    for name, found in REQUEST_OPTIONS.items():
        value = options.get(name)
        if value is None or value == () or name == "output_path":
            continue
        if name in ("options", "metadata"):
            value = scalars(value, found.names[0])
        elif name in ("tags", "presets"):
            value = list(value)
        elif name == "bit_depth":
            value = int(value)
        elif name == "init_audio":
            value = str(Path(value).absolute())
        elif found.scale != 1.0:
            value = round(value * found.scale)
        fields[name] = value
    if options.get("mask") is not None:
        given = [option for field, option in _MASK.items() if field in fields]
        if given:
            raise InvalidRequest(f"--mask: given with {given[0]}; give either")
        fields |= zip(_MASK, _moments(options["mask"]), strict=True)
    return fields


_MASK = {"mask_start_s": "--mask-start", "mask_end_s": "--mask-end"}


def _moments(text: str) -> tuple[float, float]:
    """Return start and end of START:END, in seconds; their bounds are checked with the request."""
    start, _, end = text.partition(":")
    try:
        return float(start), float(end)
    except ValueError:
        raise InvalidRequest(f"--mask: given {text!r}, allowed is START:END in seconds, e.g. 1.5:3") from None


def scalars(pairs: Sequence[str], option: str) -> dict[str, Label]:
    """Return what was given as NAME=VALUE. Raises InvalidRequest."""
    found: dict[str, Label] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"{option}: given {pair!r}, allowed is NAME=VALUE")
        if name in found:
            raise InvalidRequest(f"{option}: {name!r} is given twice")
        found[name] = _scalar(text)
    return found


def _scalar(text: str) -> Label:
    """Return a value as JSON writes it, where the text is one number, truth value or quoted text; else the text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value)):
        return text
    scalar: Label = value
    return scalar
