"""``audio-pool clap``: vectors of sounds and texts, how alike two of them are, and labels for a sound.

Owns: the commands' options and what they print.
Must not know: how vectors are made: by an engine loaded in this process, or by a running server.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
from msgspec import Struct

from audio_pool.audio import codec
from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import config_option, connect_option, json_option, keys_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.config import EngineConfig, load_config
from audio_pool.engines import Scorer, engine_info, engine_infos, engine_names, load_engine
from audio_pool.engines.base import Vectors
from audio_pool.errors import InvalidRequest, NotFound

__all__ = ["group"]

_AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".m4a", ".aac", ".wma", ".w64"}
_TEMPLATE = "This is a sound of {}."
"""The wording with which LAION measured labelling; bare labels do worse."""


class _Input(Struct, frozen=True, kw_only=True):
    kind: Literal["audio", "text"]
    value: str


@click.group("clap", cls=CommandGroup)
def group() -> None:
    """Compare sounds and words with CLAP: in this process, or with --connect by a running server's."""


_engine_options = with_options(
    config_option,
    click.option("--engine", help="The scorer engine. Default: the configured one, else clap."),
    click.option("--model", help="Hub id, directory or LAION .pt file. Default: laion/clap-htsat-unfused."),
    click.option("--device", help="cpu (default), cuda:0, ..."),
    click.option("--dtype", help="float32 (default), float16 or bfloat16."),
    connect_option,
    keys_option,
    click.option("--timeout", "timeout_s", type=float, default=120.0, help="For --connect: seconds; 120."),
    json_option,
)


@group.command("embed")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--text", "texts", is_flag=True, help="Take every INPUT for words, even where a file has that name.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the vectors to this .safetensors file."
)
@_engine_options
def embed(inputs: tuple[str, ...], texts: bool, output: Path | None, as_json: bool, **engine: Any) -> None:
    """Print the unit vector of each INPUT: a sound file, or words."""
    meant = [_Input(kind="text", value=value) if texts else _meant(value) for value in inputs]
    if output is not None and output.suffix != ".safetensors":
        raise InvalidRequest(f"--output: given {str(output)!r}, allowed is a name ending in .safetensors")
    vectors, _ = _embedded(engine, meant)
    if output is not None:
        from safetensors.numpy import save_file

        inputs_json = json.dumps([{"kind": one.kind, "input": one.value} for one in meant])
        save_file({"vectors": vectors}, output, metadata={"inputs": inputs_json})
    rows = [
        {"input": one.value, "kind": one.kind, "vector": [float(value) for value in vector]}
        for one, vector in zip(meant, vectors, strict=True)
    ]
    if as_json:
        say_json({"dimensions": vectors.shape[1], "vectors": rows})
    elif output is not None:
        say(f"{output}: float32 {list(vectors.shape)}")
    else:
        for row in rows:
            say(f"{row['input']}: {json.dumps(row['vector'])}")


@group.command("similarity")
@click.argument("first")
@click.argument("second")
@_engine_options
def similarity(first: str, second: str, as_json: bool, **engine: Any) -> None:
    """Print how alike FIRST and SECOND are, -1..1: two sounds, two texts, or one of each."""
    meant = [_meant(first), _meant(second)]
    vectors, _ = _embedded(engine, meant)
    value = float(vectors[0] @ vectors[1])
    if as_json:
        inputs = [{"kind": one.kind, "input": one.value} for one in meant]
        say_json({"similarity": value, "inputs": inputs})
    else:
        say(f"{value:.4f}")


@group.command("zero-shot")
@click.argument("sound")
@click.argument("labels", nargs=-1, required=True)
@click.option("--template", default=_TEMPLATE, show_default=True, help="The words around a label, which stands at {}.")
@_engine_options
def zero_shot(sound: str, labels: tuple[str, ...], template: str, as_json: bool, **engine: Any) -> None:
    """Print how well each of LABELS fits the file SOUND, best first.

    Scores add up to 1 over the labels given: one label alone always scores 1. The cosine beside it does not
    depend on the others.
    """
    if "{}" not in template:
        raise InvalidRequest(f"--template: given {template!r}, allowed is a text with {{}} where the label goes")
    file = _meant(sound)
    if file.kind != "audio":
        raise NotFound(f"no sound file {sound!r}")
    texts = [_Input(kind="text", value=template.replace("{}", label)) for label in labels]
    vectors, logit_scale = _embedded(engine, [file, *texts])
    cosines = vectors[1:] @ vectors[0]
    scores = softmax(cosines, logit_scale)
    rows = [
        {"label": labels[i], "score": float(scores[i]), "similarity": float(cosines[i])}
        for i in np.argsort(-cosines, kind="stable")
    ]
    if as_json:
        say_json({"sound": sound, "labels": rows})
    else:
        for row in rows:
            say(f"{row['score']:.3f}  {row['similarity']:+.4f}  {row['label']}")


