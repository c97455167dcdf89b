"""What both clients ask a served pool beside sounds: one method for each question.

Owns: the questions' arguments and timeouts, for whoever blocks and for whoever awaits.
Must not know: how an answer is waited for (client.py, async_client.py), what messages look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

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
    PoolApi,
    PoolStatus,
)
from audio_pool.client import control
from audio_pool.client.candidates import AsyncClientCandidates, ClientCandidates
from audio_pool.client.control import QUESTION_TIMEOUT_S, EchoAnswer, Question
from audio_pool.client.library import AsyncClientLibrary, ClientLibrary
from audio_pool.client.models import AsyncClientModels, ClientModels
from audio_pool.client.presets import AsyncClientPresets, ClientPresets
from audio_pool.client.staff import AsyncClientLeases, AsyncClientWorkers, ClientLeases, ClientWorkers
from audio_pool.craft import Craft, CraftReport
from audio_pool.origin import VerifyReport
from audio_pool.transport.client_messages import MAX_WAIT_MS
from audio_pool.types import Delivery

__all__ = ["AsyncClientQuestions", "ClientQuestions"]

T = TypeVar("T")


class ClientQuestions(PoolApi):
    """The questions of a client that blocks."""

    timeout_s: float
    """Most seconds for what takes as long as a sound."""

    def _ask(self, question: Question[T], timeout_s: float) -> T:
        """Return the answer; wait for it."""
        raise NotImplementedError

    def job(
        self,
        request_id: str,
        *,
        wait_s: float = 0.0,
        delivery: Delivery = "path",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> JobReport:
        """Get what has become of a durable job; wait up to ``wait_s`` (60 s at most) for its end. Raises NotFound."""
        return self._ask(control.job(request_id, wait_s, delivery), timeout_s + min(wait_s, MAX_WAIT_MS / 1000))

    def jobs(
        self,
        states: Sequence[JobState] = (),
        limit: int = 100,
        before: float | None = None,
        *,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Jobs:
        """Get your durable jobs, the newest first; ``before``: those created earlier (seconds since 1970)."""
        return self._ask(control.jobs(states, limit, before), timeout_s)

    def retry(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> JobReport:
        """Have a durable job that ended without a sound done again."""
        return self._ask(control.retry(request_id), timeout_s)

    def cancel(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Cancellation:
        """Stop any client's request of that id, which then ends as Cancelled."""
        return self._ask(control.cancel(request_id), timeout_s)

    def engines(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Engines:
        """Get the engines that can be asked for, and what each can do."""
        return self._ask(control.ENGINES, timeout_s)

    def health(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Health:
        """Get the state (starting, ready, degraded, draining), its reasons, and each engine's state."""
        return self._ask(control.HEALTH, timeout_s)

    def status(self, *, numbers: bool = False, timeout_s: float = QUESTION_TIMEOUT_S) -> PoolStatus:
        """Get requests, workers, cache and counters; ``numbers``: with all that was counted and measured."""
        return self._ask(control.status(numbers), timeout_s)

    def cache_stats(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> CacheStats:
        """Get figures about the whole cache. Raises NotFound where it is off."""
        return self._ask(control.CACHE_STATS, timeout_s)

    def feedback(
        self, target: str, verdict: FeedbackVerdict, comment: str = "", *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> FeedbackNoted:
        """Note what the result of request ``target`` was like."""
        return self._ask(control.feedback(target, verdict, comment), timeout_s)

    def explain(
        self,
        prompt: Asked,
        *,
        across_namespaces: bool = True,
        timeout_s: float = QUESTION_TIMEOUT_S,
        **fields: Any,
    ) -> Explanation:
        """Get why a request would hit or miss, as ``generate`` would ask for it; nothing is made."""
        return self._ask(control.explain(prompt, fields, across_namespaces=across_namespaces), timeout_s)

    def verify(
        self,
        path: str | Path | None = None,
        *,
        sound: bytes | Path | None = None,
        namespace: str | None = None,
        timeout_s: float | None = None,
    ) -> VerifyReport:
        """Ask where a file comes from: whether it was made here, when and by what, and what was changed since.

        Args:
            path: a file that the server reads.
            sound: a file that is read here and sent, or its bytes.
            namespace: whose sounds may be told by their prompt and entry; None: all that this client may name.

        Raises:
            InvalidAudio, NotFound, PathNotAllowed: the file. Busy: too many of this client's are under way.
        """
        return self._ask(control.verify(path, sound, namespace), self.timeout_s if timeout_s is None else timeout_s)

    def craft(
        self,
        craft: Craft,
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        output_path: str | Path | None = None,
        delivery: Delivery = "path",
        timeout_s: float | None = None,
        **form: Any,
    ) -> CraftReport:
        """Have given sounds worked on: looped, mastered, converted, mixed, put in sequence, or checked.

        Args:
            craft: what is done, e.g. ``craft.Loop(duration_s=8)``; see ``audio_pool.craft``.
            paths: files that the server can read.
            sounds: files that are read here and sent to it, or their bytes; they come after ``paths``.
            output_path: where the server puts the result; None: where results lie that are not kept.
            delivery: ``inline`` gives the file as ``data``.
            timeout_s: None: as long as for a sound.
            form: how it is written; of CraftForm, e.g. ``format="ogg"``, ``target_lufs=-18.0``.
        """
        asked = control.craft(craft, paths, sounds, output_path, delivery, form)
        return self._ask(asked, self.timeout_s if timeout_s is None else timeout_s)

    def clap(
        self,
        operation: ClapOperation,
        texts: Sequence[str] = (),
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> ClapAnswer:
        """Compute CLAP vectors, similarities, or scores of labels (``texts``) for sounds: ``paths`` that the server
        can read, and ``sounds`` that are sent to it, as bytes or read here.

        Whole sounds are embedded, so allow more than the default timeout for many.
        """
        return self._ask(control.clap(operation, texts, paths, sounds), timeout_s)

    def spectrogram(
        self,
        entry: int,
        *,
        namespace: str = "default",
        mel_bands: int = 0,
        highest_hz: float | None = None,
        dark: bool = False,
        delivery: Delivery = "path",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> PictureReport:
        """Get a picture (PNG) of a kept sound, by its entry's id: drawn by a worker where there is none yet.

        Args:
            namespace: that the entry is of.
            mel_bands: how many the frequencies are parted into, up to 320; 0: one for each row.
            highest_hz: top of the picture; None: 20 kHz, or half the sample rate.
            dark: light text on a dark ground.
            delivery: ``inline`` gives the file as ``data``.
        """
        asked = control.spectrogram(entry, namespace, mel_bands, highest_hz, dark, delivery)
        return self._ask(asked, timeout_s)

    def echo(
        self, payload: bytes = b"", worker: str | None = None, *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> EchoAnswer:
        """Send bytes through the server and a worker and back, to measure the way."""
        return self._ask(control.echo(payload, worker), timeout_s)

    @property
    def library(self) -> ClientLibrary:
        """Kept sounds: searched, listened to, marked; see LibraryApi."""
        return ClientLibrary(self._ask)

    @property
    def candidates(self) -> ClientCandidates:
        """Candidates that were not chosen: heard, or chosen instead; see CandidatesApi."""
        return ClientCandidates(self._ask)

    @property
    def leases(self) -> ClientLeases:
        """Devices lent to other programs, and returned."""
        return ClientLeases(self._ask)

    @property
    def models(self) -> ClientModels:
        """Models in memory: listed, loaded, taken out, kept."""
        return ClientModels(self._ask)

    @property
    def presets(self) -> ClientPresets:
        """Named sets of words and parameters: listed, set, removed."""
        return ClientPresets(self._ask)

    @property
    def workers(self) -> ClientWorkers:
        """Workers added, drained and removed while the server runs."""
        return ClientWorkers(self._ask)


class AsyncClientQuestions(PoolApi):
    """The questions of a client that awaits."""

    timeout_s: float

    async def _ask(self, question: Question[T], timeout_s: float) -> T:
        """Return the answer; await it."""
        raise NotImplementedError

    async def job(
        self,
        request_id: str,
        *,
        wait_s: float = 0.0,
        delivery: Delivery = "path",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> JobReport:
        """As ClientQuestions.job."""
        return await self._ask(control.job(request_id, wait_s, delivery), timeout_s + min(wait_s, MAX_WAIT_MS / 1000))

    async def jobs(
        self,
        states: Sequence[JobState] = (),
        limit: int = 100,
        before: float | None = None,
        *,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Jobs:
        """As ClientQuestions.jobs."""
        return await self._ask(control.jobs(states, limit, before), timeout_s)

    async def retry(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> JobReport:
        """As ClientQuestions.retry."""
        return await self._ask(control.retry(request_id), timeout_s)

    async def cancel(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Cancellation:
        """As ClientQuestions.cancel."""
        return await self._ask(control.cancel(request_id), timeout_s)

    async def engines(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Engines:
        """As ClientQuestions.engines."""
        return await self._ask(control.ENGINES, timeout_s)

    async def health(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Health:
        """As ClientQuestions.health."""
        return await self._ask(control.HEALTH, timeout_s)

    async def status(self, *, numbers: bool = False, timeout_s: float = QUESTION_TIMEOUT_S) -> PoolStatus:
        """As ClientQuestions.status."""
        return await self._ask(control.status(numbers), timeout_s)

    async def cache_stats(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> CacheStats:
        """As ClientQuestions.cache_stats."""
        return await self._ask(control.CACHE_STATS, timeout_s)

    async def feedback(
        self, target: str, verdict: FeedbackVerdict, comment: str = "", *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> FeedbackNoted:
        """As ClientQuestions.feedback."""
        return await self._ask(control.feedback(target, verdict, comment), timeout_s)

    async def explain(
        self,
        prompt: Asked,
        *,
        across_namespaces: bool = True,
        timeout_s: float = QUESTION_TIMEOUT_S,
        **fields: Any,
    ) -> Explanation:
        """As ClientQuestions.explain."""
        return await self._ask(control.explain(prompt, fields, across_namespaces=across_namespaces), timeout_s)

    async def verify(
        self,
        path: str | Path | None = None,
        *,
        sound: bytes | Path | None = None,
        namespace: str | None = None,
        timeout_s: float | None = None,
    ) -> VerifyReport:
        """As ClientQuestions.verify."""
        return await self._ask(
            control.verify(path, sound, namespace), self.timeout_s if timeout_s is None else timeout_s
        )

    async def craft(
        self,
        craft: Craft,
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        output_path: str | Path | None = None,
        delivery: Delivery = "path",
        timeout_s: float | None = None,
        **form: Any,
    ) -> CraftReport:
        """As ClientQuestions.craft."""
        asked = control.craft(craft, paths, sounds, output_path, delivery, form)
        return await self._ask(asked, self.timeout_s if timeout_s is None else timeout_s)

    async def clap(
        self,
        operation: ClapOperation,
        texts: Sequence[str] = (),
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> ClapAnswer:
        """As ClientQuestions.clap."""
        return await self._ask(control.clap(operation, texts, paths, sounds), timeout_s)

    async def spectrogram(
        self,
        entry: int,
        *,
        namespace: str = "default",
        mel_bands: int = 0,
        highest_hz: float | None = None,
        dark: bool = False,
        delivery: Delivery = "path",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> PictureReport:
        """Get a picture (PNG) of a kept sound, by its entry's id: drawn by a worker where there is none yet.

        Args:
            namespace: that the entry is of.
            mel_bands: how many the frequencies are parted into, up to 320; 0: one for each row.
            highest_hz: top of the picture; None: 20 kHz, or half the sample rate.
            dark: light text on a dark ground.
            delivery: ``inline`` gives the file as ``data``.
        """
        asked = control.spectrogram(entry, namespace, mel_bands, highest_hz, dark, delivery)
        return await self._ask(asked, timeout_s)

    async def echo(
        self, payload: bytes = b"", worker: str | None = None, *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> EchoAnswer:
        """As ClientQuestions.echo."""
        return await self._ask(control.echo(payload, worker), timeout_s)

    @property
    def candidates(self) -> AsyncClientCandidates:
        """As ClientQuestions.candidates; awaited."""
        return AsyncClientCandidates(self._ask)

    @property
    def library(self) -> AsyncClientLibrary:
        """As ClientQuestions.library; awaited."""
        return AsyncClientLibrary(self._ask)

    @property
    def leases(self) -> AsyncClientLeases:
        """As ClientQuestions.leases; awaited."""
        return AsyncClientLeases(self._ask)

    @property
    def models(self) -> AsyncClientModels:
        """As ClientQuestions.models; awaited."""
        return AsyncClientModels(self._ask)

    @property
    def presets(self) -> AsyncClientPresets:
        """As ClientQuestions.presets; awaited."""
        return AsyncClientPresets(self._ask)

    @property
    def workers(self) -> AsyncClientWorkers:
        """As ClientQuestions.workers; awaited."""
        return AsyncClientWorkers(self._ask)
