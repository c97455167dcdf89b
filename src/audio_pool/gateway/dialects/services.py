"""The API of the first services: ``POST /predict``, at an address for each engine (``[http.services.NAME]``).

Owns: those requests, answers and errors, with the bounds and defaults of either service.
Must not know: how addresses are bound, how a sound is made.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Literal

from litestar import Response, Router, post
from msgspec import Meta, Struct

from audio_pool import __version__
from audio_pool.errors import AudioPoolError
from audio_pool.gateway.described import Answer
from audio_pool.gateway.dialects.answers import documented, error_handlers, json_of, request_of
from audio_pool.gateway.dialects.fields import BadFields, Fault, FieldFault, Taken, bytes_in, read_json, take
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.door import Door, HttpRequest, Sound
from audio_pool.gateway.told import public
from audio_pool.reports import Timings
from audio_pool.tracing import current_traceparent, within
from audio_pool.types import Format, OptionalText, Prompt

__all__ = ["router"]

_JOB_ID = "[a-zA-Z0-9._:-]{1,256}"


class _Body(Struct, frozen=True, kw_only=True):
    """What both services take. Fields of our own API may stand beside these."""

    prompt: Prompt
    negative_prompt: OptionalText = ""
    duration: Annotated[float, Meta(ge=1.0, le=30.0)] = 10.0
    """Seconds."""
    audio_input_b64: str | None = None
    """A sound file to start from."""
    format: Format = "wav"


class AudioLdm2Body(_Body, frozen=True, kw_only=True):
    """As AudioLDM2's service takes it."""

    guidance_scale: Annotated[float, Meta(ge=1.0, le=20.0)] = 3.5
    num_inference_steps: Annotated[int, Meta(ge=10, le=500)] = 200


class StableAudioBody(_Body, frozen=True, kw_only=True):
    """As Stable Audio's service takes it."""

    guidance_scale: Annotated[float, Meta(ge=1.0, le=20.0)] = 7.0
    num_inference_steps: Annotated[int, Meta(ge=10, le=200)] = 100


Api = Literal["audioldm2", "stable_audio"]
Body = AudioLdm2Body | StableAudioBody
_BODIES: dict[Api, type[Body]] = {"audioldm2": AudioLdm2Body, "stable_audio": StableAudioBody}


class Trace(Struct, frozen=True, kw_only=True):
    """By what names the request is known."""

    client_job_id: str | None
    request_id: str
    trace_id: str | None
    """Of the caller's ``traceparent``, or of the trace that the gateway begins; None: there is none."""


class PredictionMeta(Struct, frozen=True, kw_only=True):
    """What is known of the sound and of how it came to be."""

    timing: Timings
    """Milliseconds."""
    trace: Trace
    version: str
    engine: str
    model: str
    seed: int | None
    cached: bool
    format: str
    warnings: tuple[str, ...]


class JobQuery(Struct, frozen=True):
    """What stands in the address."""

    client_job_id: Annotated[str, Meta(pattern=f"^{_JOB_ID}$")] | None = None


class ServiceError(Struct, frozen=True):
    """An error of this API."""

    detail: str | list[FieldFault]


class Predicted(Struct, frozen=True, kw_only=True):
    """The answer of ``/predict``."""

    audio_b64: str
    sample_rate: int
    duration: float
    meta: PredictionMeta


def router(door: Door) -> Router:
    """Return the route."""
    names = Names(door)

    @post("/predict", status_code=200, summary="The first services: make a sound", tags=["Services"], opt=documented(
        ServiceError, Answer(200, "The sound", Predicted), body=AudioLdm2Body, query=JobQuery,
    ))  # fmt: skip
    async def predict(request: HttpRequest, client_job_id: str | None = None) -> Response[bytes]:
        if client_job_id is not None and not re.fullmatch(_JOB_ID, client_job_id):
            raise BadFields(Fault("client_job_id", f"given {client_job_id!r:.80}, allowed is what matches ^{_JOB_ID}$"))
        name = door.service_named(request)
        service = None if name is None else door.settings.services[name]
        api: Api = "audioldm2" if service is None else service.api
        taken = take(_BODIES[api], await read_json(request, most_bytes=door.settings.max_body_bytes))
        engine = (await names.model(None, "audioldm2")).engine if service is None else service.engine
        sound = await _made(taken, engine, request, door)
        return json_of(_answer(sound, client_job_id))

    return Router("/", route_handlers=[predict], exception_handlers=ERRORS)


async def _made(taken: Taken[Body], engine: str | None, request: HttpRequest, door: Door) -> Sound:
    body = taken.body
    start = bytes_in("audio_input_b64", body.audio_input_b64) if body.audio_input_b64 else b""
    own = {
        "prompt": body.prompt,
        "negative_prompt": body.negative_prompt,
        "duration_s": body.duration,
        "guidance_scale": body.guidance_scale,
        "steps": body.num_inference_steps,
        "format": body.format,
        "engine": engine,
    }
    return await door.make(request_of(own, taken.native), request, init_audio=start)


def _answer(sound: Sound, client_job_id: str | None) -> Predicted:
    metadata, traceparent = public(sound.metadata), current_traceparent()
    trace_id = within(traceparent).trace_id if traceparent else None
    return Predicted(
        audio_b64=base64.b64encode(sound.data).decode(),
        sample_rate=metadata.sample_rate,
        duration=metadata.duration_s,
        meta=PredictionMeta(
            timing=metadata.timings_ms,
            trace=Trace(client_job_id=client_job_id, request_id=sound.request_id, trace_id=trace_id),
            version=__version__,
            engine=metadata.engine,
            model=metadata.model,
            seed=metadata.base_seed,
            cached=metadata.cached,
            format=metadata.format,
            warnings=metadata.warnings,
        ),
    )


def _error(error: AudioPoolError, status: int, request_id: str) -> ServiceError:
    return ServiceError(error.listed("client_job_id") if isinstance(error, BadFields) else error.message)


ERRORS = error_handlers(_error)
