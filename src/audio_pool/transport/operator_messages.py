"""Messages of operators: devices lent, workers and models that come and go, what the cache would be rid of.

Owns: their fields and bounds.
Must not know: sockets, who is an operator, what a message makes anybody do.
"""

from __future__ import annotations

from typing import Any

from audio_pool.residents import ModelId, ModelOrder, ModelRevision
from audio_pool.staffing import Device, Holder, LeaseS, WithinS, WorkerCount
from audio_pool.stock import LikenessMethod, Listed
from audio_pool.transport.asked import Asked
from audio_pool.types import Name

__all__ = [
    "DuplicatesRequest",
    "EvictionRequest",
    "LeaseRequest",
    "LeaseReturnRequest",
    "ModelOrderRequest",
    "ModelSwitchRequest",
    "ModelsRequest",
    "WorkerAddRequest",
    "WorkerDrainRequest",
    "WorkerRemoveRequest",
    "WorkersScaleRequest",
]


class EvictionRequest(Asked, frozen=True, kw_only=True, tag="eviction"):
    """Asks which sounds eviction takes now and next."""

    limit: Listed = 50


class DuplicatesRequest(Asked, frozen=True, kw_only=True, tag="duplicates"):
    """Asks which sounds are one too many."""

    by: LikenessMethod = "any"
    limit: Listed = 50


class LeaseRequest(Asked, frozen=True, kw_only=True, tag="lease"):
    """Asks that every worker leave a device; answered when it is free."""

    device: Device
    within_s: WithinS = 10.0
    for_s: LeaseS | None = 600.0
    """From when it is free; None: until it is returned."""
    holder: Holder | None = None
    """A name for who has it; None: the caller's own."""
    while_connected: bool = False
    """It also ends when the connection that this came through does."""


class LeaseReturnRequest(Asked, frozen=True, kw_only=True, tag="lease_return"):
    """Returns a device."""

    device: Device


class WorkerAddRequest(Asked, frozen=True, kw_only=True, tag="worker_add"):
    """Asks for one more worker."""

    worker: dict[str, Any]  # a WorkerConfig's mapping, checked when it becomes one
    like: Name | None = None
    """The worker whose settings it has where ``worker`` says nothing."""


class WorkerDrainRequest(Asked, frozen=True, kw_only=True, tag="worker_drain"):
    """Asks that a worker take nothing new; answered when it has done what it holds."""

    worker: Name
    drained: bool = True
    """False: it is to work again; answered at once."""


class WorkerRemoveRequest(Asked, frozen=True, kw_only=True, tag="worker_remove"):
    """Asks that a worker do what it holds and end for good; answered when it is gone."""

    worker: Name
    within_s: WithinS | None = None
    """After so long it is ended whatever it is at."""


class WorkersScaleRequest(Asked, frozen=True, kw_only=True, tag="workers_scale"):
    """Asks that there be so many workers of a name; answered at once."""

    worker: Name
    count: WorkerCount


class ModelsRequest(Asked, frozen=True, kw_only=True, tag="models"):
    """Asks which engines are in memory, where."""


class ModelOrderRequest(Asked, frozen=True, kw_only=True, tag="model_order"):
    """Asks that an engine be loaded, taken out, kept or let go; answered with how far that is."""

    order: ModelOrder
    engine: Name
    worker: Name | None = None
    """None: loaded where it disturbs least; else every worker that hosts it."""


class ModelSwitchRequest(Asked, frozen=True, kw_only=True, tag="model_switch"):
    """Asks that another model come in the place of an engine's; answered with how far that is."""

    engine: Name
    model: ModelId
    revision: ModelRevision | None = None
