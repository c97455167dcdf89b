"""``POST /v1/detect``: where a sound that is sent comes from.

Owns: the route, how the file is read out of the request.
Must not know: how a sound is recognised.
"""

from __future__ import annotations

from typing import Any

from litestar import Router, post
from litestar.datastructures import UploadFile
from msgspec import structs

from audio_pool.errors import BadMessage, InvalidRequest
from audio_pool.gateway.answer import Answer
from audio_pool.gateway.described import Answer as Says
from audio_pool.gateway.described import described
from audio_pool.gateway.door import Door
from audio_pool.gateway.http_request import HttpRequest, header_of
from audio_pool.gateway.sound_report import json_answer
from audio_pool.origin import VerifyReport

__all__ = ["router"]


class Detected(VerifyReport, frozen=True, kw_only=True):
    """Where the sound comes from."""

    changed: tuple[str, ...] = ()
    """What was changed since it was made, in words."""


_FORM: dict[str, Any] = {  # a JSON Schema
    "type": "object",
    "properties": {
        "sound": {"type": "string", "format": "binary", "description": "A sound file of at most ten minutes."},
    },
    "required": ["sound"],
}


def router(door: Door) -> Router:
    """Return the route."""

    @post("/v1/detect", status_code=200, summary="Tell where a sound comes from", tags=["Craft"],
          opt=described(Says(200, "What is known of it", Detected), form=_FORM))  # fmt: skip
    async def detect(request: HttpRequest) -> Answer:
        name, data = await _read(request)
        caller = door.caller(request)

        async def asked() -> VerifyReport:
            async with door.turn(caller):
                return await door.client_of(caller).verify(
                    sound=data, namespace=caller.namespace, timeout_s=door.settings.timeout_s
                )

        report = await door.while_connected(request, asked())
        told = {**structs.asdict(report), "name": name or report.name}
        return json_answer(Detected(**told, changed=tuple(report.changes.told())))

    return Router("/", route_handlers=[detect])


async def _read(http: HttpRequest) -> tuple[str, bytes]:
    """Return the file's name and the file: the part ``sound`` of a form, or the whole body."""
    if not header_of(http, b"content-type").lower().startswith("multipart/"):
        data = await http.body()
        if not data:
            raise InvalidRequest("the body is empty; send a sound file, or a form with one as 'sound'")
        return "", data
    try:
        form = await http.form()
    except (ValueError, KeyError) as exc:
        raise BadMessage(f"the body is no form: {exc}", hint="send multipart/form-data") from None
    try:
        files = form.getall("sound", [])
        if len(files) != 1 or not isinstance(files[0], UploadFile):
            raise InvalidRequest("sound: allowed is one file (a part with a filename)")
        data = await files[0].read()
        if not data:
            raise InvalidRequest("sound: the file is empty")
        return files[0].filename[:255], data
    finally:
        await form.close()
