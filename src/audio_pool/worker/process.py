"""A worker process: hello, load, ready, work, heartbeats.

Owns: the process's threads and its half of the conversation with the router.
Must not know: configuration (a Load message says everything), the pool, the cache, the router's rules.

Three threads. *Control* (the main thread) says hello, sends heartbeats, receives cancel and stop.
*Generate* generates: it receives its tasks on a socket of its own and answers on it, so that no message
changes threads. *Aux* does everything short beside it (embed, master, hand over, render, echo), embedding first:
mastering one sound, or handing it over, overlaps generating the next.

Whatever an engine raises, ``SystemExit`` included, ends its task and not its thread. What ends a thread all the
same ends the process, with a code: a worker whose lane is dead must not go on with its heartbeats.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from audio_pool.errors import AudioPoolError, DeviceLost
from audio_pool.results import TaskRole
from audio_pool.tasks import EchoTask, EmbedTask, GenerateTask, LoadTask, MasterTask, Thread
from audio_pool.transport import packing
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel, dealer
from audio_pool.transport.waker import Waker
from audio_pool.transport.worker_messages import (
    WORKER_PROTOCOL,
    CancelTask,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    LoadFailed,
    Ready,
    RecallTask,
    RunTask,
    Stop,
    TaskDone,
    TaskFailed,
    TaskProgress,
    TaskReturned,
    from_worker,
    to_worker,
    worker_identity,
)
from audio_pool.worker.docket import Docket, TaskKey
from audio_pool.worker.failure import failure_of
from audio_pool.worker.lane import Lane
from audio_pool.worker.runner import Generated, Outcome, TaskRunner
from audio_pool.worker.small_tasks import carried_out
from audio_pool.worker.stream_mastering import Samples
from audio_pool.worker.streaming import Streamed, chunk_frames

if TYPE_CHECKING:
    from audio_pool.worker.remote import Remote

__all__ = ["THREAD_BROKEN", "Worker"]

log = logging.getLogger(__name__)

_PROGRESS_EVERY_S = 0.05
_STOP_WITHIN_S = 5.0
_TOGETHER = 32
"""Texts encoded in one call: the first of them waits for the last."""
THREAD_BROKEN, _DEVICE_LOST = 5, 6
"""Exit codes."""


class Worker:
    """One incarnation of one worker."""

    def __init__(
        self, endpoint: str, name: str, incarnation: int, secret: str, remote: Remote | None = None
    ) -> None:
        """
        Args:
            secret: what this incarnation was started with, so that the router knows its messages.
            remote: of a worker on another machine than the router.
        """
        self.endpoint = endpoint
        self.name = name
        self.incarnation = incarnation
        self._secret = secret
        self._remote = remote
        self.runner = TaskRunner(name)
        self.stopping = threading.Event()
        self._docket = Docket()
        self._lanes: dict[Thread, Lane] = {}
        """Once everything is loaded."""
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        """Both threads have ended as they were asked to."""
        self._control_waker = Waker()
        self._generate_waker = Waker()
        self._aux_waker = Waker()
        self._outgoing: queue.SimpleQueue[FromWorker] = queue.SimpleQueue()
        """Messages of other threads for the control socket."""
        self._to_finish: queue.SimpleQueue[tuple[RunTask, list[Generated] | Streamed]] = queue.SimpleQueue()
        """What was generated here, on their way from the generate to the aux thread."""
        self._generate_ended = threading.Event()
        self._broken = 0
        """The exit code for what ended a thread of tasks; 0 while all is well."""

    def connect(self, thread: Thread | Literal["control"]) -> Channel:
        """Open the socket of one of the threads: control, generate or aux."""
        identity = worker_identity(self.name, self.incarnation, thread, self._secret)
        if self._remote is not None:
            return self._remote.connect(self.endpoint, identity, patient=thread != "control")
        return dealer(self.endpoint, identity=identity, private=True)

    # -- control -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until stopped. Return the exit code: 0 stopped, 3 could not load, 5 thread broken, 6 device lost."""
        control = self.connect("control")
        hello = Hello(
            incarnation=self.incarnation, pid=os.getpid(), protocol=WORKER_PROTOCOL, python=sys.version.split()[0]
        )
        control.send([packing.pack(hello)])
        poller = Poller[str]()
        poller.add(control, "control")
        poller.add(self._control_waker, "outgoing")
        heartbeat_s = 1.0
        generating: threading.Thread | None = None
        next_heartbeat = time.monotonic() + heartbeat_s
        while True:
            for source in poller.wait(next_heartbeat - time.monotonic()):
                if source == "outgoing":
                    self._control_waker.clear()
                while source == "control" and (frames := control.receive()) is not None:
                    match to_worker(frames[0]):
                        case Load() as load:
                            heartbeat_s = load.heartbeat_s
                            generating = self._start(load)
                        case CancelTask() as cancel:
                            self._docket.cancel((cancel.task_id, cancel.attempt))
                            next_heartbeat = 0.0  # at once: what it is at decides how long it is waited for
                        case RecallTask() as recall:
                            if self._docket.give_back((recall.task_id, recall.attempt)):
                                returned = TaskReturned(
                                    incarnation=self.incarnation, task_id=recall.task_id, attempt=recall.attempt
                                )
                                control.send([packing.pack(returned)])
                        case Stop():
                            self.stopping.set()
                            self._aux_waker.wake()
                            self._generate_waker.wake()
            if self._send_outgoing(control):
                self._await_stop(control)
                control.close()
                return 3
            if self.stopping.is_set() and (generating is None or self._ended.is_set() or not generating.is_alive()):
                control.close()
                return 0
            if self._broken or self._a_thread_is_dead():  # further heartbeats would hide it
                control.close()
                return self._broken or THREAD_BROKEN
            now = time.monotonic()
            if now >= next_heartbeat:
                control.send([packing.pack(self._heartbeat())])
                next_heartbeat = now + (min(heartbeat_s, 0.1) if self.stopping.is_set() else heartbeat_s)

    def _heartbeat(self) -> Heartbeat:
        lanes = tuple(lane.report() for lane in list(self._lanes.values()))
        return Heartbeat(incarnation=self.incarnation, lanes=lanes, tasks=self._docket.open)

    def _a_thread_is_dead(self) -> bool:
        """Return True if a thread of tasks has ended without a word: an engine's library can do that, too."""
        return not self.stopping.is_set() and any(not thread.is_alive() for thread in self._threads)

    def _send_outgoing(self, control: Channel) -> bool:
        """Send other threads' messages; return True if one says that loading failed."""
        failed = False
        while not self._outgoing.empty():
            message = self._outgoing.get()
            failed = failed or isinstance(message, LoadFailed)
            control.send([packing.pack(message)])
        return failed

    def _await_stop(self, control: Channel) -> None:
        """Wait until the router has read why loading failed: messages of a process that ends at once may be lost."""
        poller = Poller[str]()
        poller.add(control, "control")
        deadline = time.monotonic() + _STOP_WITHIN_S
        while not self.stopping.is_set() and time.monotonic() < deadline:
            poller.wait(deadline - time.monotonic())
            while (frames := control.receive()) is not None:
                if isinstance(to_worker(frames[0]), Stop):
                    self.stopping.set()

    def _send(self, message: FromWorker) -> None:
        """Queue a message for the control socket, from any thread."""
        self._outgoing.put(message)
        self._control_waker.wake()

    def _start(self, load: Load) -> threading.Thread:
        thread = threading.Thread(target=self._load_and_generate, args=(load,), name="generate", daemon=True)
        thread.start()
        return thread

    # -- loading -----------------------------------------------------------------------------------

    def _load_and_generate(self, load: Load) -> None:
        started = time.monotonic()
        try:
            coming = self.runner.load(load)
            load_s = time.monotonic() - started
            lanes: tuple[Thread, ...] = ("generate", "aux")
            self._lanes = {thread: Lane(thread, load_s) for thread in lanes}
            aux = threading.Thread(target=self._thread, args=("aux", self._aux_waker), name="aux", daemon=True)
            aux.start()
        except BaseException as exc:  # SystemExit, too: it would end this thread in silence
            self._load_failed(exc)
            return
        self._say_ready(load_s, coming, first=True)
        self._threads = [threading.current_thread(), aux]
        if coming:
            threading.Thread(target=self._load_encoders, args=(load, coming), name="encoders", daemon=True).start()
        self._thread("generate", self._generate_waker)
        self._generate_ended.set()
        self._aux_waker.wake()
        aux.join()
        self._ended.set()
        self._control_waker.wake()

    def _load_encoders(self, load: Load, names: tuple[str, ...]) -> None:
        started = time.monotonic()
        try:
            self.runner.engines.load_encoders(load, names)
        except BaseException as exc:
            self._load_failed(exc)
            return
        self._say_ready(time.monotonic() - started, (), first=False)

    def _load_failed(self, exc: BaseException) -> None:
        log.error("loading failed", exc_info=exc)
        self._send(LoadFailed(incarnation=self.incarnation, failure=failure_of(exc, "loading")))

    def _say_ready(self, load_s: float, coming: tuple[str, ...], *, first: bool) -> None:
        hosted = self.runner.engines
        ready = Ready(
            incarnation=self.incarnation,
            engines=hosted.infos,
            later=hosted.later,
            failed=hosted.failed if first else {},
            sizes=hosted.sizes,
            coming=coming,
            device=hosted.device,
            load_s=load_s,
        )
        self._send(ready)

    # -- the two task threads ----------------------------------------------------------------------

    def _thread(self, name: Thread, waker: Waker) -> None:
        try:
            self._serve(name, waker)
        except DeviceLost as exc:
            log.exception("thread %s lost its device", name)
            log.error("%s", exc)  # the last line: the router tells it as the reason
            self._break(_DEVICE_LOST)
        except BaseException:  # whatever it is: its end is told by the process's own
            log.exception("thread %s has broken", name)
            self._break(THREAD_BROKEN)

    def _break(self, code: int) -> None:
        self._broken = code
        self._control_waker.wake()

    def _serve(self, name: Thread, waker: Waker) -> None:
        channel = self.connect(name)
        # the router can send to an identity only after having received from it
        channel.send([packing.pack(Heartbeat(incarnation=self.incarnation))])
        poller = Poller[str]()
        poller.add(channel, "task")
        poller.add(waker, "waker")
        waiting: list[tuple[RunTask, list[bytes]]] = []
        while True:
            # aux ends after generate: something may still be on its way there
            ending = self.stopping.is_set() and (name == "generate" or self._generate_ended.is_set())
            to_finish = name == "aux" and not self._to_finish.empty()
            for source in poller.wait(0.0 if waiting or to_finish or ending else 3600.0):
                if source == "waker":
                    waker.clear()
            while (frames := channel.receive()) is not None:
                message = to_worker(frames[0])
                if isinstance(message, RunTask):
                    self._docket.receive(_key(message))
                    waiting.append((message, frames[1:]))
            if len(waiting) > 1:  # embedding takes milliseconds, and what it overtakes may take seconds
                waiting.sort(key=lambda one: not isinstance(one[0].task, EmbedTask))
            if to_finish and not (waiting and isinstance(waiting[0][0].task, EmbedTask)):
                run, generated = self._to_finish.get()
                finish, kind = self._finish(run, generated)
                with self._lanes[name].at(run.task_id, run.attempt, kind):
                    self._answer(channel, run, finish)
            elif waiting:
                run, frames = waiting.pop(0)
                if self._docket.begin(_key(run)):
                    with self._lanes[name].at(run.task_id, run.attempt, _kind(run)):
                        if isinstance(run.task, EmbedTask):
                            self.runner.embed_ahead([run.task, *_texts(waiting)])
                        self._run_task(channel, run, frames)
            elif ending:
                channel.close()
                return

    def _run_task(self, channel: Channel, run: RunTask, frames: list[bytes]) -> None:
        """Carry out a task and answer it; pass on what was generated, so that the next can begin."""
        if self._remote is not None:
            try:
                run, frames = self._remote.bring(run, frames)
            except AudioPoolError as exc:
                self._fail(channel, run, exc)
                return
        task = run.task
        match task:
            case GenerateTask():
                try:
                    generated = self._generate(channel, run, task)
                except BaseException as exc:
                    self._fail(channel, run, exc)
                    return
                if task.master_here:
                    self._progress(channel, run, "master", 0, 1)  # from here, so that it comes after the steps
                self._to_finish.put((run, generated))
                self._aux_waker.wake()
            case MasterTask():
                self._progress(channel, run, "master", 0, 1)
                self._answer(channel, run, partial(self.runner.master, task, frames))
            case _:
                self._answer(channel, run, partial(carried_out, self.runner, task))

    def _finish(self, run: RunTask, generated: list[Generated] | Streamed) -> tuple[Callable[[], Outcome], str]:
        """Return what is left to do with what was generated, and its name: master it, or hand it over."""
        if isinstance(generated, Streamed):
            return partial(self.runner.finish_stream, generated), "master"
        if isinstance(run.task, GenerateTask) and run.task.master_here:
            return partial(self.runner.master_generated, generated), "master"
        return partial(self.runner.hand_over, generated, run.grants, ",".join(run.request_ids)[:256]), "hand over"

    def _generate(self, channel: Channel, run: RunTask, task: GenerateTask) -> list[Generated] | Streamed:
        last = 0.0

        def on_step(done: int, total: int) -> None:
            nonlocal last
            self._docket.heed_cancel(_key(run))
            self._lanes["generate"].got_on()
            now = time.monotonic()
            if now - last >= _PROGRESS_EVERY_S or done == total:
                last = now
                self._progress(channel, run, "generate", done, total)

        self._docket.heed_cancel(_key(run))
        if task.stream:
            return self.runner.stream(task, on_step, partial(self._send_samples, channel, run, task.parts[0].job))
        self.runner.prepare(run.grants)
        return self.runner.generate(task, on_step)

    # -- answers -----------------------------------------------------------------------------------

    def _progress(self, channel: Channel, run: RunTask, stage: TaskRole, done: int, total: int) -> None:
        progress = TaskProgress(
            incarnation=self.incarnation, task_id=run.task_id, attempt=run.attempt, stage=stage, done=done, total=total
        )
        channel.send([packing.pack(progress)])

    def _send_samples(self, channel: Channel, run: RunTask, job: int, samples: Samples) -> None:
        """Send samples; a router that takes no more is not waited for: the file will have them."""
        self._docket.heed_cancel(_key(run))
        self._lanes["generate"].got_on()
        channel.send(chunk_frames(run, job, samples))

    def _answer(self, channel: Channel, run: RunTask, work: Callable[[], Outcome]) -> None:
        try:
            self._docket.heed_cancel(_key(run))
            outcome = work() if self._remote is None else self._remote.hand_back(run, work())
            done = TaskDone(
                incarnation=self.incarnation,
                task_id=run.task_id,
                attempt=run.attempt,
                results=outcome.results,
                unwritable=outcome.unwritable,
                files=outcome.files,
            )
            message = packing.pack(done)
            if not isinstance(run.task, EchoTask | EmbedTask):
                # read here: an engine's notes may hold what cannot be, and the router would only refuse it
                from_worker(message)
        except BaseException as exc:  # an engine's SystemExit, too: its task fails, the thread goes on
            self._fail(channel, run, exc)
            return
        channel.send([message, *outcome.frames])
        self._close(run)

    def _close(self, run: RunTask) -> None:
        """Note that a task is answered. Not before: what takes long to send is not lost meanwhile."""
        self._docket.close(_key(run))
        if self._remote is not None:
            self._remote.forget(run)

    def _fail(self, channel: Channel, run: RunTask, exc: BaseException) -> None:
        """Answer a task that failed.

        Raises:
            DeviceLost: nothing else could succeed here. The task is left unanswered: the router gives what
                an ended process held to the next one, as often as its limits allow.
        """
        if isinstance(exc, DeviceLost):
            raise exc
        if not isinstance(exc, AudioPoolError):
            log.exception("task %d failed, requests %s", run.task_id, ",".join(run.request_ids))
        doing = f"loading {run.task.engine}" if isinstance(run.task, LoadTask) else type(run.task).__name__
        failure = failure_of(exc, doing)
        if self._remote is not None:
            failure = self._remote.told(run, failure)
        failed = TaskFailed(incarnation=self.incarnation, task_id=run.task_id, attempt=run.attempt, failure=failure)
        channel.send([packing.pack(failed)])
        self._close(run)


def _key(run: RunTask) -> TaskKey:
    return run.task_id, run.attempt


def _texts(waiting: list[tuple[RunTask, list[bytes]]]) -> list[EmbedTask]:
    """Return the texts that came together with the one in hand: those before what takes longer, and not all at once."""
    return [run.task for run, _ in waiting[: _TOGETHER - 1] if isinstance(run.task, EmbedTask)]


def _kind(run: RunTask) -> str:
    """Return what its steps are like: those of one engine, or of one sort of short task."""
    return f"generate {run.task.engine}" if isinstance(run.task, GenerateTask) else type(run.task).__name__
