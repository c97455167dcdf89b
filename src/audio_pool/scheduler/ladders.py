"""Answers in time: the best there is by a deadline, or something at once and the real sound later. Pure.

Owns: which rung a request is answered from, when what stands in must be begun at the latest, and what becomes of the
sound as it was asked for after that.
Must not know: how a job moves on (scheduler.py), how long things take (forecasts.py), how a looser match is found.

A request that is to be answered in time is answered here. Two others are its parts: *wanted*, the sound as it is asked
for, and *stand-in*, a looser match among the kept sounds or else a sound of the built-in engine. Both are jobs like any
other: they are joined, tried again and rejected like them, and their final replies come here in place of a caller.

The rungs, the best first: kept, near by the usual rules, made in time (all of them the wanted part's), a looser match,
made by the built-in engine. What is better is waited for until shortly before the deadline, unless it cannot come by
then. The built-in engine begins as late as may be, and only where the wanted sound is not surely there in time.

Decisions are taken when an event has been handled, never in the middle of one: parts only note what came of them.
"""

from __future__ import annotations

import collections
import heapq
import math
from collections.abc import Callable

from msgspec import Struct

from audio_pool.config import QueueConfig
from audio_pool.errors import AudioPoolError, Cancelled, Expired, NotFound, PoolClosed
from audio_pool.reports import Rung
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import ForgetRequest, ReplyKind, SendReply
from audio_pool.scheduler.answers import HitFile, RenderedHit
from audio_pool.scheduler.arrivals import Arrivals
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.forecasts import Forecasts
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.ledger import Ledger

__all__ = ["Ladders"]

_DELIVERY_S = 0.05
_DELIVERY_SHARE = 0.1
"""So long before the deadline the answer leaves, or a tenth of the time where that is less: it has to be delivered."""
_LOOK_S = 0.25
_LOOK_SHARE = 0.2
"""So long look-ups by the usual rules may take before what stands in is looked for, or a fifth of the time."""
_AT_ONCE_S = 0.1
_RESOLUTION_S, _RESOLUTION = 0.01, 0.05
"""What would begin so soon, or in so small a part of the time that is left, begins now."""
_WAITS = 256
_CAUTION = 1.5
"""Times the slowest of those remembered: the built-in engine's time is cheap, and a deadline missed is not."""
_BACKGROUND = 2
_MISSED = ("claim", "recheck", "generate", "master", "store")
"""Stages of a job whose look-ups found nothing."""


class _Ladder(Struct):
    """One request that is to be answered in time."""

    asked: events.AskInTime
    answer_by: float
    """From when on the best at hand is the answer."""
    look_by: float
    """From when on what stands in is looked for, whatever the look-ups are at."""
    wanted: SendReply | None = None
    """What came of the sound as it is asked for."""
    stand_in: SendReply | None = None
    begun: bool = False
    """What stands in is looked for."""
    missed: bool = False
    """The look-ups of the sound as it is asked for have found nothing."""


