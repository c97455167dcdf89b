"""The questions that a client can ask beside sounds, written once for the blocking and the awaiting client.

Owns: the questions, their fields, and the type of each answer.
Must not know: how an answer is waited for.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from msgspec import structs, to_builtins

from audio_pool.api import (
    Asked,
    CacheStats,
    Cancellation,
    ClapAnswer,
    ClapOperation,
    Engines,
    Explanation,
    FeedbackNoted,
    FeedbackVerdict,
    Health,
    JobReport,
    Jobs,
    JobState,
    PictureReport,
    PoolStatus,
    as_request,
)
from audio_pool.candidates import CandidateChosen, CandidateFile, CandidatesKept
from audio_pool.craft import Craft, CraftReport
from audio_pool.init_audio import read_sent
from audio_pool.library import KeptSound, KeptSounds, SoundFile, SoundRemoved, SoundsChanged, Waveform
from audio_pool.origin import VerifyReport
from audio_pool.results import AudioResult, Failure
from audio_pool.stock import Duplicates, EvictionPlan, LikenessMethod
from audio_pool.transport.client_messages import MAX_WAIT_MS
from audio_pool.types import Delivery

__all__ = [
    "CACHE_STATS",
    "ENGINES",
    "FETCH_WAIT_S",
    "HEALTH",
    "QUESTION_TIMEOUT_S",
    "RECONNECT_S",
    "EchoAnswer",
    "Frames",
    "Question",
    "cancel",
    "candidate_file",
    "candidates",
    "choose",
    "clap",
    "craft",
    "duplicates",
    "echo",
    "eviction",
    "explain",
    "feedback",
    "job",
    "jobs",
    "mark",
    "mark_many",
    "new_request_id",
    "remove",
    "remove_many",
    "result_of",
    "retry",
    "sound",
    "sound_file",
    "sounds",
    "spectrogram",
    "status",
    "tile",
    "verify",
    "waveform",
]

QUESTION_TIMEOUT_S = 10.0
FETCH_WAIT_S = 20.0
"""One question's wait for a job's end; who waits longer asks again."""
RECONNECT_S = 0.2
"""Between two attempts to ask a server that has gone."""

Frames = list[bytes]
"""One message as it travels."""
EchoAnswer = dict[str, Any]
"""Opaque: ``payload`` as it was sent."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """A message of the protocol, and the type of its answer's body."""

    kind: str
    answer: type[Answer]
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Checked when the message is made."""
    with_file: Callable[[Answer, bytes], Answer] | None = None
    """Puts the file that came with an answer into it."""
    sent: bytes = b""
    """What goes along in further frames."""


HEALTH = Question("health", Health)
ENGINES = Question("engines", Engines)
CACHE_STATS = Question("cache_stats", CacheStats)


def new_request_id() -> str:
    """Return an id that no other request has."""
    return uuid.uuid4().hex


def status(numbers: bool) -> Question[PoolStatus]:
    """Ask what the pool is doing; ``numbers``: and for everything that it has counted."""
    return Question("status", PoolStatus, {"numbers": numbers} if numbers else {})


def cancel(request_id: str) -> Question[Cancellation]:
    return Question("cancel", Cancellation, {"target": request_id})


def job(request_id: str, wait_s: float = 0.0, delivery: Delivery = "path") -> Question[JobReport]:
    wait_ms = round(min(max(0.0, wait_s) * 1000, MAX_WAIT_MS))
    return Question(
        "job",
        JobReport,
        {"target": request_id, "wait_ms": wait_ms, "delivery": delivery},
        lambda report, data: structs.replace(report, data=data),
    )


def jobs(states: Sequence[JobState], limit: int, before: float | None) -> Question[Jobs]:
    return Question("jobs", Jobs, {"states": list(states), "limit": limit, "before": before})


def retry(request_id: str) -> Question[JobReport]:
    return Question("retry", JobReport, {"target": request_id})


def result_of(report: JobReport) -> AudioResult | None:
    """Return a job's sound; None: it has not ended. Raises the AudioPoolError that it ended with."""
    if report.state in ("pending", "running"):
        return None
    if report.state != "done" or report.metadata is None:
        raise (report.error or Failure(message=f"job {report.request_id} ended as {report.state}")).error()
    return AudioResult(
        request_id=report.request_id,
        path=report.path or "",
        metadata=report.metadata,
        data=report.data if isinstance(report.data, bytes) else None,
    )


def feedback(target: str, verdict: FeedbackVerdict, comment: str) -> Question[FeedbackNoted]:
    return Question("feedback", FeedbackNoted, {"target": target, "verdict": verdict, "comment": comment})


def explain(prompt: Asked, fields: Mapping[str, Any], *, across_namespaces: bool = True) -> Question[Explanation]:
    asked: dict[str, Any] = {"request": to_builtins(as_request(prompt, fields))}
    return Question("explain", Explanation, asked if across_namespaces else {**asked, "across_namespaces": False})


def spectrogram(
    entry: int, namespace: str, mel_bands: int, highest_hz: float | None, dark: bool, delivery: Delivery
) -> Question[PictureReport]:
    return Question(
        "spectrogram",
        PictureReport,
        {
            "entry": entry,
            "namespace": namespace,
            "mel_bands": mel_bands,
            "highest_hz": highest_hz,
            "dark": dark,
            "delivery": delivery,
        },
        lambda report, data: structs.replace(report, data=data),
    )


