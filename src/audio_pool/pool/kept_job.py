"""One unfinished durable job in this process.

Owns: KeptJob: who waits for it, and where it is between journal and intake.
Must not know: what is done with it (durable_jobs.py, job_steps.py, shared_jobs.py).
"""

from __future__ import annotations

from collections.abc import Callable

from audio_pool.jobs.record import JobRecord
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.results import Accepted, Chunk, Progress
from audio_pool.types import Delivery

__all__ = ["KeptJob"]


class KeptJob:
    """A ReplySink: to the intake it is the caller, who passes on what it hears. Router's thread only."""

    def __init__(self, on_reply: Callable[[KeptJob, Reply], None], record: JobRecord, size_bytes: int = 0) -> None:
        """
        Args:
            size_bytes: of the message that asked for it.
        """
        self.request_id = record.request_id
        self.record = record
        self.size_bytes = size_bytes
        self.number = 0
        """The pool's, while it is submitted."""
        self.begun = False
        """A worker has been given the work."""
        self.cancel_asked = False
        self.reply: Reply | None = None
        """What it came to, while that is being recorded."""
        self.answered = False
        """True where ``reply`` has been sent though it could not be recorded yet."""
        self.looks_for_made = 10 if record.entry_id else 0
        """How often it may be looked whether this head knows of the entry that was made for it."""
        self.overtaken = False
        """Another head had it in hand when its sound was to be kept: what comes of it here is nobody's."""
        self.elsewhere = False
        """Another head has it in hand, or nobody yet: its end is heard of from the journal."""
        self.dropped = False
        """It was taken from this head while it was at it: what comes of it is nobody's, and nobody waits for it."""
        self.progress: Progress | None = None
        """The last that was heard of it here."""
        self.on_progress: Callable[[KeptJob, Progress], None] | None = None
        """Told of each; None: nobody else wants to hear of it."""
        self.watchers: dict[str, tuple[int, ReplySink | None]] = {}
        """Connection -> the number of its open question; its sink, where it wants events."""
        self.cancellers: list[int] = []
        self.fetchers: dict[int, Delivery] = {}
        """Open questions that wait for the job's end, and how each wants the file."""
        self._told: set[str] = set()
        """Connections that know that it is in the journal, though no worker of this head was to have it then."""
        self._on_reply = on_reply

    def finish(self, reply: Reply) -> None:
        """Take what the pool made of it."""
        self._on_reply(self, reply)

    def take_chunk(self, chunk: Chunk) -> bool:
        """Drop it: a durable request is not streamed."""
        return True

    def notify(self, body: Accepted | Progress) -> None:
        """Pass an event on to everybody who wants it."""
        if isinstance(body, Progress):
            self.progress = body
            if self.on_progress is not None:
                self.on_progress(self, body)
        for connection, (_, sink) in self.watchers.items():
            if sink is not None and not (isinstance(body, Accepted) and connection in self._told):
                sink.notify(body)

    @property
    def wants_events(self) -> bool:
        """True where somebody who waits for it wants to hear how far it is."""
        return any(sink is not None for _, sink in self.watchers.values())

    def tell_accepted(self, *, joined: bool) -> None:
        """Tell everybody who wants events, once, that the job is in the journal."""
        self.notify(Accepted(joined=joined))
        self._told.update(self.watchers)

    def hand_over(self) -> KeptJob:
        """Return another one for whoever waits for this one, of which nothing more is heard."""
        other = KeptJob(self._on_reply, self.record, self.size_bytes)
        other.cancel_asked, other._told = self.cancel_asked, self._told
        other.watchers, other.cancellers, other.fetchers = self.watchers, self.cancellers, self.fetchers
        self.watchers, self.cancellers, self.fetchers = {}, [], {}
        self.dropped = True
        return other
