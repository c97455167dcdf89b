"""ElevenLabs' sound effects, text to speech and account, for its SDKs (music: elevenlabs_music.py).

Owns: those requests, answers and errors; what its models look like (models.py has the route).
Must not know: how a sound is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

from litestar import Response, Router, get, post
from msgspec import Meta, Struct

from audio_pool.errors import AudioPoolError, Busy
from audio_pool.gateway.described import Answer
from audio_pool.gateway.dialects.answers import (
    FILE,
    bytes_of,
    documented,
    error_handlers,
    ignored_header,
    json_of,
    request_of,
)
from audio_pool.gateway.dialects.fields import BadFields, FieldFault, read_json, take
from audio_pool.gateway.dialects.names import Names, UnknownVoice
from audio_pool.gateway.dialects.output_format import rendition_of
from audio_pool.gateway.door import Door, HttpRequest, Sound
from audio_pool.gateway.live_sound import LiveAnswer
from audio_pool.gateway.problems import TooMany
from audio_pool.types import STREAMABLE, AudioRequest, Prompt, Seed

__all__ = [
    "ERRORS", "ElevenLabsError", "FormatQuery", "Model", "is_streamed", "made_patiently", "model_object", "router",
    "streamed_patiently",
]  # fmt: skip

T = TypeVar("T")

EFFECT_MODEL = "eleven_text_to_sound_v2"
SPEECH_MODEL = "eleven_multilingual_v2"
_MOST_GUIDANCE = 2.0
"""At a ``prompt_influence`` of 1, times the engine's own; 0.3, the default, is once."""
_PATIENCE_S = 60.0
"""So long a full pool is asked again; a client waits for 240 s by default."""
_CODES = {
    "unauthenticated": "invalid_api_key",
    "refused": "missing_permissions",
    "too_many": "rate_limit_exceeded",
    "busy": "system_busy",
    "unknown_engine": "model_not_found",
    "bad_request": "invalid_parameters",
}
_TYPES = {401: "authentication_error", 403: "authorization_error", 404: "not_found", 429: "rate_limit_error"}
_STATUSES = {"busy": 429, "unknown_engine": 404}

Influence = Annotated[float, Meta(ge=0.0, le=1.0)]


class EffectBody(Struct, frozen=True, kw_only=True):
    """A sound effect. Fields of our own API may stand beside these."""

    text: Prompt
    loop: bool = False
    duration_seconds: Annotated[float, Meta(ge=0.5, le=30.0)] | None = None
    """None: the pool's default length."""
    prompt_influence: Influence | None = None
    model_id: str = EFFECT_MODEL


class VoiceSettings(Struct, frozen=True, kw_only=True):
    """How a voice is to sound; of these only the speed means something here."""

    speed: float | None = None


class SpeechBody(Struct, frozen=True, kw_only=True):
    """Words to be said. Fields of our own API may stand beside these."""

    text: Prompt
    model_id: str = SPEECH_MODEL
    seed: Seed | None = None
    voice_settings: VoiceSettings | None = None
    """Their ``speed`` where the engine has one; otherwise, and for all others, they are named in
    ``x-ignored-fields``."""


class FormatQuery(Struct, frozen=True):
    """What stands in the address."""

    output_format: str | None = None


class Model(Struct, frozen=True, kw_only=True):
    """A model as this API lists it."""

    model_id: str
    name: str
    can_do_text_to_speech: bool = False
    languages: list[str] = []


class Voice(Struct, frozen=True, kw_only=True):
    """A voice as this API lists it."""

    voice_id: str
    name: str
    category: str = "premade"


class Voices(Struct, frozen=True):
    """All voices."""

    voices: list[Voice]


class VoicesPage(Struct, frozen=True, kw_only=True):
    """The voices in whose names something was looked for; there is one page."""

    voices: list[Voice]
    has_more: bool = False
    total_count: int
    next_page_token: str | None = None


class SearchQuery(Struct, frozen=True):
    """What stands in the address of a search; the rest of it is left unread."""

    search: str | None = None


