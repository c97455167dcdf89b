"""What a route takes and answers, said once beside it: the OpenAPI document is made of it.

Owns: Described and Answer.
Must not know: the document (openapi.py), any route.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

from msgspec import Struct

from audio_pool.gateway.audio_response import MEDIA_TYPES
from audio_pool.gateway.problems import Problem
from audio_pool.types import Format

__all__ = ["AUDIO", "KEY", "Answer", "Described", "described", "sound_answer"]

KEY = "described"
"""Its name among a handler's options."""


AUDIO: tuple[str, ...] = tuple(MEDIA_TYPES[format_] for format_ in get_args(Format))
"""Media types of sounds."""


class Answer(NamedTuple):
    """One answer of a route."""

    status: int
    says: str
    body: Any = None
    """A struct, or any type that msgspec knows; None: no JSON."""
    media: tuple[str, ...] = ()
    """Of bytes; ``application/json`` where there is a body."""
    headers: tuple[str, ...] = ()
    """Names of headers that come with it."""


class Described(NamedTuple):
    """One route."""

    answers: tuple[Answer, ...]
    query: type[Struct] | None = None
    """Its fields are the parameters behind the question mark."""
    body: Any = None
    """A struct, or any type that msgspec knows, that comes as JSON."""
    form: Any = None
    """What may come as multipart/form-data instead: a struct, whose files are bytes, or a JSON Schema."""
    headers: tuple[tuple[str, str] | tuple[str, str, int], ...] = ()
    """Request headers that it reads, what they say, and their greatest length, where there is one."""
    null_is_absent: bool = False
    """Every field of the body may be null, which is as if it were left out."""
    errors: Any = Problem
    """The body of everything else; None: a foreign API's own."""


def described(*answers: Answer, **rest: Any) -> dict[str, Described]:  # Any: Described's own fields
    """Return a handler's ``opt``."""
    return {KEY: Described(answers=answers, **rest)}


def sound_answer(*further: str) -> Answer:
    """Return the answer that is a sound's file; ``further``: media types that it may have beside those of sounds."""
    return Answer(200, "The sound", media=(*AUDIO, *further))
