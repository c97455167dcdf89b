"""What a running pool is made of, put together from its configuration.

Owns: the order in which the parts are built, and which part gets which others.
Must not know: what callers ask (pool.py), how any part does its work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import StorageError
from audio_pool.pool.bulk import Bulk
from audio_pool.pool.cache_figures import CacheFigures
from audio_pool.pool.cache_files import configured_files, configured_store
from audio_pool.pool.cache_limits import limits_of
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
from audio_pool.pool.helper_threads import HelperThreads
from audio_pool.pool.housekeeping import Housekeeping
from audio_pool.pool.inbox import Inbox
from audio_pool.pool.intake import Intake
from audio_pool.pool.job_parts import keep_jobs
from audio_pool.pool.kept_candidates import KeptCandidates
from audio_pool.pool.kept_files import KeptFiles
from audio_pool.pool.launchers.local import LocalLauncher
from audio_pool.pool.lending import Lending
from audio_pool.pool.library import Library
from audio_pool.pool.look_ups import LookUps
from audio_pool.pool.machine import Machine
from audio_pool.pool.making import Making
from audio_pool.pool.meaning import Meaning
from audio_pool.pool.memory_watch import MemoryWatch
from audio_pool.pool.model_orders import ModelOrders
from audio_pool.pool.numbers_view import NumbersView
from audio_pool.pool.pictures import Pictures
from audio_pool.pool.plan import (
    concurrency_of,
    configured,
    encoders_of,
    former_encoder,
    hosted_infos,
    load_message,
    refuse_non_commercial,
    searched_space,
    spec_of,
    worker_plan,
    workers_of,
)
from audio_pool.pool.prefetch import Prefetch
from audio_pool.pool.preset_book import PresetBook, presets_of
from audio_pool.pool.presets import PresetDesk
from audio_pool.pool.process_tree import is_beneath
from audio_pool.pool.reading import FileReading, reading_threads
from audio_pool.pool.ready_hits import ReadyHits
from audio_pool.pool.reembedding import Reembedding
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.pool.sent_audio import SentAudio
from audio_pool.pool.sent_first import SentFirst
from audio_pool.pool.service import PoolService
from audio_pool.pool.signing import signing_of
from audio_pool.pool.spill import Spill
from audio_pool.pool.staff import Staff
from audio_pool.pool.status import StatusView
from audio_pool.pool.task_builder import TaskBuilder
from audio_pool.pool.traces import span_feed
from audio_pool.pool.turns import Turns
from audio_pool.pool.verifying import Verifying
from audio_pool.pool.worker_link import WorkerLink
from audio_pool.pool.writer import Writer
from audio_pool.prompts.spelling import prepare as prepare_spelling
from audio_pool.scheduler import events
from audio_pool.scheduler.scheduler import Scheduler
from audio_pool.server.image_frontend import ImageFrontEnd
from audio_pool.server.zmq_frontend import ZmqFrontEnd
from audio_pool.telemetry import Telemetry
from audio_pool.transport.arena import Arena
from audio_pool.transport.connections import most_connections
from audio_pool.transport.endpoints import default_bind, local_endpoint
from audio_pool.transport.keys import ServerKeys

__all__ = ["Parts", "assemble"]

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long keeping a sound waits for another process that writes to the cache; then it is delivered unkept."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a running pool is made of, as far as its callers' verbs need it."""

    router: Router
    intake: Intake
    service: PoolService
    cache: CacheKeeper | None
    endpoint: str | None
    pids: Callable[[], dict[str, int]]


