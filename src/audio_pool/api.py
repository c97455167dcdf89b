"""The API of a pool, wherever it runs: its verbs, and the reports that answer them.

Owns: PoolApi, ``as_request``, one report type per question about the pool itself.
Must not know: who asks (in this process, over ZMQ), how the answer is found.

Every report can be read like a mapping of plain values, as on the wire.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from audio_pool.candidates import HasCandidates
from audio_pool.craft import Craft, CraftReport
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import InvalidRequest
from audio_pool.explanation import ExplainedEntry, Explanation, Making
from audio_pool.library import PictureReport
from audio_pool.library_api import HasLibrary
from audio_pool.numbers import PoolNumbers, TaskAtWork
from audio_pool.origin import VerifyReport
from audio_pool.pending import Pending
from audio_pool.plain_mapping import PlainMapping
from audio_pool.presets import HasPresets
from audio_pool.residents import HasModels, ModelReport
from audio_pool.results import AudioResult, Event, Failure, SoundMetadata
from audio_pool.sound_stream import SoundStream
from audio_pool.staffing import HasStaff, LeaseReport
from audio_pool.tasks import ClapOperation
from audio_pool.types import MAX_VARIANTS, AudioRequest, Delivery
from audio_pool.validation import parse

__all__ = [
    "AnswersOver",
    "Asked",
    "CacheStats",
    "Cancellation",
    "ClapAnswer",
    "ClapOperation",
    "EngineReport",
    "Engines",
    "ExplainedEntry",
    "Explanation",
    "FeedbackNoted",
    "FeedbackVerdict",
    "Health",
    "HealthState",
    "JobReport",
    "JobState",
    "Jobs",
    "KeptOver",
    "Making",
    "OnEvent",
    "OnUpgrade",
    "PictureReport",
    "PoolApi",
    "PoolStatus",
    "PromptCount",
    "Spread",
    "WorkerStatus",
    "as_request",
    "check_text",
    "check_timeout",
    "variant_requests",
]

HealthState = Literal["starting", "ready", "degraded", "draining", "down"]
JobState = Literal["pending", "running", "done", "failed", "cancelled", "expired"]
"""Of a durable job; the last four are final."""
FeedbackVerdict = Literal["good", "right", "wrong", "bad_sound"]
"""A caller's judgement of a result."""
ClapAnswer = dict[str, Any]
"""Opaque: vectors, similarities or scores, by operation, as docs/protocol.md lists them."""
Asked = str | AudioRequest | Mapping[str, Any]
"""Words, a whole request, or the mapping of one (of any values: they are checked)."""
OnEvent = Callable[[Event], object]
OnUpgrade = Callable[[AudioResult], object]


class Health(PlainMapping, Struct, frozen=True, kw_only=True):
    """Readiness: ``ready`` means that a real job could run now."""

    state: HealthState
    reasons: tuple[str, ...] = ()
    engines: dict[str, str] = {}
    """Engine name -> ready, or the state of the worker that would host it."""
    instance: str = ""
    """Of this start of the server: another one means that it has been restarted."""
    blockers: tuple[str, ...] = ()
    """Why no new sound could be made and kept now; empty: one could, even where ``state`` is degraded."""


class WorkerStatus(PlainMapping, Struct, frozen=True, kw_only=True):
    """One worker process."""

    state: str
    incarnation: int
    """Number of starts so far."""
    engines: tuple[str, ...] = ()
    roles: tuple[str, ...] = msgspec.field(default=(), name="duties")  # protocol v1's name
    device: str = ""
    tasks: int = msgspec.field(default=0, name="jobs")  # protocol v1's name
    """Sent to it and not done."""
    tasks_done: int = msgspec.field(default=0, name="jobs_done")  # protocol v1's name
    crashes: int = 0
    """In a row, without a finished task."""
    error: str | None = None
    pending: str | None = None
    """Why it has no place yet on another machine, while it is ``starting``."""
    models: tuple[ModelReport, ...] = ()
    """Its engines, and whether they are in memory."""
    room_bytes: int | None = None
    """What its engines may take in all; None: not known, or as much as they like."""
    at_work: tuple[TaskAtWork, ...] = ()
    """One for each of its threads that has a task in hand."""
    gpus: tuple[str, ...] = ()
    """The devices that it is pinned to, and leaves where they are lent."""


