"""What a file made of given files says of where it comes from: what they said, and what was done to them.

Owns: how their comments and tags are carried on; nothing that a given file said is left out.
Must not know: how the work is done (crafting.py), how a file holds a comment (audio/tags.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from audio_pool import __version__
from audio_pool.craft import Convert, Craft, CraftForm, Master
from audio_pool.plain_tags import AIGC, SOURCE_TYPE, facts_in
from audio_pool.source_type import source_type_of_mix
from audio_pool.worker.input_files import Given

__all__ = ["lineage"]

Facts = dict[str, Any]  # opaque: what a given file says comes from anywhere
_ALIKE = ("engine", "model", "model_revision", "licence")
"""What is told of a sound made of others where it is the same of all."""
_LONGEST = 60_000
"""Characters of a comment; of what makes it longer, only marks and names are carried on."""
_MARKS = ("sha256", "recipe_id", "digital_source_type", "AIGC", "software")


def lineage(craft: Craft, form: CraftForm, given: Sequence[Given]) -> str:
    """Return the comment of a file that a craft makes of given ones.

    What is still the same sound keeps its recipe, with the work noted behind it; another program's comment stays as it
    is where there is nothing else to carry on.
    """
    told = structs.replace(form, comment=None)
    step: Facts = {"craft": msgspec.to_builtins(craft), "form": msgspec.to_builtins(told)}
    first = _said_by(given[0])
    if isinstance(craft, Convert | Master):
        if first.get("made_by") == "audio_pool":
            done = first.get("work")
            steps = [*(done if isinstance(done, list) else []), {**step, "given": given[0].sha256}]
            return _written({**first, "work": steps})
        if not (given[0].facts["tags"].keys() & {AIGC, SOURCE_TYPE}):
            return str(given[0].facts["comment"])
    said = [first, *(_said_by(one) for one in given[1:])]
    origins = [{"sha256": one.sha256, **facts} for one, facts in zip(given, said, strict=True)]
    facts = {"made_by": "audio_pool", "software": _software(said), **_marks(said), **_alike(said)}
    whole = _written({**facts, "work": [{**step, "of": origins}]})
    if len(whole) <= _LONGEST:
        return whole
    kept = [{name: one[name] for name in _MARKS if name in one} for one in origins]
    return _written({**facts, "work": [{**step, "of": kept}]})


def _said_by(given: Given) -> Facts:
    """Return what a file says of itself: its comment's facts, and the marks that stand in its tags alone."""
    comment, tags = given.facts["comment"], given.facts["tags"]
    facts = dict(facts_in(comment) or {})
    if not facts and comment:
        facts["comment"] = comment
    if AIGC in tags and "AIGC" not in facts:
        facts["AIGC"] = facts_in(tags[AIGC]) or tags[AIGC]
    if SOURCE_TYPE in tags:
        facts.setdefault("digital_source_type", tags[SOURCE_TYPE])
    return facts


def _marks(said: Sequence[Facts]) -> Facts:
    """Return what marks the new sound as made by programs: as soon as one of those that it is made of is."""
    types = [_text(facts, "digital_source_type") for facts in said]
    if any(types):
        # a recording of which nothing is told, with a made one, is neither
        types = types if all(types) else [*filter(None, types), "other"]
    marks: Facts = {"digital_source_type": source_type_of_mix(types)}
    marks["AIGC"] = next((facts["AIGC"] for facts in said if facts.get("AIGC")), "")
    return {name: value for name, value in marks.items() if value}


def _alike(said: Sequence[Facts]) -> Facts:
    found = {name: {_text(facts, name) for facts in said} for name in _ALIKE}
    return {name: value for name, values in found.items() if len(values) == 1 and (value := next(iter(values)))}


def _software(said: Sequence[Facts]) -> str:
    """Return which version made the sounds, where that is one; else this one, which made them one."""
    versions = {_text(facts, "software") for facts in said}
    return next(iter(versions)) if len(versions) == 1 and "" not in versions else f"audio_pool {__version__}"


def _text(facts: Mapping[str, Any], name: str) -> str:  # opaque: as Facts
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _written(facts: Facts) -> str:
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=True)
