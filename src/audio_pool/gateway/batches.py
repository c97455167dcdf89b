"""``/v1/batches``: many sounds asked for at once, one report of all.

Owns: the routes, BatchRequest and Batch.
Must not know: how a batch's jobs are kept (batch_jobs.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.params import Parameter
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from msgspec import Meta, Struct

from audio_pool.api import as_request
from audio_pool.errors import InvalidRequest
from audio_pool.gateway.asked import json_object
from audio_pool.gateway.batch_jobs import BatchView
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.jobs import Job, job_of
from audio_pool.gateway.sound_report import json_response
from audio_pool.gateway.sounds import idempotency_key
from audio_pool.gateway.webhooks import WebhookUrl
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["Batch", "BatchRequest", "router"]

_RETRY_MS = 2000
_TAGS = ["Batches"]
_MOST_SHOWN = 1000
Fields = dict[str, Any]
"""Opaque until as_request has checked them: fields of AudioRequest."""
Limit = Annotated[int, Parameter(ge=0, le=_MOST_SHOWN, description="Jobs shown.")]
Offset = Annotated[int, Parameter(ge=0, le=100_000, description="Jobs passed over.")]


class BatchRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sounds wanted."""

    items: Annotated[list[str | Fields], Meta(min_length=1)]
    """Prompts, or the fields of requests; at most ``http.max_count``."""
    defaults: Fields = {}
    """Fields of every item that does not say otherwise. ``priority`` is ``background`` unless it is said here."""


class Batch(Struct, frozen=True, kw_only=True):
    """Many sounds asked for at once."""

    id: str
    state: Literal["running", "done", "incomplete"]
    """done: every job has ended, one way or another. incomplete: some were never taken; post the batch again."""
    url: str
    events_url: str
    total: int
    counts: dict[str, int]
    """Jobs by state: pending, running, done, failed, cancelled, expired; missing: never taken, or forgotten."""
    offset: int
    """Of the first job shown."""
    jobs: list[Job | None]
    """In the order asked for; null where missing."""


class Limited(Struct, frozen=True, kw_only=True):
    """How much is shown."""

    limit: Annotated[int, Meta(ge=0, le=_MOST_SHOWN)] = 100
    """Jobs shown."""


class Shown(Limited, frozen=True, kw_only=True):
    """Which part is shown."""

    offset: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Jobs passed over."""


class Asking(Limited, frozen=True, kw_only=True):
    """What a new batch's address may say."""

    webhook: Annotated[str, Meta(max_length=2000)] | None = None
    """A URL of an allowed host, to which a signed message is sent at its end."""


def batch_of(view: BatchView, offset: int = 0, limit: int = _MOST_SHOWN) -> Batch:
    """Return a batch as JSON tells it."""
    url = f"/v1/batches/{view.batch_id}"
    state: Literal["running", "done", "incomplete"] = "running"
    if not view.under_way:
        state = "incomplete" if view.open else "done"
    return Batch(
        id=view.batch_id,
        state=state,
        url=url,
        events_url=f"{url}/events",
        total=len(view.reports),
        counts=view.counts,
        offset=offset,
        jobs=[None if report is None else job_of(report) for report in view.reports[offset : offset + limit]],
    )


def router(door: Door) -> Router:
    """Return the routes."""

    @post("/v1/batches", status_code=202, summary="Make or find many sounds", tags=_TAGS, opt=described(
        Answer(202, "It is under way", Batch, headers=("location",)), query=Asking, body=BatchRequest,
        headers=(("idempotency-key", "The same batch again is answered from what is there of it", 255),),
    ))  # fmt: skip
    async def make(request: HttpRequest, webhook: WebhookUrl = None, limit: Limit = 100) -> Response[bytes]:
        url = door.webhooks.check("webhook", webhook)
        asked = _requests(door, request, json_object(await request.body()))
        view = await door.batches.submit(asked, request, key=idempotency_key(request))
        if url is not None:
            door.webhooks.after(_told(door, view, door.caller(request), url))
        report = batch_of(view, limit=limit)
        return json_response(report, status=202, headers={"location": report.url})

    @get("/v1/batches/{batch_id:str}", summary="Say how a batch stands", tags=_TAGS, opt=described(
        Answer(200, "How it stands", Batch), query=Shown,
    ))  # fmt: skip
    async def show(request: HttpRequest, batch_id: str, offset: Offset = 0, limit: Limit = 100) -> Response[bytes]:
        return json_response(batch_of(await door.batches.look(batch_id, request), offset, limit))

    @get("/v1/batches/{batch_id:str}/events", summary="Hear what becomes of a batch until its end", tags=_TAGS,
         opt=described(Answer(200, "Events: one for each job, and the end", media=("text/event-stream",))))  # fmt: skip
    async def events(request: HttpRequest, batch_id: str) -> ServerSentEvent:
        view = await door.batches.look(batch_id, request)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return ServerSentEvent(_messages(door, request, view), headers=headers)

    @delete("/v1/batches/{batch_id:str}", status_code=200, summary="Cancel what a batch still waits for", tags=_TAGS,
            opt=described(Answer(200, "How it stands now", Batch), query=Limited))  # fmt: skip
    async def cancel(request: HttpRequest, batch_id: str, limit: Limit = 100) -> Response[bytes]:
        view = await door.batches.look(batch_id, request)
        await door.batches.cancel(view, request)
        return json_response(batch_of(view, limit=limit))

    return Router("/", route_handlers=[make, show, events, cancel])


def _requests(door: Door, http: HttpRequest, body: Fields) -> list[AudioRequest]:
    """Return the requests of a body. Raises InvalidRequest, which names the item."""
    asked = parse(BatchRequest, body, what="batch")
    most = door.settings.max_count
    if len(asked.items) > most:
        raise InvalidRequest(f"items: given {len(asked.items):,}, allowed are at most {most:,} here")
    found = []
    for number, item in enumerate(asked.items):
        fields = {"prompt": item} if isinstance(item, str) else item
        try:
            whole = {"priority": "background", **asked.defaults, **fields}
            if isinstance(whole.get("namespace"), str):
                door.caller(http).namespace_of(whole["namespace"])
            found.append(as_request(whole, {}))
        except InvalidRequest as exc:
            raise InvalidRequest(f"items[{number}]: {exc.message}", hint=exc.hint) from None
    return found


async def _told(door: Door, view: BatchView, caller: HttpCaller, url: str) -> None:
    await door.batches.finished(view, caller)
    report = batch_of(view)
    door.webhooks.send(url, f"batch.{report.state}", view.batch_id, msgspec.json.encode(report))


async def _messages(door: Door, http: HttpRequest, view: BatchView) -> AsyncIterator[ServerSentEventMessage]:
    yield ServerSentEventMessage(data=None, retry=_RETRY_MS)
    async for ended in door.batches.endings(view, http, every_s=door.settings.events_keep_alive_s):
        if ended is None:
            yield ServerSentEventMessage(data=None, comment="keep-alive")
            continue
        for number in ended:
            report = view.reports[number]
            if report is not None:
                told = {"index": number, "counts": view.counts, "job": job_of(report)}
                yield ServerSentEventMessage(event="job", data=msgspec.json.encode(told))
    yield ServerSentEventMessage(event="done", data=msgspec.json.encode(batch_of(view, limit=0)))
