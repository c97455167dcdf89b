"""The pool's Ray process: the one that is part of a Ray cluster, and asks it for the workers' actors.

Owns: actors made, waited for and ended; what is told while one has no place.
Must not know: the pool's process but for the conversation with it (ray_messages.py); why a worker is started.

A process of its own, because Ray's library ends the process it is in when the cluster is lost, and keeps threads and
100 MB busy: the head goes on answering whatever becomes of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from audio_pool.models.shipping import pieces_of
from audio_pool.pool.launchers import ProcessSpec
from audio_pool.pool.launchers.ray_host import RayHost
from audio_pool.pool.launchers.ray_messages import (
    Bring,
    Brought,
    End,
    Exited,
    Lines,
    News,
    Pending,
    Placed,
    Spawn,
)
from audio_pool.worker.parent import die_with

__all__ = ["Options", "main"]

log = logging.getLogger(__name__)

_TICK_S = 0.5
_AT_FIRST_S, _TELL_EVERY_S = 3.0, 5.0
"""When it is told what a worker lacks that has no place: an actor takes a second or two to start in any case."""
_CONNECT_S, _JOIN_S = 10.0, 60.0
_PIECE_S = 120.0
"""A piece of a model that takes longer never comes."""
_GENTLY_S, _AT_ONCE_S = 8.0, 2.0
"""After an order to end a worker, when one is given up whose node says nothing."""
_FILES_KEPT = 32
_THREADS = 4
"""Of an actor: its main one, which waits for the worker, and those that answer beside it."""


class Options(Struct, frozen=True, kw_only=True):
    """What the process is told on its command line."""

    address: str
    port: int
    """Where workers connect, on the head's machine."""
    advertise: str
    """The head's name or address; "": as Ray knows it."""
    placement_timeout_s: float
    log_dir: str
    """Of workers, on their nodes; "": among the temporary files."""


@dataclass
class _Running:
    spec: ProcessSpec
    incarnation: int
    actor: Any  # opaque: Ray's own handle
    ordered: float
    told: float = 0.0
    placed: bool = False
    begun: bool = False
    """Its worker's process has been started."""
    give_up: float | None = None
    why: str = ""


