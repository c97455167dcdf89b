"""ElevenLabs' ``/v1/music``: compose, stream, compose in detail, plan.

Owns: those requests and answers.
Must not know: how a plan is made (music_plan.py), how a sound is made.
"""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec
from litestar import Response, Router, post
from msgspec import Meta, Struct

from audio_pool.gateway.audio_response import MEDIA_TYPES
from audio_pool.gateway.described import Answer
from audio_pool.gateway.dialects.answers import FILE, bytes_of, documented, headers_with, json_of, request_of
from audio_pool.gateway.dialects.elevenlabs import (
    ERRORS,
    ElevenLabsError,
    FormatQuery,
    is_streamed,
    made_patiently,
    streamed_patiently,
)
from audio_pool.gateway.dialects.fields import BadFields, Fault, Taken, read_json, take
from audio_pool.gateway.dialects.music_plan import LONGEST_MS, SHORTEST_MS, Plan, PlanTold, plan_of, told_by
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.dialects.output_format import MUSIC_FORMATS, rendition_of
from audio_pool.gateway.door import Door, HttpRequest, Sound
from audio_pool.types import AudioRequest, Prompt, Seed

__all__ = ["router"]

MODEL = "music_v1"
_LENGTH_MS = 30_000
"""Where nobody says how long."""
Length = Annotated[int, Meta(ge=SHORTEST_MS, le=LONGEST_MS)]


class MusicBody(Struct, frozen=True, kw_only=True):
    """A piece of music, in words or as a plan. Fields of our own API may stand beside these."""

    prompt: Prompt | None = None
    composition_plan: Plan | None = None
    music_length_ms: Length | None = None
    """Not with a plan, whose sections say it."""
    model_id: str = MODEL
    seed: Seed | None = None
    force_instrumental: bool = False


class PlanBody(Struct, frozen=True, kw_only=True):
    """What a plan is wanted of."""

    prompt: Prompt
    music_length_ms: Length | None = None
    source_composition_plan: Plan | None = None
    model_id: str = MODEL


def router(door: Door) -> Router:
    """Return the routes."""
    names = Names(door)
    tags = ["ElevenLabs"]

    async def wanted(request: HttpRequest, output_format: str | None) -> tuple[Taken[MusicBody], Plan, AudioRequest]:
        taken = take(MusicBody, await read_json(request))
        plan = _plan_in(taken.body)
        return taken, plan, await _asked(taken, plan, output_format, names)

    @post(["/v1/music", "/v1/music/stream"], status_code=200, summary="ElevenLabs: compose", tags=tags,
          opt=documented(ElevenLabsError, FILE, body=MusicBody, query=FormatQuery))  # fmt: skip
    async def compose(request: HttpRequest, output_format: str | None = None) -> Response[bytes]:
        taken, _, asked = await wanted(request, output_format)
        if is_streamed(request, asked):
            return await streamed_patiently(door, asked, request, taken.ignored, song_id=door.request_id(request))
        sound = await made_patiently(door, asked, request)
        return bytes_of(sound, ignored=taken.ignored, song_id=sound.request_id)

    @post("/v1/music/detailed", status_code=200, summary="ElevenLabs: compose and tell", tags=tags, opt=documented(
        ElevenLabsError, Answer(200, "What it is, as JSON, and the file", media=("multipart/mixed",)),
        body=MusicBody, query=FormatQuery,
    ))  # fmt: skip
    async def detailed(request: HttpRequest, output_format: str | None = None) -> Response[bytes]:
        taken, plan, asked = await wanted(request, output_format)
        sound = await made_patiently(door, asked, request)
        boundary = uuid.uuid4().hex
        headers = headers_with(sound, taken.ignored) | {"song-id": sound.request_id}
        media_type = f"multipart/mixed; boundary={boundary}"
        return Response(_in_parts(sound, plan, boundary), media_type=media_type, headers=headers)

    @post("/v1/music/plan", status_code=200, summary="ElevenLabs: plan a piece", tags=tags, opt=documented(
        ElevenLabsError, Answer(200, "A plan to compose by", PlanTold), body=PlanBody,
    ))  # fmt: skip
    async def plan(request: HttpRequest) -> Response[bytes]:
        body = take(PlanBody, await read_json(request)).body
        found = plan_of(body.prompt, body.music_length_ms or _LENGTH_MS)
        source = body.source_composition_plan
        if source is not None:
            found.positive_global_styles = [*source.positive_global_styles, *found.positive_global_styles][:50]
            found.negative_global_styles = [*source.negative_global_styles, *found.negative_global_styles][:50]
            found.sections = found.sections if body.music_length_ms or not source.sections else source.sections
        return json_of(found.as_told())

    return Router("/", route_handlers=[compose, detailed, plan], exception_handlers=ERRORS)


def _plan_in(body: MusicBody) -> Plan:
    if (body.prompt is None) == (body.composition_plan is None):
        raise BadFields(Fault("prompt", "given are both or neither of prompt and composition_plan; give one"))
    if body.composition_plan is None:
        length_ms = body.music_length_ms or _LENGTH_MS
        return plan_of(body.prompt or "", length_ms, instrumental=body.force_instrumental)
    if body.music_length_ms is not None:
        raise BadFields(Fault("music_length_ms", "given with composition_plan, whose sections say how long it is"))
    if not SHORTEST_MS <= told_by(body.composition_plan)[2] <= LONGEST_MS:
        raise BadFields(
            Fault("composition_plan", f"its sections last {told_by(body.composition_plan)[2]:,} ms, allowed are "
                  f"{SHORTEST_MS:,} to {LONGEST_MS:,}")
        )  # fmt: skip
    return body.composition_plan


async def _asked(taken: Taken[MusicBody], plan: Plan, output_format: str | None, names: Names) -> AudioRequest:
    body = taken.body
    prompt, negative, length_ms = told_by(plan)
    own = {
        # the user's own words say more than a plan made of them
        "prompt": body.prompt or prompt,
        "negative_prompt": negative or None,
        "engine": (await names.model(body.model_id, MODEL)).engine,
        "duration_s": length_ms / 1000,
        "seed": body.seed,
    }
    return request_of(own, taken.native, rendition_of(output_format, MUSIC_FORMATS))


def _in_parts(sound: Sound, plan: Plan, boundary: str) -> bytes:
    """Return both parts. The body ends right behind the audio: SDKs leave a closing boundary in the file."""
    title = ", ".join(plan.positive_global_styles[:2]).capitalize() or "Untitled"
    metadata = {
        "title": title,
        "description": sound.metadata.prompt,
        "genres": plan.positive_global_styles[:5],
        "languages": [],
        "is_explicit": False,
    }
    told = msgspec.json.encode({"composition_plan": plan.as_told(), "song_metadata": metadata})
    format_ = sound.metadata.format
    head = (
        f"\r\n--{boundary}\r\nContent-Type: {MEDIA_TYPES[format_]}\r\n"
        f'Content-Disposition: attachment; filename="{sound.request_id}.{format_}"\r\n\r\n'
    )
    first = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode()
    return b"".join((first, told, head.encode(), sound.data))
