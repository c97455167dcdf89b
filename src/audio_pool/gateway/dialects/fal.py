"""fal's queue: submit, status, result, cancel, at ``/OWNER/APP``; and its calls that wait, at ``/fal/run/OWNER/APP``.

Owns: those requests, answers and errors.
Must not know: how jobs are kept (live_jobs.py).

A request of the queue is a job of our own API under another name, so any gateway before the pool answers for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Response, Router, get, post, put
from litestar.response import Stream
from msgspec import structs

from audio_pool.api import JobReport
from audio_pool.errors import AudioPoolError, BadMessage, CallerError, NotFound, NotSupported
from audio_pool.gateway.audio_response import MEDIA_TYPES, AudioFile, AudioResponse
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.described import Answer
from audio_pool.gateway.dialects.answers import AUDIO, FILE, documented, error_handlers, json_of, request_of
from audio_pool.gateway.dialects.fal_messages import (
    Cancelled,
    FalBody,
    FalError,
    FalFile,
    HookQuery,
    Log,
    LogsQuery,
    Payload,
    Standing,
    Submitted,
)
from audio_pool.gateway.dialects.fal_webhook import FalEvent, FalSigner
from audio_pool.gateway.dialects.fields import BadFields, Fault, bytes_in, read_json, take
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.dialects.output_format import rendition_of
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.live_jobs import FINAL, LiveJob
from audio_pool.gateway.told import public_error
from audio_pool.gateway.webhooks import Sign, WebhookUrl
from audio_pool.results import Accepted
from audio_pool.types import AudioRequest

__all__ = ["router"]

_MOST_BYTES = 64 << 20
"""Of arguments: a sound to start from is among them."""
_APPS = [f"/{{owner:str}}/{{app:str}}{rest}" for rest in ("", "/{part:str}", "/{part:str}/{last:str}")]
_OWN = "audio_pool"
"""As an owner: the app is a name of this pool, such as an engine's."""
_FORMATS = ("wav", "flac", "ogg", "opus", "mp3")
_ERROR_TYPES = {"timeout": "request_timeout", "expired": "request_timeout", "cancelled": "client_cancelled",
                "bad_request": "bad_request", "unknown_engine": "not_found"}  # fmt: skip


