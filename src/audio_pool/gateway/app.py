"""The ASGI application of a gateway: its routers, and what stands before all of them.

Owns: the list of routers, the lifespan of the pool's client.
Must not know: what any router answers.

A further dialect is one file with ``router(door) -> Router`` and one line in ROUTERS. Its Router may have
exception handlers of its own for AudioPoolError, HTTPException and Exception; without them it answers problem+json.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.types import ASGIApp

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.connection import Keys
from audio_pool.config import HttpConfig
from audio_pool.gateway import (
    archives,
    batches,
    cache_view,
    candidates,
    console,
    craft,
    detect,
    health,
    jobs,
    judging,
    library,
    live,
    numbers,
    openapi,
    pictures,
    pool_view,
    presets,
    selections,
    staff,
)
from audio_pool.gateway.dialects import (
    elevenlabs,
    elevenlabs_music,
    fal,
    hugging_face,
    models,
    openai,
    services,
    stability,
    vllm_omni,
)
from audio_pool.gateway.door import Door
from audio_pool.gateway.guard import Guard
from audio_pool.gateway.http_spans import Traced
from audio_pool.gateway.keyring import Keyring
from audio_pool.gateway.methods import AllowedMethods
from audio_pool.gateway.problems import PROBLEM_HANDLERS
from audio_pool.gateway.tally import Counted

__all__ = ["create_app"]

ROUTERS: list[Callable[[Door], Router]] = [
    console.router,
    health.router,
    numbers.router,
    jobs.router,
    candidates.router,
    batches.router,
    library.router,
    selections.router,
    archives.router,
    pictures.router,
    cache_view.router,
    pool_view.router,
    craft.router,
    detect.router,
    live.router,
    staff.router,
    presets.router,
    judging.router,
    openapi.router,
    models.router,
    openai.router,
    elevenlabs.router,
    elevenlabs_music.router,
    stability.router,
    vllm_omni.router,
    hugging_face.router,
    services.router,
    fal.router,
]
"""Every router of the gateway."""


def create_app(
    endpoint: str | None, settings: HttpConfig, *, keys: Keys = None, ports: tuple[int, ...] = ()
) -> ASGIApp:
    """Return the application, which connects to the pool when it is started.

    Args:
        endpoint: of the pool; None: this user's default one.
        settings: of ``[http]``.
        keys: CURVE keys for the endpoint.
        ports: where it listens, the services' behind its own.
    """
    keyring = Keyring(Path(settings.keys_file).expanduser()) if settings.keys_file else None

    def connect() -> AsyncAudioClient:
        return AsyncAudioClient(endpoint, timeout_s=settings.timeout_s, keys=keys, resume=True)

    door = Door(connect, settings, keyring)
    door.services = dict(zip(ports[1:], settings.services, strict=False))

    @contextlib.asynccontextmanager
    async def connected(app: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await door.close()

    app = Litestar(
        [router(door) for router in ROUTERS],
        lifespan=[connected],
        guards=[door.admit],
        cors_config=_cors(settings),
        exception_handlers=PROBLEM_HANDLERS,
        openapi_config=None,  # openapi.py makes the document
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
        pdb_on_exception=False,
        debug=False,
    )
    guarded = Guard(AllowedMethods(app, app.routes), settings, ports)
    return Traced(Counted(guarded, door.tally), os.environ)


def _cors(settings: HttpConfig) -> CORSConfig | None:
    """Return what pages of other origins may do; None: nothing."""
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=["*", "x-request-id", "retry-after", "location", "etag", "content-range"],
        max_age=600,
    )
