"""Who asks, and what they may do.

Owns: Caller, the one identity that travels with a request.
Must not know: how a caller is recognised (server/callers.py), sockets, keys.
"""

from __future__ import annotations

from msgspec import Struct, structs

from audio_pool.errors import Refused
from audio_pool.roots import ANYWHERE, Roots

__all__ = ["HOST", "Caller"]


class Caller(Struct, frozen=True, kw_only=True):
    """One who asks. docs/security.md has the table of who gets which rights."""

    client: str
    """Whose share of the pool a request counts against: a key, else a connection. Empty: nobody's own."""
    owner: str
    """Requests of the same owner may be cancelled and judged: a key, a user, else a single connection."""
    connection: str
    """Within one, names of requests are unique."""
    operator: bool
    """May stop and see what is anybody's."""
    output_roots: Roots
    """Where ``output_path`` may lie."""
    input_roots: Roots
    """Where ``init_audio`` and the paths of CLAP may lie."""
    namespace: str | None = None
    """The only one that it can name; None: any."""
    trace: str = ""
    """The traceparent that a request came with."""

    @property
    def anonymous(self) -> bool:
        """True where nothing ties this caller to any other connection."""
        return self.owner == self.connection

    @property
    def job_owner(self) -> str:
        """Whose its durable jobs are. Those without an owner share one name: who knows a job's id may fetch it."""
        return "anonymous" if self.anonymous else self.owner

    def for_job(self) -> Caller:
        """Return who a durable job is done for: with the same rights, also when this connection is long gone."""
        owner = self.job_owner
        # a connection's name means another one after a restart
        share = f"jobs of {owner}" if self.client == self.connection else self.client
        return structs.replace(self, client=share, owner=owner, connection="", operator=False)

    def namespace_of(self, given: str | None) -> str | None:
        """Return the namespace of a request; None: as the request has it.

        Args:
            given: by the request; None: it says nothing.

        Raises:
            Refused: it is not this caller's.
        """
        if self.namespace is None or given in (None, self.namespace):
            return self.namespace
        raise Refused(f"namespace: this client's is {self.namespace!r}, given was {given!r:.80}", hint="leave it out")


HOST = Caller(
    client="", owner="host", connection="", operator=True, output_roots=ANYWHERE, input_roots=ANYWHERE
)
"""The program that the pool runs in."""
