"""What a route takes and answers, said once beside it: the OpenAPI document is made of it.

Owns: Described and Answer.
Must not know: the document (openapi.py), any route.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

__all__ = ["Answer", "Described", "described"]

KEY = "described"
"""Its name among a handler's options."""


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
    form: type[Struct] | None = None
    """That comes as multipart/form-data instead."""
    headers: tuple[tuple[str, str], ...] = ()
    """Request headers that it reads, and what they say."""
    body_required: bool = True


def described(*answers: Answer, **rest: Any) -> dict[str, Described]:  # Any: Described's own fields
    """Return a handler's ``opt``."""
    return {KEY: Described(answers=answers, **rest)}
