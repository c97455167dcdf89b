"""Candidates that were not chosen, asked of a running pool: told, heard in any format, chosen after all.

Owns: CandidateFiles: the steps of each question, and what a choice makes of the cache.
Must not know: sockets, which candidates are kept for how long (kept_candidates.py), how a file is written.

    router's thread   is there such a candidate, and a file of it in this form?
    worker            writes it, beside the candidate
    library's thread  reads it, for whoever wants its bytes
    writer's thread   notes what was written; puts what was chosen into the cache, and what was kept among the others
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Struct, UnsetType, structs

from audio_pool.audio.tags import write_comment
from audio_pool.cache.bringing import bring_entry
from audio_pool.cache.entry import Entry
from audio_pool.cache.files import storage_errors
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.candidates import CandidateChosen, CandidateFile, CandidatesKept
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, InvalidAudio, NotFound
from audio_pool.inscription import comment_of
from audio_pool.library import FileForm
from audio_pool.pool.answered import Answered
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.copying import copy_file
from audio_pool.pool.errands import Errand, Errands, failed
from audio_pool.pool.intake import Intake
from audio_pool.pool.kept_candidates import Candidate, KeptCandidates, Trial
from audio_pool.pool.metadata import as_delivered, has_sound_of_master, is_master, rendition_report
from audio_pool.pool.refusals import check_written
from audio_pool.pool.replies import LocalSink, Reply, ReplySink
from audio_pool.pool.resolve import rendition_of
from audio_pool.pool.signing import signature_report
from audio_pool.pool.turns import Turns
from audio_pool.reports import CandidateReport, ChoiceReport
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.tasks import Rendered, RenderTask, Seal
from audio_pool.types import AudioRequest, Delivery, Rendition

__all__ = ["CandidateFiles"]

log = logging.getLogger(__name__)

Vector = npt.NDArray[np.float32]


class _Asked(Struct, frozen=True):
    """One question."""

    errand: Errand
    target: str
    trial: Trial
    candidate: Candidate
    delivery: Delivery
    seal: Seal | None
    not_signed: str


class CandidateFiles:
    """Router's thread only, but for what other threads do."""

    def __init__(
        self,
        config: Config,
        intake: Intake,
        kept: KeptCandidates,
        answered: Answered,
        cache: CacheKeeper | None,
        errands: Errands,
        reader: Turns,
        writer: Turns,
    ) -> None:
        self._config = config
        self._intake = intake
        self._kept = kept
        self._answered = answered
        self._cache = cache
        self._errands = errands
        self._reader = reader
        self._writer = writer
        self._being_written: dict[tuple[int, int, Rendition], list[_Asked]] = {}
        """Files on their way, by trial and candidate."""

    def of(self, target: str, *, caller: Caller = HOST) -> CandidatesKept:
        """Return which candidates of a request can be heard. Raises NotFound."""
        trial = self._kept.trial(caller, target)
        return CandidatesKept(target=target, candidates=trial.report(), entry=trial.entry)

    # -- hearing -----------------------------------------------------------------------------------

    def ask(
        self,
        target: str,
        number: int,
        form: FileForm | UnsetType,
        delivery: Delivery,
        sink: ReplySink,
        *,
        caller: Caller = HOST,
    ) -> None:
        """Answer with a CandidateFile.

        Args:
            form: how it is to be written; UNSET: as its request wanted it.

        Raises:
            NotFound: there is none. Busy: too many are under way. InvalidRequest: no such file can be.
        """
        trial = self._kept.trial(caller, target)
        candidate = self._kept.candidate(trial, number)
        if form is UNSET:
            rendition, not_signed = trial.rendition, ""
            seal = self._intake.signing.seal if rendition.signed else None
        else:
            rendition, seal, not_signed = self._intake.signing.sealed(self._rendition(candidate, form))
        errand = self._errands.begin(sink, caller)
        asked = _Asked(errand, target, trial, candidate, delivery, seal, not_signed)
        path = _file_of(trial, candidate, rendition)
        if path is None:
            self._write(asked, rendition)
        else:
            self._read(asked, rendition, path)

    def _rendition(self, candidate: Candidate, form: FileForm) -> Rendition:
        """Return how a file is written: at the sound's own rate and level, where nothing else is asked for."""
        written = AudioRequest(
            prompt="a candidate",
            format=form.format,
            rendition_rate=form.sample_rate,
            bit_depth=form.bit_depth,
            bit_rate=form.bit_rate,
            target_lufs=form.target_lufs,
            loudness_profile=form.loudness_profile,
        )
        check_written(written, self._config)
        stored = candidate.sound.metadata
        rendition = rendition_of(written, self._config, form.sample_rate or stored.sample_rate, stored.is_loop)
        if form.target_lufs is None and form.loudness_profile is None:
            return structs.replace(rendition, target_lufs=stored.target_lufs)
        return rendition

    def _read(self, asked: _Asked, rendition: Rendition, path: str) -> None:
        self._errands.do(asked.errand, self._reader, lambda _: self._answer(asked, rendition, path))

    def _answer(self, asked: _Asked, rendition: Rendition, path: str) -> Reply:
        """Return the file. On the reader's thread."""
        candidate, inline, most = asked.candidate, asked.delivery == "inline", self._config.server.max_inline_bytes
        try:
            size = os.stat(path).st_size
            if inline and size > most:
                raise InvalidAudio(
                    f"the file has {size:,} bytes, delivered inline are at most {most:,}; "
                    "ask for delivery 'path' or a lossy format"
                )
            data = Path(path).read_bytes()
        except OSError as exc:
            raise _gone(candidate) from exc
        stored = candidate.sound.metadata
        told = candidate.told
        if path != candidate.path:
            told = as_delivered(stored, rendition, rendition_report(stored, rendition))
        told = structs.replace(told, provenance=signature_report(stored, rendition, asked.seal, asked.not_signed))
        report = CandidateFile(
            target=asked.target,
            number=candidate.number,
            format=rendition.format,
            size_bytes=size,
            sha256=hashlib.sha256(data).hexdigest(),
            metadata=told,
            path=None if inline else path,
        )
        return Reply(kind="result", body=report, data=data if inline else None)

    def _write(self, asked: _Asked, rendition: Rendition) -> None:
        """Have a worker write a file that is not there yet, once for all who ask for it meanwhile."""
        assert self._cache is not None, "an errand was begun"
        trial, candidate = asked.trial, asked.candidate
        wanted = trial.number, candidate.number, rendition
        if wanted in self._being_written:
            self._being_written[wanted].append(asked)
            return
        self._being_written[wanted] = [asked]
        metadata = candidate.sound.metadata
        name = f"candidate-{trial.number}-{candidate.number}-{secrets.token_hex(6)}.{rendition.format}"
        task = RenderTask(
            job=0,
            master=candidate.sound.path,
            out=str(self._cache.current.incoming / name),
            rendition=rendition,
            loop=metadata.is_loop,
            comment=comment_of(
                candidate.sound.recipe, structs.replace(metadata, format=rendition.format), rendition, shared=True
            ),
            retold=has_sound_of_master(metadata, rendition),
            seal=asked.seal,
        )

        def end(reply: Reply) -> None:
            for one in self._being_written.pop(wanted, []):
                self._errands.end(one.errand, reply)

        def written(reply: Reply) -> None:
            if not isinstance(reply.body, Rendered):
                end(reply)
                return
            path = reply.body.path
            self._errands.do(asked.errand, self._writer, lambda _: note(path), end=end, bounded=False)

        def note(path: str) -> Callable[[], None]:
            if not self._kept.written(trial, candidate, rendition, path):
                Path(path).unlink(missing_ok=True)
                raise _gone(candidate)
            return lambda: noted(path)

        def noted(path: str) -> None:
            for one in self._being_written.pop(wanted, []):
                self._read(one, rendition, path)

        sink = LocalSink(request_id=f"candidate-of-{trial.number}", on_reply=written)
        try:
            self._intake.call(task, sink, caller=asked.errand.caller)
        except AudioPoolError as exc:
            end(failed(exc))

    # -- choosing ----------------------------------------------------------------------------------

    def choose(self, target: str, number: int, by: str, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with CandidateChosen; raises as ``ask``.

        Args:
            by: who chooses; "": as whom the pool knows the caller.
        """
        trial = self._kept.trial(caller, target)
        candidate = self._kept.candidate(trial, number)
        chooser = by or caller.owner
        errand = self._errands.begin(sink, caller)

        def end(reply: Reply) -> None:
            if isinstance(reply.body, CandidateChosen):  # what is judged of the request from now on is this one
                self._answered.replace(caller.owner, target, reply.body.entry)
            self._errands.end(errand, reply)

        self._errands.do(
            errand,
            self._writer,
            lambda cache: self._chosen(cache, target, trial, candidate, chooser),
            end=end,
            bounded=False,
        )

    def _chosen(self, cache: SoundCache, target: str, trial: Trial, candidate: Candidate, by: str) -> Reply:
        """Put a candidate into the cache, in the place of what is kept for its recipe. On the writer's thread."""
        assert self._cache is not None, "an errand was begun"
        self._kept.take_out(trial, candidate)
        former: FinishedSound | None = None
        anew = cache.incoming / f"chosen-{secrets.token_hex(8)}.flac"
        try:
            if not os.path.isfile(candidate.sound.path):
                raise _gone(candidate)
            replaced = cache.store.entries.identical(candidate.sound)
            kept = None if replaced is None else cache.store.entries.entry(replaced)
            vectors = {} if kept is None else _vectors_of(cache, kept)
            former = None if kept is None else _copied(cache, kept, trial.rendition)
            choice = ChoiceReport(
                by=by, at=time.time(), request_id=target, instead_of=None if kept is None else kept.metadata.seed
            )
            sound = _as_chosen(candidate.sound, choice)
            # the choice stands in the file, too: a database that is made anew of files knows of it
            with storage_errors("choosing a candidate", cache.store.location):
                master = trial.rendition.of_master(sound.metadata.sample_rate)
                write_comment(Path(sound.path), anew, comment_of(sound.recipe, sound.metadata, master))
            sound = structs.replace(sound, path=str(anew))
            entry = self._cache.put(sound, candidate.vectors, replace=True, standing="preferred")
        except BaseException:
            anew.unlink(missing_ok=True)
            for left in () if former is None else (former.path, former.delivered_path):
                if left is not None:
                    Path(left).unlink(missing_ok=True)
            self._kept.put_back(trial, candidate)
            raise
        assert entry.id is not None, "what is chosen is kept"
        path = self._with_rendition(cache, entry, trial, candidate)
        for left in candidate.paths:
            Path(left).unlink(missing_ok=True)
        trial.entry = entry.id
        if former is not None:
            tried = _verdicts(former.metadata.candidates or sound.metadata.candidates, sound.metadata.seed)
            former = structs.replace(former, metadata=structs.replace(former.metadata, candidates=tried))
            self._kept.put(trial, former, vectors)
        told = structs.replace(sound.metadata, entry_id=entry.id)
        report = CandidateChosen(
            target=target,
            number=candidate.number,
            entry=entry.id,
            replaced=replaced,
            metadata=as_delivered(told, trial.rendition, rendition_report(told, trial.rendition)),
            path=path,
            candidates_kept=trial.report(),
        )
        return Reply(kind="result", body=report)

    @staticmethod
    def _with_rendition(cache: SoundCache, entry: Entry, trial: Trial, candidate: Candidate) -> str:
        """Keep the file that the candidate was heard by, beside its master; return what is delivered of it."""
        assert entry.id is not None
        made = candidate.sound.delivered_path
        if made is None:
            return entry.path
        try:
            return cache.put_rendition(entry.id, trial.rendition, made)
        except AudioPoolError:  # it is made again when it is asked for
            return entry.path


def _file_of(trial: Trial, candidate: Candidate, rendition: Rendition) -> str | None:
    """Return the candidate's file in this form; None: it must be written first."""
    if is_master(candidate.sound.metadata, rendition):
        return candidate.sound.path
    if rendition == trial.rendition and candidate.sound.delivered_path is not None:
        return candidate.sound.delivered_path
    return candidate.files.get(rendition)


def _gone(candidate: Candidate) -> NotFound:
    return NotFound(
        f"candidate {candidate.number} is not kept any more",
        hint=f"seed {candidate.sound.metadata.seed} with candidates 1 makes it again",
    )


def _as_chosen(sound: FinishedSound, choice: ChoiceReport) -> FinishedSound:
    """Return a candidate as the cache keeps it: accepted, and offered before others of its words."""
    metadata = sound.metadata
    metadata = structs.replace(
        metadata,
        accepted=True,
        forced=True,
        chosen=choice,
        candidates=_verdicts(metadata.candidates, metadata.seed),
    )
    return structs.replace(sound, metadata=metadata, accepted=True)


def _verdicts(tried: tuple[CandidateReport, ...], seed: int | None) -> tuple[CandidateReport, ...]:
    """Return what became of all candidates when the one of a seed is chosen."""
    told = []
    for one in tried:
        if one.seed == seed:
            one = structs.replace(one, verdict="chosen")
        elif one.verdict in ("chosen", "best_of_rejected"):
            one = structs.replace(one, verdict="not_chosen")
        told.append(one)
    return tuple(told)


def _copied(cache: SoundCache, kept: Entry, rendition: Rendition) -> FinishedSound | None:
    """Return a copy of what is kept, in files of its own; None where that cannot be."""
    assert kept.id is not None
    name, metadata = f"former-{secrets.token_hex(8)}", _plain(kept.metadata)
    master, beside = cache.incoming / f"{name}.flac", cache.incoming / f"{name}.rendition.{rendition.format}"
    made = None if is_master(metadata, rendition) else cache.find_rendition(kept.id, rendition)
    try:
        bring_entry(cache.store, kept.id)
        copy_file(Path(kept.path), master)
        if made is not None:
            copy_file(Path(made), beside)
    except (OSError, AudioPoolError) as exc:
        log.warning("the sound that was kept cannot be heard any more: %s", exc)
        master.unlink(missing_ok=True)
        return None
    return FinishedSound(
        path=str(master),
        recipe=kept.recipe,
        metadata=metadata,
        accepted=metadata.accepted,
        delivered_path=None if made is None else str(beside),
        delivered=None if made is None else rendition_report(metadata, rendition),
    )


def _plain(metadata: SoundMetadata) -> SoundMetadata:
    """Return what is known of a kept sound without how it came to be kept."""
    return structs.replace(metadata, chosen=UNSET, entry_id=None)


def _vectors_of(cache: SoundCache, kept: Entry) -> Mapping[str, Vector]:
    assert kept.id is not None
    found = {space: cache.store.vectors.of(space, [kept.id]).get(kept.id) for space in cache.store.vectors.counts()}
    return {space: vector for space, vector in found.items() if vector is not None}
