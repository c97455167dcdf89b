"""Entries that are one too many.

Owns: ``duplicate_groups``: by words and settings, by bytes, by how they sound; ``found_duplicates``, as operators are
told of them.
Must not know: removal; how sound vectors are made.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Set
from typing import NamedTuple, get_args

import numpy as np

from audio_pool.cache.inventory import Ranked
from audio_pool.cache.library import kept_sounds
from audio_pool.cache.likeness import Points, close_pairs
from audio_pool.cache.store import Store
from audio_pool.errors import InvalidRequest
from audio_pool.stock import DuplicateGroup, Duplicates
from audio_pool.stock import LikenessMethod as Method
from audio_pool.tasks import DESCRIPTORS, SOUND_PREFIX

__all__ = ["Group", "Method", "duplicate_groups", "found_duplicates", "groups_around"]

_SAME_SOUND = 0.98
"""Least cosine of two unit sound vectors taken for the same sound. CLAP vectors of two takes of one prompt
lie around 0.6 to 0.95, those of one take in two encodings above 0.99."""
_SAME_DESCRIPTORS = 0.5
"""Most distance of spectral descriptors (roughly decibels) taken for the same sound; two seeds of steady rain
are 1 to 2 apart."""
_SAME_LENGTH = 0.05
"""Relative difference up to which two sounds can be the same."""
_TOLD = 20
"""Sounds of a group that operators are told, beside the one to keep."""

Alike = dict[int, list[int]]
"""Entry -> those that are like it."""


class Group(NamedTuple):
    """Entries of which one is enough."""

    reason: str
    ids: list[int]
    """The one to keep first: best score, then newest."""


def duplicate_groups(store: Store, by: Method = "any") -> list[Group]:
    """Return groups of at least two; an entry is in one group at most. Read in pieces, however many entries there are.

    Raises:
        InvalidRequest: another ``by``.
    """
    if by not in get_args(Method):
        raise InvalidRequest(f"by: given {by!r}, allowed is one of {', '.join(get_args(Method))}")
    groups: list[Group] = []
    gone: set[int] = set()
    if by in ("any", "prompt"):
        groups += _equal(store.inventory.same_texts(), gone, _words_and_settings, "the same words and settings")
        gone.update(entry_id for group in groups for entry_id in group.ids[1:])
    if by in ("any", "sound"):
        same = _equal(store.inventory.same_bytes(), gone, lambda one: one.settings.namespace, "the same bytes")
        groups += same
        gone.update(entry_id for group in same for entry_id in group.ids)
        for space in store.vectors.counts():
            if space.startswith(SOUND_PREFIX):
                points = _points(store, gone)
                alike = _alike(store, points, space)
                same = list(groups_around(points.ids.tolist(), alike, f"the same sound ({space})"))
                groups += same
                gone.update(entry_id for group in same for entry_id in group.ids)
    return groups


def found_duplicates(store: Store, by: Method, limit: int) -> Duplicates:
    """Return so many groups with what is known of their sounds, and figures of all of them. Raises InvalidRequest."""
    groups = duplicate_groups(store, by)
    too_many = array("q", (entry_id for group in groups for entry_id in group.ids[1:]))
    listed = [entry_id for group in groups[:limit] for entry_id in group.ids[: _TOLD + 1]]
    namespaces = {item.id: item.namespace for item in store.inventory.items_by_id(listed)}
    known = kept_sounds(store.library, ((namespace, entry_id) for entry_id, namespace in namespaces.items()))
    told = []
    for group in groups[:limit]:
        there = [known[entry_id] for entry_id in group.ids[: _TOLD + 1] if entry_id in known]
        if len(there) > 1:  # somebody may have removed the rest meanwhile
            more = max(0, len(group.ids) - _TOLD - 1)
            told.append(DuplicateGroup(reason=group.reason, keep=there[0], duplicates=tuple(there[1:]), more=more))
    return Duplicates(
        found=len(groups),
        duplicates=len(too_many),
        size_bytes=sum(one.size_bytes for one in store.inventory.chosen(too_many)),
        groups=tuple(told),
    )


def _equal(
    runs: Iterable[list[Ranked]], gone: Set[int], key: Callable[[Ranked], Hashable], reason: str
) -> list[Group]:
    """Return groups of those in each run that have a key in common, the largest groups first."""
    groups = []
    for run in runs:
        members: dict[Hashable, list[int]] = {}
        for one in run:
            if one.id not in gone:
                members.setdefault(key(one), []).append(one.id)
        groups += [Group(reason, ids) for ids in members.values() if len(ids) > 1]
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids))


def _words_and_settings(one: Ranked) -> Hashable:
    length = round(one.settings.duration_s, 2)
    return one.settings._replace(duration_s=length, commercial=False, inexact=False)


def _points(store: Store, gone: Set[int]) -> Points:
    """Return every entry that is left, the best first: 20 bytes of each."""
    ids, kinds, lengths = array("q"), array("q"), array("f")
    numbers: dict[tuple[str, bool], int] = {}
    for one in store.inventory.lengths():
        if one.id not in gone:
            ids.append(one.id)
            kinds.append(numbers.setdefault((one.namespace, one.loop), len(numbers)))
            lengths.append(one.duration_s)
    return Points(np.array(ids, np.int64), np.array(kinds, np.int64), np.array(lengths, np.float32))


def _alike(store: Store, points: Points, space: str) -> Alike:
    by_distance = space == DESCRIPTORS
    distance = _SAME_DESCRIPTORS if by_distance else math.sqrt(2 - 2 * _SAME_SOUND)
    if not len(points.ids):
        return {}
    return close_pairs(
        points,
        store.vectors.batches(space),
        lambda ids: store.vectors.of(space, ids),
        distance=distance,
        unit=not by_distance,
        slack=_SAME_LENGTH,
    )


def groups_around(ranked: Iterable[int], alike: Alike, reason: str) -> Iterator[Group]:
    """Yield each group around its best member: chains of likeness would bring in what is not like it.

    Args:
        ranked: ids, best first.
        alike: by id, those that are like it.
    """
    taken: set[int] = set()
    for leader in ranked:
        members = [other for other in alike.get(leader, ()) if other not in taken and other != leader]
        if leader not in taken and members:
            taken.update((leader, *members))
            yield Group(reason, [leader, *members])
