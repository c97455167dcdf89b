"""What a request comes to: the finished sound, its metadata, events on the way, and failures as data.

Owns: SoundMetadata, FinishedSound, AudioResult, Accepted, Progress, Failure.
Must not know: how a sound is made, kept or sent.

On the wire metadata is one flat map. In Python it is a struct with attributes that can also be read like
a mapping, whose values are then plain data as on the wire: ``metadata.loop.seam_score`` and
``metadata["loop"]["seam_score"]`` say the same, and ``dict(metadata)`` can be written as JSON.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from audio_pool.errors import AudioPoolError, error_from_code
from audio_pool.plain_mapping import PlainMapping
from audio_pool.reports import (
    CacheType,
    CandidateReport,
    ChoiceReport,
    HighpassReport,
    HitReport,
    KeptCandidate,
    LoopReport,
    PresentSettings,
    PresetUse,
    QualityReport,
    Rung,
    SignatureReport,
    StreamReport,
    Timings,
    WorkerReport,
)
from audio_pool.types import Inscription, Label, Recipe

__all__ = [
    "SAMPLE_BYTES",
    "SAMPLE_ENCODINGS",
    "Accepted",
    "AudioResult",
    "Chunk",
    "ChunkHead",
    "Event",
    "EventType",
    "Failure",
    "FinishedSound",
    "Progress",
    "ProgressStage",
    "RawSamples",
    "RenditionReport",
    "SampleEncoding",
    "SoundMetadata",
    "TaskRole",
]

SampleEncoding = Literal["s16le", "s24le", "f32le"]
"""Interleaved samples: signed, little-endian, of 16 or 24 bits; or 32-bit float."""
SAMPLE_ENCODINGS: dict[int, SampleEncoding] = {16: "s16le", 24: "s24le", 32: "f32le"}
"""By a file's bits."""
SAMPLE_BYTES: dict[SampleEncoding, int] = {"s16le": 2, "s24le": 3, "f32le": 4}
TaskRole = Literal["generate", "master", "embed", "score"]
"""A task's role, as progress names it."""
ProgressStage = Literal[TaskRole, "loading"]
"""What a request is at; ``loading``: it waits for its engine."""


class Failure(Struct, frozen=True, kw_only=True):
    """An error as data: what crosses a process border of an AudioPoolError."""

    code: str = "internal"
    message: str = ""
    hint: str = ""
    retryable: bool = False
    retry_after_ms: int | UnsetType = UNSET
    """When the same request may succeed, where that is known: with ``busy``, and where a worker is waited for."""

    @classmethod
    def of(cls, error: AudioPoolError) -> Failure:
        """Return the failure that stands for an exception."""
        return cls(
            code=error.code,
            message=error.message,
            hint=error.hint,
            retryable=error.retryable,
            retry_after_ms=UNSET if error.retry_after_ms is None else error.retry_after_ms,
        )

    def error(self) -> AudioPoolError:
        """Return the exception that this failure stands for; an unknown code gives the root class."""
        error = error_from_code(self.code, self.message, hint=self.hint)
        if error.retryable != self.retryable:
            error.retryable = self.retryable
        if isinstance(self.retry_after_ms, int):
            error.retry_after_ms = self.retry_after_ms
        return error


