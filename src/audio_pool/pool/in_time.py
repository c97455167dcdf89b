"""Requests that are to be answered in time, on their way to the scheduler: taken apart into their parts.

Owns: which requests these are, what may stand in for their sounds, and who hears of the better sound.
Must not know: when what begins (scheduler/ladders.py), sockets.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Protocol

from msgspec import UNSET, Struct, structs

from audio_pool.config import Config, DefaultsConfig
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import AudioPoolError
from audio_pool.pool.caller import Caller
from audio_pool.pool.replies import Reply, ReplySink, UnheardSink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.resolve import ResolvedRequest, resolve
from audio_pool.pool.signing import Signing
from audio_pool.results import Accepted, Chunk, Progress, SoundMetadata
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import ReplyKind, SendReply
from audio_pool.types import AudioRequest

__all__ = ["InTime", "UpgradeSink", "Upgraded", "told_in_time", "wants_in_time"]

_BUILT_IN = DefaultsConfig().engine
"""Implementation of the engine that a pool without a configuration has: it needs no weights and is quick."""

_LEFT_OUT = "preset_left_out: "


class Upgraded(Protocol):
    """Makes the sink of a better sound."""

    def __call__(self, request_id: str, number: int, /) -> ReplySink | None:
        """Return who hears of the better sound; None: nobody.

        Args:
            request_id: its name from now on.
            number: by which the intake cancels it.
        """


def wants_in_time(request: AudioRequest) -> bool:
    """Return True for a request that takes what is not quite what it asks for, for the sake of time."""
    return (request.best_by_deadline and not request.strict) or request.stand_in


def told_in_time(metadata: SoundMetadata, reply: SendReply, requests: RequestTable) -> SoundMetadata:
    """Return the metadata of an answer that had to be there in time, or of the better sound after one."""
    upgrade = requests.get(reply.upgrade) if reply.upgrade else None
    if upgrade is not None and isinstance(upgrade.sink, UpgradeSink):
        metadata = structs.replace(metadata, upgrade_id=upgrade.sink.announce(reply.upgrade))
    answered = requests.get(reply.request)
    if reply.rung is not None:
        if reply.rung == "built_in" and answered is not None and answered.stood_in_by is not None:
            metadata = _with_own_presets(metadata, answered.stood_in_by)
        return structs.replace(metadata, rung=reply.rung, approximate=reply.rung in ("looser", "built_in"))
    if answered is not None and isinstance(answered.sink, UpgradeSink):
        first = answered.sink.first.request_id
        return structs.replace(metadata, approximate=False, upgrade_of=first)
    return metadata


def _with_own_presets(metadata: SoundMetadata, stand_in: ResolvedRequest) -> SoundMetadata:
    """Return what is told of a sound of the built-in engine: presets say other things to it than to the one asked."""
    if metadata.presets is UNSET:
        return metadata
    others = (one for one in metadata.warnings if not one.startswith(_LEFT_OUT))
    own = (one for one in stand_in.warnings if one.startswith(_LEFT_OUT))
    return structs.replace(metadata, presets=stand_in.presets, warnings=(*others, *own))


class UpgradeSink(Struct):
    """Who hears of the sound as it was asked for: its caller, under the first id until that is answered."""

    first: ReplySink
    upgraded: Upgraded | None
    request_id: str
    own: ReplySink | None = None
    announced: bool = False
    answered: bool = False
    """The first answer has left."""
    early: Reply | None = None
    """What came of it before that: nobody hears of what is better before there is something to better."""

    def first_has_left(self) -> None:
        """Note that the first answer has left."""
        self.answered = True
        if self.early is not None:
            self.finish(self.early)

    def announce(self, number: int) -> str:
        """Give the better sound its id; return it."""
        self.request_id, self.announced = secrets.token_hex(8), True
        self.own = None if self.upgraded is None else self.upgraded(self.request_id, number)
        return self.request_id

    def finish(self, reply: Reply) -> None:
        """Pass on what came of the better sound."""
        if not self.answered:
            self.early = reply
        elif self.own is not None:
            kind: ReplyKind = "upgraded" if reply.kind == "result" else reply.kind
            self.own.finish(structs.replace(reply, kind=kind))

    def notify(self, body: Accepted | Progress) -> None:
        """Pass an event on."""
        if not self.announced:
            self.first.notify(body)
        elif self.answered and self.own is not None and isinstance(body, Progress):
            self.own.notify(body)

    def take_chunk(self, chunk: Chunk) -> bool:
        """Drop a part of the sound: what is streamed is not replaced."""
        return True


class InTime:
    """Router's thread only."""

    def __init__(self, requests: RequestTable, infos: Mapping[str, EngineInfo]) -> None:
        """``infos``: of the engines that workers host."""
        self._requests = requests
        self._infos = infos

    def take_apart(
        self,
        asked: events.Submit,
        resolved: ResolvedRequest,
        config: Config,
        signing: Signing,
        sink: ReplySink,
        caller: Caller,
        upgraded: Upgraded | None,
    ) -> events.AskInTime:
        """Return a request as the scheduler takes it; its parts are open from now on.

        Args:
            asked: as it would be submitted if it had all the time it takes.
            upgraded: who hears of a better sound.
        """
        cached = config.cache.enabled
        request, number = resolved.request, asked.request
        whole = self._requests[number]
        better = UpgradeSink(sink, upgraded, sink.request_id)
        wanted = self._requests.open(better, resolved, caller)
        part = self._requests[wanted]
        part.is_part, part.looked_up, part.trace = True, whole.looked_up, whole.trace
        before = whole.on_answered

        def answered() -> None:
            if before is not None:
                before()
            better.first_has_left()

        whole.on_answered = answered
        looser = cached and not request.force and not resolved.query.speech and request.init_audio is None
        built_in = whole.stood_in_by = self._built_in(resolved, config, signing)
        stand_in: events.Submit | None = None
        if built_in is not None or looser:
            made_by = built_in or resolved
            other = self._requests.open(UnheardSink(sink.request_id), made_by, caller)
            # a looser match is looked for by what was asked for, and what is made in its place by its own recipe
            self._requests[other].is_part, self._requests[other].likened_to = True, resolved
            key = made_by.join_key
            stand_in = events.Submit(
                request=other,
                recipe=made_by.recipe,
                client=asked.client,
                join_key=None if key is None else structs.replace(key, stands_in=True, like=resolved.recipe),
                priority=events.PRIORITIES.index("interactive"),
                lookup=cached and not request.force and built_in is not None,
                near=False,
                max_rounds=made_by.max_rounds,
                traced=asked.traced,
                stands_in=True,
                looser=looser,
                makes=built_in is not None,
            )
        return events.AskInTime(
            request=number,
            wanted=structs.replace(asked, request=wanted, deadline=None),
            stand_in=stand_in,
            deadline=asked.deadline,
            at_once=request.stand_in,
            upgrade=request.upgrade or (request.stand_in and not request.durable),
        )

    def taken(self, parts: events.AskInTime) -> None:
        """Note that a request has been handed over: a later look-up is to find what has come since."""
        wanted = self._requests.get(parts.wanted.request)
        if wanted is not None:
            wanted.looked_up = None

    def _built_in(self, resolved: ResolvedRequest, config: Config, signing: Signing) -> ResolvedRequest | None:
        """Return what the built-in engine would make in the sound's place; None: it cannot, or is what was asked."""
        request, recipe = resolved.request, resolved.recipe
        name = config.defaults.stand_in
        info = self._infos.get(name)
        if name == "auto":
            makers = (one for one in self._infos.values() if (one.implementation or one.name) == _BUILT_IN)
            info = next(makers, None)
        if info is None or info.role != "generator" or info.speech or info.name == recipe.engine:
            return None
        if resolved.query.speech or request.init_audio is not None or recipe.edit is not UNSET:
            return None
        plain = structs.replace(
            resolved.unmerged or request,  # presets have other words for this engine
            engine=info.name,
            duration_s=min(max(recipe.duration_s, info.shortest_s), info.longest_s),
            loop=recipe.loop,
            seed=None,
            negative_prompt=None,
            steps=None,
            guidance_scale=None,
            candidates=1,
            keep_candidates=False,
            voice=None,
            options={},
            loop_method=None,
            variant=None,
            prefetch=None,
            replace=False,
            priority="interactive",
            deadline_ms=None,
            best_by_deadline=False,
            stand_in=False,
            upgrade=False,
            durable=False,
            output_path=None,
            # where any engine's sounds answer, this one must not come back as the real one
            store=request.store and resolved.query.same_settings != "any",
        )
        try:
            return resolve(plain, config, self._infos, presets=resolved.named, signing=signing)
        except AudioPoolError:  # it cannot do that: nothing stands in
            return None
