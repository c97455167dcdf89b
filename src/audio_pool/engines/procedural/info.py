"""What the built-in engine says of itself.

Owns: its INFO, options and settings.
Must not know: any recipe. Reading the recipes takes a quarter of a second, and whoever only asks what there is, or is
answered by the cache, needs none.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from audio_pool.engine_info import EngineInfo, OptionInfo
from audio_pool.engines.procedural.wording import WORDING

__all__ = ["INFO", "LAYERS", "MOST_LAYERS", "SPACE", "Settings"]

MOST_LAYERS = 8

LAYERS = OptionInfo(
    name="layers",
    type="int",
    default=MOST_LAYERS,
    low=1,
    high=MOST_LAYERS,
    summary="Most sounds that are mixed; the first ones that the prompt names are kept",
)
SPACE = OptionInfo(
    name="space",
    type="str",
    choices=("room", "hall", "open"),
    summary="Where every sound stands; unset: as the prompt says of each",
)

INFO = EngineInfo(
    name="procedural",
    role="generator",
    kinds=("effects", "ambience", "music"),
    languages=("en",),
    model="procedural",
    model_revision="2",
    licence="Apache-2.0",
    commercial_use=True,
    sample_rate=44_100,
    channels=2,
    any_rate=True,
    negative_prompt=True,
    inpaint=True,
    extend=True,
    loop=True,
    options=(LAYERS, SPACE),
    wording=WORDING,
    tips=(
        "Name what sounds and how: \"slow heavy footsteps on gravel\"; up to eight sounds at a time.",
        "Name the place (\"in a cave\", \"outside\", \"far away\"): it decides the space around the sound.",
    ),
    summary="Built in: synthesis from words; no weights, no GPU",
)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accepted from callers that set them for every engine: there is one model, and it runs on one core."""

    model: Literal["procedural", ""] = ""
    device: str = "cpu"
    dtype: str = ""