class Ladders:
    """Those of one scheduler."""

    def __init__(
        self,
        ledger: Ledger,
        arrivals: Arrivals,
        dispatcher: Dispatch,
        forecasts: Forecasts,
        queue: QueueConfig,
        *,
        end: Callable[[int], None],
        advance: Callable[[Job], None],
        why_late: Callable[[int], Expired],
        closed: Callable[[], bool],
    ) -> None:
        """
        Args:
            end: ends one part's request; its job goes on where others want it.
            why_late: what is told of a job whose deadline has passed.
            closed: whether nothing new is taken.
        """
        self.queue = queue
        self._ledger = ledger
        self._arrivals = arrivals
        self._dispatcher = dispatcher
        self._forecasts = forecasts
        self._end = end
        self._advance = advance
        self._why_late = why_late
        self._closed = closed
        self._open: dict[int, _Ladder] = {}
        """Those without an answer, by request."""
        self._of_part: dict[int, _Ladder] = {}
        self._touched: list[_Ladder] = []
        self._times: list[tuple[float, int]] = []
        self._waiting: set[int] = set()
        """Requests for which the built-in engine is held back."""
        self._waits: collections.deque[float] = collections.deque(maxlen=_WAITS)
        """Seconds that what stands in waited for a worker, lately."""
        self._released_at: dict[int, tuple[float, Job]] = {}
        self._released: set[int] = set()
        """Jobs of what stands in that wait for a worker, or are made."""
        self._upgrades: collections.Counter[str] = collections.Counter()
        """Better sounds under way for requests that are answered, by client."""

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, request: int) -> bool:
        return request in self._open

    # -- what happens ------------------------------------------------------------------------------

    def ask(self, asked: events.AskInTime) -> None:
        """Take a request in."""
        now = self._ledger.now
        parts = [one for one in (asked.wanted, asked.stand_in) if one is not None]
        refusal: AudioPoolError | None = None
        if self._closed():
            refusal = PoolClosed("the pool is stopping and takes no new requests")
        elif asked.deadline is not None and asked.deadline <= now:
            refusal = Expired("the deadline had passed on arrival")
        if refusal is not None:
            for part in parts:
                self._ledger.out.append(ForgetRequest(request=part.request))
            self._ledger.refuse(asked.request, refusal, kind="expired" if isinstance(refusal, Expired) else "error")
            return
        span = math.inf if asked.deadline is None else asked.deadline - now
        ladder = _Ladder(
            asked=asked,
            answer_by=now + span - min(_DELIVERY_S, _DELIVERY_SHARE * span) if span < math.inf else math.inf,
            look_by=now + min(_AT_ONCE_S if asked.at_once else _LOOK_S, _LOOK_SHARE * span),
        )
        self._open[asked.request] = ladder
        for part in parts:
            self._of_part[part.request] = ladder
        self._ledger.on_reply[asked.wanted.request] = lambda reply: self._wanted_is_done(ladder, reply)
        self._look_at(ladder, ladder.look_by)
        if asked.deadline is not None:
            self._look_at(ladder, ladder.answer_by)
            self._look_at(ladder, asked.deadline)
        self._arrivals.submit(asked.wanted)
        state = self._ledger.requests.get(asked.wanted.request)
        if state is not None:
            self.moved(self._ledger.jobs[state.job])
        self._touched.append(ladder)

    def moved(self, job: Job) -> None:
        """Note that a job that may be part of these has come to a stage."""
        if job.stage in _MISSED or job.stage == "held":
            for request in job.requests:
                ladder = self._of_part.get(request)
                if ladder is not None:
                    ladder.missed = ladder.missed or request == ladder.asked.wanted.request
                    self._touched.append(ladder)

    def cancel(self, request: int) -> None:
        """Cancel a request, with its parts."""
        ladder = self._open.get(request)
        if ladder is not None:
            self._close(ladder, "cancelled", Cancelled("cancelled by its caller"))

    def next_time(self) -> float | None:
        """Return when to look again; None: nobody waits for that."""
        while self._times and self._times[0][1] not in self._open:
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def look(self) -> None:
        """Decide what is to be decided by now."""
        while self._times and self._times[0][0] <= self._ledger.now:
            ladder = self._open.get(heapq.heappop(self._times)[1])
            if ladder is not None:
                self._touched.append(ladder)
        while self._touched:
            ladder = self._touched.pop()
            if self._open.get(ladder.asked.request) is ladder:
                self._decide(ladder)

    @property
    def upgrades(self) -> int:
        """How many better sounds are under way for requests that have been answered."""
        return self._upgrades.total()

    @property
    def doubles(self) -> int:
        """How many requests are under way by both of their parts."""
        asked, live = (ladder.asked for ladder in self._open.values()), self._ledger.requests
        return sum(x.stand_in is not None and x.stand_in.request in live and x.wanted.request in live for x in asked)

    # -- parts -------------------------------------------------------------------------------------

    def _wanted_is_done(self, ladder: _Ladder, reply: SendReply) -> None:
        ladder.wanted = reply
        self._forget(reply.request)
        self._touched.append(ladder)

    def _stand_in_is_done(self, ladder: _Ladder, reply: SendReply) -> None:
        ladder.stand_in = reply
        self._of_part.pop(reply.request, None)
        self._note_wait(ladder)
        self._touched.append(ladder)

    def _note_wait(self, ladder: _Ladder) -> None:
        """Learn how long what stands in waited for a worker."""
        released = self._released_at.pop(ladder.asked.request, None)
        if released is not None:
            at, job = released
            began = self._ledger.now if job.begun_at is None else job.begun_at
            self._waits.append(max(0.0, began - at))

    def _upgrade_is_done(self, client: str, reply: SendReply) -> None:
        self._upgrades[client] -= 1
        if not self._upgrades[client]:
            del self._upgrades[client]
        self._of_part.pop(reply.request, None)
        self._ledger.out.append(reply)

    def _forget(self, request: int) -> None:
        self._of_part.pop(request, None)
        self._ledger.out.append(ForgetRequest(request=request))

    def _stop(self, request: int) -> None:
        """End a part that nobody waits for any more."""
        if request in self._ledger.requests:
            self._ledger.on_reply[request] = lambda reply: self._forget(reply.request)
            self._end(request)
        elif request in self._of_part:  # it was never begun
            self._forget(request)

    def _job_of(self, request: int) -> Job | None:
        state = self._ledger.requests.get(request)
        return None if state is None else self._ledger.jobs[state.job]

    # -- decisions ---------------------------------------------------------------------------------

    def _look_at(self, ladder: _Ladder, time: float) -> None:
        heapq.heappush(self._times, (time, ladder.asked.request))

    def _decide(self, ladder: _Ladder) -> None:
        now, asked, wanted, found = self._ledger.now, ladder.asked, ladder.wanted, ladder.stand_in
        if wanted is not None and wanted.kind == "result":
            self._answer(ladder, wanted, _rung_of(wanted))
        elif found is not None and found.kind == "result":
            # what is better may come yet
            if asked.at_once or wanted is not None or now >= ladder.answer_by or not self._may_come(ladder):
                self._answer(ladder, found, _rung_of(found, stands_in=True))
        elif asked.deadline is not None and now >= asked.deadline:
            job = self._job_of(asked.wanted.request)
            missed = Expired("the deadline passed before the sound was ready")
            self._close(ladder, "expired", missed if job is None else self._why_late(job.job))
        elif asked.stand_in is not None and not ladder.begun:
            if ladder.missed or wanted is not None or now >= ladder.look_by:
                self._begin(ladder, asked.stand_in)
        elif asked.stand_in is None or found is not None:
            self._without_stand_in(ladder)
        else:
            job = self._job_of(asked.stand_in.request)
            if job is not None and job.stage == "held":
                self._held(ladder, job)

    def _without_stand_in(self, ladder: _Ladder) -> None:
        """Nothing stands in: it is the wanted sound or nothing."""
        if ladder.wanted is not None:
            self._end_as(ladder, ladder.wanted)
        elif not self._may_come(ladder):
            self._close(ladder, "expired", _too_soon(ladder, self._ledger.now))

    def _begin(self, ladder: _Ladder, stand_in: events.Submit) -> None:
        """Have what stands in looked for."""
        wanted = self._job_of(ladder.asked.wanted.request)
        ladder.begun = True
        self._ledger.on_reply[stand_in.request] = lambda reply: self._stand_in_is_done(ladder, reply)
        self._arrivals.submit(stand_in, {} if wanted is None else wanted.vectors)
        self._touched.append(ladder)

    def _held(self, ladder: _Ladder, job: Job) -> None:
        """No looser match: let the built-in engine begin where it is time, say when that will be, or give up."""
        now, asked = self._ledger.now, ladder.asked
        if not job.sound.makes:
            nothing = NotFound("no kept sound is like this one, and no built-in engine can stand in for it")
            self._ledger.fail_all(job, Failure.of(nothing))
            return
        left_s = math.inf if asked.deadline is None else asked.deadline - now
        hopeless = ladder.wanted is None and self._forecasts.impossible_by(job.sound.recipe, left_s)
        if hopeless and not self._may_come(ladder):
            self._close(ladder, "expired", _too_soon(ladder, now))
            return
        begin_at = now if asked.at_once or ladder.wanted is not None else self._latest_start(ladder, job)
        if begin_at <= now + max(_RESOLUTION_S, _RESOLUTION * (ladder.answer_by - now)):
            self._waiting.discard(asked.request)
            self._released.add(job.job)
            self._released_at[asked.request] = now, job
            job.released = True
            self._advance(job)
        else:  # what waits before it may grow meanwhile
            self._waiting.add(asked.request)
            self._look_at(ladder, max(now + _RESOLUTION_S, (now + begin_at) / 2))

    def _latest_start(self, ladder: _Ladder, job: Job) -> float:
        """Return when the built-in engine must begin so that it is surely there in time."""
        own = ladder.asked.request
        now, span = self._ledger.now, self._forecasts.span(job.sound.recipe)
        if span is None:
            return now
        self._released = {one for one in self._released if one in self._ledger.jobs}
        wait_s = self._forecasts.wait_s(job, now, len(self._released))
        # all that are held and have less time may begin before it
        crowd = sum(self._open[one].answer_by <= ladder.answer_by for one in self._waiting if one != own)
        # a worker that is idle now may have just begun with something long by then
        waits_s = max(wait_s.high, *self._waits) if self._waits else wait_s.high
        latest = ladder.answer_by - waits_s - _CAUTION * span.high - crowd * span.likely
        wanted = self._job_of(ladder.asked.wanted.request)
        coming = None if wanted is None or not ladder.missed else self._forecasts.running(wanted, now)
        if coming is not None and coming.sure and coming.high < ladder.answer_by:
            latest = max(latest, ladder.answer_by - wait_s.likely - 2 * span.likely)
        return latest

    def _may_come(self, ladder: _Ladder) -> bool:
        """Return False where the wanted sound cannot be there in time, as far as anything is known of it."""
        wanted = self._job_of(ladder.asked.wanted.request)
        if wanted is None:
            return False
        deadline = ladder.asked.deadline
        if deadline is None or not ladder.missed:
            return True
        now = self._ledger.now
        if wanted.stage in ("master", "store"):
            return True
        return self._forecasts.hardly_before(wanted, now) <= deadline

    # -- answers -----------------------------------------------------------------------------------

    def _answer(self, ladder: _Ladder, reply: SendReply, rung: Rung) -> None:
        asked = ladder.asked
        self._leave(asked.request)
        wanted = self._job_of(asked.wanted.request)
        warnings = list(reply.warnings)
        upgrade = 0
        if ladder.wanted is not None and ladder.wanted.failure is not None:
            warnings.append(f"not_as_asked: {ladder.wanted.failure.code}: {ladder.wanted.failure.message}")
        elif wanted is not None and asked.upgrade:
            client = asked.wanted.client
            if self._upgrades[client] < self.queue.max_upgrades_per_client:
                upgrade = asked.wanted.request
                self._go_on(asked.wanted, wanted)
            else:
                most = self.queue.max_upgrades_per_client
                warnings.append(f"no_upgrade: {most} better sounds are being made for this client, more than it may")
        self._ledger.out.append(
            SendReply(
                request=asked.request,
                kind="result",
                value=reply.value,
                cache_type=reply.cache_type,
                times_ms=reply.times_ms,
                warnings=tuple(warnings),
                marks=reply.marks,
                rung=rung,
                upgrade=upgrade,
            )
        )
        self._stop_parts(ladder, keep=upgrade, used=reply)

    def _go_on(self, asked: events.Submit, job: Job) -> None:
        """Make the wanted sound for whoever asks next, and for its caller; others go first from now on."""
        client = asked.client
        self._upgrades[client] += 1
        self._ledger.on_reply[asked.request] = lambda reply: self._upgrade_is_done(client, reply)
        self._ledger.requests[asked.request].priority = _BACKGROUND
        priority = min(self._ledger.requests[one].priority for one in job.requests)
        if priority > job.priority:
            job.priority = priority
            if job.job in self._dispatcher.queue:
                self._dispatcher.put(job)

    def _end_as(self, ladder: _Ladder, reply: SendReply) -> None:
        """Answer a request with the failure of the sound as it was asked for."""
        self._leave(ladder.asked.request)
        self._ledger.out.append(
            SendReply(
                request=ladder.asked.request,
                kind=reply.kind,
                failure=reply.failure,
                warnings=reply.warnings,
                marks=reply.marks,
            )
        )
        self._stop_parts(ladder)

    def _close(self, ladder: _Ladder, kind: ReplyKind, error: AudioPoolError) -> None:
        """Answer a request without a sound."""
        job = self._job_of(ladder.asked.wanted.request)
        warnings, marks = ((), ()) if job is None else (tuple(job.warnings), job.marks_until(self._ledger.now))
        failure = Failure.of(error)
        self._end_as(
            ladder,
            SendReply(request=ladder.asked.request, kind=kind, failure=failure, warnings=warnings, marks=marks),
        )

    def _leave(self, request: int) -> None:
        ladder = self._open.pop(request)
        self._waiting.discard(request)
        self._note_wait(ladder)

    def _stop_parts(self, ladder: _Ladder, keep: int = 0, used: SendReply | None = None) -> None:
        for part in (ladder.asked.wanted, ladder.asked.stand_in):
            if part is not None and part.request != keep:
                self._stop(part.request)
        other = ladder.stand_in
        if other is not None:
            made = other.value if other is not used and isinstance(other.value, RenderedHit) else None
            self._ledger.out.append(ForgetRequest(request=other.request, made=made))


def _rung_of(reply: SendReply, *, stands_in: bool = False) -> Rung:
    """Return how an answer came about."""
    value = reply.value
    hit = value.hit if isinstance(value, RenderedHit) else value
    if not isinstance(hit, HitFile):
        return "built_in" if stands_in else "made"
    kind = hit.metadata.cache_type
    if stands_in:
        return "looser" if kind == "looser" else "built_in"
    return "exact" if kind in ("exact", "canonical") else "near"


def _too_soon(ladder: _Ladder, now: float) -> Expired:
    left_ms = 1000 * ((ladder.asked.deadline or now) - now)
    return Expired(
        f"nothing can be there in time: no kept sound is like this one, and none was ever made within {left_ms:.0f} ms",
        hint="give it more time, or ask for a shorter sound",
    )
