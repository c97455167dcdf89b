"""What a pool counts and measures while it answers: requests, times, look-ups, the last errors.

Owns: every counter behind ``numbers.PoolNumbers`` that is about requests.
Must not know: the scheduler, who asks for the numbers, exporters (telemetry.py).

All of it is a few additions for each request: an exact hit has no time for more.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping

from audio_pool.numbers import ErrorNote, Histogram, Measured, RequestCount
from audio_pool.results import Failure, SoundMetadata
from audio_pool.tasks import MasteredSound, Rejected, TaskResult

__all__ = ["Tally"]

_STAGES = ("lookup", "queue", "generate", "score", "master", "store")
_ERRORS_KEPT = 16
_FOUND_BY = {
    "exact": "exact",
    "canonical": "exact",
    "semantic": "semantic",
    "global": "semantic",
    "joined": "join",
}
"""The look-up that finds results of each kind."""


class Tally:
    """Router's thread only."""

    def __init__(self) -> None:
        self.started = time.time()
        self.lookups: collections.Counter[str] = collections.Counter()
        self.loop_rejects = 0
        self._requests: dict[tuple[str, str, str], int] = {}
        self._request_seconds: collections.defaultdict[str, Measured] = collections.defaultdict(Measured)
        self._stage_seconds = {stage: Measured() for stage in _STAGES}
        self._generate_seconds: collections.defaultdict[str, Measured] = collections.defaultdict(Measured)
        self._audio_seconds: dict[str, float] = {}
        self._loaded: dict[str, dict[int, int]] = {}
        """Engines by worker and incarnation: of one that is loading them a few at a time, the last count."""
        self._errors: collections.deque[ErrorNote] = collections.deque(maxlen=_ERRORS_KEPT)

    def answered(self, engine: str, status: str, seconds: float, metadata: SoundMetadata | None) -> None:
        """Count a request for a sound that was answered.

        Args:
            engine: that was asked for.
            status: kind of the final reply.
            seconds: since it came.
            metadata: of the sound; None where there is none.
        """
        cache = "" if metadata is None else metadata.cache_type
        key = engine, status, cache
        self._requests[key] = self._requests.get(key, 0) + 1
        self._request_seconds[cache].add(seconds)
        if metadata is not None and cache == "new_generation":
            self._made(engine, metadata)

    def failed(self, request_id: str, failure: Failure) -> None:
        """Note an error that a request came to."""
        note = ErrorNote(at=time.time(), code=failure.code, message=failure.message, request_id=request_id)
        self._errors.appendleft(note)

    def loaded(self, worker: str, incarnation: int, engines: int) -> None:
        """Note how many engines a worker's process has loaded."""
        before = self._loaded.get(worker, {})
        if incarnation in before:
            before[incarnation] = engines
        else:
            self._loaded[worker] = {0: sum(before.values()), incarnation: engines}

    def judged(self, results: Mapping[int, TaskResult], makes_loop: Callable[[int], bool]) -> None:
        """Count the candidates of loops that a task's results say were refused.

        Args:
            results: by job.
            makes_loop: whether a job's sound is a loop.
        """
        for job, result in results.items():
            if isinstance(result, MasteredSound | Rejected) and makes_loop(job):
                self.loop_rejects += sum(tried.verdict == "failed_gate" for tried in result.tried)

    def _made(self, engine: str, metadata: SoundMetadata) -> None:
        times = metadata.timings_ms
        for stage, timings in self._stage_seconds.items():
            timings.add(getattr(times, stage) / 1000)
        self._generate_seconds[engine].add(times.generate / 1000)
        self._audio_seconds[engine] = self._audio_seconds.get(engine, 0.0) + metadata.duration_s

    # -- telling -----------------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[RequestCount, ...]:
        return tuple(
            RequestCount(engine=engine, status=status, cache=cache, count=count)
            for (engine, status, cache), count in self._requests.items()
        )

    @property
    def hits(self) -> dict[str, int]:
        """Results by the look-up that found them."""
        found: collections.Counter[str] = collections.Counter()
        for (_, _, cache), count in self._requests.items():
            by = _FOUND_BY.get(cache)
            if by is not None:
                found[by] += count
        return dict(found)

    @property
    def model_loads(self) -> dict[str, int]:
        """Engines loaded so far, by worker."""
        return {worker: sum(counts.values()) for worker, counts in self._loaded.items()}

    @property
    def audio_seconds(self) -> dict[str, float]:
        return dict(self._audio_seconds)

    @property
    def request_seconds(self) -> dict[str, Histogram]:
        return {cache: timings.told() for cache, timings in self._request_seconds.items()}

    @property
    def stage_seconds(self) -> dict[str, Histogram]:
        return {stage: timings.told() for stage, timings in self._stage_seconds.items()}

    @property
    def generate_seconds(self) -> dict[str, Histogram]:
        return {engine: timings.told() for engine, timings in self._generate_seconds.items()}

    def errors(self, *, discreet: bool) -> tuple[ErrorNote, ...]:
        """Return the last errors, the newest first; ``discreet``: nothing of what was asked for."""
        if discreet:
            return tuple(ErrorNote(at=note.at, code=note.code) for note in self._errors)
        return tuple(self._errors)
