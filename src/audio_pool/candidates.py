"""The vocabulary of kept candidates: what can be asked of those that were not chosen.

Owns: CandidateFile and the other answers, and CandidatesApi: the verbs of a pool's and a client's ``candidates``.
Must not know: who asks, where candidates are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.plain_mapping import PlainMapping
from audio_pool.reports import KeptCandidate
from audio_pool.results import SoundMetadata
from audio_pool.types import Delivery

__all__ = [
    "CandidateChosen",
    "CandidateFile",
    "CandidateNumber",
    "CandidatesApi",
    "CandidatesKept",
    "HasCandidates",
]

CandidateNumber = Annotated[int, Meta(ge=1, le=1000)]


class CandidatesKept(PlainMapping, Struct, frozen=True, kw_only=True):
    """The candidates of one request that can be heard now."""

    target: str
    """The request."""
    candidates: tuple[KeptCandidate, ...] = ()
    entry: int | None = None
    """Of the sound that is kept; None: none is."""


class CandidateFile(PlainMapping, Struct, frozen=True, kw_only=True):
    """A kept candidate in one format."""

    target: str
    number: int
    format: str
    size_bytes: int
    sha256: str
    """Of the file, in hex."""
    metadata: SoundMetadata
    """As they are of this format."""
    path: str | None = None
    """Of the pool's own file; None: delivered as bytes."""
    data: bytes | UnsetType = UNSET
    """The file itself, at a client that asked for it inline."""


class CandidateChosen(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to a choice: the candidate is the kept sound now."""

    target: str
    number: int
    entry: int
    """Of the kept sound."""
    replaced: int | None
    """The entry whose place it took; None: none was kept."""
    metadata: SoundMetadata
    path: str | None = None
    """Of the cache's own file; None: it is not told."""
    candidates_kept: tuple[KeptCandidate, ...] = ()
    """Those that can be heard now: the sound that was kept before is one of them."""


class CandidatesApi(Protocol):
    """The verbs of ``candidates`` of AudioPool, AudioClient and AsyncAudioClient; the last one's answers are awaited.

    ``request_id``: of your own request that was made with ``keep_candidates``. Every verb raises NotFound for what is
    not kept (any more), or is another's.
    """

    def of(self, request_id: str) -> CandidatesKept | Awaitable[CandidatesKept]:
        """Get which candidates of a request can be heard now."""

    def file(
        self, request_id: str, number: int, *, delivery: Delivery = "path", **form: Any
    ) -> CandidateFile | Awaitable[CandidateFile]:
        """Get a candidate's file.

        Args:
            number: of ``candidates_kept``.
            form: of FileForm, e.g. ``format="ogg"``; nothing: as the request wanted it.
        """

    def choose(self, request_id: str, number: int, *, by: str = "") -> CandidateChosen | Awaitable[CandidateChosen]:
        """Keep a candidate in place of the sound that is kept: the same request finds it from now on.

        Args:
            by: who chooses, for the record; "": as whom the pool knows you.
        """


class HasCandidates(Protocol):
    """Where candidates that were not chosen can be asked about."""

    @property
    def candidates(self) -> CandidatesApi:
        """Candidates that were not chosen: heard, or chosen instead."""