class PoolStatus(PlainMapping, Struct, frozen=True, kw_only=True):
    """Requests, workers, cache and counters of a pool."""

    version: str
    health: HealthState
    requests: int
    """Taken in and not answered."""
    waiting: int
    """Jobs in the queue."""
    workers: dict[str, WorkerStatus]
    semantic: str
    """The encoders of look-ups by meaning, or "off" and why."""
    cache: str
    """The cache directory, or "off"."""
    answers: dict[str, int] = {}
    """Final replies by kind."""
    cache_types: dict[str, int] = {}
    replies: dict[str, int] = {}
    """Replies parked, dropped, or addressed to clients that have gone."""
    clients: dict[str, int] = {}
    """Messages refused, and feedback by verdict."""
    arena: dict[str, int] = {}
    strangers_refused: int = 0
    """Messages on the workers' socket that were not a worker's of this pool."""
    leases: tuple[LeaseReport, ...] = ()
    """Devices that are lent; none for who is no operator."""
    heads: tuple[str, ...] = ()
    """Addresses of the other servers that share the cache and live; none for who is no operator."""
    numbers: PoolNumbers | None = None
    """None unless they were asked for."""


class EngineReport(PlainMapping, EngineInfo, frozen=True, kw_only=True):
    """An engine and whether it can be asked now."""

    state: str = "not hosted"
    """ready, or the state of the worker that hosts it."""


class Engines(PlainMapping, Struct, frozen=True, kw_only=True):
    """The engines of a pool, by name."""

    engines: tuple[EngineReport, ...] = ()
    default: str = ""
    """What is asked where a request names none: an engine, or ``kind:NAME``."""


