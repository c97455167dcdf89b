"""A new pack's manifest: an example to begin with, or one made of a list of lines.

Owns: the text that is written.
Must not know: how packs are built.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec

from audio_pool.errors import InvalidRequest
from audio_pool.packs.names import slug
from audio_pool.packs.pack_manifest import MOST_ITEMS, Item
from audio_pool.packs.prompt_list import PromptLine

__all__ = ["EXAMPLE", "manifest_of_lines", "name_of"]

EXAMPLE = '''\
[pack]
name = "{name}"
version = "1.0.0"
seed = 1                    # another seed, another pack
# commercial = true         # refuse engines whose licence forbids it

[defaults]
format = "ogg"

[classes.ambience]          # one loudness per class
loop = true
duration_s = 12
target_lufs = -28

[classes.step]
duration_s = 0.6
target_lufs = -26
mono = true                 # placed in space by the game

[[items]]
name = "wind"
class = "ambience"
prompt = "soft wind in pine trees"

[[items]]
name = "gravel"
class = "step"
family = "steps"            # items of one family draw their variants from the same seeds
prompt = "footstep on gravel"
variants = 3
'''
"""``{name}`` stands for the pack's."""
_KEPT = (
    "engine", "negative_prompt", "duration_s", "loop", "steps", "guidance_scale", "candidates", "voice", "format",
    "sample_rate", "bit_depth", "bit_rate", "target_lufs", "true_peak_dbfs", "highpass_hz", "tags", "options",
    "loop_method", "crossfade_s", "min_quality", "limiter", "seed",
)  # fmt: skip


def manifest_of_lines(name: str, lines: Iterable[PromptLine]) -> str:
    """Return the text of a manifest with an item for every line.

    Raises:
        InvalidRequest: a line is no request, or there is none.
    """
    blocks = [f'[pack]\nname = {json.dumps(name)}\nversion = "1.0.0"\nseed = 1\n']
    used: dict[str, int] = {}
    for line in lines:
        if isinstance(line.request, InvalidRequest):
            raise InvalidRequest(f"line {line.number}: {line.request.message}")
        fields = msgspec.to_builtins(line.request)
        known = {key: fields[key] for key in _KEPT if fields.get(key) is not None and key in Item.__struct_fields__}
        told = {"name": _unused(line.prompt, used), "prompt": line.request.prompt, **known}
        if len(blocks) > MOST_ITEMS:
            raise InvalidRequest(f"the list has over {MOST_ITEMS:,} lines, the most that a pack may have")
        blocks.append("[[items]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in told.items()))
    if len(blocks) == 1:
        raise InvalidRequest("the list has no line that asks for a sound")
    return "\n".join(blocks)


def _unused(prompt: str, used: dict[str, int]) -> str:
    stem = "".join(char for char in slug(prompt, 40) if char.isascii()).strip("_") or "sound"
    name = stem
    while name in used:
        used[stem] += 1
        name = f"{stem}_{used[stem]}"
    used[name] = 1
    return name


def _toml(value: object) -> str:  # opaque: a checked field of a request
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON may have as it is


def name_of(folder: Path) -> str:
    """Return a pack's name made of its folder's."""
    return "".join(char for char in slug(folder.resolve().name) if char.isascii()).strip("_") or "pack"