class Subscription(Struct, frozen=True, kw_only=True):
    """What this API's clients want to know before they ask: nothing is counted here."""

    tier: str = "self_hosted"
    character_count: int = 0
    character_limit: int = 1_000_000_000
    can_extend_character_limit: bool = False
    allowed_to_extend_character_limit: bool = False
    voice_slots_used: int = 0
    professional_voice_slots_used: int = 0
    voice_limit: int = 0
    voice_add_edit_counter: int = 0
    professional_voice_limit: int = 0
    can_extend_voice_limit: bool = False
    can_use_instant_voice_cloning: bool = False
    can_use_professional_voice_cloning: bool = False
    status: str = "active"
    max_character_limit_extension: int | None = None
    next_character_count_reset_unix: int | None = None


class User(Struct, frozen=True, kw_only=True):
    """Whose key it is."""

    user_id: str
    first_name: str | None
    subscription: Subscription = Subscription()
    is_new_user: bool = False
    can_use_delayed_payment_methods: bool = False
    is_onboarding_completed: bool = True
    is_onboarding_checklist_completed: bool = True
    xi_api_key: str | None = None
    created_at: int = 0
    seat_type: str = "workspace_admin"


class ErrorDetail(Struct, frozen=True, kw_only=True):
    """What went wrong; ``status`` is the older name of ``code``."""

    type: str
    code: str
    status: str
    message: str
    request_id: str
    param: str | None = None


class ElevenLabsError(Struct, frozen=True):
    """An error of this API."""

    detail: ErrorDetail | list[FieldFault]


def router(door: Door) -> Router:
    """Return the routes."""
    names = Names(door)
    tags = ["ElevenLabs"]

    @post("/v1/sound-generation", status_code=200, summary="ElevenLabs: make a sound effect", tags=tags,
          opt=documented(ElevenLabsError, FILE, body=EffectBody, query=FormatQuery))  # fmt: skip
    async def effect(request: HttpRequest, output_format: str | None = None) -> Response[bytes]:
        taken = take(EffectBody, await read_json(request))
        body, model = taken.body, await names.model(taken.body.model_id)
        guidance = await _guidance(body.prompt_influence, model.engine, names)
        own = {"prompt": body.text, "engine": model.engine, "loop": body.loop, "duration_s": body.duration_seconds}
        asked = request_of({"guidance_scale": guidance}, own, taken.native, rendition_of(output_format))
        sound = await made_patiently(door, asked, request)
        return bytes_of(sound, ignored=taken.ignored, character_cost=str(len(body.text)))

    @post(
        ["/v1/text-to-speech/{voice_id:str}", "/v1/text-to-speech/{voice_id:str}/stream"],
        status_code=200,
        summary="ElevenLabs: say words",
        tags=tags,
        opt=documented(ElevenLabsError, FILE, body=SpeechBody, query=FormatQuery),
    )
    async def speech(
        request: HttpRequest, voice_id: str, output_format: str | None = None
    ) -> Response[bytes]:
        taken = take(SpeechBody, await read_json(request))
        body, speaker = taken.body, await names.speaker(voice_id)
        own = {"prompt": body.text, "engine": speaker.engine, "voice": speaker.voice, "seed": body.seed}
        speed = None if body.voice_settings is None else body.voice_settings.speed
        heard = speed is not None and speaker.has_speed
        faster = {"options": {"speed": speed} if heard else None}
        ignored = taken.ignored if heard or body.voice_settings is None else (*taken.ignored, "voice_settings")
        asked = request_of(own, faster, taken.native, rendition_of(output_format))
        cost = str(len(body.text))
        if is_streamed(request, asked):
            return await streamed_patiently(door, asked, request, ignored, character_cost=cost)
        sound = await made_patiently(door, asked, request)
        return bytes_of(sound, ignored=ignored, character_cost=cost)

    @get("/v1/voices", summary="ElevenLabs: voices", tags=tags, opt=documented(
        ElevenLabsError, Answer(200, "Them", Voices),
    ))  # fmt: skip
    async def voices() -> Response[bytes]:
        known = await names.voices()
        return json_of(Voices([Voice(voice_id=name, name=name) for name in known]))

    @get("/v2/voices", summary="ElevenLabs: look for a voice", tags=tags, opt=documented(
        ElevenLabsError, Answer(200, "Those found", VoicesPage), query=SearchQuery,
    ))  # fmt: skip
    async def search(search: str | None = None) -> Response[bytes]:
        words = (search or "").casefold()
        known = [Voice(voice_id=name, name=name) for name in await names.voices() if words in name.casefold()]
        return json_of(VoicesPage(voices=known, total_count=len(known)))

    @get("/v1/user", summary="ElevenLabs: whose key it is", tags=tags, opt=documented(
        ElevenLabsError, Answer(200, "The key's name", User),
    ))  # fmt: skip
    async def user(request: HttpRequest) -> Response[bytes]:
        name = door.caller(request).name
        return json_of(User(user_id=name or "anybody", first_name=name or None))

    @get("/v1/user/subscription", summary="ElevenLabs: what may be used", tags=tags, opt=documented(
        ElevenLabsError, Answer(200, "All of it", Subscription),
    ))  # fmt: skip
    async def subscription() -> Response[bytes]:
        return json_of(Subscription())

    return Router("/", route_handlers=[effect, speech, voices, search, user, subscription], exception_handlers=ERRORS)


