"""A worker process: hello, load, ready, work, beat.

Owns: the process's threads and its half of the conversation with the router. Carries tasks to engines
and results back.
Must not know: configuration (a Load message says everything), the pool, the cache, the router's rules.

Three threads. *Control* (the main thread) says hello, beats, hears cancel and stop. *Make* generates:
it receives its jobs on a socket of its own and answers on it, so that no message changes threads.
*Quick* does everything short beside it (embed, master, render, echo), look-ups first: mastering a sound
overlaps the next generation.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from functools import partial
from typing import Any

import msgspec

from audio_pool.errors import AudioPoolError, Cancelled, EngineError, OutOfMemory, WorkerStartFailed
from audio_pool.transport import client_messages, packing, worker_messages
from audio_pool.transport.sockets import Channel, Poller, Waker, dealer
from audio_pool.worker.runner import Made, Workshop

__all__ = ["main"]

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_PROGRESS_EVERY_S = 0.05
_HEARD_WITHIN_S = 5.0


class Worker:
    """One incarnation of one worker."""

    def __init__(self, endpoint: str, name: str, incarnation: int) -> None:
        self.endpoint = endpoint
        self.name = name
        self.incarnation = incarnation
        self.workshop = Workshop(name)
        self.stopping = threading.Event()
        self.cancelled: set[tuple[int, int]] = set()
        self.waker = Waker()
        self.said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """What other threads want said on the control socket."""
        self.finishing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """Candidates made here, on their way from make to quick."""
        self.quick_waker = Waker()
        self.make_waker = Waker()
        self.make_ended = threading.Event()
        self.broken = threading.Event()

    def connect(self, lane: str) -> Channel:
        identity = f"{self.name}:{self.incarnation}:{lane}".encode()
        return dealer(self.endpoint, identity=identity)

    # -- control -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Until stopped. Returns the exit code: 0 stopped, 3 could not load, 5 a lane has broken."""
        control = self.connect("control")
        control.send(
            [
                packing.pack(
                    worker_messages.Hello(
                        incarnation=self.incarnation,
                        pid=os.getpid(),
                        protocol=client_messages.PROTOCOL_VERSION,
                        python=sys.version.split()[0],
                    )
                )
            ]
        )
        poller = Poller()
        poller.add(control, "control")
        poller.add(self.waker, "said")
        heartbeat_s, lanes = 1.0, []
        next_beat = time.monotonic() + heartbeat_s
        while True:
            for source in poller.wait(next_beat - time.monotonic()):
                if source == "said":
                    self.waker.clear()
                while source == "control" and (frames := control.receive()) is not None:
                    message = worker_messages.to_worker(frames[0])
                    if isinstance(message, worker_messages.Load):
                        heartbeat_s = message.heartbeat_s
                        lanes = self._start(message)
                    elif isinstance(message, worker_messages.CancelJob):
                        self.cancelled.add((message.job, message.attempt))
                    elif isinstance(message, worker_messages.Stop):
                        self.stopping.set()
                        self.quick_waker.wake()
                        self.make_waker.wake()
            if self._say(control):
                self._await_stop(control)
                control.close()
                return 3
            if self.stopping.is_set() and not any(lane.is_alive() for lane in lanes):
                control.close()
                return 0
            if self.broken.is_set():  # beating on would hide it until a job's time is over
                control.close()
                return 5
            now = time.monotonic()
            if now >= next_beat:
                control.send([packing.pack(worker_messages.Beat(incarnation=self.incarnation))])
                next_beat = now + (min(heartbeat_s, 0.1) if self.stopping.is_set() else heartbeat_s)

    def _say(self, control: Channel) -> bool:
        """Sends what other threads want said. Whether loading failed."""
        failed = False
        while not self.said.empty():
            message = self.said.get()
            failed = failed or isinstance(message, worker_messages.LoadFailed)
            control.send([packing.pack(message)])
        return failed

    def _await_stop(self, control: Channel) -> None:
        """Until the router has read why loading failed: a process that ends at once may take its words along."""
        poller = Poller()
        poller.add(control, "control")
        deadline = time.monotonic() + _HEARD_WITHIN_S
        while not self.stopping.is_set() and time.monotonic() < deadline:
            poller.wait(deadline - time.monotonic())
            while (frames := control.receive()) is not None:
                if isinstance(worker_messages.to_worker(frames[0]), worker_messages.Stop):
                    self.stopping.set()

    def say(self, message: Any) -> None:
        self.said.put(message)
        self.waker.wake()

    def _start(self, load: worker_messages.Load) -> list[threading.Thread]:
        make = threading.Thread(target=self._make_lane, args=(load,), name="make", daemon=True)
        make.start()
        return [make]

    # -- loading -----------------------------------------------------------------------------------

    def _make_lane(self, load: worker_messages.Load) -> None:
        started = time.monotonic()
        try:
            self.workshop.load(load)
        except Exception as exc:
            log.exception("loading failed")
            self.say(
                worker_messages.LoadFailed(
                    incarnation=self.incarnation, error=client_messages.error_body(_mapped(exc, "loading"))
                )
            )
            return
        quick = threading.Thread(target=self._lane, args=("quick", self.quick_waker), name="quick", daemon=True)
        quick.start()
        self.say(
            worker_messages.Ready(
                incarnation=self.incarnation,
                engines={name: msgspec.to_builtins(info) for name, info in self.workshop.infos.items()},
                device=self.workshop.device,
                load_s=time.monotonic() - started,
            )
        )
        self._lane("make", self.make_waker)
        self.make_ended.set()
        self.quick_waker.wake()
        quick.join()

    # -- lanes -------------------------------------------------------------------------------------

    def _lane(self, lane: str, waker: Waker) -> None:
        try:
            self._serve(lane, waker)
        except Exception:
            log.exception("lane %s has broken", lane)
            self.broken.set()
            self.waker.wake()

    def _serve(self, lane: str, waker: Waker) -> None:
        channel = self.connect(lane)
        # the router can send to an identity only after having heard of it
        channel.send([packing.pack(worker_messages.Beat(incarnation=self.incarnation))])
        poller = Poller()
        poller.add(channel, "job")
        poller.add(waker, "waker")
        waiting: list[tuple[worker_messages.Job, list[bytes]]] = []
        while True:
            # quick ends after make: something may still be on its way there
            ending = self.stopping.is_set() and (lane == "make" or self.make_ended.is_set())
            made = lane == "quick" and not self.finishing.empty()
            for source in poller.wait(0.0 if waiting or made or ending else 3600.0):
                if source == "waker":
                    waker.clear()
            while (frames := channel.receive()) is not None:
                job = worker_messages.to_worker(frames[0])
                if isinstance(job, worker_messages.Job):
                    waiting.append((job, frames[1:]))
            # a look-up takes milliseconds and is given up soon; what it overtakes may take seconds
            waiting.sort(key=lambda one: not isinstance(one[0].task, worker_messages.EmbedTask))
            if made and not (waiting and isinstance(waiting[0][0].task, worker_messages.EmbedTask)):
                job, task, candidates = self.finishing.get()
                self._answer(channel, job, partial(self.workshop.finish_made, task, candidates))
            elif waiting:
                self._work(channel, *waiting.pop(0))
            elif ending:
                channel.close()
                return

    def _work(self, channel: Channel, job: worker_messages.Job, frames: list[bytes]) -> None:
        if isinstance(job.task, worker_messages.MakeTask) and job.task.finish_here:
            task = job.task
            try:
                made = self._make(channel, job, task)
            except Exception as exc:
                self._fail(channel, job, exc)
                return
            self._progress(channel, job, "master", 0, 1)  # from here, so that it comes after the steps
            self.finishing.put((job, task, made))
            self.quick_waker.wake()
            return
        self._answer(channel, job, partial(self._carry_out, channel, job, frames))

    def _progress(self, channel: Channel, job: worker_messages.Job, stage: str, done: int, total: int) -> None:
        progress = worker_messages.Progress(
            incarnation=self.incarnation, job=job.job, attempt=job.attempt, stage=stage, done=done, total=total
        )
        channel.send([packing.pack(progress)])

    def _answer(self, channel: Channel, job: worker_messages.Job, work: Any) -> None:
        try:
            outcome = work()
            result, blobs = outcome if isinstance(outcome, tuple) else (outcome, [])
            # packed here: an engine's notes may hold what cannot be
            message = packing.pack(
                worker_messages.Done(incarnation=self.incarnation, job=job.job, attempt=job.attempt, result=result)
            )
        except Exception as exc:
            self._fail(channel, job, exc)
            return
        self._done(job)
        channel.send([message, *blobs])

    def _fail(self, channel: Channel, job: worker_messages.Job, exc: Exception) -> None:
        if not isinstance(exc, AudioPoolError):
            log.exception("job %d failed, requests %s", job.job, ",".join(job.request_ids))
        self._done(job)
        error = client_messages.error_body(_mapped(exc, type(job.task).__name__))
        failed = worker_messages.Failed(incarnation=self.incarnation, job=job.job, attempt=job.attempt, error=error)
        channel.send([packing.pack(failed)])

    def _done(self, job: worker_messages.Job) -> None:
        self.cancelled.discard((job.job, job.attempt))

    # -- tasks -------------------------------------------------------------------------------------

    def _carry_out(self, channel: Channel, job: worker_messages.Job, frames: list[bytes]) -> Any:
        task = job.task
        match task:
            case worker_messages.EchoTask():
                return {"payload": task.payload}
            case worker_messages.MakeTask():
                made = self._make(channel, job, task)
                return self.workshop.hand_over(made, job.grants, ",".join(job.request_ids)[:256])
            case worker_messages.FinishTask():
                self._progress(channel, job, "master", 0, 1)
                return self.workshop.finish_handed(task, frames)
            case worker_messages.EmbedTask():
                return self.workshop.embed(task)
            case worker_messages.RenderTask():
                return self.workshop.render(task)
            case worker_messages.ClapTask():
                return self.workshop.clap(task)

    def _make(self, channel: Channel, job: worker_messages.Job, task: worker_messages.MakeTask) -> list[Made]:
        last = 0.0

        def on_step(done: int, total: int) -> None:
            nonlocal last
            if (job.job, job.attempt) in self.cancelled:
                raise Cancelled("cancelled by its caller")
            now = time.monotonic()
            if now - last >= _PROGRESS_EVERY_S or done == total:
                last = now
                self._progress(channel, job, "generate", done, total)

        if (job.job, job.attempt) in self.cancelled:  # it may have come while the job waited in the socket
            raise Cancelled("cancelled by its caller")
        self.workshop.prepare(job.grants)
        return self.workshop.make(task, on_step)


