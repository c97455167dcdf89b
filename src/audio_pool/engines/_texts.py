"""How much of a text a model reads.

Owns: the bound of a tokenizer, and the warnings for what lies beyond it.
Must not know: any engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from audio_pool.engines._generation import Job

__all__ = ["Tokenizer", "bound_tokens", "truncations"]


class Tokens(Protocol):
    """A tokenizer's answer."""

    input_ids: Sequence[int]


class Tokenizer(Protocol):
    """As transformers' tokenizers are."""

    model_max_length: int

    def __call__(self, text: str) -> Tokens: ...


def truncations(job: Job, tokenizer: Tokenizer) -> list[str]:
    """Return named warnings for texts of which the model reads only the beginning."""
    warnings, most = [], tokenizer.model_max_length
    for name, text in (("prompt", job.item.prompt), ("negative_prompt", job.item.negative_prompt)):
        given = len(tokenizer(text).input_ids)
        if given > most:
            warnings.append(f"{name}_truncated: {given} tokens, of which the model reads {most}")
    return warnings


def bound_tokens(tokenizer: Tokenizer, most: int) -> None:
    """Let a tokenizer cut texts at what its model can read, where it says more, or nothing (a number beyond all)."""
    tokenizer.model_max_length = min(int(tokenizer.model_max_length), most)
