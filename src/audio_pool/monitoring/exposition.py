"""A pool's numbers as Prometheus reads them.

Owns: the names and labels of every metric, and what of a status each one tells.
Must not know: how the status was got, HTTP.

A pool counts by itself and says its counts when it is asked (``status``); here they are only written down, so that
nothing is paid for between two scrapes. docs/monitoring.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from audio_pool.api import Health, PoolStatus
from audio_pool.numbers import BOUNDS_S, DoorNumbers, Histogram, PoolNumbers

__all__ = ["NATIVE", "exposition", "families"]

NATIVE = "native"
"""The dialect of what the pool itself has counted: every request, whichever door it came by."""

_STATES = ("starting", "ready", "degraded", "draining", "down")


def exposition(
    accept: str, status: PoolStatus | None, health: Health | None, own: DoorNumbers | None = None
) -> tuple[bytes, str]:
    """Return the text and its content type.

    Args:
        accept: header of the scrape: which form it wants.
        status, health: of the pool; None: it does not answer.
        own: what a gateway has counted of the requests that it has answered.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(families(status, health, own)))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Told:
    """A collector of what is known already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: what would be told depends on the pool."""
        return ()


def families(status: PoolStatus | None, health: Health | None, own: DoorNumbers | None) -> Iterator[Metric]:
    """Yield every metric with its samples."""
    yield _gauge("up", "1 while the pool answers.", float(status is not None and health is not None))
    requests = _counter("requests", "Requests for sounds that were answered.", ("dialect", "engine", "status", "cache"))
    if own is not None:
        for labels, count in own.requests.items():
            requests.add_metric(labels, count)
        seconds = _histogram("http_request_seconds", "Requests for sounds over HTTP, by API.", ("dialect",))
        for dialect, histogram in own.seconds.items():
            _add(seconds, (dialect,), histogram)
        yield seconds
    numbers = status.numbers if status is not None else None
    if status is None or health is None or numbers is None:
        yield requests
        return
    for one in numbers.requests:
        requests.add_metric((NATIVE, one.engine, one.status, one.cache), one.count)
    yield requests
    yield _gauge("start_time_seconds", "When the pool was started, in seconds since 1970.", numbers.started)
    yield _gauge("requests_open", "Requests taken in and not answered, questions included.", status.requests)
    yield from _of_the_pool(status, health)
    yield from _of_requests(numbers)
    yield from _of_the_cache(status, numbers)
    yield from _of_workers(status, numbers)
    yield from _of_the_machine(status, numbers)


def _of_the_pool(status: PoolStatus, health: Health) -> Iterator[Metric]:
    info = _gauge("info", "1; its labels say which server this is.", None, ("version",))
    info.add_metric((status.version,), 1)
    yield info
    yield _gauge("ready", "1 while a new sound could be made and kept.", float(not health.blockers))
    states = _gauge("health", "1 for the state that the pool is in.", None, ("state",))
    for state in _STATES:
        states.add_metric((state,), float(state == health.state))
    yield states
    yield _gauge("connections", "Clients connected now.", status.clients.get("connections", 0))
    turned_away = status.clients.get("connections_turned_away", 0)
    yield _counter("connections_turned_away", "Connections that there was no room for.", value=turned_away)
    refused = status.clients.get("refused", 0)
    yield _counter("messages_refused", "Messages that were turned away unread or unasked.", value=refused)
    dropped = _counter("replies_lost", "Replies that did not reach who had asked.", ("reason",))
    for reason, key in (("slow", "replies_dropped"), ("vanished", "replies_to_vanished")):
        dropped.add_metric((reason,), status.replies.get(key, 0))
    yield dropped
    feedback = _counter("feedback", "Judgements of results.", ("verdict",))
    for key, count in status.clients.items():
        if key.startswith("feedback_"):
            feedback.add_metric((key.removeprefix("feedback_"),), count)
    yield feedback


def _of_requests(numbers: PoolNumbers) -> Iterator[Metric]:
    running = _gauge("requests_running", "Sounds that are being looked for or made.", None, ("engine", "priority"))
    waiting = _gauge("requests_waiting", "Sounds that wait for a worker.", None, ("engine", "priority"))
    for load in numbers.load:
        running.add_metric((load.engine, load.priority), load.running)
        waiting.add_metric((load.engine, load.priority), load.waiting)
    yield running
    yield waiting
    whole = _histogram("request_seconds", "Whole requests for sounds; cache is empty for no sound.", ("cache",))
    for cache, histogram in numbers.request_seconds.items():
        _add(whole, (cache,), histogram)
    yield whole
    queue = _histogram("queue_seconds", "How long new sounds waited for a worker.")
    _add(queue, (), numbers.stage_seconds.get("queue", Histogram()))
    yield queue
    stages = _histogram("stage_seconds", "The stages of new sounds.", ("stage",))
    for stage, histogram in numbers.stage_seconds.items():
        _add(stages, (stage,), histogram)
    yield stages
    generate = _histogram("generate_seconds", "How long workers generated new sounds.", ("engine",))
    for engine, histogram in numbers.generate_seconds.items():
        _add(generate, (engine,), histogram)
    yield generate
    audio = _counter("audio_seconds", "Seconds of new sounds.", ("engine",))
    for engine, seconds in numbers.audio_seconds.items():
        audio.add_metric((engine,), seconds)
    yield audio
    rerolls = _counter("rerolls", "Further rounds of fresh seeds, by what was wrong with the one before.", ("reason",))
    for reason in ("gate", "quality", "similarity"):
        rerolls.add_metric((reason,), numbers.rerolls.get(reason, 0))
    yield rerolls
    yield _counter("loop_rejects", "Candidates of loops that the quality gate refused.", value=numbers.loop_rejects)


