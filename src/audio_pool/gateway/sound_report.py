"""A sound as it goes out: as JSON, or as bytes with what is known of them in headers.

Owns: SoundReport, the ``x-sound-`` headers.
Must not know: requests, how a sound was come by.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import msgspec
from litestar import Response
from msgspec import UNSET, Struct, structs

from audio_pool.gateway.accept import JSON
from audio_pool.gateway.answer import Answer
from audio_pool.gateway.audio_response import MEDIA_TYPES, Header
from audio_pool.gateway.told import public, told_candidates, without_paths
from audio_pool.results import SoundMetadata
from audio_pool.source_type import digital_source_type

__all__ = ["SoundReport", "bytes_answer", "headers_of", "json_answer", "json_response", "report_of"]

_LONGEST_HEADER = 1000


class SoundReport(Struct, frozen=True, kw_only=True):
    """A sound as JSON."""

    id: int | None
    """Of the kept sound; null: it is not kept."""
    url: str | None
    """Where its bytes are; null: nowhere, as it is not kept."""
    metadata: SoundMetadata


def report_of(metadata: SoundMetadata, job_url: str | None = None) -> SoundReport:
    """Return a sound as JSON tells it; ``job_url``: of its job, where the bytes are, and its candidates' if any."""
    if job_url is not None:
        told = public(metadata)
        if told.candidates_kept:
            kept = told_candidates(told.candidates_kept, f"{job_url}/candidates")
            told = structs.replace(told, candidates_kept=kept)
        return SoundReport(id=metadata.entry_id, url=f"{job_url}/audio", metadata=told)
    entry, url = metadata.entry_id, None
    if entry is not None:
        url = f"/v1/sounds/{entry}/audio?format={metadata.format}"
        if metadata.namespace != "default":
            url += f"&namespace={metadata.namespace}"
    return SoundReport(id=entry, url=url, metadata=public(metadata))


def json_response(
    body: Struct, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """Answer with a struct."""
    told = {"cache-control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(body), status_code=status, media_type=JSON, headers=told)


def json_answer(body: Struct, *, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Do as ``json_response``, without the framework's."""
    told = {"cache-control": "no-store", **(headers or {}), "content-type": JSON}
    return Answer(msgspec.json.encode(body), _encoded(told), status)


def bytes_answer(data: bytes, metadata: SoundMetadata, headers: dict[str, str] | None = None) -> Answer:
    """Answer with a file."""
    told = {"cache-control": "no-store", **(headers or {}), "content-type": MEDIA_TYPES[metadata.format]}
    return Answer(data, [*_shown(tuple(_told(metadata))), *_encoded(told)])


def _encoded(headers: dict[str, str]) -> list[Header]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def headers_of(metadata: SoundMetadata) -> dict[str, str]:
    """Return what headers tell of a sound; what is not known is left out."""
    return {name.decode(): value.decode() for name, value in _shown(tuple(_told(metadata)))}


@functools.lru_cache(1024)
def _shown(told: tuple[tuple[str, str | float | None], ...]) -> tuple[Header, ...]:
    return tuple((name.encode(), _header(value).encode()) for name, value in told if value not in (None, ""))


def _told(metadata: SoundMetadata) -> Iterator[tuple[str, str | float | None]]:
    yield "x-sound-id", metadata.entry_id
    yield "x-sound-engine", metadata.engine
    yield "x-sound-model", without_paths(metadata.model)
    yield "x-sound-licence", metadata.licence
    yield "x-sound-digital-source-type", metadata.digital_source_type or digital_source_type(
        metadata.implementation, metadata.model
    )
    yield "x-sound-voice", metadata.voice
    yield "x-sound-seed", metadata.base_seed
    yield "x-sound-duration", metadata.duration_s
    yield "x-sound-sample-rate", metadata.sample_rate
    yield "x-sound-channels", metadata.channels
    yield "x-sound-bandwidth", metadata.bandwidth_hz
    yield "x-sound-loop", str(metadata.is_loop).lower()
    yield "x-sound-cached", str(metadata.cached).lower()
    yield "x-sound-cache-type", metadata.cache_type
    if metadata.approximate is not UNSET:
        yield "x-sound-approximate", str(metadata.approximate).lower()
        yield "x-sound-rung", metadata.rung or None
        yield "x-sound-upgrade", f"/v1/jobs/{metadata.upgrade_id}" if metadata.upgrade_id else None
    yield "x-sound-quality", metadata.quality.score
    yield "x-sound-loudness-lufs", metadata.loudness_lufs
    yield "x-sound-warnings", without_paths("; ".join(metadata.warnings))


def _header(value: str | float | None) -> str:
    """Return a value as a header may hold it."""
    return "".join(char if " " <= char <= "~" else "?" for char in str(value))[:_LONGEST_HEADER]
