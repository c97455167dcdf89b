"""ElevenLabs' composition plans: made of a prompt by plain rules, and read as words for an engine.

Owns: both versions of a plan, how one is made and what it asks for.
Must not know: routes.
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

from audio_pool.types import MAX_PROMPT_CHARS

__all__ = ["LONGEST_MS", "SHORTEST_MS", "Plan", "PlanTold", "plan_of", "told_by"]

SHORTEST_MS = 3_000
LONGEST_MS = 600_000
_LEAST_SECTION_MS = 3_000
_SECTIONS = (("Intro", 1), ("Verse", 3), ("Chorus", 3), ("Outro", 1))
"""Of a piece that has room for them: names, and their shares of its length."""
_ROOM_FOR_SECTIONS_MS = 24_000
_WITHOUT = re.compile(r"\b(?:without|no)\s+([^,.;]+)", re.IGNORECASE)
_PARTS = re.compile(r"[,.;\n]+|\band\b|\bwith\b", re.IGNORECASE)
_INSTRUMENTAL = "vocals"

Styles = Annotated[list[str], Meta(max_length=64)]


class Section(Struct, kw_only=True):
    """A part of a piece (plan version 1)."""

    section_name: str = ""
    positive_local_styles: Styles = []
    negative_local_styles: Styles = []
    duration_ms: Annotated[int, Meta(ge=SHORTEST_MS, le=120_000)]
    lines: Annotated[list[str], Meta(max_length=256)] = []


class Chunk(Struct, kw_only=True):
    """A part of a piece (plan version 2)."""

    text: str = ""
    duration_ms: Annotated[int, Meta(ge=SHORTEST_MS, le=120_000)]
    positive_styles: Styles = []
    negative_styles: Styles | None = None


class PlanTold(Struct, kw_only=True):
    """A plan (version 1)."""

    positive_global_styles: list[str]
    negative_global_styles: list[str]
    sections: list[Section]


class Plan(Struct, kw_only=True):
    """A plan of either version: with ``sections``, or with ``chunks``."""

    positive_global_styles: Styles = []
    negative_global_styles: Styles = []
    sections: Annotated[list[Section], Meta(max_length=64)] = []
    chunks: Annotated[list[Chunk], Meta(max_length=64)] | None = None

    def as_told(self) -> PlanTold:
        """Return the plan as this API writes it."""
        return PlanTold(
            positive_global_styles=self.positive_global_styles,
            negative_global_styles=self.negative_global_styles,
            sections=self.sections,
        )


def plan_of(prompt: str, length_ms: int, *, instrumental: bool = False) -> Plan:
    """Return a plan for a prompt: its phrases are styles, those after "no" and "without" are not wanted."""
    negative = [text.strip() for text in _WITHOUT.findall(prompt)]
    positive = [text.strip() for text in _PARTS.split(_WITHOUT.sub("", prompt)) if text.strip()]
    if instrumental:
        positive, negative = [*positive, "instrumental"], [*negative, _INSTRUMENTAL]
    return Plan(
        positive_global_styles=positive[:50] or [prompt],
        negative_global_styles=negative[:50],
        sections=[Section(section_name=name, duration_ms=part_ms) for name, part_ms in _parted(length_ms)],
    )


def _parted(length_ms: int) -> list[tuple[str, int]]:
    if length_ms < _ROOM_FOR_SECTIONS_MS:
        return [("Theme", length_ms)]
    # a section has its greatest length: a long piece has several rounds of them
    rounds = max(1, -(-(length_ms - 80_000) // 240_000))
    shares = [_SECTIONS[0], *_SECTIONS[1:-1] * rounds, _SECTIONS[-1]]
    unit = length_ms // sum(share for _, share in shares)
    parts = [(name, unit * share) for name, share in shares]
    name, last_ms = parts[-1]
    return [*parts[:-1], (name, last_ms + length_ms - sum(part_ms for _, part_ms in parts))]


def told_by(plan: Plan) -> tuple[str, str, int]:
    """Return the prompt, the negative prompt and the length in ms of a plan."""
    positive, negative = list(plan.positive_global_styles), list(plan.negative_global_styles)
    length_ms = 0
    for section in plan.sections:
        positive += section.positive_local_styles
        negative += section.negative_local_styles
        length_ms += section.duration_ms
    for chunk in plan.chunks or []:
        positive += [chunk.text, *chunk.positive_styles] if chunk.text else chunk.positive_styles
        negative += chunk.negative_styles or []
        length_ms += chunk.duration_ms
    return _joined(positive), _joined(negative), length_ms


def _joined(styles: list[str]) -> str:
    return ", ".join(dict.fromkeys(style.strip() for style in styles if style.strip()))[:MAX_PROMPT_CHARS]
