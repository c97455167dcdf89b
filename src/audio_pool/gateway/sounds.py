"""``POST /v1/sounds``: make or find a sound, and wait for it, or not.

Owns: the route; how its headers are read.
Must not know: how a sound is made, kept sounds.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct, structs

from audio_pool.api import JobReport
from audio_pool.errors import AudioPoolError, InvalidRequest, Timeout
from audio_pool.gateway.accept import JSON, accepted
from audio_pool.gateway.answer import Answer
from audio_pool.gateway.asked import SOUND_BODY, SOUND_FORM, Asked, asked_of
from audio_pool.gateway.audio_response import MEDIA_TYPES
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.described import AUDIO, described
from audio_pool.gateway.described import Answer as Says
from audio_pool.gateway.door import Door
from audio_pool.gateway.http_request import HttpRequest, header_of
from audio_pool.gateway.jobs import Job, job_of
from audio_pool.gateway.live_jobs import FINAL
from audio_pool.gateway.live_sound import LiveAnswer
from audio_pool.gateway.prefer import Preference, preference_in
from audio_pool.gateway.problems import ClientGone, NotAcceptable
from audio_pool.gateway.sound_report import SoundReport, bytes_answer, json_answer, report_of
from audio_pool.gateway.upgrades import is_upgrade, stands_in, upgrade_of
from audio_pool.gateway.webhooks import WebhookUrl
from audio_pool.types import STREAMABLE, AudioRequest

__all__ = ["handler", "idempotency_key"]

MAX_KEY = 255


class SoundsQuery(Struct, frozen=True, kw_only=True):
    """What stands in the address."""

    stream: bool = False
    """Send the sound while it is made, as wav or pcm."""
    webhook: Annotated[str, Meta(max_length=2000)] | None = None
    """A URL of an allowed host, to which a signed message is sent."""


def handler(door: Door) -> HTTPRouteHandler:
    """Return the route; it shares its address with that of kept sounds, and so their Router (library.py)."""

    @post("/v1/sounds", status_code=200, summary="Make or find a sound", tags=["Sounds"], opt=described(
        Says(200, "The sound: its metadata, or its file", SoundReport, media=AUDIO),
        Says(202, "It is not there yet", Job, headers=("location",)),
        query=SoundsQuery, body=SOUND_BODY, form=SOUND_FORM,
        headers=(
            ("prefer", "respond-async, or wait=SECONDS: answer with a job where it takes longer"),
            ("idempotency-key", "The same request again is answered from the same sound", MAX_KEY),
        ),
    ))  # fmt: skip
    async def make(request: HttpRequest, webhook: WebhookUrl = None, stream: bool = False) -> Answer:
        url = door.webhooks.check("webhook", webhook)
        choices = accepted(header_of(request, b"accept"))
        came = await asked_of(request)
        if stream or came.request.stream:
            # a Response, which the framework knows when it sees one; of a union it would know neither
            return await _live(door, request, came, choices, webhook)  # type: ignore[return-value]
        chosen, as_bytes = _chosen(came.request, choices, request)
        asked = Asked(request=chosen, init_audio=came.init_audio)
        preference = preference_in(header_of(request, b"prefer"))
        key = idempotency_key(request)
        # what is not kept has an address as a job's only
        # and so have candidates
        if preference or key or chosen.durable or chosen.keep_candidates or not (as_bytes or chosen.store):
            return await _as_job(door, request, asked, as_bytes, preference, key, url)
        sound = await door.make(chosen, request, init_audio=asked.init_audio)
        if url is not None:
            body = msgspec.json.encode(report_of(sound.metadata))
            door.webhooks.send(url, "sound.done", door.request_id(request), body)
            if isinstance(sound.metadata.upgrade_id, str):
                door.webhooks.after(_told(door, sound.metadata.upgrade_id, door.caller(request), url))
        return bytes_answer(sound.data, sound.metadata) if as_bytes else json_answer(report_of(sound.metadata))

    return make


async def _live(
    door: Door, http: HttpRequest, came: Asked, choices: tuple[tuple[str, Any], ...], webhook: str | None  # Any: Format
) -> LiveAnswer:
    """Answer with a sound while it is made."""
    others = {"Prefer": header_of(http, b"prefer"), "Idempotency-Key": idempotency_key(http), "webhook": webhook}
    for name, given in others.items():
        if given:
            raise InvalidRequest(f"stream: given with {name}, which is for sounds that are not waited for")
    accepts = http.headers.get("accept", "*/*")
    named = [format_ for kind, format_ in choices if kind == "audio"] or ([None] if "*/*" in accepts else [])
    wanted = came.request.format
    fit = [one or wanted or "wav" for one in named if one is None or (one in STREAMABLE and wanted in (None, one))]
    if not fit:
        raise NotAcceptable(f"stream: given Accept {accepts!r:.100}, allowed are audio/wav and audio/pcm")
    chosen = structs.replace(came.request, format=fit[0])
    return LiveAnswer(await door.stream(chosen, http, init_audio=came.init_audio))


def _chosen(
    asked: AudioRequest, choices: tuple[tuple[str, Any], ...], http: HttpRequest  # Any: Format | None
) -> tuple[AudioRequest, bool]:
    """Return the request with the format that Accept names, and whether bytes are wanted."""
    for kind, format_ in choices:
        if kind == "json":
            return asked, False
        if format_ is None or asked.format in (None, format_):
            return (asked if format_ is None else structs.replace(asked, format=format_)), True
    raise NotAcceptable(
        f"Accept: given {http.headers.get('accept', '')!r:.100} and format {asked.format}, allowed are "
        f"{JSON}, audio/* and {', '.join(MEDIA_TYPES.values())}"
    )


def idempotency_key(http: HttpRequest) -> str:
    """Return the request's Idempotency-Key; "": it has none. Raises InvalidRequest."""
    key = header_of(http, b"idempotency-key")
    if len(key) > MAX_KEY:
        raise InvalidRequest(f"Idempotency-Key: given {len(key)} characters, allowed are at most {MAX_KEY}")
    return key


