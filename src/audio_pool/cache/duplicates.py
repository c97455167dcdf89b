"""Entries that are one too many.

Owns: ``duplicate_groups``: by words and settings, by bytes, by how they sound.
Must not know: removal; how sound vectors are made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from audio_pool.cache.inventory import Ranked
from audio_pool.cache.store import Store, Vector
from audio_pool.errors import InvalidRequest
from audio_pool.tasks import DESCRIPTORS, SOUND_PREFIX

__all__ = ["Group", "Method", "duplicate_groups", "groups_around"]

Method = Literal["any", "prompt", "sound"]
_SAME_SOUND = 0.98
"""Least cosine of two unit sound vectors taken for the same sound. CLAP vectors of two takes of one prompt
lie around 0.6 to 0.95, those of one take in two encodings above 0.99."""
_SAME_DESCRIPTORS = 0.5
"""Most distance of spectral descriptors (roughly decibels) taken for the same sound; two seeds of steady rain
are 1 to 2 apart."""
_SAME_LENGTH = 0.05
"""Relative difference up to which two sounds can be the same."""
_BLOCK = 1024

Alike = dict[int, list[int]]
"""Entry -> those that are like it."""
Matrix = npt.NDArray[np.float32]


class Group(NamedTuple):
    """Entries of which one is enough."""

    reason: str
    ids: list[int]
    """The one to keep first: best score, then newest."""


def duplicate_groups(store: Store, by: Method = "any") -> list[Group]:
    """Return groups of at least two; an entry is in one group at most.

    Raises:
        InvalidRequest: another ``by``.
    """
    if by not in get_args(Method):
        raise InvalidRequest(f"by: given {by!r}, allowed is one of {', '.join(get_args(Method))}")
    left = store.inventory.ranked()
    groups = list(_by_words(left)) if by in ("any", "prompt") else []
    if by == "prompt":
        return groups
    gone = {entry_id for group in groups for entry_id in group.ids[1:]}
    for alike_among, reason in _kinds_of_likeness(store):
        left = [one for one in left if one.id not in gone]
        for group in groups_around([one.id for one in left], alike_among(left), reason):
            groups.append(group)
            gone.update(group.ids)
    return groups


def _kinds_of_likeness(store: Store) -> Iterator[tuple[Callable[[list[Ranked]], Alike], str]]:
    yield _by_bytes, "the same bytes"
    for space in store.vectors.counts():
        if space.startswith(SOUND_PREFIX):

            def by_vectors(left: list[Ranked], space: str = space) -> Alike:
                return _by_vectors(left, store.vectors.of(space, [one.id for one in left]), space)

            yield by_vectors, f"the same sound ({space})"


def _by_words(ranked: Iterable[Ranked]) -> Iterator[Group]:
    for ids in _equal(ranked, _words_and_settings):
        yield Group("the same words and settings", ids)


def _words_and_settings(one: Ranked) -> Hashable:
    length = round(one.settings.duration_s, 2)
    return one.text_key, one.settings._replace(duration_s=length, commercial=False, inexact=False)


def _by_bytes(ranked: Iterable[Ranked]) -> Alike:
    groups = _equal(ranked, lambda one: (one.settings.namespace, one.sha256))
    return {entry_id: ids for ids in groups for entry_id in ids}


def _equal(ranked: Iterable[Ranked], key: Callable[[Ranked], Hashable]) -> list[list[int]]:
    """Return ids of those that have a key in common with another, in the order given."""
    members: dict[Hashable, list[int]] = {}
    for one in ranked:
        members.setdefault(key(one), []).append(one.id)
    return [ids for ids in members.values() if len(ids) > 1]


def _by_vectors(ranked: list[Ranked], vectors: Mapping[int, Vector], space: str) -> Alike:
    having = [one for one in ranked if one.id in vectors]
    if len(having) < 2:
        return {}
    matrix = np.stack([vectors[one.id] for one in having])
    alike_in = _close if space == DESCRIPTORS else _parallel
    lengths = np.array([one.settings.duration_s for one in having])
    numbers: dict[tuple[str, bool], int] = {}
    kinds = np.array(
        [numbers.setdefault((one.settings.namespace, one.settings.loop), len(numbers)) for one in having]
    )
    found: Alike = {}
    for start in range(0, len(having), _BLOCK):
        part = slice(start, start + _BLOCK)
        alike = alike_in(matrix[part], matrix)
        alike &= np.abs(lengths[part, None] - lengths) <= _SAME_LENGTH * lengths[part, None]
        alike &= kinds[part, None] == kinds
        for first, second in np.argwhere(alike):
            if start + first != second:
                found.setdefault(having[start + first].id, []).append(having[second].id)
    return found


def _parallel(some: Matrix, all_: Matrix) -> npt.NDArray[np.bool_]:
    """Return bool [n, N]: True where two vectors have nearly the same direction."""
    lengths = np.linalg.norm(some, axis=1)[:, None] * np.linalg.norm(all_, axis=1)
    return np.asarray(some @ all_.T >= _SAME_SOUND * lengths)


def _close(some: Matrix, all_: Matrix) -> npt.NDArray[np.bool_]:
    """Return bool [n, N]: True where two vectors lie near to each other."""
    wide, others = some.astype(np.float64), all_.astype(np.float64)
    squares = (wide**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * wide @ others.T
    return np.asarray(squares <= _SAME_DESCRIPTORS**2)


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
