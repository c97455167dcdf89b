"""The tree of errors is what its docstring draws, and each survives the wire."""

from __future__ import annotations

import re

import msgspec
import pytest

from audio_pool import errors
from audio_pool.errors import (
    AudioPoolError,
    Busy,
    CallerError,
    EngineError,
    Expired,
    InvalidRequest,
    StorageError,
    Timeout,
    WorkerDied,
    WorkerError,
    error_from_code,
    nearest_name,
)
from audio_pool.results import Failure
from audio_pool.transport import packing


def tree(cls: type[AudioPoolError]) -> list[type[AudioPoolError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in tree(child))]


# an engine may have an error class of its own
ALL = [cls for cls in tree(AudioPoolError) if cls.__module__ == errors.__name__]


def test_every_error_is_public_and_drawn_with_its_code() -> None:
    drawn = dict(re.findall(r"[|`]-- (\w+) +([a-z_]+)", errors.__doc__ or ""))
    without_code = re.findall(r"[|`]-- (\w+) +[a-z']+ [a-z]", errors.__doc__ or "")
    for cls in ALL:
        assert cls.__name__ in errors.__all__
        if cls not in (AudioPoolError, CallerError):
            assert drawn[cls.__name__] in (cls.code, *without_code), f"{cls.__name__} is drawn with another code"
    assert {cls.__name__ for cls in ALL} >= set(drawn)


def test_a_code_stands_for_one_class() -> None:
    codes = [cls.code for cls in ALL if cls is not CallerError]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls is not CallerError])
def test_each_survives_the_wire(cls: type[AudioPoolError]) -> None:
    one = cls("what was given", hint="what to do")
    body = packing.unpack(packing.pack(Failure.of(one)))
    other = msgspec.convert(body, Failure).error()
    assert type(other) is cls
    assert (str(other), other.hint, other.retryable) == ("what was given", "what to do", one.retryable)
    assert set(body) >= {"code", "message", "hint", "retryable"}


def test_whether_a_retry_can_help_is_known_of_this_error_not_of_its_class() -> None:
    """A path that can never be written is a StorageError that a retry does not cure."""
    impossible = msgspec.structs.replace(Failure.of(StorageError("no such directory")), retryable=False)
    other = msgspec.convert(packing.unpack(packing.pack(impossible)), Failure).error()
    assert type(other) is StorageError and not other.retryable
    assert not Failure.of(other).retryable, "and on its way further"
    assert StorageError("another").retryable


def test_busy_says_when_over_the_wire() -> None:
    body = packing.unpack(packing.pack(Failure.of(Busy("full", retry_after_ms=1234))))
    assert body["retry_after_ms"] == 1234
    other = msgspec.convert(body, Failure).error()
    assert isinstance(other, Busy) and other.retry_after_ms == 1234


def test_a_code_of_a_later_version_is_still_an_error() -> None:
    assert type(error_from_code("from_the_future", "x")) is AudioPoolError
    assert type(Failure().error()) is AudioPoolError


def test_faults_lie_on_branches_of_their_own() -> None:
    assert issubclass(InvalidRequest, CallerError) and not InvalidRequest.retryable
    assert issubclass(WorkerDied, WorkerError) and WorkerDied.retryable
    assert issubclass(Expired, Timeout)
    assert not issubclass(WorkerError, EngineError) and not issubclass(EngineError, CallerError)


def test_the_nearest_name_is_near_or_none() -> None:
    assert nearest_name("procedual", ["mock", "procedural"]) == "procedural"
    assert nearest_name("xyzzy", ["mock", "procedural"]) is None
    assert nearest_name("x", []) is None
