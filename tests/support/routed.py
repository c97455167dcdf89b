"""A pool on one thread: everything but the sockets, the processes and the router's own loop is real.

Messages to workers are kept instead of sent, workers answer when the test says so, and the writer writes
when it is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.hand_writer import HandWriter
from tests.support.requests import config as usual_config
from tests.support.requests import engine

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.engine_info import EngineInfo
from audio_pool.pool.bulk import Bulk
from audio_pool.pool.cache_figures import CacheFigures
from audio_pool.pool.cache_view import CacheView
from audio_pool.pool.candidate_files import CandidateFiles
from audio_pool.pool.chunk_feed import CatchingUp
from audio_pool.pool.crafting import Crafting
from audio_pool.pool.delivery import Delivery
from audio_pool.pool.errands import Errands
from audio_pool.pool.executor import Executor
from audio_pool.pool.explaining import Explaining
from audio_pool.pool.feedback import Feedback
from audio_pool.pool.hearing import Hearing
from audio_pool.pool.helper_threads import Helper, HelperThreads
from audio_pool.pool.inbox import Inbox
from audio_pool.pool.intake import Intake
from audio_pool.pool.kept_candidates import KeptCandidates
from audio_pool.pool.kept_files import KeptFiles
from audio_pool.pool.launchers import ProcessSpec
from audio_pool.pool.lending import Lending
from audio_pool.pool.library import Library
from audio_pool.pool.look_ups import LookUps
from audio_pool.pool.machine import Machine
from audio_pool.pool.making import Making
from audio_pool.pool.meaning import Meaning
from audio_pool.pool.model_orders import ModelOrders
from audio_pool.pool.numbers_view import NumbersView
from audio_pool.pool.pictures import Pictures
from audio_pool.pool.plan import process_spec, worker_plan, workers_of
from audio_pool.pool.preset_book import PresetBook
from audio_pool.pool.presets import PresetDesk
from audio_pool.pool.reading import FileReading
from audio_pool.pool.ready_hits import ReadyHits
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.pool.sent_audio import SentAudio
from audio_pool.pool.sent_first import SentFirst
from audio_pool.pool.service import PoolService
from audio_pool.pool.spill import Spill
from audio_pool.pool.staff import Staff
from audio_pool.pool.status import StatusView
from audio_pool.pool.task_builder import TaskBuilder
from audio_pool.pool.turns import Turns
from audio_pool.pool.verifying import Verifying
from audio_pool.pool.worker_link import Received, WorkerLink
from audio_pool.results import Accepted, Progress
from audio_pool.scheduler import events
from audio_pool.scheduler.scheduler import Scheduler
from audio_pool.tasks import TaskResult
from audio_pool.telemetry import Telemetry
from audio_pool.transport.arena import Arena
from audio_pool.transport.worker_messages import CancelTask, Ready, RecallTask, RunTask, Stop, ToWorker


@dataclass
class Sent:
    """A message to a worker."""

    worker: str
    incarnation: int
    thread: str
    message: ToWorker
    frames: list[bytes] | None


class KeptMessages:
    """In place of the workers' link: keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.counts: dict[str, int] = {}
        self.forgotten: list[tuple[str, int]] = []
        self.failure: Exception | None = None

    def send(
        self, worker: str, incarnation: int, thread: str, message: ToWorker, frames: list[bytes] | None = None
    ) -> None:
        """Keep a message, or raise ``failure``."""
        if self.failure is not None:
            raise self.failure
        self.sent.append(Sent(worker, incarnation, thread, message, frames))

    def expect(self, worker: str, incarnation: int) -> str:
        """Return a secret that nobody asks for."""
        return "secret"

    def forget(self, worker: str, incarnation: int) -> None:
        """Note that a process is gone."""
        self.forgotten.append((worker, incarnation))


class KeptOrders:
    """In place of a launcher: keeps what would be started and killed."""

    def __init__(self) -> None:
        self.spawned: list[tuple[ProcessSpec, int]] = []
        self.killed: list[tuple[str, int, str]] = []

    def spawn(self, spec: ProcessSpec, incarnation: int, secret: str) -> None:
        """Keep a start."""
        self.spawned.append((spec, incarnation))

    def kill(self, name: str, incarnation: int, why: str, *, at_once: bool = False) -> None:
        """Keep a kill."""
        self.killed.append((name, incarnation, why))

    def pids(self) -> dict[str, int]:
        """Return nothing: nothing runs."""
        return {}

    def close(self, timeout_s: float = 10.0) -> None:
        """Do nothing."""


