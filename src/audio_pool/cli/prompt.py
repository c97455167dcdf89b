"""``audio-pool prompt``: what a prompt is likely to come to, before a sound is made of it.

Owns: how the findings are shown.
Must not know: the rules (prompts/lint.py), any engine by name.
"""

from __future__ import annotations

import sys

import click

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import config_option, json_option, with_options
from audio_pool.cli.terminal import say, say_json
from audio_pool.config import Config, load_config
from audio_pool.engine_info import EngineInfo

__all__ = ["group"]


@click.group("prompt", cls=CommandGroup)
def group() -> None:
    """Check prompts."""


@group.command()
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@with_options(
    click.option("--engine", default=None, metavar="NAME", help="Who is to read it. Default: the configured one."),
    click.option("--negative", "negative_prompt", default="", help="What is not wanted in the sound."),
    click.option("--loop", is_flag=True, help="A loop is to be asked for."),
    config_option,
    json_option,
)
def check(
    prompts: tuple[str, ...],
    engine: str | None,
    negative_prompt: str,
    loop: bool,
    config_path: str | None,
    as_json: bool,
) -> None:
    """Say what makes each PROMPT likely to give a bad sound; "-" reads one a line from standard input.

    Exit code 1 where anything was found. The same findings stand among the warnings of a sound that is made.
    """
    from audio_pool.prompts.lint import Reader, lint

    config = load_config(config_path)
    texts = [line.strip() for line in sys.stdin if line.strip()] if prompts == ("-",) else list(prompts)
    info = _reader(texts, engine or config.defaults.engine, negative_prompt, config)
    reader = Reader(speech=info.speech, languages=info.languages)
    found = [(text, lint(text, reader, negative_prompt=negative_prompt, loop=loop)) for text in texts]
    if as_json:
        say_json({
            "engine": info.name,
            "prompts": [{"prompt": text, "findings": [one._asdict() for one in all_]} for text, all_ in found],
            "tips": list(info.tips),
        })  # fmt: skip
    else:
        for text, all_ in found:
            say(f"{text}: nothing to say against it" if not all_ else text)
            for one in all_:
                say(f"  {one}")
        if any(all_ for _, all_ in found):
            for tip in info.tips:
                say(f"{info.name}: {tip}")
    if any(all_ for _, all_ in found):
        sys.exit(1)


def _reader(texts: list[str], engine: str, negative_prompt: str, config: Config) -> EngineInfo:
    """Return who is to read the prompts. Raises what a request for them would be refused with."""
    from audio_pool.pool.plan import configured, hosted_infos, workers_of
    from audio_pool.pool.resolve import resolve
    from audio_pool.types import AudioRequest
    from audio_pool.validation import parse

    infos = hosted_infos(workers_of(config), config)
    if not engine.startswith("kind:") and engine not in infos:
        infos[engine] = configured(engine, config)
    name = engine
    for text in texts:
        asked = parse(AudioRequest, {"prompt": text, "negative_prompt": negative_prompt, "engine": engine})
        name = resolve(asked, config, infos).recipe.engine
    return infos[name] if name in infos else configured(name, config)