def _mapped(exc: BaseException, doing: str) -> AudioPoolError:
    """Ours as it is; a foreign one in general words (the log has the traceback)."""
    if isinstance(exc, AudioPoolError):
        return exc
    if isinstance(exc, MemoryError):
        return OutOfMemory(f"out of memory while {doing}", hint="ask for less, or set lower limits")
    if doing == "loading":
        return WorkerStartFailed(f"{type(exc).__name__}: {exc}"[:500])
    return EngineError(f"{doing} failed: {type(exc).__name__}: {exc}"[:500])


def _die_with(parent: int, pipe: int) -> None:
    """Three ways, as each alone has a gap: a kernel signal, the parent's pid, the end of a pipe."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(4)

    def watch() -> None:
        os.read(pipe, 1)
        os._exit(4)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main(arguments: list[str]) -> int:
    """``arguments``: endpoint, name, incarnation, parent's pid, descriptor of the inherited pipe."""
    endpoint, name, incarnation, parent, pipe = arguments
    _die_with(int(parent), int(pipe))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is the parent's to handle
    level, known = os.environ.get("AUDIO_POOL_LOG_LEVEL", "INFO").upper(), logging.getLevelNamesMapping()
    if level not in known:
        sys.exit(f"AUDIO_POOL_LOG_LEVEL: given {level!r}, allowed is one of {', '.join(known)}")
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    os.umask(0o077)
    code = Worker(endpoint, name, int(incarnation)).run()
    logging.shutdown()
    sys.stdout.flush()
    # engines' libraries may hold threads that never end; everything of ours is done by now
    os._exit(code)
