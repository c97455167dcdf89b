"""``/v1/jobs/{id}``: what has become of a sound that was asked for without waiting.

Owns: the routes, Job, the events' stream.
Must not know: how jobs are kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from litestar import Response, Router, delete, get
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from msgspec import Struct

from audio_pool.api import JobReport, JobState
from audio_pool.errors import Conflict, NotFound
from audio_pool.gateway.audio_response import MEDIA_TYPES, AudioFile, AudioResponse
from audio_pool.gateway.described import AUDIO, Answer, described, sound_answer
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.live_jobs import FINAL, LiveJob
from audio_pool.gateway.prefer import preference_in
from audio_pool.gateway.sound_report import SoundReport, headers_of, json_response, report_of
from audio_pool.gateway.told import public_failure
from audio_pool.gateway.upgrades import is_upgrade, stands_in
from audio_pool.results import Accepted, Failure, Progress

__all__ = ["Job", "job_of", "router"]

_RETRY_MS = 2000
_TAGS = ["Jobs"]


class Job(Struct, frozen=True, kw_only=True):
    """A sound that was asked for without waiting. Times in seconds since 1970."""

    id: str
    state: JobState
    """pending, running; or, for good: done, failed, cancelled, expired."""
    prompt: str
    url: str
    events_url: str
    created_at: float
    finished_at: float | None
    expires_at: float | None
    """When it is forgotten, and the sound's bytes with it."""
    queue_position: int | None
    """Sounds that go before this one, when it was accepted; null where that is not known."""
    progress: Progress | None
    """null where it is not known."""
    sound: SoundReport | None
    """Of a job that is done."""
    error: Failure | None
    """Of a job that ended without a sound."""
    upgrade_url: str | None = None
    """Where the sound stands in for what was asked for: of the job that makes that; null: there is none."""


def job_of(report: JobReport, live: LiveJob | None = None, better: JobReport | None = None) -> Job:
    """Return a job as JSON tells it.

    Args:
        live: what this gateway hears of it.
        better: the job that makes a better sound.
    """
    url = f"/v1/jobs/{report.request_id}"
    open_ = report.state not in FINAL
    return Job(
        id=report.request_id,
        state=report.state,
        prompt=report.prompt,
        url=url,
        events_url=f"{url}/events",
        created_at=report.created_at,
        finished_at=report.finished_at,
        expires_at=report.expires_at,
        queue_position=live.accepted.queue_position if open_ and live and live.accepted else None,
        progress=live.progress if open_ and live else None,
        sound=None if report.metadata is None else report_of(report.metadata, url),
        error=None if report.error is None else public_failure(report.error),
        upgrade_url=None if better is None else f"/v1/jobs/{better.request_id}",
    )


def router(door: Door) -> Router:
    """Return the routes."""

    @get("/v1/jobs/{job_id:str}", summary="Say how a job stands", tags=_TAGS, opt=described(
        Answer(200, "How it stands", Job),
        headers=(("prefer", "wait=SECONDS: until its end, if it comes so soon"),),
    ))  # fmt: skip
    async def show(request: HttpRequest, job_id: str) -> Response[bytes]:
        preference = preference_in(request.headers.get("prefer", ""))
        wait_s = 0.0 if preference is None else min(preference.wait_s, door.settings.timeout_s)
        report = await door.jobs.report(job_id, request, wait_s=wait_s)
        headers = {} if preference is None else {"preference-applied": preference.applied}
        better = await door.jobs.better(job_id, request) if stands_in(report.metadata) else None
        return json_response(job_of(report, door.jobs.live(job_id), better), headers=headers)

    @get("/v1/jobs/{job_id:str}/audio", summary="Get the file of a job that is done", tags=_TAGS, opt=described(
        sound_answer(), Answer(206, "A part of it", media=(*AUDIO, "multipart/byteranges")),
        Answer(304, "It has not changed"), Answer(412, "It is another one"), Answer(416, "There is no such part"),
    ))  # fmt: skip
    async def audio(request: HttpRequest, job_id: str) -> AudioResponse:
        report = await door.jobs.report(job_id, request, inline=True)
        if report.metadata is None or not isinstance(report.data, bytes):
            raise NotFound(f"job {job_id!r} is {report.state}; it has no file")
        told = [(name.encode(), value.encode()) for name, value in headers_of(report.metadata).items()]
        name = f"{report.prompt[:60]}.{report.metadata.format}"
        file = AudioFile(report.data, media_type=MEDIA_TYPES[report.metadata.format], name=name)
        return AudioResponse(file, told)

    @get("/v1/jobs/{job_id:str}/events", summary="Hear what happens to a job until its end", tags=_TAGS, opt=described(
        Answer(200, "Events: accepted, progress, done, upgraded", media=("text/event-stream",)),
    ))  # fmt: skip
    async def events(request: HttpRequest, job_id: str) -> ServerSentEvent:
        await door.jobs.report(job_id, request)  # there is none: an error, not a stream
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return ServerSentEvent(_messages(door, request, job_id), headers=headers)

    @delete("/v1/jobs/{job_id:str}", status_code=200, summary="Cancel a job", tags=_TAGS, opt=described(
        Answer(200, "How it stands now", Job),
    ))  # fmt: skip
    async def cancel(request: HttpRequest, job_id: str) -> Response[bytes]:
        cancelled = await door.jobs.cancel(job_id, request)
        report = await door.jobs.report(job_id, request)
        if not cancelled and report.state != "cancelled":
            raise Conflict(f"job {job_id!r} is {report.state}: it cannot be cancelled any more")
        return json_response(job_of(report))

    return Router("/", route_handlers=[show, audio, events, cancel])


async def _messages(door: Door, http: HttpRequest, job_id: str) -> AsyncIterator[ServerSentEventMessage]:
    yield ServerSentEventMessage(data=None, retry=_RETRY_MS)
    async for happening in door.jobs.happenings(job_id, http, every_s=door.settings.events_keep_alive_s):
        if happening is None:
            yield ServerSentEventMessage(data=None, comment="keep-alive")
        elif isinstance(happening, JobReport):
            better = await door.jobs.better(job_id, http) if stands_in(happening.metadata) else None
            upgraded = is_upgrade(job_id) and happening.state == "done"
            yield _message("upgraded" if upgraded else "done", job_of(happening, better=better))
            if better is not None:
                async for message in _messages(door, http, better.request_id):
                    yield message
        else:
            yield _message("accepted" if isinstance(happening, Accepted) else "progress", happening)


def _message(event: str, body: Struct) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=event, data=msgspec.json.encode(body))
