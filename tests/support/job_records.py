"""Records of durable jobs, and what they came to."""

from __future__ import annotations

from typing import Any

from audio_pool.jobs.record import JobRecord, Outcome, body_of
from audio_pool.results import Failure, SoundMetadata
from audio_pool.types import AudioRequest


def record(request_id: str = "a", owner: str = "me", created_at: float = 1.0, prompt: str = "rain") -> JobRecord:
    request = AudioRequest(prompt=prompt, duration_s=2.0, durable=True, tags=["x"])
    return JobRecord(
        owner=owner, request_id=request_id, request=request, body=body_of(request), created_at=created_at, rights=b"r"
    )


def outcome(state: Any = "done", expires_at: float = 50.0, path: str | None = "/x.wav", size: int = 10) -> Outcome:
    return Outcome(
        state=state,
        finished_at=5.0,
        expires_at=expires_at,
        path=path,
        size_bytes=size,
        metadata=SoundMetadata(prompt="rain", duration_s=2.0) if state == "done" else None,
        failure=None if state == "done" else Failure(code="engine_failed", message="no"),
    )