def router(door: Door) -> Router:
    """Return the routes."""
    names, signer = Names(door), FalSigner(door.settings)
    at = "/{owner:str}/{app:str}/requests/{request_id:str}"

    @post(_APPS, status_code=200, summary="fal: submit to the queue", tags=["fal"], opt=documented(
        FalError, Answer(200, "Where to ask after it", Submitted), body=FalBody, query=HookQuery,
    ))  # fmt: skip
    async def submit(
        request: HttpRequest, owner: str, app: str, part: str = "", last: str = "", fal_webhook: WebhookUrl = None
    ) -> Response[bytes]:
        hook = door.webhooks.check("fal_webhook", fal_webhook)
        asked, start = await _asked(request, owner, _joined(app, part, last), names)
        job_id = await door.jobs.submit(asked, request, init_audio=start)
        if hook is not None:
            sign = signer.signing(job_id, door.caller(request).name or "anybody")
            door.webhooks.after(_told(door, job_id, door.caller(request), hook, _base(request), sign))
        url = f"{_base(request)}/{owner}/{app}/requests/{job_id}"
        live = door.jobs.live(job_id)
        return json_of(
            Submitted(
                request_id=job_id,
                queue_position=_position(live),
                response_url=url,
                status_url=f"{url}/status",
                cancel_url=f"{url}/cancel",
            )
        )

    @post([f"/fal/run{path}" for path in _APPS], status_code=200, summary="fal: make a sound and wait",
          tags=["fal"], opt=documented(FalError, Answer(200, "The result", Payload), body=FalBody))  # fmt: skip
    async def run(request: HttpRequest, owner: str, app: str, part: str = "", last: str = "") -> Response[bytes]:
        asked, start = await _asked(request, owner, _joined(app, part, last), names)
        job_id = await door.jobs.submit(asked, request, init_audio=start)
        try:
            report = await door.jobs.report(job_id, request, wait_s=door.settings.timeout_s, inline=True)
        except BaseException:
            door.jobs.abandon(job_id, request)
            raise
        return json_of(_payload(report, _base(request)), x_fal_request_id=job_id)

    @get(f"{at}/status", summary="fal: how a request stands", tags=["fal"], opt=documented(
        FalError, Answer(200, "It has ended", Standing), Answer(202, "It waits, or is made", Standing), query=LogsQuery,
    ))  # fmt: skip
    async def status(request: HttpRequest, request_id: str, logs: bool = False) -> Response[bytes]:
        report = await door.jobs.report(request_id, request)
        told = _standing(report, door.jobs.live(request_id), logs)
        return json_of(told, 200 if report.state in FINAL else 202)

    @get(f"{at}/status/stream", summary="fal: hear how a request stands until its end", tags=["fal"], opt=documented(
        FalError, Answer(200, "Events, each with how it stands", media=("text/event-stream",)), query=LogsQuery,
    ))  # fmt: skip
    async def stream(request: HttpRequest, request_id: str, logs: bool = False) -> Stream:
        await door.jobs.report(request_id, request)  # there is none: an error, not a stream
        events = _events(door, request, request_id, logs)
        return Stream(events, media_type="text/event-stream", headers={"cache-control": "no-store"})

    @get(at, summary="fal: the result of a request", tags=["fal"], opt=documented(
        FalError, Answer(200, "The result", Payload),
    ))  # fmt: skip
    async def result(request: HttpRequest, request_id: str) -> Response[bytes]:
        report = await door.jobs.report(request_id, request, inline=True)
        if report.state not in FINAL:
            raise BadMessage(f"request {request_id} is still in progress", hint="ask for its status")
        return json_of(_payload(report, _base(request)), x_fal_request_id=request_id)

    @put(f"{at}/cancel", status_code=202, summary="fal: cancel a request", tags=["fal"], opt=documented(
        FalError | Cancelled, Answer(202, "It ends", Cancelled),
    ))  # fmt: skip
    async def cancel(request: HttpRequest, request_id: str) -> Response[bytes]:
        try:
            cancelled = await door.jobs.cancel(request_id, request)
        except NotFound:
            return json_of(Cancelled("NOT_FOUND"), 404)
        if not cancelled:
            return json_of(Cancelled("ALREADY_COMPLETED"), 400)
        return json_of(Cancelled("CANCELLATION_REQUESTED"), 202)

    # who has the id has the file: clients fetch it without their key
    @get("/fal/files/{request_id:str}/{name:str}", summary="fal: a result's file", tags=["fal"], opt=documented(
        FalError, FILE, Answer(206, "A part of it", media=AUDIO), Answer(304, "It has not changed"),
        Answer(412, "It is another"), Answer(416, "There is no such part"), public=True,
    ))  # fmt: skip
    async def file(request: HttpRequest, request_id: str, name: str) -> AudioResponse:
        report = await door.jobs.report(request_id, request, inline=True)
        if report.metadata is None or not isinstance(report.data, bytes):
            raise NotFound(f"request {request_id} has no file")
        return AudioResponse(AudioFile(report.data, media_type=MEDIA_TYPES[report.metadata.format], name=name))

    @get("/.well-known/jwks.json", summary="fal: what webhooks are verified with", tags=["fal"], opt=documented(
        FalError, Answer(200, "A key set", dict[str, list[dict[str, str]]]), public=True,
    ))  # fmt: skip
    async def keys() -> Response[bytes]:
        return json_of(signer.key_set())

    handlers = [submit, run, status, stream, result, cancel, file, keys]
    return Router("/", route_handlers=handlers, exception_handlers=ERRORS)


async def _asked(request: HttpRequest, owner: str, app: str, names: Names) -> tuple[AudioRequest, bytes]:
    """Return what is asked for, and the sound to start from (b"": none)."""
    taken = take(FalBody, await read_json(request, most_bytes=_MOST_BYTES))
    body = taken.body
    words = body.prompt or body.text
    if words is None:
        raise BadFields(Fault("prompt", "is missing", missing=True))
    rendition: dict[str, Any] = {"format": body.output_format}
    if body.output_format not in _FORMATS:
        rendition = rendition_of(body.output_format)
    timeout = request.headers.get("x-fal-request-timeout", "")
    own = {
        "prompt": words,
        "engine": (await names.model(app if owner == _OWN else f"{owner}/{app}")).engine,
        "duration_s": body.duration_seconds or body.duration or body.seconds_total,
        "steps": body.num_inference_steps,
        "init_strength": body.strength if body.audio_url else None,
        "mask_start_s": body.start_time if body.mask_start is None else body.mask_start,
        "mask_end_s": body.end_time if body.mask_end is None else body.mask_end,
        "extend_s": body.extend_after_duration or None,
        "priority": "background" if request.headers.get("x-fal-queue-priority") == "low" else None,
        "deadline_ms": max(1, round(float(timeout) * 1000)) if timeout.replace(".", "", 1).isdecimal() else None,
    }
    return request_of(own, taken.native, rendition), _start(body.audio_url)


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _start(url: str | None) -> bytes:
    if url is None:
        return b""
    if not url.startswith("data:"):
        raise NotSupported("audio_url: nothing is fetched from other servers; allowed is data:audio/wav;base64,…")
    return bytes_in("audio_url", url)


