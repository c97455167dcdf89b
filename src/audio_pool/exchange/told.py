"""What is told of a sound beside the sound: the fields of a sidecar, of a row in a CSV, of a line of ``meta.jsonl``.

Owns: Told, the names that others give these fields, and what a licence allows by its name.
Must not know: files, directories, the cache.

A value that cannot be what its field says is left out, and named: one bad field does not cost the sound.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from audio_pool.types import MAX_LABELS, MAX_PROMPT_CHARS, MAX_SEED, Label

__all__ = ["Told", "allows_commercial_use", "readable", "told_in"]

Json = Mapping[str, Any]  # opaque: comes from anywhere; checked field by field


class Told(Struct, frozen=True, kw_only=True):
    """What is known of one sound before it is heard; None and empty where nothing was told."""

    path: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    loop: bool | None = None
    licence: str = ""
    commercial_use: bool | None = None
    engine: str = ""
    model: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    clap_similarity: float | None = None
    timestamp: float | None = None
    """Seconds since 1970."""
    tags: tuple[str, ...] = ()
    labels: dict[str, Label] = {}
    ignored: tuple[str, ...] = ()
    """Fields whose value made no sense."""


_NAMES: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "audio", "audio_path", "audio_file", "sound", "wav"),
    "prompt": ("prompt", "text", "caption", "description", "words", "prompt_norm"),
    "negative_prompt": ("negative_prompt", "negative"),
    "loop": ("loop", "is_loop", "looping", "loopable", "seamless"),
    "licence": ("licence", "license"),
    "commercial_use": ("commercial_use", "commercial"),
    "engine": ("engine", "generator"),
    "model": ("model", "model_name", "model_id"),
    "seed": ("seed",),
    "steps": ("steps", "num_inference_steps"),
    "guidance_scale": ("guidance_scale", "guidance", "cfg_scale"),
    "clap_similarity": ("clap_similarity", "clap_score", "clap_sim", "similarity"),
    "timestamp": ("timestamp", "ts", "time", "created_at", "created", "date", "generation_timestamp"),
    "tags": ("tags", "keywords", "categories"),
    "labels": ("labels", "metadata"),
}
"""Names that a field goes by, the likeliest first."""
_TRUE, _FALSE = frozenset({"true", "yes", "y", "1", "on"}), frozenset({"false", "no", "n", "0", "off"})
_MILLISECONDS = 1e11
"""A time from here on counts milliseconds: as seconds it would be the year 5138."""
_LONGEST_TAG = 64
_HALVES = re.compile("[\ud800-\udfff]")


def told_in(fields: Json) -> Told:
    """Return what a mapping of any of the usual names tells; letter case, spaces and dashes in names are ignored."""
    known = {re.sub(r"[\s\-]+", "_", str(name).strip().lower()): value for name, value in fields.items()}
    found: dict[str, Any] = {}
    ignored = []
    for field, names in _NAMES.items():
        for name in names:
            value = known.get(name)
            if value is None or value == "":
                continue
            read = _READ[field](value)
            if read is None:
                ignored.append(name)
                continue
            found[field] = read
            break
    return Told(**found, ignored=tuple(ignored))


def readable(text: str) -> str:
    """Return text that has UTF-8: halves of surrogate pairs, in JSON or of a file's undecodable name, are replaced."""
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)


# -- values


def _text(value: object) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    return text if text and "\0" not in text and text.isprintable() else None


def _prompt(value: object) -> str | None:
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return text[:MAX_PROMPT_CHARS].strip() or None if _is_text(text) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and readable(value) == value


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):  # a seed has more digits than a float keeps
        return value if 0 <= value <= MAX_SEED else None
    if isinstance(value, str) and value.strip().isdecimal():
        return _whole(int(value)) if len(value) < 25 else None
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and 0 <= number <= MAX_SEED else None


def _steps(value: object) -> int | None:
    whole = _whole(value)
    return whole if whole is not None and 1 <= whole <= 1000 else None


def _guidance(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 100 else None


def _cosine(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and -1 <= number <= 1 else None


def _truth(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _time(value: object) -> float | None:
    number = _number(value)
    if number is None and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
        number = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if number is None or number <= 0:
        return None
    return number / 1000 if number >= _MILLISECONDS else number


def _tags(value: object) -> tuple[str, ...] | None:
    parts = re.split(r"[;,|]", value) if isinstance(value, str) else value if isinstance(value, list) else []
    words = [text for part in parts if (text := _text(part)) and len(text) <= _LONGEST_TAG]
    return tuple(dict.fromkeys(words))[:MAX_LABELS] or None


def _labels(value: object) -> dict[str, Label] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    plain = {
        str(name)[:_LONGEST_TAG]: one
        for name, one in value.items()
        if _is_text(str(name)) and (one is None or isinstance(one, bool | int | float) or _is_text(one))
    }
    return dict(list(plain.items())[:MAX_LABELS]) or None


_READ: dict[str, Callable[[object], object]] = {
    "path": _text,
    "prompt": _prompt,
    "negative_prompt": _prompt,
    "loop": _truth,
    "licence": _text,
    "commercial_use": _truth,
    "engine": _text,
    "model": _text,
    "seed": _whole,
    "steps": _steps,
    "guidance_scale": _guidance,
    "clap_similarity": _cosine,
    "timestamp": _time,
    "tags": _tags,
    "labels": _labels,
}


# -- licences

_FREE = re.compile(
    r"\b(cc[\s\-]?0|cc[\s\-]?zero|public[\s\-]domain|pdm|unlicense|mit|apache|bsd|isc|cc[\s\-]by([\s\-]sa)?|"
    r"attribution([\s\-]share[\s\-]?alike)?|royalty[\s\-]free)\b|publicdomain/zero|licenses/by(-sa)?/",
    re.IGNORECASE,
)
_BOUND = re.compile(r"\b(nc|non[\s\-]?commercial|research|evaluation|personal|sampling)\b|noncommercial", re.IGNORECASE)


def allows_commercial_use(licence: str) -> bool:
    """Return True for the name of a licence that is known to allow it; what is unknown does not.

    CC0, public domain, CC BY and BY-SA, MIT, Apache, BSD, royalty-free; never one that says NC or non-commercial.
    """
    return bool(_FREE.search(licence)) and not _BOUND.search(licence)
