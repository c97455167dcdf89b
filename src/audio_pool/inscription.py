"""What is written inside a sound file of ours: how to make the sound again, and all that is known of it.

Owns: the one JSON comment of a file, written and read.
Must not know: how a file holds a comment (audio/codec.py), where files lie.

A master can therefore be kept anew when the cache's database is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from typing import Any

import msgspec
from msgspec import UNSET, structs

from audio_pool import __version__
from audio_pool.plain_tags import facts_in
from audio_pool.results import SoundMetadata
from audio_pool.source_type import digital_source_type
from audio_pool.types import Inscription, Recipe, Rendition

__all__ = ["as_rendered", "comment_of", "inscribed", "is_private", "sound_in"]

Json = Mapping[str, Any]  # opaque: a comment may come from anywhere; checked field by field

_PLAIN = (
    "software", "digital_source_type", "engine", "model", "model_revision", "licence", "prompt", "negative_prompt",
    "seed", "steps", "guidance_scale", "voice", "duration_s", "is_loop", "engine_details", "generation_timestamp",
)  # fmt: skip
"""Keys that stand in the comment itself, for people and other programs."""
_OF_THE_REQUEST = ("request_id", "candidates", "candidates_kept", "timings_ms")
"""Keys that say nothing about the sound."""
_UNSAID = msgspec.to_builtins(SoundMetadata())
_CANDIDATES = range(1, 17)


def comment_of(
    recipe: Recipe, metadata: SoundMetadata, rendition: Rendition | None = None, *, shared: bool = False
) -> str:
    """Return the one compact JSON comment that goes into a file.

    ``recipe`` and ``metadata`` in it hold everything; metadata that has its default, or that stands in the comment
    itself, is left out.

    Args:
        rendition: how the file is written, and which marks it is to have.
        shared: it leaves the cache's folder: of a model of one's own its name is told, and not where it lies.
    """
    told = msgspec.to_builtins(metadata)
    made_of = msgspec.to_builtins(recipe)
    if shared and is_private(recipe.model):
        made_of["model"] = told["model"] = recipe.model.rstrip("/").rpartition("/")[2]
    plain = {key: told[key] for key in _PLAIN if told.get(key) not in (None, "", {}, [])}
    rest = {
        key: value
        for key, value in told.items()
        if key not in plain and key not in _OF_THE_REQUEST and value != _UNSAID.get(key)
    }
    identity = recipe.identity()
    facts = {"made_by": "audio_pool", "recipe_id": identity, "prompt": recipe.prompt, **plain}
    if device := metadata.worker.device.partition(":")[0]:
        facts["device"] = device
    if rendition is not None:
        facts["rendition"] = msgspec.to_builtins(structs.replace(rendition, inscription=None, signed=""))
    if marks := _aigc(None if rendition is None else rendition.inscription, metadata, identity):
        facts["AIGC"] = marks
    facts |= {"recipe": made_of, "metadata": rest}
    # ASCII, because ID3 and RIFF readers disagree about anything else
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=True, default=str)


def as_rendered(comment: str, master: str) -> str:
    """Return a rendition's comment with how its master was written, from whose samples it is made.

    Args:
        comment: of the rendition; "": the master's own.
        master: the master's.
    """
    facts, own = facts_in(comment), facts_in(master)
    if facts is None or own is None or "rendition" not in own:
        return comment or master
    facts["master"] = own["rendition"]
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=True)


def inscribed(recipe: Recipe, metadata: SoundMetadata, rendition: Rendition) -> SoundMetadata:
    """Return what is known of a new sound with what made it, and what the file of its master tells."""
    kind = digital_source_type(metadata.implementation, metadata.model, given=recipe.init_audio_sha256 is not None)
    return structs.replace(
        metadata,
        software=f"audio_pool {__version__}" if kind else UNSET,
        digital_source_type=kind or UNSET,
        inscription=UNSET if rendition.inscription is None or is_private(recipe.model) else rendition.inscription,
    )


def is_private(model: str) -> bool:
    """Return whether a model is named by where it lies on somebody's disk."""
    return model.startswith(("/", "~"))


def _aigc(marks: Inscription | None, metadata: SoundMetadata, identity: str) -> dict[str, str]:
    """Return the key ``AIGC`` as GB 45438-2025 has it, where it is asked for; of what nobody here made nothing."""
    first = metadata.inscription
    # of a sound that came from elsewhere, whoever made it there stays named
    producer = first.content_producer if first is not UNSET and first.content_producer else ""
    producer = producer or (marks.content_producer if marks is not None else "")
    if not producer or not metadata.digital_source_type:
        return {}
    propagator = marks.content_propagator if marks is not None else ""
    name = f"{identity}-{metadata.seed}"
    return {
        "Label": "1",  # made by a program, surely
        "ContentProducer": producer,
        "ProduceID": name,
        "ReservedCode1": "",
        "ContentPropagator": propagator,
        "PropagateID": name if propagator else "",
        "ReservedCode2": "",
    }


def sound_in(facts: Json, *, frames: int, sample_rate: int) -> tuple[Recipe, SoundMetadata] | None:
    """Return recipe and metadata as a comment holds them; None where it is not ours, or says too little.

    Args:
        facts: the comment's JSON.
        frames: length of the file that holds it.
        sample_rate: Hz.
    """
    if facts.get("made_by") != "audio_pool":
        return None
    try:
        recipe = msgspec.convert(facts["recipe"], Recipe) if "recipe" in facts else None
        recipe = recipe or _recipe_of_plain_facts(facts, frames, sample_rate)
        rest = facts.get("metadata", {})
        if recipe is None or not isinstance(rest, dict) or recipe.frames < 1 or recipe.sample_rate < 1:
            return None
        plain = {key: facts[key] for key in _PLAIN if key in facts}
        return recipe, msgspec.convert({"sample_rate": sample_rate, **plain, **rest}, SoundMetadata)
    except msgspec.ValidationError:
        return None


def _recipe_of_plain_facts(facts: Json, frames: int, sample_rate: int) -> Recipe | None:
    """Return the recipe of a file written before the whole recipe stood in it.

    What was not written is tried: the identity tells which it was. Where none agrees, the recipe is one that no
    seed can be asked for.
    """
    if not all(isinstance(facts.get(key), str) for key in ("prompt", "engine")):
        return None
    given = {
        "prompt": facts["prompt"],
        "negative_prompt": facts.get("negative_prompt", ""),
        "engine": facts["engine"],
        "model": facts.get("model", ""),
        "frames": frames,
        "sample_rate": sample_rate,
        "loop": facts.get("is_loop", False),
        "steps": facts.get("steps"),
        "guidance_scale": facts.get("guidance_scale"),
        "voice": facts.get("voice"),
        "init_audio_sha256": None,
        "init_strength": None,
        "namespace": "default",
    }
    revisions = {"", facts.get("model_revision", "")}
    for count, seed, implementation, revision in product(
        _CANDIDATES, (None, facts.get("seed")), ("", facts["engine"]), sorted(revisions)
    ):
        tried = {"candidates": count, "seed": seed, "implementation": implementation, "model_revision": revision}
        recipe = msgspec.convert({**given, **tried}, Recipe)
        if recipe.identity() == facts.get("recipe_id"):
            return recipe
    return msgspec.convert({**given, "candidates": 1, "seed": None}, Recipe)
