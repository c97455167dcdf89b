"""``/v1/workers/{name}/…`` and ``/v1/leases``: workers, their models, and devices ordered by operators.

Owns: the routes.
Must not know: how a device is left, what a worker does until it is drained, which models go for another.
"""

from __future__ import annotations

from litestar import Response, Router, delete, post
from msgspec import Struct

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.errors import NotFound, Refused
from audio_pool.gateway.asked import json_object
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.sound_report import json_response
from audio_pool.gateway.told import public_model
from audio_pool.residents import ModelsReport
from audio_pool.staffing import Device, Holder, LeaseReport, LeaseReturned, LeaseS, WithinS, WorkersOrdered
from audio_pool.validation import parse

__all__ = ["router"]

_TAGS = ["Pool"]


class LeaseAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device that is wanted."""

    device: Device
    within_s: WithinS = 10.0
    """What is at work there may end in this time, else it is begun again elsewhere."""
    for_s: LeaseS | None = 600.0
    """How long, from when it is free; null: until it is returned. Who asks again has it longer."""
    holder: Holder | None = None
    """A name for who has it; null: the gateway's."""


def router(door: Door) -> Router:
    """Return the routes."""

    def operated(request: HttpRequest) -> AsyncAudioClient:
        caller = door.caller(request)
        if not caller.operator:
            raise Refused("only an operator's key may order workers and devices")
        return door.client_of(caller)

    @post("/v1/workers/{name:str}/drain", status_code=200, summary="Give a worker nothing new", tags=_TAGS,
          opt=described(Answer(200, "It has done what it held, and stays up", WorkersOrdered)))  # fmt: skip
    async def drain(request: HttpRequest, name: str) -> Response[bytes]:
        return json_response(await door.while_connected(request, operated(request).workers.drain(name)))

    @post("/v1/workers/{name:str}/resume", status_code=200, summary="Give a drained worker work again", tags=_TAGS,
          opt=described(Answer(200, "It takes what comes", WorkersOrdered)))  # fmt: skip
    async def resume(request: HttpRequest, name: str) -> Response[bytes]:
        return json_response(await operated(request).workers.resume(name))

    @post("/v1/workers/{name:str}/models/{engine:str}/{order:str}", status_code=200, tags=_TAGS,
          summary="Load a model (load), take it out (unload), keep it whatever comes (pin), or no longer (unpin)",
          opt=described(Answer(200, "What has become of it so far", ModelsReport)))  # fmt: skip
    async def order(request: HttpRequest, name: str, engine: str, order: str) -> Response[bytes]:
        models = operated(request).models
        orders = {"load": models.load, "unload": models.unload, "pin": models.pin, "unpin": models.unpin}
        if order not in orders:
            raise NotFound(f"there is no order {order!r:.80}; allowed is one of {', '.join(orders)}")
        told = await orders[order](engine, worker=name)
        return json_response(ModelsReport(models=tuple(public_model(one) for one in told.models)))

    @post("/v1/leases", status_code=200, summary="Have every worker leave a device", tags=_TAGS,
          opt=described(Answer(200, "It is free: its memory, too", LeaseReport), body=LeaseAsked))  # fmt: skip
    async def lend(request: HttpRequest) -> Response[bytes]:
        leases, asked = operated(request).leases, parse(LeaseAsked, json_object(await request.body()))
        taken = leases.take(asked.device, within_s=asked.within_s, for_s=asked.for_s, holder=asked.holder)
        return json_response(await door.while_connected(request, taken))

    @delete("/v1/leases/{device:str}", status_code=200, summary="Return a device to its workers", tags=_TAGS,
            opt=described(Answer(200, "They come back", LeaseReturned)))  # fmt: skip
    async def give_back(request: HttpRequest, device: str) -> Response[bytes]:
        return json_response(await operated(request).leases.give_back(device))

    return Router("/", route_handlers=[drain, resume, order, lend, give_back])
