"""What workers are told to do: tasks with their seeds, slots and files, and what comes of the slots.

Owns: what is known of a work while it is made, and the leases and inline frames of sounds between workers.
Must not know: when a job is sent and what its outcome means (schedule), sockets, the cache's look-ups.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from audio_pool.cache.sound_cache import Hit
from audio_pool.engine_info import EngineInfo
from audio_pool.pool.metadata import new_metadata
from audio_pool.pool.resolve import Settled, derived_seed
from audio_pool.scheduler import events
from audio_pool.tasks import Grant, TensorRef
from audio_pool.transport import worker_messages
from audio_pool.transport.arena import Arena
from audio_pool.types import Recipe, Rendition

__all__ = ["Making", "Offer", "Tasks"]

POOL = "pool"
"""Holder of slots that no worker holds."""


@dataclass(slots=True)
class Making:
    """What is known of a work: fixed at its first job, so that rounds and retries agree."""

    settled: Settled
    recipe: Recipe
    """With the base seed drawn."""
    request_id: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A hit, and its file as asked for (None: that rendition has to be made)."""

    hit: Hit
    path: str | None


class Tasks:
    """Used on the router's thread."""

    def __init__(
        self,
        arena: Arena,
        infos: Mapping[str, EngineInfo],
        incoming: Path,
        asked: Mapping[int, Settled],
        request_id_of: Callable[[int], str],
    ) -> None:
        """
        Args:
            incoming: where finished files are written first.
            asked: every ticket's settled request, while it lives.
            request_id_of: of a ticket.
        """
        self._arena = arena
        self._infos = infos
        self._incoming = incoming
        self._asked = asked
        self._request_id_of = request_id_of
        self._making: dict[int, Making] = {}
        self._granted: dict[int, tuple[str, list[Grant]]] = {}
        """By job, until it ends."""
        self._frames: dict[int, list[bytes]] = {}
        """Inline tensors of a work on their way from its maker to its finisher."""

    def making(self, work: int) -> Making:
        """What is known of a work whose job has been sent."""
        return self._making[work]

    def task(self, action: events.SendJob) -> tuple[worker_messages.Task, list[dict[str, Any]], list[bytes]]:
        """The task of a job, the slots granted to it, and binary frames that go with it."""
        match action.kind:
            case "make":
                return self._make_task(action)
            case "finish":
                return self._finish_task(action)
            case "embed":
                settled = self._asked[action.tickets[0]]
                return worker_messages.EmbedTask(engines=action.payloads[0], text=settled.recipe.prompt), [], []
            case "render":
                return self._render_task(action), [], []
            case "echo":
                return worker_messages.EchoTask(payload=action.payloads[0]), [], []
            case "clap":
                task: worker_messages.ClapTask = action.payloads[0]
                return task, [], []

    def _make_task(self, action: events.SendJob) -> tuple[worker_messages.Task, list[dict[str, Any]], list[bytes]]:
        parts = []
        grants: list[Grant] = []
        for work, ticket, payload in zip(action.works, action.tickets, action.payloads, strict=True):
            making = self._started(work, ticket)
            recipe, round_ = making.recipe, payload["round"]
            seeds = [derived_seed(recipe.seed or 0, round_, number) for number in range(recipe.candidates)]
            parts.append(
                worker_messages.MakePart(
                    work=work,
                    recipe=recipe,
                    seeds=seeds,
                    finish=self._finish_of(making, round_),
                    init_audio=making.settled.request.init_audio,
                )
            )
            if not action.finish_here:
                grants += self._grants(making, action.worker, action.incarnation)
        if grants:
            self._granted[action.job] = f"{action.worker}:{action.incarnation}", grants
        task = worker_messages.MakeTask(engine=parts[0].recipe.engine, parts=parts, finish_here=action.finish_here)
        return task, [msgspec.to_builtins(grant) for grant in grants], []

    def _started(self, work: int, ticket: int) -> Making:
        making = self._making.get(work)
        if making is None:
            settled = self._asked[ticket]
            recipe = settled.recipe
            if recipe.seed is None:
                recipe = msgspec.structs.replace(recipe, seed=secrets.randbits(63))
            making = Making(settled, recipe, self._request_id_of(ticket))
            self._making[work] = making
        return making

    def _finish_of(self, making: Making, round_: int) -> worker_messages.Finish:
        settled = making.settled
        return worker_messages.Finish(
            shape=settled.shape,
            rendition=settled.rendition,
            directory=str(self._incoming),
            name=f"{making.recipe.identity()[:12]}-{round_}-{secrets.token_hex(4)}",
            tau_accept_new=settled.tau_accept_new,
            metadata=new_metadata(settled, making.request_id, making.recipe.seed or 0, time.time()),
        )

    def _grants(self, making: Making, worker: str, incarnation: int) -> list[Grant]:
        """A slot a candidate; where there is no room, fewer: the rest travels inline."""
        info = self._infos[making.recipe.engine]
        seconds = making.recipe.duration_s + (making.settled.shape.tail_s if making.recipe.loop else 0.0)
        rate = making.recipe.sample_rate if info.any_rate else info.sample_rate
        payload = (round(seconds * rate) + 4096) * max(1, info.channels or 2) * 4
        grants = []
        for _ in range(making.recipe.candidates):
            grant = self._arena.lease(payload, f"{worker}:{incarnation}")
            if grant is None:
                break
            grants.append(grant)
        return grants

    def _finish_task(self, action: events.SendJob) -> tuple[worker_messages.Task, list[dict[str, Any]], list[bytes]]:
        work, outcome = action.works[0], action.payloads[0]
        making = self._making[work]
        references = [msgspec.convert(item, worker_messages.CandidateRef) for item in outcome["candidates"]]
        for reference in references:
            if reference.tensor is not None:
                ref = msgspec.convert(reference.tensor, TensorRef)
                self._arena.transfer(ref, POOL, f"{action.worker}:{action.incarnation}")
        task = worker_messages.FinishTask(
            work=work,
            recipe=making.recipe,
            finish=self._finish_of(making, 0),
            candidates=references,
            made=outcome["made"],
        )
        return task, [], self._frames.get(work, [])

    def _render_task(self, action: events.SendJob) -> worker_messages.RenderTask:
        hit: Hit = action.payloads[0]["hit"].hit
        rendition: Rendition = action.payloads[0]["render"]
        name = f"render-{hit.entry.id}-{secrets.token_hex(6)}.{rendition.format}"
        return worker_messages.RenderTask(
            master=hit.entry.path,
            out=str(self._incoming / name),
            rendition=rendition,
            loop=bool(hit.metadata.get("is_loop")),
            comment=msgspec.json.encode({**hit.entry.metadata, "format": rendition.format}).decode(),
        )

    def landed(
        self,
        job: int,
        holder: str,
        parts: dict[int, dict[str, Any]],
        frames: list[bytes],
        unwritable: Sequence[int] = (),
    ) -> None:
        """The pool itself holds the slots of an outcome until a finisher gets them."""
        used = set()
        for work, outcome in parts.items():
            for item in outcome.get("candidates", ()):
                if item.get("tensor") is not None:
                    reference = msgspec.convert(item["tensor"], TensorRef)
                    self._arena.transfer(reference, holder, POOL)
                    used.add(reference.generation)
                else:
                    self._frames[work] = frames
            if "candidates" in outcome:
                outcome["work"] = work
        for grant in self._granted.pop(job, ("", []))[1]:
            if grant.generation not in used:
                self._arena.release(grant, unwritable=grant.generation in unwritable)

    def forget(self, work: int) -> None:
        self._making.pop(work, None)
        self._frames.pop(work, None)

    def release(self, outcome: dict[str, Any]) -> None:
        """Gives back the slots and frames of an outcome that nobody wants."""
        for item in outcome.get("candidates", ()):
            if item.get("tensor") is not None:
                self._arena.release(msgspec.convert(item["tensor"], TensorRef))
            else:  # an outcome without frames (a late vector) must not take the hand-over's
                self._frames.pop(outcome.get("work", -1), None)

    def worker_died(self, holder: str) -> None:
        """``holder``: worker and incarnation, whose process is gone for sure."""
        self._arena.reclaim(holder)
        self._granted = {job: given for job, given in self._granted.items() if given[0] != holder}
