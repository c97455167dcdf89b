"""Clients' messages about kept sounds, and about candidates that are kept for a while.

Owns: their fields and bounds.
Must not know: sockets, what a message makes anybody do.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from audio_pool.candidates import CandidateNumber
from audio_pool.library import MAX_BUCKETS, EntryId, EntryIds, FileForm, SoundMarks, SoundSearch
from audio_pool.transport.asked import Asked
from audio_pool.types import Delivery, Name, RequestId

__all__ = [
    "CandidateFileRequest",
    "CandidatesRequest",
    "ChooseRequest",
    "MarkManyRequest",
    "MarkRequest",
    "RemoveManyRequest",
    "RemoveRequest",
    "SoundFileRequest",
    "SoundRequest",
    "SoundsRequest",
    "WaveformRequest",
]


class SoundsRequest(Asked, frozen=True, kw_only=True, tag="sounds"):
    """Asks for a page of kept sounds."""

    search: SoundSearch = SoundSearch()


class SoundRequest(Asked, frozen=True, kw_only=True, tag="sound"):
    """Asks for what is known of one kept sound."""

    entry: EntryId
    namespace: Name | None = None


class SoundFileRequest(Asked, frozen=True, kw_only=True, tag="sound_file"):
    """Asks for a kept sound's file in a format: written where there is none yet."""

    entry: EntryId
    namespace: Name | None = None
    form: FileForm = FileForm()
    delivery: Delivery = "path"


class WaveformRequest(Asked, frozen=True, kw_only=True, tag="waveform"):
    """Asks for the least and greatest samples of a kept sound, to draw it by."""

    entry: EntryId
    namespace: Name | None = None
    buckets: Annotated[int, Meta(ge=1, le=MAX_BUCKETS)] = 1024


class MarkRequest(Asked, frozen=True, kw_only=True, tag="mark"):
    """Changes what is marked of a kept sound."""

    entry: EntryId
    namespace: Name | None = None
    marks: SoundMarks


class RemoveRequest(Asked, frozen=True, kw_only=True, tag="remove"):
    """Removes a kept sound."""

    entry: EntryId
    namespace: Name | None = None


class MarkManyRequest(Asked, frozen=True, kw_only=True, tag="mark_many"):
    """Changes what is marked of many kept sounds, all alike."""

    entries: EntryIds
    namespace: Name | None = None
    marks: SoundMarks


class RemoveManyRequest(Asked, frozen=True, kw_only=True, tag="remove_many"):
    """Removes many kept sounds."""

    entries: EntryIds
    namespace: Name | None = None
    spare_pinned: bool = False


class CandidatesRequest(Asked, frozen=True, kw_only=True, tag="candidates"):
    """Asks which candidates of one's own request can be heard."""

    target: RequestId


class CandidateFileRequest(Asked, frozen=True, kw_only=True, tag="candidate_file"):
    """Asks for the file of a candidate: written where there is none yet."""

    target: RequestId
    number: CandidateNumber
    form: FileForm | UnsetType = UNSET
    """Absent: as the request wanted it."""
    delivery: Delivery = "path"


class ChooseRequest(Asked, frozen=True, kw_only=True, tag="choose"):
    """Asks that a candidate be kept in place of the sound that is kept."""

    target: RequestId
    number: CandidateNumber
    by: Annotated[str, Meta(max_length=64)] = ""
    """Who chooses, for the record."""
