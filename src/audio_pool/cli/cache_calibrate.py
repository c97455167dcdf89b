"""``audio-pool cache calibrate``: what the encoder's cosines are worth on this cache.

Owns: its options, the questions at a terminal, and what it prints.
Must not know: where pairs come from and what is measured (cli/calibrating.py, cache/calibration.py).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import click

from audio_pool.cache.calibration import JudgedPair, Measured
from audio_pool.cli.cache_command import show
from audio_pool.cli.options import cache_dir_option, config_option, json_option, with_options
from audio_pool.cli.terminal import chosen, say
from audio_pool.config import load_config
from audio_pool.errors import CallerError

__all__ = ["calibrate"]


@click.command()
@click.option(
    "--pairs",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A CSV of judged pairs: query,prompt,verdict, with right or wrong.",
)
@click.option("--error", type=float, default=0.01, show_default=True, help="Wished share of wrong hits, over 0.")
@click.option(
    "--questions", type=click.IntRange(0), default=40, show_default=True, help="How many to ask at a terminal; 0: none."
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Where the curve goes, a PNG.")
@click.option("--encoder", default="auto", show_default=True, help="auto, or an embedder engine's name.")
@click.option("--namespace", default="default", show_default=True, help="Whose prompts and judgements are taken.")
@click.option("--measure-only", is_flag=True, help="Keep nothing that is measured.")
@click.option("--forget", is_flag=True, help="Remove what was measured of the encoder on this cache, and end.")
@config_option
@with_options(cache_dir_option, json_option)
def calibrate(
    pairs: Path | None,
    error: float,
    questions: int,
    plot: Path | None,
    encoder: str,
    namespace: str,
    measure_only: bool,
    forget: bool,
    config_path: str | None,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Measure the configured encoder on judged pairs and the cache's prompts; its servers use the thresholds."""
    from audio_pool.cli.calibrating import Calibrating, pairs_from

    if not 0 < error < 1:
        raise CallerError(f"--error: given {error:g}, allowed is over 0 and under 1, e.g. 0.01 for 1 %")
    place = Path(cache_dir) if cache_dir is not None else load_config(config_path).cache_dir
    given = pairs_from(pairs) if pairs is not None else []
    with closing(Calibrating(place, encoder, config_path, namespace=namespace)) as at:
        if forget:
            gone = at.forget()
            show({"space": at.space, "forgotten": gone}, as_json, ["forgotten" if gone else "nothing was measured"])
            return
        known = [*at.judged(), *given]
        if pairs is None and questions and sys.stdin.isatty():
            known += _asked(at.questions(known), questions, at.answer)
        measured = at.measured(known, error)
        if not measure_only:
            at.keep(measured)
        picture = plot or place / f"calibration-{re.sub(r'[^A-Za-z0-9.-]+', '_', at.space)}.png"
        at.plot(measured, picture)
    report = {**measured.to_dict(), "kept": not measure_only, "plot": str(picture)}
    show(report, as_json, [*_lines(measured), f"curve: {picture}", *([] if measure_only else [_KEPT])])


_KEPT = "kept: every server on the directory uses it from its next look-up on"


def _asked(
    candidates: Iterator[tuple[str, str]], most: int, answer: Callable[[str, str, bool], None]
) -> list[JudgedPair]:
    """Ask at the terminal, on standard error; every answer is kept at once."""
    say("May a sound that was made for one of these answer for the other? y: yes, n: no, s: skip, q: enough", err=True)
    found: list[JudgedPair] = []
    for query, prompt in candidates:
        if len(found) == most:
            break
        said = chosen(f"{len(found) + 1}/{most}  {query!r}  -  {prompt!r}", ("y", "n", "s", "q"))
        if said == "q":
            break
        if said != "s":
            answer(query, prompt, said == "y")
            found.append(JudgedPair(query, prompt, said == "y"))
    return found


def _lines(measured: Measured) -> list[str]:
    lines = [
        f"{measured.space}, on {measured.same_pairs} pairs that ask for the same sound, {measured.different_pairs} "
        f"that ask for different ones, and {measured.unrelated_pairs:,} random pairs of prompts",
        f"tolerant   cosine {measured.at_070:.4f} at tau_prompt_sem 0.70: accepts {measured.accepted_same:.1%} of the "
        f"same and {measured.accepted_different:.2%} of the different",
        f"threshold  cosine {measured.plain:.4f} as tau_prompt_sem: accepts {measured.accepted_same_plain:.1%} of the "
        "same",
    ]
    if measured.error_at_most > measured.error:
        bound = f"{measured.error_at_most:.1%}"
        lines.append(f"note: from so few pairs all that can be said is that the error is under {bound} (95 % sure)")
    if measured.held:
        lines.append("they would do with a lower cosine, and are too few for it: what was known of the encoder stays")
    return lines
