"""What a sound file tells other programs of where it comes from: a few words beside its recipe.

Owns: their names, and what they say of a file whose comment is ours.
Must not know: how a container holds them (audio/tags.py), who writes the comment (inscription.py).
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["AIGC", "LICENCE", "NAMES", "SOFTWARE", "SOURCE_TYPE", "facts_in", "plain_tags"]

SOFTWARE, LICENCE, SOURCE_TYPE, AIGC = "SOFTWARE", "LICENSE", "DIGITALSOURCETYPE", "AIGC"
_KEYS = {
    SOFTWARE: "software",
    "ENGINE": "engine",
    "MODEL": "model",
    "MODEL_REVISION": "model_revision",
    LICENCE: "licence",
    SOURCE_TYPE: "digital_source_type",
    "RECIPE_ID": "recipe_id",
}
NAMES = (*_KEYS, AIGC)
"""Every name, in the order in which they are written."""
_LONGEST = 400
_DEEPEST = 64


def plain_tags(comment: str) -> dict[str, str]:
    """Return the tags of a file whose comment is given: none where it is not ours.

    They follow from the comment alone, so that every door that keeps the recipe has them, and the same recipe the same.
    """
    facts = facts_in(comment)
    if facts is None or facts.get("made_by") != "audio_pool":
        return {}
    told = {name: _line(facts.get(key)) for name, key in _KEYS.items()}
    told[SOFTWARE] = told[SOFTWARE] or "audio_pool"
    if told["MODEL"].startswith("/"):  # where it lies is nobody's business
        told["MODEL"] = told["MODEL"].rstrip("/").rpartition("/")[2]
    marks = facts.get("AIGC")
    if isinstance(marks, dict):
        told[AIGC] = json.dumps(marks, separators=(",", ":"), ensure_ascii=True)
    return {name: value for name, value in told.items() if value}


def facts_in(comment: str) -> dict[str, Any] | None:  # opaque: a comment may come from anywhere
    """Return the mapping that a comment holds as JSON; None where it holds none, or what cannot be handed on.

    That is one nested beyond reason, and one with half a character (a surrogate without the other).
    """
    if comment.count("{") + comment.count("[") > _DEEPEST * _DEEPEST:
        return None
    try:
        value = json.loads(comment)
        if "\\ud" in comment.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # a UnicodeEncodeError is a ValueError
        return None
    return value if isinstance(value, dict) else None


def _line(value: object) -> str:  # opaque: a comment may come from anywhere
    text = value if isinstance(value, str) else ""
    return "".join(char if char.isprintable() else " " for char in text)[:_LONGEST].strip()
