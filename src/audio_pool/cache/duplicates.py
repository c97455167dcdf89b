"""Entries that are one too many.

Owns: ``duplicate_groups``: by words and settings, by bytes, by how they sound.
Must not know: removal; how sound vectors are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from audio_pool.cache.entry import DESCRIPTORS, SOUND_PREFIX
from audio_pool.cache.sqlite.store import Store
from audio_pool.errors import InvalidRequest

__all__ = ["Group", "Method", "duplicate_groups"]

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
_RANK = "ORDER BY coalesce(clap_similarity, quality, 0) DESC, created_at DESC, id DESC"


class Group(NamedTuple):
    reason: str
    ids: list[int]
    """The one to keep first: best score, then newest."""


def duplicate_groups(store: Store, by: Method = "any") -> list[Group]:
    """Groups of at least two; an entry is in one group at most.

    Raises:
        InvalidRequest: another ``by``.
    """
    if by not in get_args(Method):
        raise InvalidRequest(f"by: given {by!r}, allowed is one of {', '.join(get_args(Method))}")
    groups = list(_by_words(store)) if by in ("any", "prompt") else []
    if by in ("any", "sound"):
        gone = {entry_id for group in groups for entry_id in group.ids[1:]}
        left = [row for row in _sounds(store) if row[0] not in gone]
        pairs = [(_by_bytes(left), "the same bytes")]
        pairs += [(_by_vectors(store, left, name), f"the same sound ({name})") for name in store.encoders()]
        for neighbours, reason in pairs:
            for group in _led(left, neighbours, reason):
                groups.append(group)
                gone.update(group.ids)
            left = [row for row in left if row[0] not in gone]
    return groups


def _by_words(store: Store) -> Iterator[Group]:
    same = "namespace, engine, loop, voice, negative, text_key, sample_rate, round(duration_s, 2)"
    members: dict[tuple[Any, ...], list[int]] = {}
    for entry_id, *key in store.query(f"SELECT id, {same} FROM entries {_RANK}"):
        members.setdefault(tuple(key), []).append(entry_id)
    for ids in members.values():
        if len(ids) > 1:
            yield Group("the same words and settings", ids)


def _sounds(store: Store) -> list[tuple[int, str, int, float, bytes]]:
    """id, namespace, loop, seconds, SHA-256, best first."""
    return store.query(f"SELECT id, namespace, loop, duration_s, sha256 FROM entries {_RANK}")


Neighbours = dict[int, list[int]]


def _by_bytes(rows: list[tuple[int, str, int, float, bytes]]) -> Neighbours:
    same: dict[tuple[str, bytes], list[int]] = {}
    for entry_id, namespace, _, _, digest in rows:
        same.setdefault((namespace, digest), []).append(entry_id)
    return {entry_id: ids for ids in same.values() if len(ids) > 1 for entry_id in ids}


def _by_vectors(store: Store, rows: list[tuple[int, str, int, float, bytes]], encoder: str) -> Neighbours:
    if not encoder.startswith(SOUND_PREFIX):
        return {}
    known = store.vectors_of(encoder, [row[0] for row in rows])
    having = [row for row in rows if row[0] in known]
    if len(having) < 2:
        return {}
    vectors = np.stack([known[row[0]] for row in having])
    alike_in = _close if encoder == DESCRIPTORS else _parallel
    lengths = np.array([row[3] for row in having])
    kinds = np.array([hash((row[1], row[2])) for row in having])
    near: Neighbours = {}
    for start in range(0, len(having), _BLOCK):
        part = slice(start, start + _BLOCK)
        alike = alike_in(vectors[part], vectors)
        alike &= np.abs(lengths[part, None] - lengths) <= _SAME_LENGTH * lengths[part, None]
        alike &= kinds[part, None] == kinds
        for first, second in np.argwhere(alike):
            if start + first != second:
                near.setdefault(having[start + first][0], []).append(having[second][0])
    return near


Matrix = npt.NDArray[np.float32]


def _parallel(some: Matrix, all_: Matrix) -> npt.NDArray[np.bool_]:
    """[n, N]: vectors of one direction."""
    lengths = np.linalg.norm(some, axis=1)[:, None] * np.linalg.norm(all_, axis=1)
    return np.asarray(some @ all_.T >= _SAME_SOUND * lengths)


def _close(some: Matrix, all_: Matrix) -> npt.NDArray[np.bool_]:
    """[n, N]: vectors near to each other."""
    wide, others = some.astype(np.float64), all_.astype(np.float64)
    squares = (wide**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * wide @ others.T
    return np.asarray(squares <= _SAME_DESCRIPTORS**2)


def _led(rows: list[tuple[int, str, int, float, bytes]], near: Neighbours, reason: str) -> Iterator[Group]:
    """Each group around its best member: chains of likeness would bring in what is not like it."""
    taken: set[int] = set()
    for row in rows:
        leader = row[0]
        members = [other for other in near.get(leader, ()) if other not in taken and other != leader]
        if leader not in taken and members:
            taken.update((leader, *members))
            yield Group(reason, [leader, *members])