class SoundMetadata(PlainMapping, Struct, frozen=True, kw_only=True):
    """Where a result's sound comes from and what it is. docs/protocol.md lists every key.

    Filled stage by stage with ``msgspec.structs.replace``; a hit reports how *that* sound was made.
    """

    request_id: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    engine: str = ""
    """The named model that made it."""
    implementation: str = ""
    model: str = ""
    model_revision: str = ""
    dtype: str = ""
    quantization: str = ""
    licence: str = ""
    commercial_use: bool = False
    speech: bool = False
    seed: int | None = None
    """Of the chosen candidate."""
    base_seed: int | None = None
    """What to ask for to get the sound again."""
    steps: int | None = None
    guidance_scale: float | None = None
    voice: str | None = None
    options: dict[str, Label] = {}
    namespace: str = "default"
    requested_duration_s: float = 0.0
    duration_s: float = 0.0
    natural_length: bool | UnsetType = UNSET
    """Only where no length was asked for: it is as long as its words take, or a given sound and what was added."""
    sample_rate: int = 0
    channels: int = 0
    bandwidth_hz: float | None = None
    """Up to which frequency there is anything; None for silence, and for sounds of before this was measured."""
    format: str = "flac"
    bit_depth: int | UnsetType = UNSET
    """Absent for lossy formats."""
    is_loop: bool = False
    cached: bool = False
    cache_type: CacheType = "new_generation"
    hit_reason: str | None = None
    cache_similarity: float | None = None
    cache_age_seconds: float | None = None
    matched_prompt: str | None = None
    entry_id: int | None = None
    """Of the cache; None where the sound is not kept."""
    hit: HitReport | UnsetType = UNSET
    """Hits only."""
    present_settings: PresentSettings | UnsetType = UNSET
    """Hits only."""
    requested_prompt: str | UnsetType = UNSET
    """Hits only: the words of this request."""
    approximate: bool | UnsetType = UNSET
    """Only of answers that had to be there in time: whether it stands in for what was asked for."""
    rung: Rung | UnsetType = UNSET
    """Likewise: how it came about."""
    upgrade_id: str | UnsetType = UNSET
    """Only where a better sound is being made: the request under which it is announced, and can be cancelled."""
    upgrade_of: str | UnsetType = UNSET
    """Only of a better sound: the request that it is the answer to."""
    clap_similarity: float | None = None
    """None where no CLAP is configured."""
    candidates: tuple[CandidateReport, ...] = ()
    """Of all rounds."""
    candidates_requested: int = 1
    candidates_kept: tuple[KeptCandidate, ...] | UnsetType = UNSET
    """Only where they were asked for: those that can be heard for a while."""
    chosen: ChoiceReport | UnsetType = UNSET
    """Only of a sound that somebody chose among its candidates."""
    rounds: int = 1
    batch_size: int = 1
    """Sounds generated together with it, itself included."""
    tau_accept_new: float | None = None
    accepted: bool = True
    quality: QualityReport = QualityReport()
    target_lufs: float | None = None
    loudness_lufs: float | None = None
    true_peak_dbfs: float | None = None
    limited_db: float | UnsetType = UNSET
    """Only where a limiter was asked for: by how much it took peaks down at the most."""
    stream: StreamReport | UnsetType = UNSET
    """Only of sounds that were sent while they were made."""
    loop: LoopReport | None = None
    crossfade_s: float | None = None
    """As asked for; None: the configured one."""
    highpass_hz: float | None = None
    """As asked for; None: the configured one."""
    highpass: HighpassReport | None = None
    """As it was applied."""
    generation_timestamp: float = 0.0
    """Seconds since 1970."""
    timings_ms: Timings = Timings()
    generation_timings_ms: Timings | UnsetType | None = UNSET
    """Hits only: what making the sound once took."""
    worker: WorkerReport = WorkerReport()
    engine_details: dict[str, Any] = {}  # opaque: each engine's own words about the sound
    provenance: SignatureReport | UnsetType = UNSET
    """Only where files are to be signed: whether this one is."""
    warnings: tuple[str, ...] = ()
    labels: dict[str, Label] = {}
    tags: tuple[str, ...] = ()
    presets: tuple[PresetUse, ...] | UnsetType = UNSET
    """Only where the request named some: what each contributed. The words and values are in the sound's own fields."""
    forced: bool = False
    """It was made in place of what was kept: offered before others of its words and settings."""
    software: str | UnsetType = UNSET
    """What made it, with its version; absent where that was not noted."""
    digital_source_type: str | UnsetType = UNSET
    """IPTC's word for how it came to be; absent where that was not noted."""
    inscription: Inscription | UnsetType = UNSET
    """What its master's file tells of it; absent where that is not for others, or from before there were tags."""


class RenditionReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """The metadata keys that a rendition changes against its master's."""

    format: str
    sample_rate: int
    duration_s: float | UnsetType = UNSET
    loudness_lufs: float | UnsetType | None = UNSET
    true_peak_dbfs: float | UnsetType | None = UNSET
    bit_depth: int | UnsetType = UNSET
    channels: int | UnsetType = UNSET
    """Where the rendition has fewer than the master."""
    limited_db: float | UnsetType = UNSET
    """Where there was a limiter: by how much it took peaks down at the most."""
    warnings: tuple[str, ...] = ()

    def applied(self, metadata: SoundMetadata) -> SoundMetadata:
        """Return the metadata of the rendition whose master's are given."""
        changes: dict[str, float | int | None] = {
            name: value
            for name in ("duration_s", "loudness_lufs", "true_peak_dbfs", "channels", "limited_db")
            if (value := getattr(self, name)) is not UNSET
        }
        if metadata.bandwidth_hz is not None:
            changes["bandwidth_hz"] = min(metadata.bandwidth_hz, self.sample_rate / 2)
        return msgspec.structs.replace(
            metadata,
            format=self.format,
            sample_rate=self.sample_rate,
            bit_depth=self.bit_depth,
            warnings=(*metadata.warnings, *self.warnings),
            **changes,
        )


class FinishedSound(Struct, frozen=True, kw_only=True):
    """A mastered sound as a worker hands it to the pool: a file already fsynced, not yet kept."""

    path: str
    """The 24-bit FLAC master, a temporary file in the cache directory's ``incoming``."""
    recipe: Recipe
    metadata: SoundMetadata
    accepted: bool
    delivered_path: str | None = None
    """The rendition the caller asked for, where it is not the master itself."""
    delivered: RenditionReport | None = None
    """What that rendition changes."""
    fingerprint: bytes = b""
    """What it is known by after it was changed; b"": none was made."""


class RawSamples(PlainMapping, Struct, frozen=True, kw_only=True):
    """What the bytes of ``delivery="raw"`` are: interleaved samples, of no file."""

    frames: int
    channels: int
    sample_rate: int
    encoding: SampleEncoding = "f32le"


class AudioResult(Struct, frozen=True, kw_only=True):
    """The answer to a request: where the sound is and how it came to be."""

    request_id: str
    path: str
    metadata: SoundMetadata
    data: bytes | None = None
    """The encoded file, only where ``delivery="inline"`` was asked for."""
    audio: Any = None
    """The sound as float32 [C, T], -1..1, at ``metadata.sample_rate``: of ``delivery="raw"``; read-only."""
    # opaque: numpy's array, and what stands here knows no numpy


class Accepted(PlainMapping, Struct, frozen=True, kw_only=True):
    """The body of an ``accepted`` event."""

    queue_position: int = 0
    """Sounds of the same engine that go before this one; 0: it is next, or under way."""
    joined: bool = False
    """An identical request was in flight; both get its sound."""


class Progress(PlainMapping, Struct, frozen=True, kw_only=True):
    """The body of a ``progress`` event."""

    stage: ProgressStage
    done: int = 0
    total: int = 0
    fraction: float = 0.0
    """0..1."""
    eta_s: float | UnsetType = UNSET
    """Of ``loading``: in how many seconds the engine is expected to be there."""
    note: str | UnsetType = UNSET
    """Of ``loading``: why it cannot begin yet."""


class ChunkHead(PlainMapping, Struct, frozen=True, kw_only=True):
    """The body of a ``chunk`` event: which samples follow it."""

    number: int
    """From 1, without a gap, to each who gets them; 0: not counted yet."""
    start: int
    """Frames before it: those of all chunks before it."""
    frames: int
    sample_rate: int
    channels: int
    encoding: SampleEncoding

    def with_samples(self, data: bytes) -> Chunk:
        """Return the part itself."""
        return Chunk(
            number=self.number,
            start=self.start,
            frames=self.frames,
            sample_rate=self.sample_rate,
            channels=self.channels,
            encoding=self.encoding,
            data=data,
        )


class Chunk(ChunkHead, frozen=True, kw_only=True):
    """A part of a sound, sent before the whole of it is there."""

    data: bytes
    """Interleaved samples."""

    @property
    def head(self) -> ChunkHead:
        """Everything but the samples."""
        return ChunkHead(
            number=self.number,
            start=self.start,
            frames=self.frames,
            sample_rate=self.sample_rate,
            channels=self.channels,
            encoding=self.encoding,
        )


EventType = Literal["accepted", "progress", "chunk"]


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened to a request before its final reply."""

    request_id: str
    type: EventType
    body: Accepted | Progress | Chunk
