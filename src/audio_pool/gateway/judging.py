"""``/v1/feedback`` and ``/v1/prompts/check``: a result judged, and words judged before anything is made of them.

Owns: the routes, PromptCheck and PromptReport.
Must not know: what a judgement teaches the cache, the rules for prompts (prompts/lint.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

from litestar import Response, Router, post
from msgspec import Meta, Struct

from audio_pool.api import EngineReport, FeedbackNoted, FeedbackVerdict
from audio_pool.errors import NotFound
from audio_pool.gateway.asked import json_object
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.sound_report import json_response
from audio_pool.prompts.lint import Reader, lint
from audio_pool.types import EngineName, OptionalText, Prompt, RequestId
from audio_pool.validation import parse

__all__ = ["PromptCheck", "PromptReport", "router"]

_KIND = "kind:"


class Judgement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a result was like."""

    target: RequestId
    """The ``request_id`` of the sound's metadata: a job's id, or the ``x-request-id`` of its answer."""
    verdict: FeedbackVerdict
    """``wrong`` and ``right`` decide what is offered for these words from now on; all are counted."""
    comment: Annotated[str, Meta(max_length=1000)] = ""


class PromptCheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words to be looked at."""

    prompt: Prompt
    negative_prompt: OptionalText = ""
    loop: bool = False
    engine: EngineName | None = None
    """Who is to read them; null: the pool's default engine."""


class PromptFinding(Struct, frozen=True, kw_only=True):
    """One thing that is likely to make a bad sound."""

    name: str
    """Of the rule."""
    sentence: str
    """What was found, and what helps."""


class PromptReport(Struct, frozen=True, kw_only=True):
    """What is to be said of a prompt."""

    engine: str
    """Who is to read it; "": there is no such engine here."""
    findings: tuple[PromptFinding, ...]
    """The gravest first; none where there is nothing to say against it."""
    tips: tuple[str, ...]
    """How to word prompts for this engine."""


def router(door: Door) -> Router:
    """Return the routes."""

    @post("/v1/feedback", status_code=200, summary="Say what a result was like", tags=["Pool"], opt=described(
        Answer(200, "What look-ups make of it", FeedbackNoted), body=Judgement,
    ))  # fmt: skip
    async def feedback(request: HttpRequest) -> Response[bytes]:
        given = parse(Judgement, json_object(await request.body()))
        caller = door.caller(request)
        if door.jobs.of_another(given.target, caller):
            raise NotFound(f"there is no job {given.target!r:.80} of yours", hint="judge what you asked for yourself")
        client = door.client_of(caller)
        return json_response(await client.feedback(given.target, given.verdict, given.comment))

    @post("/v1/prompts/check", status_code=200, summary="Say what is against a prompt", tags=["Pool"], opt=described(
        Answer(200, "What was found; nothing is made", PromptReport), body=PromptCheck,
    ))  # fmt: skip
    async def check(request: HttpRequest) -> Response[bytes]:
        given = parse(PromptCheck, json_object(await request.body()))
        told = await door.client_of(door.caller(request)).engines()
        found = _engine_of(told.engines, given.engine or told.default)
        reader = Reader() if found is None else Reader(speech=found.speech, languages=found.languages)
        # the first time it reads its dictionaries, and a prompt may be long
        findings = await asyncio.to_thread(
            lint, given.prompt, reader, negative_prompt=given.negative_prompt, loop=given.loop
        )
        return json_response(PromptReport(
            engine="" if found is None else found.name,
            findings=tuple(PromptFinding(name=one.name, sentence=one.sentence) for one in findings),
            tips=() if found is None else found.tips,
        ))  # fmt: skip

    return Router("/", route_handlers=[feedback, check])


def _engine_of(engines: Iterable[EngineReport], name: str) -> EngineReport | None:
    """Return the engine of a name, or the first ready one of a ``kind:``; None: there is none."""
    if not name.startswith(_KIND):
        return next((one for one in engines if one.name == name), None)
    fit = [one for one in engines if name.removeprefix(_KIND) in one.kinds]
    return next((one for one in fit if one.state == "ready"), fit[0] if fit else None)
