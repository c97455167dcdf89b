"""What every front end can ask of a pool beside sounds: cancel, feedback, cache figures, echo, status.

Owns: PoolService, the one object that a front end needs.
Must not know: sockets, messages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from msgspec import structs

from audio_pool.api import CacheStats, Cancellation, FeedbackNoted, FeedbackVerdict
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, Busy, NotFound, NotSupported
from audio_pool.pool.bulk import Bulk
from audio_pool.pool.cache_figures import CacheFigures
from audio_pool.pool.cache_view import CacheView
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.candidate_files import CandidateFiles
from audio_pool.pool.crafting import Crafting
from audio_pool.pool.durable_jobs import DurableJobs
from audio_pool.pool.explaining import Explaining
from audio_pool.pool.feedback import Feedback
from audio_pool.pool.hearing import Hearing
from audio_pool.pool.intake import Intake
from audio_pool.pool.kept_files import KeptFiles
from audio_pool.pool.lending import Lending
from audio_pool.pool.library import Library
from audio_pool.pool.model_orders import ModelOrders
from audio_pool.pool.pictures import Pictures
from audio_pool.pool.presets import PresetDesk
from audio_pool.pool.replies import Body, Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.pool.staff import Staff
from audio_pool.pool.status import StatusView
from audio_pool.pool.verifying import Verifying
from audio_pool.results import Failure
from audio_pool.tasks import EchoTask

__all__ = ["PoolService"]

log = logging.getLogger(__name__)


class PoolService:
    """Router's thread only."""

    def __init__(
        self,
        config: Config,
        router: Router,
        intake: Intake,
        requests: RequestTable,
        view: StatusView,
        figures: CacheFigures,
        feedback: Feedback,
        explaining: Explaining,
        pictures: Pictures,
        library: Library,
        kept_files: KeptFiles,
        bulk: Bulk,
        cache_view: CacheView,
        candidates: CandidateFiles,
        hearing: Hearing,
        crafting: Crafting,
        verifying: Verifying,
        lending: Lending,
        staff: Staff,
        models: ModelOrders,
        presets: PresetDesk,
        jobs: DurableJobs | None = None,
    ) -> None:
        """
        Args:
            figures: about the whole cache.
            feedback: what callers say of results.
            explaining: why a request would hit or miss.
            pictures: of kept sounds.
            library: kept sounds searched and marked.
            kept_files: kept sounds in any format.
            bulk: many of them changed at once.
            cache_view: what goes next, what is there twice.
            candidates: those that were not chosen.
            hearing: CLAP asked.
            crafting: given sounds worked on.
            verifying: where given files come from.
            lending: devices lent.
            staff: workers added and removed.
            models: loaded and taken out.
            presets: listed, set and removed.
            jobs: the durable ones; None: this pool keeps none.
        """
        self.intake = intake
        self.view = view
        self._jobs = jobs
        self._config = config
        self._router = router
        self._requests = requests
        self._figures = figures
        self._feedback = feedback
        self.explaining = explaining
        self.pictures = pictures
        self.library = library
        self.kept_files = kept_files
        self.bulk = bulk
        self.cache_view = cache_view
        self.candidates = candidates
        self.hearing = hearing
        self.crafting = crafting
        self.verifying = verifying
        self.lending = lending
        self.staff = staff
        self.models = models
        self.presets = presets

    @property
    def keeps_jobs(self) -> bool:
        """True where there are durable jobs."""
        return self._jobs is not None

    @property
    def jobs(self) -> DurableJobs:
        """The durable jobs. Raises NotSupported where the pool keeps none."""
        if self._jobs is None:
            raise NotSupported("this server keeps no durable jobs", hint="set jobs.enabled = true")
        return self._jobs

    def refusal(self, exc: BaseException) -> AudioPoolError:
        """Return what a caller is told of an exception. No message may end the router: what slips through every
        check is our bug, and is called one."""
        if isinstance(exc, AudioPoolError):
            return exc
        log.error("a message met a bug", exc_info=exc)
        return AudioPoolError("this message met a bug in the server; its log says more")

    def cancel(self, target: str, number: int = 0) -> Cancellation:
        """Cancel the request ``number``; 0: any caller's request with the id ``target``."""
        number = number or self._requests.number_of(target)
        if number:
            self.intake.cancel(number)
        return Cancellation(target=target, cancelled=bool(number))

    def cancel_waiting(self, numbers: Iterable[int]) -> None:
        """Cancel those requests that wait; what has started goes on."""
        scheduler = self._router.scheduler
        for number in list(numbers):
            state = scheduler.requests.get(number)
            if state is not None and not scheduler.has_started(state.job):
                self.intake.cancel(number)

    def delivered_to(self, caller: Caller, target: str) -> bool:
        """Return whether a sound was delivered for this caller's request of that name lately, a durable one's too."""
        return self._requests.delivered.find(caller.owner, target) is not None

    def feedback(
        self, target: str, verdict: FeedbackVerdict, comment: str, sink: ReplySink, *, caller: Caller = HOST
    ) -> None:
        """Take what a caller says of a result: it goes to the log, is counted, and teaches the cache."""
        log.info("feedback on %r: %s %r", target, verdict, comment)
        self.view.feedback_counts[f"feedback_{verdict}"] += 1
        number = self._requests.open(sink, caller=caller)

        def taken(told: FeedbackNoted | AudioPoolError) -> None:
            self._requests.finish(number, _as_reply(told))

        try:
            self._feedback.take(target, verdict, caller, taken)
        except Busy as exc:
            self._requests.finish(number, Reply(kind="busy", failure=Failure.of(exc)))

    def cache_stats(self, sink: ReplySink, *, discreet: bool = False) -> None:
        """Answer with figures about the whole cache, counted off the router's thread. Raises NotFound.

        Args:
            discreet: without paths, and without others' prompts.
        """
        if not self._config.cache.enabled:
            raise NotFound("the cache is off (cache.enabled = false)")
        number = self._requests.open(sink)  # so that it is answered though the pool stops meanwhile

        def counted(found: CacheStats | AudioPoolError) -> None:
            if discreet and isinstance(found, CacheStats):
                found = structs.replace(found, cache_dir="", top_prompts=(), worth_warming=())
            self._requests.finish(number, _as_reply(found))

        self._figures.ask(counted)

    def echo(
        self,
        payload: bytes,
        sink: ReplySink,
        *,
        worker: str = "",
        size_bytes: int = 0,
        caller: Caller = HOST,
    ) -> None:
        """Send a payload through a worker and back."""
        self.intake.call(EchoTask(payload=payload), sink, worker=worker, size_bytes=size_bytes, caller=caller)


def _as_reply(told: Body | AudioPoolError) -> Reply:
    if isinstance(told, AudioPoolError):
        return Reply(kind="error", failure=Failure.of(told))
    return Reply(kind="result", body=told)