class AnswersOver(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answers of one hour or day."""

    start: float
    """Seconds since 1970."""
    answers: dict[str, int] = {}
    """By ``cache_type``."""
    saved_s: float = 0.0
    """Seconds of generating that those from the cache saved."""


class KeptOver(PlainMapping, Struct, frozen=True, kw_only=True):
    """What was kept on one day and is still there."""

    start: float
    """Seconds since 1970."""
    entries: int
    size_mb: float


class Spread(PlainMapping, Struct, frozen=True, kw_only=True):
    """How many entries have which value."""

    edges: tuple[float, ...] = ()
    """Where each step begins; one more says where the last ends, unless that is open."""
    entries: tuple[int, ...] = ()


class PromptCount(PlainMapping, Struct, frozen=True, kw_only=True):
    """How often a prompt was found, or missed."""

    namespace: str
    prompt: str
    times: int
    last: float


class CacheStats(PlainMapping, Struct, frozen=True, kw_only=True):
    """Figures about a whole cache. Sizes in MiB, times in seconds since 1970; None where there is no value."""

    total_items: int
    total_size_mb: float
    oldest_item: float | None = None
    newest_item: float | None = None
    average_duration: float | None = None
    """Seconds."""
    unique_prompts: int = 0
    average_clap_similarity: float | None = None
    missing_files: int = 0
    total_duration_s: float = 0.0
    renditions: int = 0
    engines: dict[str, int] = {}
    """Entries by engine."""
    encoders: dict[str, int] = {}
    """Vectors by the space that they are kept in."""
    renders: int = 0
    """Results that were delivered and not kept."""
    renders_size_mb: float = 0.0
    quarantined: int = 0
    """Files that were set apart for a person to look at."""
    quarantined_size_mb: float = 0.0
    cache_dir: str = ""
    answers: dict[str, int] = {}
    """Sounds delivered so far, by ``cache_type``: by every server that ever was on the directory."""
    hit_rate: float | None = None
    """Share of those that were found in the cache."""
    saved_generation_s: float = 0.0
    """Seconds of generating that they saved."""
    hourly: tuple[AnswersOver, ...] = ()
    """The last 48 hours; one without any answer is left out."""
    daily: tuple[AnswersOver, ...] = ()
    """The last 90 days (UTC), likewise."""
    masters_size_mb: float = 0.0
    """Of that size, what is no rendition."""
    kept_daily: tuple[KeptOver, ...] = ()
    """By the day (UTC) that it was kept, the last 90 days; likewise."""
    ages_days: Spread = Spread()
    quality: Spread = Spread()
    """Scores of the quality gate."""
    clap_similarity: Spread = Spread()
    """Of entries that have one."""
    top_prompts: tuple[PromptCount, ...] = ()
    """Whose sounds were found most often; none for those who may not see them."""
    worth_warming: tuple[PromptCount, ...] = ()
    """Missed most often, and still without a sound; likewise."""


class JobReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """One durable job. Times in seconds since 1970."""

    request_id: str
    state: JobState
    prompt: str = ""
    created_at: float = 0.0
    finished_at: float | None = None
    expires_at: float | None = None
    """When a finished job, and its file, is forgotten."""
    attempts: int = 0
    """Times that a worker was given the sound to make."""
    path: str | None = None
    """Of the file kept for it; None: there is none (yet)."""
    metadata: SoundMetadata | None = None
    """None, too, where jobs are listed."""
    error: Failure | None = None
    """Of a job that ended without a sound."""
    data: bytes | UnsetType = UNSET
    """The file itself, at a client that asked for it inline."""


class Jobs(PlainMapping, Struct, frozen=True, kw_only=True):
    """A caller's durable jobs, the newest first."""

    jobs: tuple[JobReport, ...] = ()


class FeedbackNoted(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to feedback."""

    target: str
    noted: bool = True
    effect: Literal["noted", "denied", "confirmed"] = "noted"
    """What look-ups of every process on the cache directory make of it from now on."""


class Cancellation(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to a cancel."""

    target: str
    cancelled: bool
    """False: no such request was in flight."""


def as_request(prompt: Asked, fields: Mapping[str, Any]) -> AudioRequest:
    """Return the checked request of ``generate`` and ``submit``.

    Args:
        prompt: words, a whole request (whose constructor has checked nothing), or its mapping.
        fields: of AudioRequest; stronger than what ``prompt`` has under the same name.

    Raises:
        InvalidRequest: naming the field, what was given and what is allowed.
    """
    if isinstance(prompt, AudioRequest):
        prompt = msgspec.to_builtins(prompt)
    request = parse(AudioRequest, {**(prompt if isinstance(prompt, Mapping) else {"prompt": prompt}), **fields})
    texts = {"prompt": request.prompt, "negative_prompt": request.negative_prompt or ""}
    texts |= {f"tags[{number}]": tag for number, tag in enumerate(request.tags)}
    for where, scalars in (("metadata", request.metadata), ("options", request.options)):
        texts |= {f"{where}: a name": "".join(scalars)}
        texts |= {f"{where}.{name}": value for name, value in scalars.items() if isinstance(value, str)}
    for name, text in texts.items():
        check_text(name, text)
    return request


def variant_requests(prompt: Asked, count: int, fields: Mapping[str, Any]) -> list[AudioRequest]:
    """Return the requests by which so many different sounds of a prompt are asked for. Raises InvalidRequest."""
    if not isinstance(count, int) or not 1 <= count <= MAX_VARIANTS:
        raise InvalidRequest(f"count: given {count!r}, allowed is a whole number from 1 to {MAX_VARIANTS}")
    return [as_request(prompt, {**fields, "variant": number}) for number in range(1, count + 1)]


def check_text(name: str, text: str) -> None:
    """Raise InvalidRequest for half a surrogate pair: undecodable bytes of a command line or a file name."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequest(
            f"AudioRequest: field {name!r}: given {text[:60]!r}, which has no UTF-8 (character {exc.start}); "
            "allowed is Unicode text"
        ) from None


def check_timeout(timeout_s: float) -> None:
    """Raise InvalidRequest for anything but a positive number of seconds; infinity is one."""
    if not isinstance(timeout_s, (int, float)) or not timeout_s > 0:
        raise InvalidRequest(f"timeout_s: given {timeout_s!r}, allowed is a positive number of seconds")


class PoolApi(HasLibrary, HasCandidates, HasStaff, HasModels, HasPresets, Protocol):
    """The verbs of AudioPool, AudioClient and AsyncAudioClient; the last one's answers are awaited.

    Every method raises an AudioPoolError (errors.py) where there is no answer.
    """

    def generate(
        self,
        prompt: Asked,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        on_upgrade: OnUpgrade | None = None,
        **fields: Any,
    ) -> AudioResult | Awaitable[AudioResult]:
        """Make or find a sound, and wait for it. Whoever stops waiting cancels the request.

        Args:
            prompt: words, or a whole request.
            timeout_s: seconds until Timeout is raised.
            on_event: called with each event, e.g. a ProgressBar.
            on_upgrade: called with the better sound, where the answer stands in for one.
            fields: of AudioRequest, e.g. ``duration_s=8, loop=True``.
        """

    def submit(
        self, prompt: Asked, *, events: bool = False, timeout_s: float | None = None, **fields: Any
    ) -> Pending:
        """Ask for a sound and return at once. Raises InvalidRequest.

        Args:
            events: have accepted and progress events sent, for ``Pending.events``.
            timeout_s: seconds until the request ends as Timeout.
        """

    def stream(self, prompt: Asked, *, timeout_s: float | None = None, **fields: Any) -> SoundStream:
        """Ask for a sound that is sent while it is made: ``for chunk in pool.stream("rain on a roof"): ...``.

        With AsyncAudioClient: ``async for chunk in client.stream(...)``. Who leaves the loop early cancels the request
        by ``close``, or by a ``with`` block.

        Args:
            timeout_s: seconds until the request ends as Timeout.
            fields: of AudioRequest; ``candidates``, ``loop`` and a lossy ``format`` are refused.

        Returns:
            the chunks in order; afterwards ``stream.result()`` is what ``generate`` returns.
        """
        return SoundStream(self.submit(prompt, events=True, timeout_s=timeout_s, stream=True, **fields))

    def variants(
        self, prompt: Asked, count: int, *, timeout_s: float | None = None, **fields: Any
    ) -> list[AudioResult] | Awaitable[list[AudioResult]]:
        """Get so many different sounds of a prompt: those that are kept, and new ones for the rest, all at once.

        Args:
            count: 1..100; more than the pool keeps of a prompt (``cache.max_per_prompt``) are made anew each time.
            timeout_s: seconds until Timeout is raised.
            fields: of AudioRequest; no ``seed`` and no ``init_audio``, which mean one sound.

        Raises:
            AudioPoolError: what one of them came to; the others are cancelled.
        """

    def cancel(self, request_id: str) -> Cancellation | Awaitable[Cancellation]:
        """Stop any caller's request of that id, which then ends as Cancelled."""

    def engines(self) -> Engines | Awaitable[Engines]:
        """Get the engines that can be asked for, and what each can do."""

    def health(self) -> Health | Awaitable[Health]:
        """Get the state (starting, ready, degraded, draining), its reasons, and each engine's state."""

    def status(self, *, numbers: bool = False) -> PoolStatus | Awaitable[PoolStatus]:
        """Get requests, workers, cache and counters; ``numbers``: with all that was counted and measured."""

    def cache_stats(self) -> CacheStats | Awaitable[CacheStats]:
        """Get figures about the whole cache. Raises NotFound where it is off."""

    def feedback(
        self, target: str, verdict: FeedbackVerdict, comment: str = ""
    ) -> FeedbackNoted | Awaitable[FeedbackNoted]:
        """Say what the result of request ``target`` was like: ``wrong`` and ``right`` decide future look-ups."""

    def explain(self, prompt: Asked, **fields: Any) -> Explanation | Awaitable[Explanation]:
        """Get why a request would hit or miss, as ``generate`` would ask for it; nothing is made. Raises NotFound."""

    def spectrogram(
        self,
        entry: int,
        *,
        namespace: str = "default",
        mel_bands: int = 0,
        highest_hz: float | None = None,
        dark: bool = False,
        delivery: Delivery = "path",
    ) -> PictureReport | Awaitable[PictureReport]:
        """Get a picture (PNG) of a kept sound, by its entry's id: drawn by a worker where there is none yet."""

    def verify(
        self, path: str | Path | None = None, *, sound: bytes | Path | None = None, namespace: str | None = None
    ) -> VerifyReport | Awaitable[VerifyReport]:
        """Ask where a file comes from: whether it was made here, when and by what, and what was changed since.

        Args:
            path: a file that the pool reads.
            sound: a file that is read here and sent, or its bytes.
            namespace: whose sounds may be told by their prompt and entry; None: all that may be named here.
        """

    def craft(
        self,
        craft: Craft,
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        output_path: str | Path | None = None,
        delivery: Delivery = "path",
        **form: Any,
    ) -> CraftReport | Awaitable[CraftReport]:
        """Have given sounds worked on: looped, mastered, converted, mixed, put in sequence, or checked.

        Args:
            craft: what is done, e.g. ``craft.Loop(duration_s=8)``; see ``audio_pool.craft``.
            paths: files that the pool reads.
            sounds: files that are read here and sent, or their bytes; they come after ``paths``.
            output_path: where the result goes; None: where results lie that are not kept.
            delivery: ``inline`` gives the file as ``data``.
            form: how it is written; of CraftForm, e.g. ``format="ogg"``, ``target_lufs=-18.0``.
        """

    def clap(
        self,
        operation: ClapOperation,
        texts: Sequence[str] = (),
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
    ) -> ClapAnswer | Awaitable[ClapAnswer]:
        """Compute CLAP vectors, similarities, or scores of labels (``texts``) for sounds.

        Args:
            paths: files that the pool reads.
            sounds: files that are read here and sent, or their bytes.
        """