def is_streamed(request: HttpRequest, asked: AudioRequest) -> bool:
    """Return True for what is sent while it is made: on a route that is called so, in a format of plain samples."""
    return request.url.path.endswith("/stream") and asked.format in STREAMABLE


async def made_patiently(door: Door, asked: AudioRequest, request: HttpRequest) -> Sound:
    """Make a sound, and ask again while the pool is full."""
    return await _patiently(door, request, lambda: door.make(asked, request))


async def streamed_patiently(
    door: Door, asked: AudioRequest, request: HttpRequest, ignored: tuple[str, ...], **headers: str
) -> LiveAnswer:
    """Answer with a sound while it is made; asked for again while the pool is full."""
    live = await _patiently(door, request, lambda: door.stream(asked, request))
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return LiveAnswer(live, ignored_header(ignored) | told)


async def _patiently(door: Door, request: HttpRequest, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the pool has room: this API's clients never do where audio is streamed."""
    until = time.monotonic() + min(_PATIENCE_S, door.settings.timeout_s)
    while True:
        try:
            return await ask()
        except Busy as busy:
            wait_s = min((busy.retry_after_ms or 1000) / 1000, until - time.monotonic())
            if isinstance(busy, TooMany) or wait_s <= 0.0:
                raise
            await door.while_connected(request, asyncio.sleep(wait_s))


async def _guidance(influence: float | None, engine: str | None, names: Names) -> float | None:
    """Return the guidance that an influence of 0..1 means to an engine; None: its own, as of one that has none."""
    own = next((one.guidance_scale for one in await names.generators() if one.name == engine), None)
    if influence is None or own is None:
        return None
    share = influence / 0.3 if influence <= 0.3 else 1.0 + (influence - 0.3) / 0.7 * (_MOST_GUIDANCE - 1.0)
    return round(own * share, 3)


def model_object(name: str) -> Model:
    """Return a model as this API lists it."""
    return Model(model_id=name, name=name)


def _error(error: AudioPoolError, status: int, request_id: str) -> ElevenLabsError:
    if isinstance(error, BadFields):
        return ElevenLabsError(error.listed("output_format", missing="Field required"))
    code = "voice_not_found" if isinstance(error, UnknownVoice) else _CODES.get(error.code, error.code)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return ElevenLabsError([FieldFault(loc=["body"], msg=error.message, type=code)])
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return ElevenLabsError(ErrorDetail(type=kind, code=code, status=code, message=message, request_id=request_id))


ERRORS = error_handlers(_error, _STATUSES)
