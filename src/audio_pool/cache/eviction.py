"""Which sounds go when there are too many, when they are too large together or too old, and taking them away.

Owns: Eviction: the order, what is spared, how much is done at a time.
Must not know: the formula of a sound's worth (worth.py), SQL, how files leave.

    1. what is older than its ``ttl``
    2. of each namespace that is over a bound of its own, what is worth least, until it is at the low-water mark
    3. of all, likewise

Pinned sounds stay, whatever the bounds. What was delivered or made within the grace time stays while there is anything
else that could go; only where there is nothing else does the least of it go, down to just below the bound: so the
bounds hold, and its file stays for the grace all the same.

The least worth is read from an index, some hundreds at a time, and among those the place of each among the variants of
its prompt decides, too. Nothing is ever loaded whole, and what is held is kept as sums.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from audio_pool.cache.limits import Bounds, Limits
from audio_pool.cache.store import Store
from audio_pool.cache.uptime import uptime_s
from audio_pool.cache.usage import Usage
from audio_pool.cache.uses import Candidate, Reach
from audio_pool.cache.worth import worth_at
from audio_pool.errors import StorageError

__all__ = ["Eviction", "Held", "Victim", "held_in", "next_out", "victims"]

_log = logging.getLogger(__name__)

_AT_ONCE = 32
"""Sounds that one transaction takes away: whoever has one to keep waits for one such at most."""
_SPELL_S = 0.1
"""How long ``work`` goes on."""
_PAUSE_S = 5.0
"""After a run that found nothing to take."""
_AGES_EVERY_S = 60.0
_WINDOW = 512
"""Candidates that are compared with one another."""
_MOST_SPARED = 4096
"""Candidates looked at in vain because they were delivered just now."""
_JUST_BELOW = 0.99


class Held(NamedTuple):
    """What there is, of the whole or of one namespace."""

    items: int = 0
    size_bytes: int = 0

    def without(self, size_bytes: int) -> Held:
        return Held(self.items - 1, self.size_bytes - size_bytes)

    def excess(self, bounds: Bounds, share: float = 1.0) -> str:
        """Return the bound that is exceeded, by the name of its key; "" where none is."""
        if bounds.max_items and self.items > math.ceil(bounds.max_items * share):
            return "max_items"
        if bounds.max_bytes and self.size_bytes > bounds.max_bytes * share:
            return "max_size_gb"
        return ""


class Victim(NamedTuple):
    """A sound that goes, and why."""

    sound: Candidate
    why: str
    """The key of the bound: max_items, max_size_gb, ttl_days."""
    scope: str
    """The namespace whose bound it is; "" for that of the whole."""
    worth: float
    """Seconds of generating per megabyte, weighted; see worth.py."""
    delivered_just_now: bool = False


def held_in(store: Store) -> dict[str, Held]:
    """Return what each namespace holds, "" being the whole."""
    found: dict[str, Held] = {"": Held()}
    for share in store.inventory.shares():
        for name in ("", share.namespace):
            before = found.get(name, Held())
            size = share.size_bytes + share.renditions_size_bytes
            found[name] = Held(before.items + share.entries, before.size_bytes + size)
    return found


def victims(
    store: Store,
    limits: Limits,
    now: float,
    *,
    is_recent: Callable[[Candidate], bool],
    ages: bool = True,
) -> Iterator[Victim]:
    """Yield what is to go, one by one; nothing is taken away by it.

    Args:
        now: seconds since 1970.
        is_recent: whether a sound was delivered or made within the grace time.
        ages: look for what is too old, too.
    """
    held = held_in(store)
    gone: set[int] = set()

    def go(found: Iterator[Victim]) -> Iterator[Victim]:
        for one in found:
            if one.sound.entry_id in gone:
                continue
            gone.add(one.sound.entry_id)
            for name in ("", one.sound.namespace):
                held[name] = held.get(name, Held()).without(one.sound.size_bytes)
            yield one

    if ages:
        for namespace in [name for name in held if name]:
            ttl_s = limits.ttl_of(namespace)
            if ttl_s > 0:
                yield from go(_too_old(store, namespace, now - ttl_s, now, is_recent))
    for namespace, bounds in limits.namespaces.items():
        if namespace in held:
            yield from go(_least(store, namespace, bounds, held, limits.low_water, now, is_recent))
    yield from go(_least(store, "", limits.whole, held, limits.low_water, now, is_recent))


def next_out(store: Store, limits: Limits, now: float, *, is_recent: Callable[[Candidate], bool]) -> Iterator[Victim]:
    """Yield what goes now, and then, without a ``why``, what goes first as soon as more is kept or time has passed."""
    gone: set[int] = set()
    for one in victims(store, limits, now, is_recent=is_recent):
        gone.add(one.sound.entry_id)
        yield one
    bounded = [name for name, bounds in limits.namespaces.items() if bounds]
    if limits.whole or not limits:
        found: Iterator[Candidate] = _by_worth(store, "", now)
    elif bounded:
        found = itertools.chain.from_iterable(_by_worth(store, name, now) for name in bounded)
    else:
        ageing = [name for name in held_in(store) if name and limits.ttl_of(name) > 0]
        found = itertools.chain.from_iterable(_by_age(store, name, now) for name in ageing)
    for sound in found:
        if sound.entry_id not in gone:
            yield Victim(sound, "", "", worth_at(sound.rank, sound.place, now), is_recent(sound))


def _too_old(
    store: Store, namespace: str, before: float, now: float, is_recent: Callable[[Candidate], bool]
) -> Iterator[Victim]:
    for one in _by_age(store, namespace, before):
        if not is_recent(one):
            yield Victim(one, "ttl_days", namespace, worth_at(one.rank, one.place, now))


def _by_age(store: Store, namespace: str, before: float) -> Iterator[Candidate]:
    after: Reach | None = None
    while found := store.uses.made_before(namespace, before, after, _WINDOW):
        after = Reach(found[-1].created_at, found[-1].entry_id)
        yield from found


def _least(
    store: Store,
    namespace: str,
    bounds: Bounds,
    held: dict[str, Held],
    low_water: float,
    now: float,
    is_recent: Callable[[Candidate], bool],
) -> Iterator[Victim]:
    """Yield what is worth least until the namespace ("": the whole) is within its bounds; whoever takes adds it up."""
    if not held[namespace].excess(bounds):
        return
    spared = 0
    for one in _by_worth(store, namespace, now):
        if is_recent(one):
            spared += 1
            if spared > _MOST_SPARED:
                break
            continue
        why = held[namespace].excess(bounds, low_water)
        if not why:
            return
        yield Victim(one, why, namespace, worth_at(one.rank, one.place, now))
    if not held[namespace].excess(bounds):
        return
    for one in _by_worth(store, namespace, now):
        why = held[namespace].excess(bounds, _JUST_BELOW)
        if not why:
            return
        yield Victim(one, why, namespace, worth_at(one.rank, one.place, now), is_recent(one))


def _by_worth(store: Store, namespace: str, now: float) -> Iterator[Candidate]:
    after: Reach | None = None
    while found := store.uses.least(namespace, after, _WINDOW):
        after = Reach(found[-1].rank, found[-1].entry_id)
        yield from sorted(found, key=lambda one: (worth_at(one.rank, one.place, now), one.entry_id))


class Eviction:
    """Keeps one opened cache within its limits. Writer's thread only."""

    def __init__(
        self, store: Store, usage: Usage, limits: Limits, now: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            usage: knows what was delivered just now.
            now: seconds since 1970.
        """
        self._store = store
        self._usage = usage
        self._limits = limits
        self._now = now
        self._run: Iterator[Victim] | None = None
        self._taken = Held()
        self._room = Held()
        """What may still be kept until it is worth looking."""
        self._quiet_until = 0.0
        self._ages_at = 0.0

    @property
    def limits(self) -> Limits:
        """Those that are kept to now."""
        return self._limits

    def limit(self, limits: Limits) -> bool:
        """Keep to these limits from now on; return False where they are what they were."""
        if limits == self._limits:
            return False
        self._limits = limits
        self._run, self._room = None, Held()
        self._quiet_until = self._ages_at = 0.0
        return True

    def kept(self, size_bytes: int) -> None:
        """Note a sound that has just been kept; costs nothing."""
        self._room = self._room.without(size_bytes)

    def relieve(self) -> None:
        """Take a few sounds away where there are too many; about one short transaction. After every kept sound."""
        if self._limits and (self._run is not None or min(self._room) < 0) and uptime_s() >= self._quiet_until:
            self._guarded(self._step)

    def work(self) -> None:
        """Look whether there is too much, and take away for a short spell. Now and then."""
        if self._limits:
            self._guarded(self._spell)

    def _guarded(self, do: Callable[[], object]) -> None:
        try:
            do()
        except StorageError as exc:
            self._run = None
            self._quiet_until = uptime_s() + _PAUSE_S
            _log.warning("sounds that are too many stay for now: %s", exc)

    def _spell(self) -> None:
        end = uptime_s() + _SPELL_S
        while self._step() and uptime_s() < end:
            pass

    def _step(self) -> bool:
        """Take some away; return False where there is nothing more to do for now."""
        if self._run is None and not self._begin():
            return False
        assert self._run is not None
        batch = list(itertools.islice(self._run, _AT_ONCE))
        if batch:
            ids = [one.sound.entry_id for one in batch]
            removal = self._store.entries.remove(ids, spare_pinned=True, remembered=True)
            self._taken = Held(self._taken.items + removal.items, self._taken.size_bytes + removal.freed_bytes)
        if len(batch) == _AT_ONCE:
            return True
        self._end()
        return False

    def _begin(self) -> bool:
        if not self._usage.knows_all and not self._usage.catch_up():
            return False  # what has no figures yet could not be compared with what has
        held = held_in(self._store)
        ages = uptime_s() >= self._ages_at
        too_much = any(
            held[name].excess(bounds) for name, bounds in self._all_bounds() if name in held
        )
        self._room = self._room_in(held)
        if not too_much and not ages:
            return False
        if ages:
            self._ages_at = uptime_s() + _AGES_EVERY_S
        self._taken = Held()
        self._run = victims(
            self._store, self._limits, self._now(), is_recent=self._usage.is_recent, ages=ages
        )
        return True

    def _end(self) -> None:
        self._run = None
        if self._taken.items:
            _log.info("%d sounds (%.1f MB) were evicted", self._taken.items, self._taken.size_bytes / (1 << 20))
            self._room = self._room_in(held_in(self._store))
        if min(self._room) < 0:  # all that is left is pinned
            self._quiet_until = uptime_s() + _PAUSE_S

    def _all_bounds(self) -> list[tuple[str, Bounds]]:
        return [("", self._limits.whole), *self._limits.namespaces.items()]

    def _room_in(self, held: dict[str, Held]) -> Held:
        items, size = [1 << 62], [1 << 62]
        for name, bounds in self._all_bounds():
            there = held.get(name, Held())
            items += [bounds.max_items - there.items] if bounds.max_items else []
            size += [bounds.max_bytes - there.size_bytes] if bounds.max_bytes else []
        return Held(min(items), min(size))