class Driver:
    """Orders come on its main thread; what Ray answers is looked after on another."""

    def __init__(self, options: Options, lines: Lines) -> None:
        self._options = options
        self._lines = lines
        self._running: dict[tuple[str, int], _Running] = {}
        self._lock = threading.RLock()
        self._files: OrderedDict[tuple[str, int, int], tuple[str, Any]] = OrderedDict()  # opaque: Ray's references
        self._awaited: set[Any] = set()  # opaque: likewise; what nobody refers to is never told of
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._endpoint = ""

    def run(self) -> None:
        """Join the cluster and carry out orders until the pool is gone."""
        import ray

        with _at_most(_JOIN_S, f"no Ray cluster at {self._options.address} answers"):
            _look_for(self._options.address)
            ray.init(address=self._options.address, log_to_driver=False, logging_level="ERROR", namespace="audio_pool")
        own: str = self._options.advertise or ray.util.get_node_ip_address()
        self._endpoint = f"tcp://{f'[{own}]' if ':' in own else own}:{self._options.port}"
        log.info("workers connect to %s", self._endpoint)
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        for order in self._lines.orders():
            try:
                match order:
                    case Spawn():
                        self._spawn(order)
                    case End():
                        self._end(order)
                    case Bring():
                        self._bring(order)
            except Exception as exc:
                log.exception("an order failed")
                if isinstance(order, Spawn):
                    self._gone((order.spec.name, order.incarnation), f"Ray could not start it: {_first_line(exc)}")
                elif isinstance(order, Bring):
                    self._tell(Brought(number=order.number, place=None))

    def _tell(self, news: News) -> None:
        try:
            self._lines.send(news)
        except OSError:  # the pool is gone, and so is this process in a moment
            log.debug("nobody listens")

    # -- workers -----------------------------------------------------------------------------------

    def _spawn(self, order: Spawn) -> None:
        import ray

        spec, key = order.spec, (order.spec.name, order.incarnation)
        wanted: dict[str, Any] = {"num_cpus": spec.threads, "num_gpus": spec.gpus}  # opaque: Ray's options
        if spec.resources:
            wanted["resources"] = spec.resources
        if spec.memory_bytes:
            wanted["memory"] = spec.memory_bytes
        actor = (
            ray.remote(RayHost)
            .options(max_restarts=0, max_concurrency=_THREADS, scheduling_strategy="SPREAD", **wanted)
            .remote(self._endpoint, self._options.log_dir)
        )
        with self._lock:
            self._running[key] = _Running(spec, order.incarnation, actor, time.monotonic())
        self._tell_pending(key, "")
        self._await(actor.place.remote(), lambda told: self._placed(key, told, order))

    def _begin(self, key: tuple[str, int], order: Spawn, where: str) -> None:
        """Start the worker's process, whose actor has a place with all that it needs."""
        with self._lock:
            running = self._running.get(key)
        if running is None:
            return
        running.begun = True
        main = running.actor.main.remote(msgspec.json.encode(order.spec), order.incarnation, order.secret)
        self._await(main, lambda told: self._ended(key, told))
        self._tell(Placed(name=key[0], incarnation=key[1], where=where))

    def _bring_models(self, key: tuple[str, int], actor: Any, order: Spawn, where: str) -> None:  # opaque: Ray's
        """Have the node get the models that it lacks, piece by piece through Ray's object store."""
        import ray

        try:
            models = order.spec.models
            lacking = set(ray.get(actor.lacks.remote(msgspec.json.encode(models))))
            for model in (one for one in models if one.model in lacking):
                described, told_at = msgspec.json.encode(model), 0.0
                for name, offset, data in pieces_of(model):
                    if time.monotonic() >= told_at + 1.0:
                        told_at = time.monotonic()
                        why = f"{model.model} is brought to {where}: {name} from {offset / 1e6:,.0f} MB on"
                        self._tell(Pending(name=key[0], incarnation=key[1], why=why, within_s=_PIECE_S))
                    ray.get(actor.take.remote(described, name, offset, ray.put(data)), timeout=_PIECE_S)
                ray.get(actor.has_all.remote(model.model))
                log.info("%s has been brought to %s", model.model, where)
        except Exception as exc:
            reason = f"its models could not be brought to {where}: {_first_line(exc)}"
            self._todo.put(lambda: self._gone(key, reason))
        else:
            self._todo.put(lambda: self._begin(key, order, where))

    # opaque: Ray's reference to what a method will return
    def _await(self, reference: Any, told: Callable[[Future[str]], None]) -> None:
        """Call ``told`` when a method of an actor has returned or never will. Not on Ray's thread, which would wait for
        itself where that asks Ray for anything."""
        self._awaited.add(reference)

        def done(future: Future[str]) -> None:
            self._awaited.discard(reference)
            told(future)

        reference.future().add_done_callback(lambda future: self._todo.put(lambda: done(future)))

    def _placed(self, key: tuple[str, int], told: Future[str], order: Spawn) -> None:
        if told.exception() is not None:
            self._ended(key, told)
            return
        with self._lock:
            running = self._running.get(key)
            if running is None:
                return
            running.placed = True
        if order.spec.models:
            arguments = (key, running.actor, order, told.result())
            threading.Thread(target=self._bring_models, args=arguments, name="models", daemon=True).start()
        else:
            self._begin(key, order, told.result())

    def _ended(self, key: tuple[str, int], told: Future[str]) -> None:
        exc = told.exception()
        if exc is None:
            self._gone(key, told.result())
        else:
            self._gone(key, f"its actor is gone: {_first_line(exc)}", lost=True)

    def _gone(self, key: tuple[str, int], reason: str, *, lost: bool = False) -> None:
        """Tell of an end, once, and give back what the actor had."""
        import ray

        with self._lock:
            running = self._running.pop(key, None)
        if running is not None:
            try:
                ray.kill(running.actor, no_restart=True)
            except Exception as exc:
                log.debug("actor of %s: %s", key[0], exc)
            reason = f"{running.why}: {reason}" if running.why else reason
        self._tell(Exited(name=key[0], incarnation=key[1], reason=reason, lost=lost))

    def _end(self, order: End) -> None:
        import ray

        key = order.name, order.incarnation
        with self._lock:
            running = self._running.get(key)
            if running is None:
                return
            running.give_up = time.monotonic() + (_AT_ONCE_S if order.at_once else _GENTLY_S)
        if not running.begun:
            self._gone(key, f"{order.why}; it had not begun")
        elif order.at_once:
            running.why = order.why
            ray.kill(running.actor, no_restart=True)
        else:
            running.actor.end.remote(order.name, order.incarnation, order.why, False)

    # -- while one has no place --------------------------------------------------------------------

    def _watch(self) -> None:
        look_at = 0.0
        while True:
            try:
                with contextlib.suppress(queue.Empty):
                    self._todo.get(timeout=_TICK_S)()
                if time.monotonic() >= look_at:
                    self._look()
                    look_at = time.monotonic() + _TICK_S
            except Exception:
                log.exception("the workers could not be looked after")

    def _look(self) -> None:
        now = time.monotonic()
        with self._lock:
            running = list(self._running.items())
        for key, one in running:
            if one.give_up is not None and now >= one.give_up:
                self._gone(key, "given up: its node does not say that it has ended")
            elif one.placed or now < one.ordered + _AT_FIRST_S:
                continue
            elif now >= one.ordered + self._options.placement_timeout_s:
                limit = self._options.placement_timeout_s
                self._gone(key, f"Ray found no place for it within {limit:g} s: {self._lacking(one.spec)}")
            elif now >= one.told + _TELL_EVERY_S:
                self._tell_pending(key, f"Ray has no place for it yet: {self._lacking(one.spec)}")

    def _tell_pending(self, key: tuple[str, int], why: str) -> None:
        with self._lock:
            one = self._running.get(key)
            if one is None or one.placed:
                return
            now = time.monotonic()
            left = one.ordered + self._options.placement_timeout_s - now
            one.told = now if why else 0.0
        # the pool waits a little longer than this: it is told what was lacking
        self._tell(Pending(name=key[0], incarnation=key[1], why=why, within_s=left + 10.0))

    def _lacking(self, spec: ProcessSpec) -> str:
        """Return what a worker asks for, and what the cluster has of it."""
        import ray

        wanted = {"CPU": float(spec.threads), "GPU": spec.gpus, "memory": float(spec.memory_bytes), **spec.resources}
        has, free = ray.cluster_resources(), ray.available_resources()
        parts = [
            f"{amount:g} {name} (the cluster has {has.get(name, 0.0):g}, {free.get(name, 0.0):g} free)"
            for name, amount in wanted.items()
            if amount
        ]
        return f"it asks for {' and '.join(parts) or 'nothing'}, on one of {len(ray.nodes())} nodes"

    # -- files -------------------------------------------------------------------------------------

    def _bring(self, order: Bring) -> None:
        import ray

        with self._lock:
            running = self._running.get((order.name, order.incarnation))
        if running is None:
            self._tell(Brought(number=order.number, place=None))
            return
        found = os.stat(order.path)
        known = order.path, found.st_mtime_ns, found.st_size
        if known not in self._files:
            data = Path(order.path).read_bytes()
            self._files[known] = hashlib.sha256(data).hexdigest(), ray.put(data)
            while len(self._files) > _FILES_KEPT:
                self._files.popitem(last=False)
        self._files.move_to_end(known)
        sha256, reference = self._files[known]

        def brought(told: Future[str]) -> None:
            exc = told.exception()
            if exc is not None:
                log.warning("%s could not be brought to worker %s: %s", order.path, order.name, _first_line(exc))
            self._tell(Brought(number=order.number, place=None if exc is not None else told.result()))

        self._await(running.actor.bring.remote(sha256, reference), brought)


def _look_for(address: str) -> None:
    """Return if somebody listens there; Ray itself would try for minutes. Raises OSError."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


@contextlib.contextmanager
def _at_most(seconds: float, what: str) -> Iterator[None]:
    """End the process where the block takes longer: Ray's library cannot be stopped otherwise."""

    def end() -> None:
        log.error("%s within %g s", what, seconds)
        os._exit(1)

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _first_line(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return f"{type(exc).__name__}: {lines[0] if lines else ''}"[:500]


def main(arguments: list[str]) -> int:
    """Run the process.

    Args:
        arguments: options as JSON, the parent's pid, descriptors of the inherited pipe and of the conversation.
    """
    options, parent, pipe, end = arguments
    die_with(int(parent), int(pipe))
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    told = msgspec.json.decode(options, type=Options)
    try:
        Driver(told, Lines(socket.socket(fileno=int(end)))).run()
    except Exception as exc:
        log.exception("it cannot go on")
        log.error("Ray at %s: %s", told.address, _first_line(exc))  # the last line: the pool tells it as the reason
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