def tile(entry: int, namespace: str | None, delivery: Delivery) -> Question[PictureReport]:
    return Question(
        "spectrogram",
        PictureReport,
        {"entry": entry, "namespace": namespace, "tile": True, "delivery": delivery},
        lambda report, data: structs.replace(report, data=data),
    )


def sounds(words: str, fields: Mapping[str, Any]) -> Question[KeptSounds]:
    return Question("sounds", KeptSounds, {"search": {"words": words, **fields}})


def sound(entry: int, namespace: str | None) -> Question[KeptSound]:
    return Question("sound", KeptSound, {"entry": entry, "namespace": namespace})


def sound_file(
    entry: int, namespace: str | None, delivery: Delivery, form: Mapping[str, Any]
) -> Question[SoundFile]:
    return Question(
        "sound_file",
        SoundFile,
        {"entry": entry, "namespace": namespace, "delivery": delivery, "form": dict(form)},
        lambda found, data: structs.replace(found, data=data),
    )


def waveform(entry: int, namespace: str | None, buckets: int) -> Question[Waveform]:
    return Question("waveform", Waveform, {"entry": entry, "namespace": namespace, "buckets": buckets})


def mark(entry: int, namespace: str | None, marks: Mapping[str, Any]) -> Question[KeptSound]:
    return Question("mark", KeptSound, {"entry": entry, "namespace": namespace, "marks": dict(marks)})


def remove(entry: int, namespace: str | None) -> Question[SoundRemoved]:
    return Question("remove", SoundRemoved, {"entry": entry, "namespace": namespace})


def mark_many(entries: Sequence[int], namespace: str | None, marks: Mapping[str, Any]) -> Question[SoundsChanged]:
    fields = {"entries": list(entries), "namespace": namespace, "marks": dict(marks)}
    return Question("mark_many", SoundsChanged, fields)


def remove_many(entries: Sequence[int], namespace: str | None, spare_pinned: bool) -> Question[SoundsChanged]:
    fields = {"entries": list(entries), "namespace": namespace, "spare_pinned": spare_pinned}
    return Question("remove_many", SoundsChanged, fields)


def eviction(limit: int) -> Question[EvictionPlan]:
    return Question("eviction", EvictionPlan, {"limit": limit})


def duplicates(by: LikenessMethod, limit: int) -> Question[Duplicates]:
    return Question("duplicates", Duplicates, {"by": by, "limit": limit})


def candidates(request_id: str) -> Question[CandidatesKept]:
    return Question("candidates", CandidatesKept, {"target": request_id})


def candidate_file(
    request_id: str, number: int, delivery: Delivery, form: Mapping[str, Any]
) -> Question[CandidateFile]:
    fields = {"target": request_id, "number": number, "delivery": delivery}
    return Question(
        "candidate_file",
        CandidateFile,
        {**fields, "form": dict(form)} if form else fields,
        lambda found, data: structs.replace(found, data=data),
    )


def choose(request_id: str, number: int, by: str) -> Question[CandidateChosen]:
    return Question("choose", CandidateChosen, {"target": request_id, "number": number, "by": by})


def echo(payload: bytes, worker: str | None) -> Question[EchoAnswer]:
    return Question("echo", dict, {"payload": payload, "worker": worker})


def craft(
    craft: Craft,
    paths: Sequence[str | Path],
    sounds: Sequence[bytes | Path],
    output_path: str | Path | None,
    delivery: Delivery,
    form: Mapping[str, Any],
) -> Question[CraftReport]:
    sent = [read_sent("sounds", one) for one in sounds]
    return Question(
        "craft",
        CraftReport,
        {
            "craft": to_builtins(craft),
            "form": dict(form),
            # the server's working directory is not the caller's
            "paths": [os.path.abspath(path) for path in paths],
            "sounds": [len(one) for one in sent],
            "output_path": None if output_path is None else os.path.abspath(output_path),
            "delivery": delivery,
        },
        lambda report, data: structs.replace(report, data=data),
        sent=b"".join(sent),
    )


def verify(path: str | Path | None, sound: bytes | Path | None, namespace: str | None) -> Question[VerifyReport]:
    name = sound.name if isinstance(sound, Path) else ""
    sent = b"" if sound is None else read_sent("sound", sound)
    fields = {
        # the server's working directory is not the caller's
        "path": None if path is None else os.path.abspath(path),
        "sound": None if sound is None else len(sent),
        "name": name,
        "namespace": namespace,
    }
    return Question("verify", VerifyReport, fields, sent=sent)


def clap(
    operation: ClapOperation,
    texts: Sequence[str],
    paths: Sequence[str | Path],
    sounds: Sequence[bytes | Path] = (),
) -> Question[ClapAnswer]:
    # the server's working directory is not the caller's
    absolute = [os.path.abspath(path) for path in paths]
    fields: dict[str, Any] = {"operation": operation, "texts": list(texts), "paths": absolute}
    sent = [read_sent("sounds", one) for one in sounds]
    if sent:  # servers of before know no such field
        fields["sounds"] = [len(one) for one in sent]
    return Question("clap", dict, fields, sent=b"".join(sent))