async def _as_job(
    door: Door,
    http: HttpRequest,
    asked: Asked,
    as_bytes: bool,
    preference: Preference | None,
    key: str,
    webhook: str | None,
) -> Answer:
    """Answer from a job: its sound, or where it can be asked after."""
    job_id = await door.jobs.submit(asked.request, http, idempotency_key=key, init_audio=asked.init_audio)
    if webhook is not None:
        door.webhooks.after(_told(door, job_id, door.caller(http), webhook))
    wait_s = min(door.settings.timeout_s, door.settings.timeout_s if preference is None else preference.wait_s)
    try:
        report = await door.jobs.report(job_id, http, wait_s=wait_s, inline=as_bytes and wait_s > 0)
    except ClientGone:
        if not key:  # nobody knows its id
            door.jobs.abandon(job_id, http)
        raise
    headers = {} if preference is None else {"preference-applied": preference.applied}
    if report.state in FINAL and wait_s > 0:
        return _ended(report, headers, as_bytes)
    if preference is None:
        raise Timeout(f"no sound within {wait_s:g} s", hint="it goes on: ask again with the same Idempotency-Key")
    location = f"/v1/jobs/{job_id}"
    return json_answer(
        job_of(report, door.jobs.live(job_id)), status=202, headers={**headers, "location": location}
    )


async def _told(door: Door, job_id: str, caller: HttpCaller, url: str) -> None:
    report = await door.jobs.ended(job_id, caller)
    kind = "upgraded" if is_upgrade(job_id) and report.state == "done" else report.state
    door.webhooks.send(url, f"job.{kind}", job_id, msgspec.json.encode(job_of(report)))
    following = upgrade_of(job_id)
    if stands_in(report.metadata) and door.jobs.live(following) is not None:
        await _told(door, following, caller, url)


def _ended(report: JobReport, headers: dict[str, str], as_bytes: bool) -> Answer:
    if report.metadata is None:
        raise AudioPoolError("the job has ended") if report.error is None else report.error.error()
    location = f"/v1/jobs/{report.request_id}"
    headers = {**headers, "content-location": location}
    if as_bytes and isinstance(report.data, bytes):
        return bytes_answer(report.data, report.metadata, headers)
    return json_answer(report_of(report.metadata, location), headers=headers)