@dataclass
class Caller:
    """Someone who asks, and what came of it."""

    request_id: str = "r"
    replies: list[Reply] = field(default_factory=list)
    events: list[Accepted | Progress] = field(default_factory=list)

    @property
    def sink(self) -> LocalSink:
        """Where replies go."""
        return LocalSink(request_id=self.request_id, on_reply=self.replies.append, on_event=self.events.append)

    @property
    def reply(self) -> Reply:
        """The one final reply."""
        (reply,) = self.replies
        return reply


class Routed:
    """The parts of a pool, put together as pool.py does, and driven by hand."""

    def __init__(
        self,
        root: Path,
        infos: Sequence[EngineInfo] = (),
        *,
        encoders: tuple[str, ...] = (),
        link: WorkerLink | None = None,
        helpers: Sequence[Helper] = (),
        **sections: Any,
    ) -> None:
        """
        Args:
            link: a real one, for those who run the router's loop.
            sections: of the configuration.
        """
        cache_dir = {"dir": str(root / "cache"), "render_dir": str(root / "renders")}
        sections["cache"] = {"encoder": "off", **cache_dir, **sections.get("cache", {})}
        sections.setdefault("workers", [{"name": "w", "engines": ["tone"]}])
        self.config = usual_config(**sections)
        self.infos = {info.name: info for info in (infos or [engine()])}
        cached = self.config.cache
        self.cache = SoundCache(cached.dir, render_dir=cached.render_dir) if cached.enabled else None
        opened = self.cache
        self.keeper = CacheKeeper(lambda _: opened) if opened is not None else None
        self.arena = Arena.create(root / "arenas", 64 << 20)
        self.spill = Spill(self.arena.directory, 600.0)
        self.writer = HandWriter()
        self.inbox = Inbox()
        self.messages, self.launcher = KeptMessages(), KeptOrders()
        telemetry = Telemetry()
        self.requests = RequestTable(telemetry)
        self.incoming = self.cache.incoming if self.cache is not None else root
        turns = Turns(self.writer, self.config.queue.max_requests)
        used: Any = link or self.messages
        workers = workers_of(self.config)
        self.sent_audio = SentAudio(
            self.arena.directory / "sent",
            largest=self.config.server.max_sent_audio_bytes,
            most_bytes=self.config.queue.max_bytes,
        )
        self.look_ups = None
        if self.keeper is not None:
            self.look_ups = LookUps(self.config, self.inbox, self.requests, self.keeper, self.writer)
        kept_s = cached.candidates_keep_s if cached.enabled else 0.0
        candidates = KeptCandidates(kept_s, cached.candidates_bytes)
        processes = {worker.name: process_spec(worker) for worker in workers}
        self.executor = Executor(
            self.config,
            inbox=self.inbox,
            link=used,
            requests=self.requests,
            cache=self.keeper,
            tasks=TaskBuilder(
                self.arena, self.infos, lambda: self.incoming, self.spill.making, self.requests, self.sent_audio
            ),
            delivery=Delivery(
                turns,
                self.keeper,
                self.config.render_dir,
                self.spill,
                self.config.server.max_inline_bytes,
            ),
            look_ups=self.look_ups,
            candidates=candidates,
            catching_up=CatchingUp(turns, self.inbox.post),
            making=Making(turns, None),  # its questions would need the writer before every sound
            launcher=self.launcher,
            processes=processes,
            infos=self.infos,
            telemetry=telemetry,
        )
        plans = [worker_plan(one, self.config) for one in workers]
        self.scheduler = Scheduler(plans, self.config.limits, self.config.queue)
        self.router = Router(
            self.scheduler, self.executor, used, self.inbox, self.requests, telemetry, HelperThreads(helpers)
        )
        self.executor.catching_up.call_at = self.router.call_at
        limits, queue = self.config.limits, self.config.queue
        self.files = FileReading(
            self.writer,
            max_bytes=limits.max_input_bytes,
            client_files=queue.reading_files,
            client_bytes=queue.reading_bytes,
        )
        ready = None if self.keeper is None else ReadyHits(self.executor, self.keeper)
        presets = PresetBook({}, lambda: None if self.keeper is None else self.keeper.current.store.presets)
        self.intake = Intake(
            self.config, self.router, self.requests, self.infos, encoders, self.files, ready, self.sent_audio,
            self.executor.catching_up,
            presets,
        )  # fmt: skip
        self.machine = Machine(root, self.launcher.pids, self.writer)
        numbers = NumbersView(self.scheduler, self.executor, self.requests, self.machine)
        self.view = StatusView(
            self.config, self.router, self.executor, self.requests,
            cache=self.keeper, arena=self.arena, numbers=numbers, infos=self.infos, encoders=encoders,
        )  # fmt: skip
        self.figures = CacheFigures(self.config.cache_dir, self.writer, self.inbox.post)
        explaining = Explaining(
            self.config, self.intake, self.requests, self.keeper, encoders, self.writer, self.inbox.post
        )
        feedback = Feedback(self.requests.delivered, self.keeper, turns, self.inbox.post)
        errands = Errands("questions", self.requests, self.keeper, self.inbox.post)
        drawing = Errands("pictures", self.requests, self.keeper, self.inbox.post)
        pictures = Pictures(self.intake, drawing, turns, turns)
        library = Library(errands, Meaning(self.config, self.intake, encoders), turns, turns)
        kept_files = KeptFiles(self.config, self.intake, errands, turns, turns)
        first = SentFirst(self.router, self.intake, self.requests, self.files, self.sent_audio)
        self.lending = Lending(self.router, self.requests)
        self.staff = Staff(
            self.config, workers, self.router, self.requests,
            loads={}, processes=processes, infos=self.infos, encoders=encoders, arena=str(self.arena.directory),
        )  # fmt: skip
        self.executor.on_lease, self.executor.on_worker = self.lending.told, self.staff.told
        self.view.leases = self.lending.reports
        self.service = PoolService(
            self.config, self.router, self.intake, self.requests, self.view, self.figures, feedback, explaining,
            pictures, library, kept_files, Bulk(errands, turns), CacheView(errands, turns),
            CandidateFiles(
                self.config, self.intake, candidates, self.requests.delivered, self.keeper, errands, turns, turns
            ),
            Hearing(self.config, first),
            Crafting(
                self.config, self.router, self.intake, self.requests, first, turns, self.config.render_dir
            ),
            Verifying(self.config, first, errands, turns),
            self.lending,
            self.staff,
            ModelOrders(
                self.config, self.router, self.executor, loads={}, infos=self.infos, encoders=encoders
            ),
            PresetDesk(presets, errands, turns, turns, self.infos),
        )  # fmt: skip

    def close(self) -> None:
        """Close what was opened."""
        self.inbox.close()
        self.arena.close()
        if self.keeper is not None:
            self.keeper.close()

    # -- driving -----------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        """Let an event happen."""
        self.router.feed(event)

    def write(self) -> None:
        """Run the writer, and take in what it posts, until nothing is left."""
        while self.writer.waiting or not self.inbox.empty():
            self.writer.run()
            for item in self.inbox.drain():
                if callable(item):
                    item()
                else:
                    self.feed(item)

    def start(self, *engines: EngineInfo, device: str = "cpu") -> Routed:
        """Bring every worker up, with the engines of its configuration and these."""
        self.feed(events.Tick())
        for spec, incarnation in list(self.launcher.spawned):
            self.get_ready(spec.name, incarnation, *engines, device=device)
        return self

    def get_ready(self, worker: str, incarnation: int, *engines: EngineInfo, device: str = "cpu") -> None:
        """Bring a worker up."""
        self.feed(events.WorkerHello(worker=worker, incarnation=incarnation))
        hosted = {info.name: info for info in engines}
        for name in self.scheduler.workers.workers[worker].plan.engines:
            hosted.setdefault(name, self.infos[name])
        ready = events.WorkerReady(worker=worker, incarnation=incarnation, engines=frozenset(hosted))
        message = Ready(incarnation=incarnation, engines=hosted, device=device)
        self.feed(self.executor.take_in(Received(event=ready, ready=message)))

    def run(self, worker: str = "w") -> RunTask:
        """The last task sent to a worker."""
        sent = [one.message for one in self.messages.sent if one.worker == worker]
        return [message for message in sent if isinstance(message, RunTask)][-1]

    def orders(self, kind: type[CancelTask | RecallTask | Stop]) -> list[ToWorker]:
        """The messages of a kind that were sent to workers."""
        return [one.message for one in self.messages.sent if isinstance(one.message, kind)]

    def done(
        self,
        results: dict[int, TaskResult],
        run: RunTask | None = None,
        *,
        worker: str = "w",
        frames: list[bytes] | None = None,
        unwritable: tuple[int, ...] = (),
    ) -> None:
        """Let a worker finish a task, the last one by default."""
        run = run or self.run(worker)
        done = events.TaskDone(
            worker=worker, incarnation=run.incarnation, task=run.task_id, attempt=run.attempt, results=results
        )
        self.feed(self.executor.take_in(Received(event=done, frames=frames or [], unwritable=unwritable)))
