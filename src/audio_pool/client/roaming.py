"""Which of several heads a client asks, and when one that was lost may be tried again.

Owns: the choice, by what became of each address so far.
Must not know: sockets, requests, the time and chance themselves: they are passed in.

One head at a time. A lost one is left alone for a while that grows with every failure, and is shortened by chance: a
thousand clients that lost the same head do not come back to it, or go on to another, in step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

__all__ = ["LEFT_ALONE_S", "Order", "Roaming"]

Order = Literal["random", "given"]
"""``random``: any that can be tried, so that clients spread over the heads; ``given``: the first that can be tried."""

_FIRST_PAUSE_S = 0.1
LEFT_ALONE_S = 5.0
"""The longest pause, and that of a head that was silent, is stopping or turned this client away."""
_FIRST_PATIENCE_S = 2.0
_MOST_PATIENCE_S = 15.0


class _Address:
    def __init__(self, address: str) -> None:
        self.address = address
        self.failures = 0
        """Since it answered last."""
        self.again_at = 0.0
        self.why = ""
        """What became of it last; "": nothing is known to be wrong."""
        self.refuses = False


class Roaming:
    """The addresses of one client.

    Args:
        chance: a number 0..1 at each call.
    """

    def __init__(
        self, addresses: Sequence[str], *, order: Order = "random", chance: Callable[[], float] = random.random
    ) -> None:
        self._all = [_Address(address) for address in addresses]
        self._order = order
        self._chance = chance

    def choose(self, now: float) -> tuple[str, float]:
        """Return which to try next, and from when on."""
        ready = [one for one in self._all if one.again_at <= now]
        if not ready:
            first = min(self._all, key=lambda one: one.again_at)
            return first.address, first.again_at
        number = 0 if self._order == "given" else min(int(self._chance() * len(ready)), len(ready) - 1)
        return ready[number].address, now

    def patience_s(self, address: str) -> float:
        """Return how long it may take until it has greeted: more after each failure, for it may just be slow."""
        return min(_MOST_PATIENCE_S, _FIRST_PATIENCE_S * 2.0 ** min(10, self._of(address).failures))

    def begun(self, address: str) -> None:
        """Note that a head is tried, for who waits in vain before more is known."""
        one = self._of(address)
        one.why = one.why or "no answer yet"

    def answered(self, address: str) -> None:
        """Note that a head answers."""
        one = self._of(address)
        one.failures, one.again_at, one.why, one.refuses = 0, 0.0, "", False

    def failed(self, address: str, why: str, now: float, *, leave: bool = False, refuses: bool = False) -> None:
        """Note that a head cannot be asked now.

        Args:
            why: told to who waits in vain.
            leave: it is known not to be well within a moment.
            refuses: it turns this client away, whoever asks.
        """
        one = self._of(address)
        one.failures += 1
        one.why, one.refuses = why, refuses
        pause_s = LEFT_ALONE_S if leave or refuses else min(LEFT_ALONE_S, _FIRST_PAUSE_S * 2.0 ** (one.failures - 1))
        one.again_at = now + pause_s * (0.5 + 0.5 * self._chance())

    @property
    def all_refuse(self) -> bool:
        """True where every one of them has turned this client away."""
        return all(one.refuses for one in self._all)

    @property
    def trouble(self) -> str:
        """What is wrong with each: ``tcp://a:1: no connection; tcp://b:1: not tried yet``."""
        return "; ".join(f"{one.address}: {one.why or 'not tried yet'}" for one in self._all)

    def _of(self, address: str) -> _Address:
        return next(one for one in self._all if one.address == address)
