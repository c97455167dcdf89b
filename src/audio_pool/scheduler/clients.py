"""What each client is entitled to, from the configuration. Pure.

The client without a name is the program that the pool runs in (and what comes in by the image server's PULL
address): it has its turns like any other, and no bounds but those of the whole queue.

Owns: which settings apply to a client, by its name or for everyone.
Must not know: what the clients ask for, who they are on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping

from audio_pool.config import ClientConfig, QueueConfig

__all__ = ["ClientRules"]

EVERYONE_ELSE = "default"
"""The name under which ``[clients]`` says what holds for whom it does not name."""


class ClientRules:
    """Weights and bounds by client."""

    def __init__(self, queue: QueueConfig, clients: Mapping[str, ClientConfig]) -> None:
        self.change(queue, clients)

    def change(self, queue: QueueConfig, clients: Mapping[str, ClientConfig]) -> None:
        """From now on other settings hold."""
        self._queue = queue
        self._clients = clients
        self._default = clients.get(EVERYONE_ELSE, ClientConfig())
        self.bounds_running = bool(queue.max_running_per_client) or any(
            one.max_running is not None for one in clients.values()
        )
        """Some client may have only so many tasks in hand: else nobody needs to be counted."""

    def of(self, client: str) -> ClientConfig:
        """Return a client's settings: its own, or everyone else's."""
        return self._clients.get(client, self._default)

    def weight(self, client: str) -> float:
        """Return how much of the workers' time a client gets against others that wait, too."""
        return self.of(client).weight

    def max_requests(self, client: str) -> int:
        """Return how many requests a client may have in the queue; 0: as its part of what is left allows."""
        own = self.of(client).max_requests
        return self._queue.max_requests_per_client if own is None else own

    def max_bytes(self, client: str) -> int:
        """Return how many bytes of requests a client may have there; 0: as its part of what is left allows."""
        own = self.of(client).max_bytes
        return self._queue.max_bytes_per_client if own is None else own

    def max_running(self, client: str) -> int:
        """Return how many tasks of a client workers may hold at once; 0: any number."""
        if not client:
            return 0
        own = self.of(client).max_running
        return self._queue.max_running_per_client if own is None else own