def _of_the_cache(status: PoolStatus, numbers: PoolNumbers) -> Iterator[Metric]:
    lookups = _counter("cache_lookups", "Look-ups for a sound that is there already, or being made.", ("kind",))
    hits = _counter("cache_hits", "Results that those look-ups found.", ("kind",))
    for kind in ("exact", "semantic", "join"):
        lookups.add_metric((kind,), numbers.lookups.get(kind, 0))
        hits.add_metric((kind,), numbers.hits.get(kind, 0))
    yield lookups
    yield hits
    on = float(status.semantic.partition(":")[0] != "off")
    yield _gauge("semantic_lookups_on", "1 while prompts are looked up by their meaning.", on)


def _of_workers(status: PoolStatus, numbers: PoolNumbers) -> Iterator[Metric]:
    label = ("worker",)
    up = _gauge("worker_up", "1 while the worker is ready.", None, label)
    state = _gauge("worker_state", "1; the label says the state.", None, ("worker", "state"))
    restarts = _counter("worker_restarts", "Starts of the worker after its first.", label)
    loads = _counter("worker_model_loads", "Engines that the worker has loaded.", label)
    crashes = _gauge("worker_crashes", "Crashes in a row, without a finished task.", None, label)
    held = _gauge("worker_tasks", "Tasks that the worker has in hand.", None, label)
    done = _counter("worker_tasks_done", "Tasks that the worker has done.", label)
    memory = _gauge("worker_memory_bytes", "Memory of the worker's process.", None, label)
    for name, worker in status.workers.items():
        up.add_metric((name,), float(worker.state in ("ready", "half_open")))
        state.add_metric((name, worker.state), 1)
        restarts.add_metric((name,), max(0, worker.incarnation - 1))
        loads.add_metric((name,), numbers.model_loads.get(name, 0))
        crashes.add_metric((name,), worker.crashes)
        held.add_metric((name,), worker.tasks)
        done.add_metric((name,), worker.tasks_done)
        if name in numbers.worker_bytes:
            memory.add_metric((name,), numbers.worker_bytes[name])
    yield from (up, state, restarts, loads, crashes, held, done, memory)


def _of_the_machine(status: PoolStatus, numbers: PoolNumbers) -> Iterator[Metric]:
    gpus = _gauge("gpu_memory_bytes", "Graphics memory, every process counted.", None, ("gpu_uuid", "kind"))
    for card in numbers.gpus:
        gpus.add_metric((card.uuid, "used"), card.used_bytes)
        gpus.add_metric((card.uuid, "free"), card.free_bytes)
    yield gpus
    if numbers.disk.total_bytes:
        disk = _gauge("disk_bytes", "The file system that sounds are kept on.", None, ("kind",))
        disk.add_metric(("free",), numbers.disk.free_bytes)
        disk.add_metric(("total",), numbers.disk.total_bytes)
        yield disk
    arena = _gauge("arena_bytes", "Shared memory for sounds between workers.", None, ("kind",))
    arena.add_metric(("used",), status.arena.get("bytes", 0))
    arena.add_metric(("quota",), status.arena.get("quota_bytes", 0))
    yield arena


# -- forms -----------------------------------------------------------------------------------------


def _gauge(name: str, text: str, value: float | None = None, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"audio_pool_{name}", text, value=value, labels=None if value is not None else labels)


def _counter(
    name: str, text: str, labels: tuple[str, ...] = (), value: float | None = None
) -> CounterMetricFamily:
    return CounterMetricFamily(f"audio_pool_{name}", text, value=value, labels=None if value is not None else labels)


def _histogram(name: str, text: str, labels: tuple[str, ...] = ()) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"audio_pool_{name}", text, labels=labels)


def _add(metric: HistogramMetricFamily, labels: tuple[str, ...], histogram: Histogram) -> None:
    bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))
    metric.add_metric(labels, buckets, sum_value=histogram.sum_s)