def assemble(config: Config, telemetry: Telemetry, rest: contextlib.ExitStack, *, serve: bool) -> Parts:
    """Build every part, in the order in which each needs the others, and start the router.

    Args:
        rest: gets what is to be closed once the router has ended, also where this raises.
        serve: bind the sockets of the clients, too.
    """
    signing = signing_of(config.provenance)  # may refuse
    cache = _open_cache(config, rest)
    arena = Arena.create(quota_bytes=config.queue.arena_bytes)
    rest.callback(arena.close)
    encoders, former = encoders_of(config) if cache is not None else (), ""
    if cache is not None:
        former, space = former_encoder(config, encoders, cache.current.store.vectors.counts())
        cache.prepare((searched_space(name, config) for name in encoders), space)
    asked = (*encoders, former) if former else encoders
    workers = workers_of(config)
    infos: dict[str, EngineInfo] = hosted_infos(workers, config)  # may refuse: nothing has to be undone yet
    if config.policy.commercial_only:
        refuse_non_commercial([*infos.values(), *(configured(name, config) for name in asked)])
    endpoint = local_endpoint(arena.directory / "workers.sock")
    inbox = Inbox()
    fair_threads = max(1, len(os.sched_getaffinity(0)) // len(workers))
    processes = {worker.name: spec_of(worker, config, asked, fair_threads) for worker in workers}

    def is_away(name: str) -> bool:
        return name in processes and processes[name].remote

    def exited(name: str, incarnation: int, reason: str) -> None:
        inbox.post(events.WorkerExited(worker=name, incarnation=incarnation, reason=reason))

    log_dir = Path(config.server.log_dir).expanduser() if config.server.log_dir else config.cache_dir / "logs"
    cluster = None
    if config.cluster.launcher != "local":
        from audio_pool.pool.cluster import Cluster  # a single machine does without all that it brings

        cluster = Cluster(config.cluster, arena.directory, log_dir, exited, inbox.post)
        rest.callback(cluster.close)
    loads = {worker.name: load_message(worker, config, asked, str(arena.directory)) for worker in workers}
    link = WorkerLink(
        endpoint,
        loads,
        # one that is just being started may not be listed yet, but is a child of ours
        lambda name, pid: is_beneath(pid, launcher.pids().get(name, os.getpid())),
        None if cluster is None else cluster.link,
        is_away,
    )
    launcher = LocalLauncher(endpoint, log_dir, exited)
    spill = Spill(arena.directory, config.cache.delivered_grace_s)
    requests = RequestTable(telemetry)
    requests.traces = span_feed(os.environ, rest)
    writer, index, upkeep = Writer(), Writer("index"), Writer("upkeep", niceness=10)
    turns = Turns(writer, config.queue.max_requests)
    making = Making(turns, cache)
    incoming = _incoming(cache, None if cache is not None else _scratch(config, rest), spill.making)
    sent = SentAudio(
        arena.directory / "sent", largest=config.server.max_sent_audio_bytes, most_bytes=config.queue.max_bytes
    )
    keep_s = config.cache.candidates_keep_s if cache is not None else 0.0
    candidates = KeptCandidates(keep_s, config.cache.candidates_bytes)
    look_ups = None if cache is None else LookUps(config, inbox, requests, cache, index)
    tasks = TaskBuilder(arena, infos, incoming, spill.making, requests, sent, config.provenance.fingerprint)
    tasks.is_remote = is_away
    executor = Executor(
        config,
        inbox=inbox,
        link=link,
        requests=requests,
        cache=cache,
        tasks=tasks,
        delivery=Delivery(turns, cache, config.render_dir, spill, config.server.max_inline_bytes),
        catching_up=CatchingUp(turns, inbox.post),
        making=making,
        look_ups=look_ups,
        candidates=candidates,
        launcher=launcher if cluster is None else cluster.beside(launcher),
        processes=processes,
        infos=infos,
        telemetry=telemetry,
    )
    plans = [worker_plan(worker, config, infos) for worker in workers]
    scheduler = Scheduler(plans, config.limits, config.queue, config.clients, concurrency_of(config), config.memory)
    helpers = HelperThreads([launcher, writer, index, upkeep])
    router = Router(scheduler, executor, link, inbox, requests, telemetry, helpers)
    executor.catching_up.call_at = router.call_at
    counter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio-pool-figures")
    figures = CacheFigures(config.cache_dir, counter, inbox.post)
    rest.callback(router.close)
    rest.callback(counter.shutdown)
    rest.callback(launcher.close)
    rest.callback(writer.shutdown)
    rest.callback(index.shutdown)
    rest.callback(upkeep.shutdown)
    chores: list[Callable[[], int | None]] = [spill.tidy, candidates.tidy]
    chores += [cache.tend, making.tend] if cache is not None else []
    rest.callback(Housekeeping(writer, chores).stop)
    files = FileReading(
        reading_threads(),
        max_bytes=config.limits.max_input_bytes,
        client_files=config.queue.reading_files,
        client_bytes=config.queue.reading_bytes,
    )
    rest.callback(files.close)
    ready = None if cache is None else ReadyHits(executor, cache)
    presets = PresetBook(presets_of(config), lambda: None if cache is None else cache.current.store.presets)
    intake = Intake(config, router, requests, infos, asked, files, ready, sent, executor.catching_up, presets, signing)
    if look_ups is not None:
        executor.on_answer = Prefetch(config.cache, intake, look_ups.count_kept, inbox.post).answered
    looker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio-pool-machine")
    rest.callback(looker.shutdown)
    machine = Machine(config.render_dir if cache is None else config.cache_dir, launcher.pids, looker)
    numbers = NumbersView(scheduler, executor, requests, machine)
    view = StatusView(
        config, router, executor, requests, cache=cache, arena=arena, numbers=numbers, infos=infos, encoders=encoders
    )
    if cache is not None:
        view.embedding = _look_after_index(config, cache, encoders, intake, router, upkeep, rest)
    jobs = None
    if serve and config.jobs.enabled:
        there = scheduler.workers.workers.values
        jobs = keep_jobs(config, intake, requests, inbox, lambda: view.health().state, there, rest)
        view.watched.append(lambda: jobs.journal.trouble)
        executor.on_generate = jobs.begun
        executor.also_of = jobs.also_of
    explaining = Explaining(config, intake, requests, cache, asked, counter, inbox.post)
    feedback = Feedback(requests.delivered, cache, turns, inbox.post)
    librarian = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio-pool-library")
    rest.callback(librarian.shutdown)
    reader = Turns(librarian, config.queue.max_requests)
    pictures = Pictures(intake, Errands("pictures", requests, cache, inbox.post), reader, turns)
    asking = Errands("questions about kept sounds", requests, cache, inbox.post)
    library = Library(asking, Meaning(config, intake, asked), reader, turns)
    first = SentFirst(router, intake, requests, files, sent)
    hearing = Hearing(config, first)
    crafting = Crafting(config, router, intake, requests, first, turns, config.render_dir)
    knower = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio-pool-recognition")
    rest.callback(knower.shutdown)
    origins = Errands("files to be verified", requests, cache, inbox.post, most=16)
    verifying = Verifying(config, first, origins, Turns(knower, config.queue.max_requests))
    kept_files = KeptFiles(config, intake, Errands("files", requests, cache, inbox.post), reader, turns)
    lending = Lending(router, requests)
    staff = Staff(
        config,
        workers,
        router,
        requests,
        loads=loads,
        processes=processes,
        infos=infos,
        encoders=asked,
        arena=str(arena.directory),
    )
    executor.on_lease, executor.on_worker, view.leases = lending.told, staff.told, lending.reports
    service = PoolService(
        config,
        router,
        intake,
        requests,
        view,
        figures,
        feedback,
        explaining,
        pictures,
        library,
        kept_files,
        Bulk(asking, turns),
        CacheView(Errands("questions about the whole cache", requests, cache, inbox.post, most=4), Turns(counter, 4)),
        CandidateFiles(
            config,
            intake,
            candidates,
            requests.delivered,
            cache,
            Errands("candidates", requests, cache, inbox.post),
            reader,
            turns,
        ),
        hearing,
        crafting,
        verifying,
        lending,
        staff,
        ModelOrders(config, router, executor, loads=loads, infos=infos, encoders=encoders),
        PresetDesk(presets, asking, reader, turns, infos),
        jobs,
    )
    served_at = _add_front_ends(config, router, service) if serve else None
    router.start()
    _watch_memory(config, scheduler, launcher.pids, inbox, rest)
    writer.submit(prepare_spelling)  # not at the first unknown word, on the router's thread; workers start meanwhile
    if cache is not None:
        index.submit(cache.current.spaces.open)  # not at the first look-up, which would wait for it
    if jobs is not None:
        jobs.journal.start()
    return Parts(router=router, intake=intake, service=service, cache=cache, endpoint=served_at, pids=launcher.pids)


def _watch_memory(
    config: Config,
    scheduler: Scheduler,
    pids: Callable[[], Mapping[str, int]],
    inbox: Inbox,
    rest: contextlib.ExitStack,
) -> None:
    """Have the devices looked at, where any engine comes and goes, or workers leave what others have taken."""
    leaves = config.memory.leave_after_s is not None
    if not leaves and all(one.preload is True and one.keep_alive_s is None for one in config.engines.values()):
        return

    def devices() -> dict[str, list[int]]:
        plans = [worker.plan for worker in list(scheduler.workers.workers.values())]
        running, found = pids(), dict[str, list[int]]()
        for plan in plans:
            if plan.on_demand or (leaves and plan.devices):
                own = found.setdefault(plan.device or plan.name, [])
                own += [running[plan.name]] if plan.name in running else []
        return found

    watch = MemoryWatch(config.memory, config.devices, devices, inbox.post)
    rest.callback(watch.stop)
    watch.start()


def _look_after_index(
    config: Config,
    cache: CacheKeeper,
    encoders: tuple[str, ...],
    intake: Intake,
    router: Router,
    upkeep: Writer,
    rest: contextlib.ExitStack,
) -> Callable[[], str]:
    """Begin the chores of the upkeep thread; return what tells how far embedding anew is."""
    spaces = {name: searched_space(name, config) for name in encoders}
    lacking = Reembedding(
        cache,
        spaces,
        ask=intake.call,
        ready=lambda name: any(
            worker.state == "ready" and name in worker.engines for worker in router.scheduler.workers.workers.values()
        ),
        busy=lambda: bool(router.scheduler.requests),
        post=router.post,
        upkeep=upkeep,
    )
    rest.callback(cache.stop_tidying)
    rest.callback(Housekeeping(upkeep, [cache.tidy, lacking.look]).stop)
    return lambda: lacking.progress


def _add_front_ends(config: Config, router: Router, service: PoolService) -> str:
    """Register the front ends that the configuration asks for; return where clients connect."""
    server = config.server
    keys = ServerKeys.read(Path(server.keys_dir)) if server.keys_dir else None
    most = most_connections(server.max_connections, len(router.scheduler.workers.workers))
    clients = ZmqFrontEnd(server.bind or default_bind(), service, server, keys=keys, max_connections=most)
    router.add_front_end(clients)
    if server.pull_bind:
        router.add_front_end(ImageFrontEnd(service, server))
    return clients.endpoint


def _open_cache(config: Config, rest: contextlib.ExitStack) -> CacheKeeper | None:
    if not config.cache.enabled:
        return None

    def opened(blobs: BlobStore | None) -> SoundCache:
        cache = SoundCache(
            config.cache_dir,
            max_per_prompt=config.cache.max_per_prompt,
            cap_strategy=config.cache.cap_strategy,
            limits=limits_of(config.cache),
            render_dir=config.render_dir,
            grace_s=config.cache.delivered_grace_s,
            patience_s=_PATIENCE_S,
            blobs=blobs or configured_files(config),
            shared=configured_store(config),
        )
        try:
            cache.store.registry.settle(config.provenance.remembered)
        except StorageError as exc:  # a disk that is full: what is kept can be offered all the same
            log.warning("%s; as many sounds are remembered as before", exc)
        return cache

    cache = CacheKeeper(opened)
    rest.callback(cache.close)
    return cache


def _incoming(cache: CacheKeeper | None, scratch: Path | None, spill: Path) -> Callable[[], Path]:
    """Return what tells where workers write: a disk in trouble is not even tried."""

    def place() -> Path:
        if cache is None:
            return scratch or spill
        return cache.current.incoming if cache.takes_sounds else spill

    return place


def _scratch(config: Config, rest: contextlib.ExitStack) -> Path:
    config.render_dir.mkdir(parents=True, exist_ok=True)
    return Path(rest.enter_context(tempfile.TemporaryDirectory(dir=config.render_dir)))
