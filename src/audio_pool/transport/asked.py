"""What every message of a client has.

Owns: ``Asked``.
Must not know: any message.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.types import RequestId

__all__ = ["Asked"]


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every message has."""

    v: Literal[1]
    request_id: RequestId
    token: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    """Shows a server on this machine that its own user asks; see transport/token.py."""
