"""What can happen to the schedule, and what it can want done.

Owns: the events and actions between ``schedule`` (which decides) and ``router`` (which carries out).
Must not know: how either is done.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

from audio_pool.errors import AudioPoolError
from audio_pool.types import Recipe

__all__ = [
    "Action",
    "Answer",
    "Ask",
    "Beaten",
    "Cancel",
    "Died",
    "Discard",
    "Drain",
    "Errand",
    "Event",
    "FindExact",
    "FindNear",
    "Forget",
    "Found",
    "JobDone",
    "JobFailed",
    "JobProgress",
    "Keep",
    "Kept",
    "Kill",
    "LoadFailed",
    "Notify",
    "Ready",
    "Said",
    "SendCancel",
    "SendJob",
    "SendStop",
    "Spawn",
    "Submit",
    "Tick",
]

PRIORITIES = ("interactive", "normal", "background")


# -- events ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One caller's wish, settled: everything the schedule needs of a request."""

    ticket: int
    """Unique for the pool's life; the key of the one table that sends final replies."""
    recipe: Recipe
    join_key: Hashable
    """Requests with equal keys share one work; None (or "") never joins."""
    priority: int = 1
    """Index into PRIORITIES."""
    deadline: float | None = None
    """On the schedule's clock."""
    events: bool = False
    size_bytes: int = 0
    lookup: bool = True
    near: bool = True
    """Look up by meaning too (only where ``encoders`` are there)."""
    encoders: tuple[str, ...] = ()
    """Embedders and scorers whose text vectors are wanted, for the look-up and for the store."""
    max_rounds: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Submit:
    ask: Ask


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """A small task that is not a sound: echo, clap, render. It has one caller and no cache."""

    ticket: int
    kind: Literal["echo", "clap"]
    engine: str = ""
    """A worker hosting this engine; "" any."""
    worker: str = ""
    payload: Any = None
    size_bytes: int = 0
    deadline: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    ticket: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The answer to FindExact or FindNear. ``hit`` is opaque; None is a miss.

    ``render``: the hit's file does not fit the request yet and a rendition must be made.
    """

    work: int
    hit: Any = None
    render: Any = None
    warning: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The answer to Keep: the sound's place, or why it could not be kept."""

    work: int
    result: Any = None
    error: AudioPoolError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A worker process said hello: it runs, and now wants its load."""

    worker: str
    incarnation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A worker has loaded. ``engines``: the names it hosts."""

    worker: str
    incarnation: int
    engines: frozenset[str]
    batching: frozenset[str] = frozenset()
    """Those of them that gain from batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadFailed:
    worker: str
    incarnation: int
    error: AudioPoolError


@dataclass(frozen=True, kw_only=True, slots=True)
class Beaten:
    """A sign of life."""

    worker: str
    incarnation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Died:
    """The process is gone for sure (it was waited for)."""

    worker: str
    incarnation: int
    reason: str
    """E.g. "exit code 1" or "signal SIGKILL"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobProgress:
    worker: str
    incarnation: int
    job: int
    attempt: int
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobDone:
    """``parts``: work -> its outcome (see schedule); opaque but for ``error``, ``accepted``, ``score``."""

    worker: str
    incarnation: int
    job: int
    attempt: int
    parts: dict[int, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFailed:
    worker: str
    incarnation: int
    job: int
    attempt: int
    error: AudioPoolError


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drain:
    """Take nothing new; what is here has until ``deadline``, then it is answered ``closed``."""

    deadline: float


Event = (
    Submit
    | Errand
    | Cancel
    | Found
    | Kept
    | Said
    | Ready
    | LoadFailed
    | Beaten
    | Died
    | JobProgress
    | JobDone
    | JobFailed
    | Tick
    | Drain
)


# -- actions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The one final reply of a ticket. ``kind`` result: ``value`` is opaque; else ``error`` says why."""

    ticket: int
    kind: Literal["result", "error", "cancelled", "expired", "busy"]
    value: Any = None
    error: AudioPoolError | None = None
    cache_type: str = ""
    """new_generation or joined for new sounds; "" for hits (the hit knows) and errands."""
    times_ms: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Notify:
    ticket: int
    type: Literal["accepted", "progress"]
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FindExact:
    work: int
    ticket: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FindNear:
    work: int
    ticket: int
    vectors: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class SendJob:
    """``works`` of one ``kind`` for one worker. ``payloads``: what the schedule knows, a work."""

    worker: str
    incarnation: int
    job: int
    attempt: int
    kind: Literal["make", "finish", "embed", "render", "echo", "clap"]
    works: tuple[int, ...]
    tickets: tuple[int, ...]
    """The first ticket of each work; 0 where it has none any more."""
    payloads: tuple[Any, ...]
    finish_here: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SendCancel:
    worker: str
    incarnation: int
    job: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SendStop:
    worker: str
    incarnation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """Store the finished sound (or, not accepted, put it where results that are not kept go)."""

    work: int
    ticket: int
    sound: Any
    vectors: dict[str, Any]
    accepted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Discard:
    """The files and slots of an outcome that nobody wants (any more)."""

    outcome: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Forget:
    """The work has ended: whatever is kept about it can go."""

    work: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Spawn:
    worker: str
    incarnation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """End the process now; Died follows when it is gone."""

    worker: str
    incarnation: int
    why: str


Action = (
    Answer | Notify | FindExact | FindNear | SendJob | SendCancel | SendStop | Keep | Discard | Forget | Spawn | Kill
)