def _base(request: HttpRequest) -> str:
    """Return the address that the client knows this gateway by; a proxy before it may speak https."""
    secure = request.headers.get("x-forwarded-proto", "").lower() == "https"
    scheme = "https" if secure else request.scope["scheme"]
    return f"{scheme}://{request.headers.get('host', '')}"


def _position(live: LiveJob | None) -> int:
    return live.accepted.queue_position if live is not None and live.accepted is not None else 0


def _standing(report: JobReport, live: LiveJob | None, logs: bool) -> Standing:
    lines = _logs(live) if logs else None
    if report.state == "pending" or (report.state == "running" and live is not None and live.progress is None):
        return _queued(report.request_id, _position(live), lines)
    if report.state not in FINAL:
        return Standing(status="IN_PROGRESS", request_id=report.request_id, logs=lines)
    took_s = max(0.0, (report.finished_at or report.created_at) - report.created_at)
    metrics = {"inference_time": round(took_s, 3)}
    done = Standing(status="COMPLETED", request_id=report.request_id, logs=lines, metrics=metrics)
    if report.metadata is not None:
        return done
    error = _failure(report)
    return structs.replace(done, error=error.message, error_type=_kind(error))


def _queued(job_id: str, position: int, logs: list[Log] | None = None) -> Standing:
    return Standing(status="IN_QUEUE", request_id=job_id, queue_position=position, logs=logs)


def _logs(live: LiveJob | None) -> list[Log]:
    if live is None or live.progress is None:
        return []
    told = f"{live.progress.stage}: {live.progress.fraction:.0%}"
    return [Log(message=told, timestamp=datetime.now(UTC).isoformat())]


async def _events(door: Door, request: HttpRequest, job_id: str, logs: bool) -> AsyncIterator[bytes]:
    async for happening in door.jobs.happenings(job_id, request, every_s=door.settings.events_keep_alive_s):
        if happening is None:
            yield b": keep-alive\n\n"
            continue
        live = door.jobs.live(job_id)
        if isinstance(happening, JobReport):
            told = _standing(happening, live, logs)
        elif isinstance(happening, Accepted):
            told = _queued(job_id, happening.queue_position)
        else:
            told = Standing(status="IN_PROGRESS", request_id=job_id, logs=_logs(live) if logs else None)
        yield b"data: " + msgspec.json.encode(told) + b"\n\n"


async def _told(door: Door, job_id: str, caller: HttpCaller, url: str, base: str, sign: Sign) -> None:
    await door.jobs.ended(job_id, caller)
    report = await door.client_of(caller).job(job_id, delivery="inline")
    told = FalEvent(request_id=job_id, gateway_request_id=job_id, status="OK")
    try:
        told = structs.replace(told, payload=_payload(report, base))
    except AudioPoolError as exc:
        told = structs.replace(told, status="ERROR", error=exc.message, payload=_error(exc, 0, job_id))
    door.webhooks.send(url, "fal", job_id, msgspec.json.encode(told), sign=sign)


def _failure(report: JobReport) -> AudioPoolError:
    if report.error is not None:
        return public_error(report.error.error())
    return AudioPoolError(f"the request is {report.state}")


def _payload(report: JobReport, base: str) -> Payload:
    """Return what an app answers with. Raises what the request came to instead."""
    metadata = report.metadata
    if metadata is None or not isinstance(report.data, bytes):
        raise _failure(report)
    name = f"{report.request_id[-8:]}.{metadata.format}"
    file = FalFile(
        url=f"{base}/fal/files/{report.request_id}/{name}",
        content_type=MEDIA_TYPES[metadata.format],
        file_name=name,
        file_size=len(report.data),
    )
    return Payload(
        audio=file,
        audio_file=file,
        seed=metadata.base_seed,
        prompt=metadata.prompt,
        duration=metadata.duration_s,
        timings={"inference": round(metadata.timings_ms.total / 1000, 3)},
    )


def _error(error: AudioPoolError, status: int, request_id: str) -> FalError:
    return FalError(detail=error.listed() if isinstance(error, BadFields) else error.message, error_type=_kind(error))


def _kind(error: AudioPoolError) -> str:
    return _ERROR_TYPES.get(error.code, "bad_request" if isinstance(error, CallerError) else "runner_error")


# its client asks again where the status is 409 or 429, and hardly ever where it is 503
ERRORS = error_handlers(
    _error, {"unknown_engine": 404, "cancelled": 422, "busy": 429}, lambda error: {"x_fal_error_type": _kind(error)}
)
