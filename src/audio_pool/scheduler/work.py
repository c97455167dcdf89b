"""What a worker is given to do: for which jobs, and with what.

Owns: the kinds of work, as data, and which of a worker's threads carries each out. All can be encoded and read back.
Must not know: which worker does it, how it becomes a task on the wire.
"""

from __future__ import annotations

from msgspec import Struct

from audio_pool.scheduler.answers import HitFile
from audio_pool.tasks import CallTask, RawSounds, Thread

__all__ = [
    "CallWork",
    "EmbedWork",
    "GenerateWork",
    "JobRound",
    "LoadWork",
    "MasterWork",
    "RenderWork",
    "TaskWork",
    "UnloadWork",
    "thread_of",
]


class JobRound(Struct, frozen=True, kw_only=True):
    """One job of a batch: whose request it is, and which round of fresh seeds."""

    job: int
    request: int
    round: int
    keep: bool = False
    """Candidates that are not chosen are wanted, too."""


class GenerateWork(Struct, frozen=True, kw_only=True, tag="generate"):
    """Candidates for one batch of jobs."""

    engine: str = ""
    """What their model is filed under on workers; empty: as the recipes name it."""
    jobs: tuple[JobRound, ...]
    master_here: bool
    """The worker masters what it generates."""
    stream: bool = False
    """The one job's sound is sent while it is made."""


class MasterWork(Struct, frozen=True, kw_only=True, tag="master"):
    """Candidates that another worker generated."""

    job: int
    round: int
    raw: RawSounds
    keep: bool = False
    """Those that are not chosen are wanted, too."""


class EmbedWork(Struct, frozen=True, kw_only=True, tag="embed"):
    """The text vector of a request's prompt."""

    job: int
    request: int
    encoder: str


class RenderWork(Struct, frozen=True, kw_only=True, tag="render"):
    """A rendition of a hit."""

    job: int
    request: int
    hit: HitFile


class CallWork(Struct, frozen=True, kw_only=True, tag="call"):
    """An echo or CLAP call, a prompt to embed, or a kept sound to draw or to write in another format."""

    job: int
    task: CallTask


class LoadWork(Struct, frozen=True, kw_only=True, tag="load"):
    """An engine to be loaded; of no job."""

    engine: str


class UnloadWork(Struct, frozen=True, kw_only=True, tag="unload"):
    """An engine to be taken out of memory; of no job."""

    engine: str


TaskWork = GenerateWork | MasterWork | EmbedWork | RenderWork | CallWork | LoadWork | UnloadWork


def thread_of(work: TaskWork) -> Thread:
    """Return which of a worker's threads carries the work out."""
    # an engine changes hands where it works: what was sent before it is done by then, what comes after finds it
    return "generate" if isinstance(work, GenerateWork | LoadWork | UnloadWork) else "aux"
