"""Candidates that were not chosen: which of them can be heard, by whom, for how long.

Owns: KeptCandidates, the table of them: their bounds, their names, what requests are told of them.
Must not know: sockets, how a file of theirs is read or written (candidate_files.py), the scheduler.

Their files stay where their workers wrote them, in the pool's own folder of the cache directory, and are hers alone:
nothing in the cache leads to them. They go when their time is over, when others need the room, and with the pool.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field, structs

from audio_pool.cache.carrying import READ_ONLY
from audio_pool.errors import NotFound
from audio_pool.pool.caller import Caller
from audio_pool.reports import CandidateReport, CandidateVerdict, KeptCandidate
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import Rendition

__all__ = ["KEPT_ANSWERED", "NOT_KEPT", "Candidate", "KeptCandidates", "Trial"]

log = logging.getLogger(__name__)

NOT_KEPT = "candidates_not_kept"
"""The warning of a request that wanted them and gets none."""
KEPT_ANSWERED = "a kept sound answered; 'force' has new ones made"
_MOST_NAMES = 256
"""Requests by which the candidates of one sound can be asked for: the latest."""

Vector = npt.NDArray[np.float32]


class Candidate(Struct, kw_only=True):
    """One that can be heard."""

    number: int
    sound: FinishedSound
    vectors: Mapping[str, Vector]
    """By space, as for the cache."""
    file_bytes: int = 0
    """Of the file as it was asked for."""
    size_bytes: int = 0
    """Of all its files."""
    files: dict[Rendition, str] = field(default_factory=dict)
    """In which other forms it has been written since."""

    @property
    def path(self) -> str:
        """Of the file as it was asked for."""
        return self.sound.delivered_path or self.sound.path

    @property
    def paths(self) -> list[str]:
        """All its files."""
        own = (self.sound.path, self.sound.delivered_path)
        return [path for path in (*own, *self.files.values()) if path is not None]

    @property
    def told(self) -> SoundMetadata:
        """What is known of it in the form that it was asked for."""
        metadata, report = self.sound.metadata, self.sound.delivered
        return metadata if report is None else report.applied(metadata)

    @property
    def verdict(self) -> CandidateVerdict:
        """What became of it among the others."""
        metadata = self.sound.metadata
        return next((one.verdict for one in metadata.candidates if one.seed == metadata.seed), "not_chosen")


class Trial(Struct, kw_only=True):
    """The candidates that were made for one sound."""

    number: int
    client: str
    """Whose room they take."""
    namespace: str
    rendition: Rendition
    """How they are written."""
    until: float
    expires_at: float
    entry: int | None
    """Of the sound that is kept."""
    numbers: dict[int, int]
    """By seed, of all that were tried."""
    candidates: dict[int, Candidate] = field(default_factory=dict)
    names: list[tuple[str, str]] = field(default_factory=list)
    """Whose requests they were made for: owner and request_id."""

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(one.size_bytes for one in self.candidates.values())

    def report(self) -> tuple[KeptCandidate, ...]:
        """Return what is told of those that can be heard."""
        found = []
        for number, one in sorted(self.candidates.items()):
            told = one.told
            found.append(
                KeptCandidate(
                    number=number,
                    seed=told.seed or 0,
                    verdict=one.verdict,
                    quality=told.quality,
                    clap_similarity=told.clap_similarity,
                    duration_s=told.duration_s,
                    loudness_lufs=told.loudness_lufs,
                    true_peak_dbfs=told.true_peak_dbfs,
                    loop=told.loop,
                    format=told.format,
                    size_bytes=one.file_bytes,
                    path=one.path,
                    expires_at=self.expires_at,
                )
            )
        return tuple(found)


class KeptCandidates:
    """May be used by any thread; files are unlinked on the writer's."""

    def __init__(
        self,
        keep_s: float,
        most_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            keep_s: how long each can be heard.
            most_bytes: of all together.
        """
        self.keep_s = keep_s
        self._most_bytes = most_bytes
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._trials: dict[int, Trial] = {}
        """The oldest first."""
        self._by_name: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count(1)

    # -- keeping: on the writer's thread -----------------------------------------------------------

    def take(
        self,
        losers: Sequence[tuple[FinishedSound, Mapping[str, Vector]]],
        *,
        client: str,
        namespace: str,
        rendition: Rendition,
        entry: int | None,
        tried: Sequence[CandidateReport],
        rounds: int,
    ) -> int:
        """Keep what was not chosen, as far as there is room; return under which number, 0: nothing is kept.

        Args:
            losers: finished sounds, each with its vectors.
            entry: of the sound that is kept.
            tried: all candidates of all rounds.
        """
        numbers = {one.seed: number for number, one in enumerate(tried, 1)}
        trial = Trial(
            number=next(self._numbers),
            client=client,
            namespace=namespace,
            rendition=rendition,
            until=self._clock() + self.keep_s,
            expires_at=self._now() + self.keep_s,
            entry=entry,
            numbers=numbers,
        )
        gone, taken = [], 0
        # what fits best is kept first where not all find room
        for sound, vectors in sorted(losers, key=lambda one: -_worth(one[0])):
            metadata = structs.replace(sound.metadata, candidates=tuple(tried), rounds=rounds)
            candidate = self._candidate(trial, structs.replace(sound, metadata=metadata), vectors)
            if candidate is None or taken + candidate.size_bytes > self._most_bytes:
                gone += [path for path in (sound.path, sound.delivered_path) if path is not None]
                continue
            taken += candidate.size_bytes
            trial.candidates[candidate.number] = candidate
        if trial.candidates:
            with self._lock:
                self._trials[trial.number] = trial
        _unlink(gone)
        self.tidy()
        return trial.number if trial.candidates else 0

    def _candidate(
        self, trial: Trial, sound: FinishedSound, vectors: Mapping[str, Vector]
    ) -> Candidate | None:
        seed = sound.metadata.seed or 0
        number = trial.numbers.setdefault(seed, max(trial.numbers.values(), default=0) + 1)
        candidate = Candidate(number=number, sound=sound, vectors=vectors)
        try:
            for path in candidate.paths:
                os.chmod(path, READ_ONLY)
                candidate.size_bytes += os.stat(path).st_size
            candidate.file_bytes = os.stat(candidate.path).st_size
        except OSError as exc:
            log.warning("candidate %d is not kept: %s", number, exc)
            return None
        return candidate

    def tidy(self) -> None:
        """Let those go whose time is over, and the oldest of whoever has most where there are too many."""
        gone: list[Trial] = []
        with self._lock:
            now = self._clock()
            gone += [self._drop(number) for number, one in list(self._trials.items()) if one.until <= now]
            while sum(one.size_bytes for one in self._trials.values()) > self._most_bytes:
                gone.append(self._drop(self._oldest_of_most()))
        _unlink([path for trial in gone for one in trial.candidates.values() for path in one.paths])

    def _oldest_of_most(self) -> int:
        """Return the trial that goes first: of whoever has most, in the namespace of theirs that has most."""
        whose = _fullest((one.client, one) for one in self._trials.values())
        where = _fullest((one.namespace, one) for one in self._trials.values() if one.client == whose)
        return next(
            number for number, one in self._trials.items() if (one.client, one.namespace) == (whose, where)
        )

    def _drop(self, number: int) -> Trial:
        trial = self._trials.pop(number)
        for name in trial.names:
            if self._by_name.get(name) == number:
                del self._by_name[name]
        return trial

    def written(self, trial: Trial, candidate: Candidate, rendition: Rendition, path: str) -> bool:
        """Note a further file of a candidate; False: it is not kept any more, and the file is nobody's."""
        size = os.stat(path).st_size
        with self._lock:
            if self._there(trial).get(candidate.number) is not candidate:
                return False
            os.chmod(path, READ_ONLY)
            candidate.files[rendition] = path
            candidate.size_bytes += size
        self.tidy()
        return True

    # -- choosing: on the writer's thread ----------------------------------------------------------

    def take_out(self, trial: Trial, candidate: Candidate) -> None:
        """Take a candidate out of the table: its files are the caller's. Raises NotFound."""
        with self._lock:
            if self._there(trial).get(candidate.number) is not candidate:
                raise NotFound(f"candidate {candidate.number} is not kept any more, or was chosen a moment ago")
            del trial.candidates[candidate.number]

    def put(self, trial: Trial, sound: FinishedSound, vectors: Mapping[str, Vector]) -> None:
        """Put a sound among a trial's candidates: the one whose place another took."""
        candidate = self._candidate(trial, sound, vectors)
        if candidate is not None:
            self.put_back(trial, candidate)

    def put_back(self, trial: Trial, candidate: Candidate) -> None:
        """Put a candidate among a trial's; its files go where these are not kept any more."""
        with self._lock:
            known = trial.number in self._trials
            if known:
                trial.candidates[candidate.number] = candidate
        if not known:
            _unlink(candidate.paths)
        self.tidy()

    def _there(self, trial: Trial) -> dict[int, Candidate]:
        return trial.candidates if trial.number in self._trials else {}

    # -- telling -----------------------------------------------------------------------------------

    def told(self, metadata: SoundMetadata, number: int, caller: Caller, request_id: str) -> SoundMetadata:
        """Return a result's metadata with what its caller, who asked for it, may hear from now on, or why nothing.

        Args:
            number: of what was kept for the sound; 0: nothing was. A kept sound whose candidates this very caller has
                may answer, too.
        """
        with self._lock:
            trial = self._trials.get(number) or self._of_entry(metadata.entry_id, caller)
            if trial is not None and trial.candidates:
                self._name(trial, (caller.owner, request_id))
                return structs.replace(metadata, candidates_kept=trial.report())
        why_not = f"{NOT_KEPT}: {self._why_not(metadata)}"
        return structs.replace(metadata, candidates_kept=(), warnings=(*metadata.warnings, why_not))

    def _why_not(self, metadata: SoundMetadata) -> str:
        if not self.keep_s:
            return "this pool keeps none (cache.enabled, cache.candidates_keep_s)"
        if metadata.cached:
            return KEPT_ANSWERED
        if len(metadata.candidates) < 2:
            return "only one was made; ask for more (candidates)"
        if metadata.cache_type == "joined":
            return "the sound was being made already for somebody who does not want them"
        return "none of the others is a sound, or there is no room for them"

    def _name(self, trial: Trial, name: tuple[str, str]) -> None:
        if self._by_name.get(name) == trial.number:
            return
        if len(trial.names) >= _MOST_NAMES:
            self._by_name.pop(trial.names.pop(0), None)
        trial.names.append(name)
        self._by_name[name] = trial.number

    def _of_entry(self, entry: int | None, caller: Caller) -> Trial | None:
        if entry is None:
            return None
        for trial in self._trials.values():
            if trial.entry == entry and any(owner == caller.owner for owner, _ in trial.names):
                return trial
        return None

    def trial(self, caller: Caller, target: str) -> Trial:
        """Return the candidates of a caller's own request; an operator's may be anybody's. Raises NotFound."""
        with self._lock:
            number = self._by_name.get((caller.owner, target)) or self._by_name.get((caller.job_owner, target))
            if number is None and caller.operator:
                number = next((found for (_, name), found in self._by_name.items() if name == target), None)
            trial = self._trials.get(number or 0)
            if trial is None or trial.until <= self._clock() or caller.namespace not in (None, trial.namespace):
                raise NotFound(
                    f"request {target!r:.80} has no candidates that are kept",
                    hint=f"they are kept for {self.keep_s:g} s where a request asks for 'keep_candidates'",
                )
            return trial

    def candidate(self, trial: Trial, number: int) -> Candidate:
        """Return one of them. Raises NotFound."""
        with self._lock:
            found = self._there(trial).get(number)
            if found is not None:
                return found
            there = ", ".join(map(str, sorted(trial.candidates))) or "none"
        kept = "" if trial.entry is None else f"; the kept sound is entry {trial.entry}"
        raise NotFound(f"there is no candidate {number} to be heard, there are {there}{kept}")


def _fullest(trials: Iterable[tuple[str, Trial]]) -> str:
    """Return the name whose trials have most bytes."""
    shares: dict[str, int] = {}
    for name, one in trials:
        shares[name] = shares.get(name, 0) + one.size_bytes
    return max(shares, key=lambda name: shares[name])


def _worth(sound: FinishedSound) -> float:
    metadata = sound.metadata
    return metadata.quality.score if metadata.clap_similarity is None else metadata.clap_similarity


def _unlink(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as exc:
            log.warning("a candidate's file stays: %s", exc)
