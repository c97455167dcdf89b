"""What a request comes to, as data: metadata that reads like a mapping, failures that become exceptions again."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
import pytest

from audio_pool.errors import AudioPoolError, Busy, QualityError
from audio_pool.reports import CandidateReport, LoopReport, QualityReport, Timings
from audio_pool.results import Accepted, Failure, SoundMetadata

METADATA = SoundMetadata(
    prompt="rain",
    bit_depth=24,
    candidates=(CandidateReport(seed=1, score=0.5, quality=QualityReport(score=50.0, issues=("noise",))),),
    loop=LoopReport(seam_score=98.0),
    engine_details={"nested": {"list": [1, 2.5, None]}},
    warnings=("x: y",),
    labels={"scene": 1},
    tags=("wet",),
)


def test_metadata_reads_like_the_map_that_is_sent() -> None:
    """Lists are lists, structs are maps, and what is not there is not there: as a client of 0.1 read it."""
    sent = msgspec.json.decode(msgspec.json.encode(METADATA))
    assert isinstance(METADATA, Mapping)
    assert dict(METADATA) == METADATA.to_dict() == sent == json.loads(json.dumps(dict(METADATA)))
    assert {key: METADATA[key] for key in METADATA} == sent
    assert list(METADATA) == list(METADATA.keys()) == list(sent) and len(METADATA) == len(sent)
    assert list(METADATA.values()) == list(sent.values()) and list(METADATA.items()) == list(sent.items())
    assert METADATA["warnings"] == ["x: y"] and METADATA["candidates"][0]["quality"] == {
        "score": 50.0, "issues": ["noise"],
    }  # fmt: skip
    assert METADATA["loop"]["seam_score"] == METADATA.loop.seam_score == 98.0
    assert msgspec.json.decode(msgspec.json.encode(METADATA), type=SoundMetadata) == METADATA


def test_what_is_absent_is_absent() -> None:
    plain = SoundMetadata()
    for key in ("bit_depth", "requested_prompt", "generation_timings_ms", "no_such_key"):
        assert key not in plain and plain.get(key) is None and plain.get(key, 7) == 7 and key not in dict(plain)
        with pytest.raises(KeyError, match=key):
            plain[key]
    assert "loop" in plain and plain["loop"] is None
    assert 5 not in plain


def test_smaller_reports_read_alike() -> None:
    assert dict(Accepted(queue_position=2)) == {"queue_position": 2, "joined": False}
    assert Timings(total=1.0)["total"] == 1.0
    assert QualityReport(issues=("hiss",))["issues"] == ["hiss"]


# -- failures --------------------------------------------------------------------------------------


def test_a_failure_is_the_exception_again() -> None:
    failure = Failure.of(QualityError("no candidate passed", hint="ask again"))
    error = failure.error()
    assert isinstance(error, QualityError) and (error.message, error.hint) == ("no candidate passed", "ask again")
    assert failure.retryable and failure.retry_after_ms is msgspec.UNSET
    assert Failure.of(error) == failure


def test_busy_says_when_to_come_back() -> None:
    error = Failure.of(Busy("full", retry_after_ms=70)).error()
    assert isinstance(error, Busy) and error.retry_after_ms == 70


def test_a_code_that_this_version_does_not_know() -> None:
    error = Failure(code="from_the_future", message="?").error()
    assert type(error) is AudioPoolError and error.message == "?"
