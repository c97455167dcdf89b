"""``POST /v1/craft``: sounds that are sent, worked on, and sent back.

Owns: the route, how its form is read.
Must not know: how the work is done.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from litestar import Router, post
from litestar.datastructures import UploadFile
from msgspec import UNSET, Struct, structs

from audio_pool.craft import MOST_SOUNDS, Craft, CraftForm, CraftReport
from audio_pool.errors import BadMessage, InvalidRequest
from audio_pool.gateway.accept import accepted
from audio_pool.gateway.answer import Answer
from audio_pool.gateway.asked import json_object
from audio_pool.gateway.audio_response import MEDIA_TYPES
from audio_pool.gateway.described import AUDIO, described
from audio_pool.gateway.described import Answer as Says
from audio_pool.gateway.door import Door
from audio_pool.gateway.http_request import HttpRequest, header_of
from audio_pool.gateway.problems import NotAcceptable
from audio_pool.gateway.sound_report import json_answer
from audio_pool.validation import parse

__all__ = ["router"]


class Crafted(Struct, frozen=True, kw_only=True):
    """What became of the sounds."""

    report: CraftReport
    audio: str | None = None
    """The file in base64; null: none was written."""


class _Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of the form that are no files."""

    craft: Craft
    form: CraftForm = CraftForm()


_NOT_KEPT = {"cache-control": "no-store"}
_FORM: dict[str, Any] = {  # a JSON Schema
    "type": "object",
    "properties": {
        "sound": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": MOST_SOUNDS,
            "description": "Sound files; one but for mixes and sequences.",
        },
        "craft": {
            "type": "string",
            "description": 'What is done, as JSON: {"kind": "loop"}, or master, convert, mix, sequence, check.',
        },
        "form": {"type": "string", "description": "How the result is written, as JSON."},
    },
    "required": ["sound", "craft"],
}


def router(door: Door) -> Router:
    """Return the route."""

    @post("/v1/craft", status_code=200, summary="Loop, master, convert, mix, join or check sounds", tags=["Craft"],
          opt=described(Says(200, "The result", Crafted, media=AUDIO), form=_FORM))  # fmt: skip
    async def craft(request: HttpRequest) -> Answer:
        choices = accepted(header_of(request, b"accept"))
        asked, sounds = await _read(request)
        form, as_bytes = _form_of(asked, choices, request)
        caller = door.caller(request)

        async def worked() -> CraftReport:
            async with door.turn(caller):
                return await door.client_of(caller).craft(
                    asked.craft, sounds=sounds, delivery="inline", timeout_s=door.settings.timeout_s,
                    **msgspec.to_builtins(form),
                )  # fmt: skip

        report = await door.while_connected(request, worked())
        data = report.data if isinstance(report.data, bytes) else None
        report = structs.replace(report, data=UNSET)
        if data is None or not as_bytes:
            audio = None if data is None else base64.b64encode(data).decode()
            return json_answer(Crafted(report=report, audio=audio))
        return Answer(data, [(b"content-type", MEDIA_TYPES[report.format].encode()), *_headers(report)])

    return Router("/", route_handlers=[craft])


async def _read(http: HttpRequest) -> tuple[_Asked, list[bytes]]:
    """Return what is asked, and the files in their order. Raises BadMessage, InvalidRequest."""
    try:
        form = await http.form()
    except (ValueError, KeyError) as exc:
        raise BadMessage(f"the body is no form: {exc}", hint="send multipart/form-data") from None
    try:
        files = form.getall("sound", [])
        if not all(isinstance(one, UploadFile) for one in files):
            raise InvalidRequest("sound: allowed are files (parts with a filename)")
        sounds = [await one.read() for one in files]
        fields: dict[str, Any] = {}  # opaque until it is checked
        for name in dict.fromkeys(form.keys()):
            given = form.getall(name)
            if name == "sound":
                continue
            if len(given) != 1 or not isinstance(given[0], str):
                raise InvalidRequest(f"{name}: allowed is one JSON object as text")
            fields[name] = json_object(given[0].encode())
    finally:
        await form.close()
    return parse(_Asked, fields, error=InvalidRequest, what="form"), sounds


def _form_of(
    asked: _Asked, choices: tuple[tuple[str, Any], ...], http: HttpRequest  # Any: Format | None
) -> tuple[CraftForm, bool]:
    """Return how the result is written, as Accept names it, and whether bytes are wanted."""
    for kind, format_ in choices:
        if kind == "json":
            return asked.form, False
        if format_ is None or asked.form.format in (None, format_):
            return (asked.form if format_ is None else structs.replace(asked.form, format=format_)), True
    raise NotAcceptable(
        f"Accept: given {http.headers.get('accept', '')!r:.100} and format {asked.form.format}, allowed are "
        f"application/json, audio/* and {', '.join(MEDIA_TYPES[one] for one in MEDIA_TYPES if one != 'png')}"
    )


def _headers(report: CraftReport) -> list[tuple[bytes, bytes]]:
    """Return what headers tell of a result; what is not known is left out."""
    told = {
        "x-sound-duration": report.duration_s,
        "x-sound-sample-rate": report.sample_rate,
        "x-sound-channels": report.channels,
        "x-sound-loop": str(report.is_loop).lower(),
        "x-sound-seam": None if report.loop is None else report.loop.seam_score,
        "x-sound-quality": report.quality.score,
        "x-sound-loudness-lufs": report.loudness_lufs,
        "x-sound-true-peak-dbfs": report.true_peak_dbfs,
        "x-sound-warnings": "; ".join(report.warnings)[:1000] or None,
    }
    known = {name: str(value) for name, value in told.items() if value is not None}
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in {**known, **_NOT_KEPT}.items()]