def softmax(cosines: Vectors, scale: float) -> Vectors:
    """Return shares that add up to 1, float32 [N], for cosines [N] times the model's own scale."""
    powers = np.exp(scale * (cosines - cosines.max()))
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def _meant(value: str) -> _Input:
    """Take a file that exists for a sound, all else for words; refuse what looks like a missing sound file.

    Raises:
        NotFound.
    """
    path = Path(value).expanduser()
    if path.is_file():
        return _Input(kind="audio", value=str(path))
    if path.suffix.lower() in _AUDIO_SUFFIXES:
        raise NotFound(f"no sound file {value!r}", hint="words need no ending such as " + path.suffix)
    if not value.strip():
        raise InvalidRequest("an empty text was given, allowed is a sound file or words")
    return _Input(kind="text", value=value)


def _embedded(options: dict[str, Any], inputs: Sequence[_Input]) -> tuple[Vectors, float]:
    """Return float32 [N, D], in the order given, and the factor by which the model scales cosines."""
    if options["connect"] is not None:
        return _by_server(options, inputs)
    scorer = _loaded(options)
    return _by_engine(scorer, inputs), scorer.logit_scale


def _by_server(options: dict[str, Any], inputs: Sequence[_Input]) -> tuple[Vectors, float]:
    from audio_pool.client.addresses import all_share_files
    from audio_pool.client.client import AudioClient

    for name in ("engine", "model", "device", "dtype", "config_path"):
        if options[name] is not None:
            option = name.removesuffix("_path")
            raise InvalidRequest(f"--{option}: given with --connect, where the server's own CLAP answers; leave it out")
    texts = [one.value for one in inputs if one.kind == "text"]
    files = [Path(one.value) for one in inputs if one.kind == "audio"]
    # what may be another machine is sent the files
    far = not all_share_files(options["connect"])
    named, sent = ([], files) if far else (files, [])
    with AudioClient(options["connect"], keys=options["keys"]) as client:
        body = client.clap("embed", texts, named, sounds=sent, timeout_s=options["timeout_s"])
    found = {"text": iter(body["texts"]), "audio": iter([*body["paths"], *body.get("sounds", ())])}
    return np.array([next(found[one.kind]) for one in inputs], np.float32), float(body["logit_scale"])


def _loaded(options: dict[str, Any]) -> Scorer:
    """Load the scorer, by the command line first, then the configuration's section for this engine."""
    config = load_config(options["config_path"])
    name = options["engine"] or (config.cache.scorer if config.cache.scorer != "off" else _first_scorer())
    given = config.engines.get(name, EngineConfig())
    implementation = given.implementation or name
    role = engine_info(implementation, role="scorer").role
    if role != "scorer":
        allowed = ", ".join(engine_names("scorer"))
        raise InvalidRequest(f"--engine: {name!r} is a {role}, allowed is a scorer: {allowed}")
    settings = given.settings | {key: options[key] for key in ("model", "device", "dtype") if options[key]}
    scorer = load_engine(implementation, settings, name=name, models_dir=config.policy.models_dir)
    assert isinstance(scorer, Scorer), "its INFO says so"
    return scorer


def _first_scorer() -> str:
    """Return the scorer that is meant where none is named."""
    scorers = [info for info in engine_infos() if info.role == "scorer"]
    return max(scorers, key=lambda info: info.preference).name


def _by_engine(scorer: Scorer, inputs: Sequence[_Input]) -> Vectors:
    """Return float32 [N, D], in the order given."""
    vectors = np.zeros((len(inputs), scorer.info.dimensions), np.float32)
    texts = [row for row, one in enumerate(inputs) if one.kind == "text"]
    if texts:
        vectors[texts] = scorer.embed_text([inputs[row].value for row in texts])
    for row, one in enumerate(inputs):
        if one.kind == "audio":
            sound, rate = codec.read(Path(one.value), codec.InputBound())
            vectors[row] = scorer.embed_audio([sound], rate)[0]
    return vectors
