"""``/v1/jobs/{id}/candidates``: those that were not chosen, told, heard in any format, and chosen after all.

Owns: the routes, Choice, the addresses of candidates.
Must not know: how candidates are kept, jobs' own routes (jobs.py).

They are a job's, for a job's id says whose it is: without its key nobody hears them.
"""

from __future__ import annotations

import msgspec
from litestar import HttpMethod, Response, Router, get, post, route
from msgspec import Struct, structs

from audio_pool.candidates import CandidateNumber, CandidatesKept
from audio_pool.errors import InvalidRequest
from audio_pool.gateway.audio_response import MEDIA_TYPES, AudioFile, AudioResponse
from audio_pool.gateway.described import AUDIO, Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.query import query_of
from audio_pool.gateway.sound_report import SoundReport, headers_of, json_response, report_of
from audio_pool.gateway.told import told_candidates
from audio_pool.library import FileForm
from audio_pool.reports import KeptCandidate
from audio_pool.types import Format

__all__ = ["Choice", "router"]

_TAGS = ["Candidates"]


class CandidateQuery(FileForm, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which file of a candidate is wanted."""

    format: Format | None = None  # type: ignore[assignment]  # a kept sound's has a default
    """None: as the request wanted it, and nothing else may be given."""
    download: bool = False
    """Browsers save it instead of playing it."""


class Choice(Struct, frozen=True, kw_only=True):
    """A candidate that was chosen is the kept sound now."""

    number: int
    sound: SoundReport
    replaced: int | None
    """The kept sound whose place it took; null: none was kept."""
    candidates: tuple[KeptCandidate, ...]
    """Those that can be heard now: the sound that was kept before is one of them."""


def router(door: Door) -> Router:
    """Return the routes."""

    @get("/v1/jobs/{job_id:str}/candidates", summary="Tell which candidates can be heard", tags=_TAGS, opt=described(
        Answer(200, "Those that were not chosen, and are kept still", CandidatesKept),
    ))  # fmt: skip
    async def show(request: HttpRequest, job_id: str) -> Response[bytes]:
        found = await door.jobs.client_of(job_id, request).candidates.of(job_id)
        told = told_candidates(found.candidates, _address(job_id))
        return json_response(structs.replace(found, candidates=told))

    @route(
        "/v1/jobs/{job_id:str}/candidates/{number:int}/audio",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        summary="Get a candidate's file in any format",
        tags=_TAGS,
        opt=described(
            Answer(200, "The file", media=AUDIO, headers=("etag",)),
            Answer(206, "A part of it", media=(*AUDIO, "multipart/byteranges")),
            Answer(304, "It has not changed"),
            Answer(412, "It is another one"),
            Answer(416, "There is no such part"),
            query=CandidateQuery,
            headers=(("range", "The bytes that are wanted"), ("if-none-match", "An ETag that is known")),
        ),
    )
    async def audio(request: HttpRequest, job_id: str, number: int) -> AudioResponse:
        client, asked = door.jobs.client_of(job_id, request), query_of(request, CandidateQuery)
        form = msgspec.to_builtins(asked)
        download = form.pop("download", False)
        if form and asked.format is None:
            raise InvalidRequest(f"format: not given with {', '.join(form)}; allowed are {', '.join(MEDIA_TYPES)}")
        work = client.candidates.file(job_id, _number(number), delivery="inline", **form)
        found = await door.while_connected(request, work)
        assert isinstance(found.data, bytes), "the pool was asked for inline delivery"
        file = AudioFile(
            found.data,
            media_type=MEDIA_TYPES[found.format],
            sha256=found.sha256,
            name=f"{found.metadata.prompt[:60]} {number}.{found.format}",
            attached=download,
            modified=found.metadata.generation_timestamp,
            shared=False,
        )
        told = [(name.encode(), value.encode()) for name, value in headers_of(found.metadata).items()]
        return AudioResponse(file, told)

    @post(
        "/v1/jobs/{job_id:str}/candidates/{number:int}/choose",
        status_code=200,
        summary="Keep a candidate in place of the sound that is kept",
        tags=_TAGS,
        opt=described(Answer(200, "It is the kept sound now", Choice)),
    )
    async def choose(request: HttpRequest, job_id: str, number: int) -> Response[bytes]:
        client, by = door.jobs.client_of(job_id, request), door.caller(request).name
        chosen = await client.candidates.choose(job_id, _number(number), by=by)
        if chosen.replaced is not None:
            door.ready_files.forget(chosen.replaced)
        metadata = structs.replace(chosen.metadata, entry_id=chosen.entry)
        return json_response(
            Choice(
                number=chosen.number,
                sound=report_of(metadata),
                replaced=chosen.replaced,
                candidates=told_candidates(chosen.candidates_kept, _address(job_id)),
            )
        )

    return Router("/", route_handlers=[show, audio, choose])


def _address(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/candidates"


def _number(given: int) -> int:
    """Return a candidate's number in an address. Raises InvalidRequest."""
    try:
        return msgspec.convert(given, CandidateNumber)
    except msgspec.ValidationError:
        raise InvalidRequest(f"number: given {given}, allowed is 1 to 1000") from None
