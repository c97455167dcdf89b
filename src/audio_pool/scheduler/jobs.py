"""What the scheduler knows of a caller's request (RequestState) and of the sound produced for it (Job). Data only.

Owns: the stages that a job passes.
Must not know: what moves a job from one stage to the next (scheduler.py), who gets it (dispatch.py).

    lookup -> embed -> near -> claim -> recheck -> generate -> master -> store -> done
       `-> render -> done  (a hit whose file has another format)          call -> done  (echo, CLAP)
    looser -> held -> lookup -> generate ...  (what stands in for another sound: ladders.py)
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from audio_pool.reports import CandidateReport
from audio_pool.scheduler.answers import HitFile, ReplyValue
from audio_pool.scheduler.events import Call, Submit
from audio_pool.tasks import MasteredSound, RawSounds
from audio_pool.trace_record import Mark, Part

__all__ = ["Claiming", "Job", "RequestState", "Stage", "TaskRef"]

Stage = Literal[
    "new", "lookup", "embed", "near", "claim", "recheck", "render", "generate", "master", "store", "call", "done",
    "looser", "held",
]  # fmt: skip


class RequestState(Struct, kw_only=True):
    """One caller's request."""

    request: int
    job: int
    deadline: float | None
    events: bool
    size_bytes: int
    joined: bool
    client: str
    priority: int = 1


class TaskRef(Struct, frozen=True, kw_only=True):
    """Where a task of a job is in hand."""

    worker: str
    incarnation: int
    attempt: int


class Claiming(Struct, frozen=True, kw_only=True):
    """A claim that has been asked for."""

    until: float
    """From when on the sound is made whoever else makes it."""
    asked: bool = True
    """No answer yet."""


class Job(Struct, kw_only=True):
    """One sound (or call) being produced, for one or more requests."""

    job: int
    asked: Submit | Call
    """Of the request that opened it."""
    arrival: float
    stage: Stage = "new"
    requests: list[int] = field(default_factory=list)
    priority: int = 1
    joined_by: str | None = None
    """The client that joined it more urgently than it was asked for: it has that one's turns from then on."""
    failures: int = 0
    """Times its worker died under it."""
    suspect: bool = False
    """A worker has ended at its present stage, here or for another who asked for the same."""
    recalls: int = 0
    """Times it was taken back from a worker before it began there."""
    round: int = 0
    best: MasteredSound | None = None
    """The best sound of the rounds so far that was not accepted."""
    chosen: MasteredSound | None = None
    """The sound to store: accepted, or the best of all rounds."""
    tried: list[CandidateReport] = field(default_factory=list)
    """Candidates of all rounds, for the metadata."""
    keep: bool = False
    """Somebody wants to hear the candidates that are not chosen."""
    losers: list[MasteredSound] = field(default_factory=list)
    """Those, of all rounds so far."""
    raw: RawSounds | None = None
    """Candidates on their way from generate to master."""
    hit: HitFile | None = None
    """The hit on its way to being rendered."""
    value: ReplyValue | None = None
    """What its requests are answered with."""
    vectors: dict[str, bytes] = field(default_factory=dict)
    """float32 [D] of the prompt, by encoder."""
    missing: set[str] = field(default_factory=set)
    """Encoders whose vectors are still awaited."""
    due: float | None = None
    """When it has waited too long in its present stage: for vectors, for a claim, or as a suspect."""
    claim: Claiming | None = None
    """How it goes about claiming its sound."""
    cost_s: float = 1.0
    """What its present stage is expected to take: what its client is charged for it."""
    released: bool = False
    """Of what stands in for another sound: it is time to make it."""
    begun_at: float | None = None
    """When a worker began with it for the first time."""
    streamed: bool = False
    """Some of its sound has been sent: it cannot be made again as if nothing had been."""
    tasks: dict[int, TaskRef] = field(default_factory=dict)
    """Those in hand, by task."""
    queued_at: float = 0.0
    stage_at: float = 0.0
    """When it came to its present stage."""
    marks: list[Mark] | None = None
    """What it has been through, where that is wanted."""
    times_ms: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def mark(self, part: Part, start: float, end: float, worker: str = "", *, failed: bool = False) -> None:
        """Note a part of its present stage, where that is wanted."""
        if self.marks is not None:
            self.marks.append(Mark(self.stage, part, start, end, worker, failed))

    def marks_until(self, now: float) -> tuple[Mark, ...]:
        """Return what it has been through, its present stage included, which it ends in."""
        if self.marks is None:
            return ()
        return (*self.marks, Mark(self.stage, "cut", self.stage_at, now))

    @property
    def client(self) -> str:
        """Whose turns it has, and who is charged for it."""
        return self.asked.client if self.joined_by is None else self.joined_by

    @property
    def sound(self) -> Submit:
        """The request for a sound that opened this job; not for calls."""
        assert isinstance(self.asked, Submit)
        return self.asked
