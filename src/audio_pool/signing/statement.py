"""What a signed file states: how its sound came to be, in C2PA's words. Pure.

Owns: the manifest's definition, its label, the name of our own assertion.
Must not know: keys, files, the library that signs.

Who made a sound, and of what, is read from the comment that every file of ours carries: a statement says nothing else
than that, but under a signature.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from audio_pool.source_type import digital_source_type
from audio_pool.types import Rendition

__all__ = ["RECIPE_ASSERTION", "Deed", "label_of", "new_label", "statement"]

RECIPE_ASSERTION = "audio-pool.recipe"
"""Our own: the recipe, and who made the sound by it."""
Deed = Literal["made", "converted", "mastered", "looped", "mixed", "sequenced"]
"""What was done: a sound made of words, or work on given ones."""
Json = Mapping[str, Any]  # opaque: a comment's JSON, or the library's
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_TITLE_CHARS = 200
_ACTIONS: dict[Deed, str] = {"converted": "c2pa.transcoded", "mastered": "c2pa.edited", "looped": "c2pa.edited"}
_TOLD = (
    "recipe_id", "engine", "model", "model_revision", "licence", "prompt", "negative_prompt", "seed", "steps",
    "guidance_scale", "voice", "duration_s", "is_loop", "recipe",
)  # fmt: skip
"""Keys of a comment that the recipe's assertion repeats."""


def label_of(prompt: str, engine: str, seed: int | None, made_at: float, rendition: Rendition) -> str:
    """Return the label of the manifest of one sound in one rendition: the same whoever works it out.

    C2PA wants ``urn:c2pa:`` and a UUID of version 4; its bits are a hash's, so that a kept file's label is known
    without reading it. What is signed again, of the same sound by the same certificate, is the same statement.

    Args:
        made_at: seconds since 1970.
        rendition: as it is kept, with the certificate that it is signed by.
    """
    words = msgspec.json.encode((prompt, engine, seed, made_at, rendition), order="deterministic")
    return _label(hashlib.sha256(words).hexdigest())


def new_label() -> str:
    """Return a label that nothing else has."""
    return _label(os.urandom(16).hex())


def _label(digits: str) -> str:
    """Return the label with a UUID of version 4 (RFC 9562) of 122 of these hex digits' bits."""
    variant = "89ab"[int(digits[16], 16) & 3]
    parts = digits[:8], digits[8:12], f"4{digits[13:16]}", f"{variant}{digits[17:20]}", digits[20:32]
    return f"urn:c2pa:{'-'.join(parts)}"


def statement(
    facts: Json, *, version: str, label: str, deed: Deed = "made", given: Sequence[str] = (), title: str = ""
) -> dict[str, Any]:
    """Return the manifest's definition.

    Args:
        facts: the file's own comment.
        version: of audio_pool.
        given: labels of the ingredients: the sound that it was made of, or those that were worked on.
        title: what the sound is called; "": by its prompt.
    """
    title = title or _text(facts, "prompt") or "sound"
    told = {key: facts[key] for key in _TOLD if facts.get(key) not in (None, "", {}, [])}
    if "model" in told:
        told["model"] = _model(facts)
    assertions: list[dict[str, Any]] = [
        {"label": "c2pa.actions.v2", "data": {"actions": _actions(facts, version, deed, given)}}
    ]
    if told:
        assertions.append({"label": RECIPE_ASSERTION, "data": told})
    return {
        "claim_generator_info": [{"name": "audio_pool", "version": version}],
        "label": label,
        "title": title[:_TITLE_CHARS],
        "assertions": assertions,
    }


def _actions(facts: Json, version: str, deed: Deed, given: Sequence[str]) -> list[dict[str, Any]]:
    ours = {"name": "audio_pool", "version": version}
    if deed in ("mixed", "sequenced"):
        placed = [{"action": "c2pa.placed", "parameters": {"ingredientIds": [one]}} for one in given]
        told = _text(facts, "digital_source_type")  # what its tags say, too
        source = told if told.startswith(_TERMS) else f"{_TERMS}composite"
        return [{"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": ours}, *placed]
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": list(given[:1])}}
    if deed != "made":
        return [opened, {"action": _ACTIONS[deed], "softwareAgent": ours}]
    source, when = _source_type(facts), _when(facts)
    made = {"digitalSourceType": source, "softwareAgent": _agent(facts), **({"when": when} if when else {})}
    if not source:  # it came from elsewhere, and was written anew
        return [opened, {"action": "c2pa.transcoded", "softwareAgent": ours}]
    if not given:
        return [{"action": "c2pa.created", **made}]
    trained = source.endswith("trainedAlgorithmicMedia")
    made["digitalSourceType"] = _TERMS + ("compositeWithTrainedAlgorithmicMedia" if trained else "compositeSynthetic")
    return [opened, {"action": "c2pa.edited", **made}]


def _source_type(facts: Json) -> str:
    if _text(facts, "engine") == "imported":  # its recipe is that of a sound that could have been made here
        return ""
    recipe = facts.get("recipe")
    implementation = _text(recipe, "implementation") if isinstance(recipe, dict) else ""
    return digital_source_type(implementation or _text(facts, "engine"), _text(facts, "model"))


def _agent(facts: Json) -> dict[str, str]:
    """Return who made the sound: the engine, its model and its revision."""
    engine, model = _text(facts, "engine"), _model(facts)
    agent = {"name": engine if model in ("", engine) else f"{engine} ({model})"}
    if revision := _text(facts, "model_revision"):
        agent["version"] = revision
    return agent


def _model(facts: Json) -> str:
    """Return the model's name, without the folder that it lies in here."""
    model = _text(facts, "model")
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model


def _when(facts: Json) -> str:
    made_at = facts.get("generation_timestamp")
    if not isinstance(made_at, int | float) or not 0 < made_at < 4e9:
        return ""
    return datetime.datetime.fromtimestamp(made_at, datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _text(tree: Json, key: str) -> str:
    value = tree.get(key)
    return value if isinstance(value, str) else ""
