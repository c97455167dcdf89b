"""``audio-pool engines``: which engines there are, and what each may be asked for.

Owns: the table, and one engine's description.
Must not know: any engine by name.
"""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from audio_pool.cli.options import config_option, json_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.config import Config, load_config
from audio_pool.engine_info import EngineInfo, OptionInfo, missing_modules
from audio_pool.engines import engine_names
from audio_pool.engines.options import allowed
from audio_pool.errors import EngineUnavailable
from audio_pool.models import weights
from audio_pool.pool.plan import configured

__all__ = ["engines"]


_PRECISIONS = (("at float32", 4.0), ("at half precision", 2.0), ("at 8 bit", 1.0))
"""Bytes a parameter."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An engine and whether it can be loaded by this interpreter."""

    name: str
    info: EngineInfo | None
    """None: another package's, which cannot be imported."""
    missing: str
    """What it lacks and how to get it; "" where it is available."""

    def plain(self) -> dict[str, object]:  # JSON: the fields of EngineInfo under protocol v1's names
        """Return the row as JSON has it."""
        fields = msgspec.to_builtins(self.info) if self.info is not None else {}
        return {**fields, "name": self.name, "available": not self.missing, "missing": self.missing}


def _row(name: str, config: Config) -> Row:
    try:
        info = configured(name, config)
    except EngineUnavailable as exc:
        return Row(name=name, info=None, missing=str(exc))
    missing = ", ".join(missing_modules(info))
    if missing:
        missing += f": pip install 'audio-pool[{info.extra}]'" if info.extra else f": install {missing}"
    return Row(name=name, info=_counted(info, config), missing=missing)


def _counted(info: EngineInfo, config: Config) -> EngineInfo:
    """Return the info with the parameters of a model that is not the implementation's own, where its files are here."""
    if info.parameters or "/" not in info.model:
        return info
    own = config.engines[info.name].settings if info.name in config.engines else {}
    places = own.get("models_dir") or config.policy.models_dir
    found = weights.find(info.model, models_dir=places or None, revision=own.get("revision") or "")
    try:
        return info if found is None else msgspec.structs.replace(info, parameters=weights.model_elements(found.path))
    except (OSError, ValueError):  # loading it says what is wrong with its files
        return info


@click.command()
@click.argument("name", required=False)
@with_options(config_option, json_option)
def engines(name: str | None, config_path: str | None, as_json: bool) -> None:
    """List the engines, or describe the engine NAME: abilities, kinds, options, voices, licence."""
    config = load_config(config_path)
    if name is not None:
        row = _row(name, config)
        if as_json:
            say_json(row.plain())
        else:
            for line in _description(row):
                say(line)
        return
    rows = [_row(each, config) for each in sorted({*engine_names(), *config.engines})]
    if as_json:
        say_json({"engines": [row.plain() for row in rows]})
        return
    say(f"{'engine':14} {'role':10} {'rate':>7} {'ch':>2} {'longest':>8}  {'licence':34} available")
    for row in rows:
        say(_line(row))


def _line(row: Row) -> str:
    state = f"no: {row.missing}" if row.missing else "yes"
    info = row.info
    if info is None:
        return f"{row.name:14} {'?':10} {'-':>7} {'-':>2} {'-':>8}  {'?':34} {state}"
    rate = "any" if info.any_rate else str(info.sample_rate or "-")
    longest = f"{info.longest_s:g} s" if info.role == "generator" else "-"
    licence = info.licence + ("" if info.commercial_use else " (non-commercial)")
    return f"{row.name:14} {info.role:10} {rate:>7} {info.channels or '-':>2} {longest:>8}  {licence:34.34} {state}"


def _description(row: Row) -> Iterator[str]:
    """Yield one engine in words, a line per fact."""
    info = row.info
    if info is None:
        yield f"{row.name}: not available: {row.missing}"
        return
    yield f"{row.name}: {info.summary}"
    facts = [
        ("available", f"no: {row.missing}" if row.missing else "yes"),
        ("role", info.role),
        ("implementation", info.implementation if info.implementation != info.name else ""),
        ("model", info.model + (f" at {info.model_revision}" if info.model_revision else "")),
        ("licence", f"{info.licence}; commercial use {'allowed' if info.commercial_use else 'not allowed'}"),
        ("kinds", ", ".join(info.kinds)),
        ("languages", ", ".join(info.languages)),
        ("memory", _memory(info)),
        *(_sound(info) if info.role == "generator" else [("dimensions", str(info.dimensions))]),
    ]
    for label, fact in facts:
        if fact:
            yield f"  {label:15} {fact}"
    for voice in info.voices:
        yield f"  voice {voice.name}: {voice.language} {voice.summary}".rstrip()
    for tip in info.tips:
        yield f"  tip             {tip}"
    if info.role == "generator":
        how = "--option NAME=VALUE, or a request's field options:" if info.options else "none"
        yield f"  options         {how}"
    for option in info.options:
        yield f"    {option.name}: {allowed(option)}; {_default(option)}"
        if option.summary:
            yield f"        {option.summary}"


def _sound(info: EngineInfo) -> Iterator[tuple[str, str]]:
    rate = f"any rate, by default {info.sample_rate} Hz" if info.any_rate else f"{info.sample_rate} Hz"
    channels = {1: "mono", 2: "stereo"}.get(info.channels, f"{info.channels} channels")
    length = "as long as the words take" if info.natural_length else f"{info.shortest_s:g} to {info.longest_s:g} s"
    if info.window_s is not None and info.window_s < info.longest_s:
        length += f", of windows of {info.window_s:g} s"
    yield "sound", f"{rate}, {channels}, {length}"
    if info.bandwidth_hz is not None:
        yield "bandwidth", f"up to {info.bandwidth_hz:g} Hz, whatever the rate of the file"
    if info.steps is not None:
        yield "steps", f"{info.steps} by default"
    if info.guidance_scale is not None:
        yield "guidance_scale", f"{info.guidance_scale:g} by default"
    abilities = [
        ("a negative prompt", info.negative_prompt),
        ("audio to start from", info.init_audio),
        ("a part of a given sound made anew", info.inpaint),
        ("a given sound continued", info.extend),
        ("pieces while it is made", info.streams),
        ("loops of its own", info.loop),
        ("speech", info.speech),
    ]
    yield "can do", ", ".join(noun for noun, able in abilities if able)
    yield "cannot do", ", ".join(noun for noun, able in abilities if not able)


def _memory(info: EngineInfo) -> str:
    """Return what the weights take; the work itself takes more on top."""
    if not info.parameters:
        return ""
    at = ", ".join(f"{info.parameters * size / 1e9:.2g} GB {name}" for name, size in _PRECISIONS)
    return f"weights {at}, and what the work takes"


def _default(option: OptionInfo) -> str:
    if option.default is None:
        return "unset by default"
    if option.default == "":
        return "empty by default"
    if isinstance(option.default, bool):
        return f"default {str(option.default).lower()}"
    return f"default {option.default:g}" if isinstance(option.default, float) else f"default {option.default}"
