"""A page of kept sounds: by words, by meaning, by what is known of them.

Owns: ``search``: how words and meaning narrow what is listed; what a page's ``next`` is.
Must not know: the database, who asks, how a meaning became vectors.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import structs

from audio_pool.cache.encoders import roles
from audio_pool.cache.library import Place, Wanted
from audio_pool.cache.settings import Settings
from audio_pool.cache.spaces import Spaces
from audio_pool.cache.store import Store, Vector
from audio_pool.errors import InvalidRequest, NotSupported
from audio_pool.library import KeptSound, KeptSounds, SoundSearch
from audio_pool.tasks import SOUND_PREFIX

__all__ = ["search"]

_NEAREST = 1_000
"""Sounds that a search by meaning looks at; nobody leafs further."""
_COMPARED = 5_000
"""Sounds that are compared one by one where other wishes leave so few."""
_VECTORS_AT_ONCE = 200
"""Read from the store at a time: look-ups go on between."""
_Compare = Callable[[Vector, Iterable[int]], dict[int, float]]


def search(
    store: Store, asked: SoundSearch, namespace: str, spaces: Spaces, vectors: Mapping[str, Vector] | None = None
) -> KeptSounds:
    """Return one page.

    Args:
        namespace: the only one that is searched.
        spaces: the searchable ones of this store.
        vectors: float32 [D] of ``asked.meaning`` by encoder; needed where it is given.

    Raises:
        InvalidRequest: ``after`` is no page's ``next``, or is another search's.
        NotSupported: nothing here compares meanings. EngineUnavailable: faiss is missing.
    """
    sort = asked.sort or "newest"
    after = _place_in(asked, "nearest" if asked.meaning else sort)
    ids = store.words.find(namespace, asked.words) if asked.words else None
    wanted = Wanted(
        namespace=namespace,
        ids=ids,
        tags=asked.tags,
        engine=asked.engine,
        shortest_s=asked.shortest_s,
        longest_s=asked.longest_s,
        loop=asked.loop,
        min_quality=asked.min_quality,
        min_rating=asked.min_rating,
        favourite=asked.favourite,
        pinned=asked.pinned,
        commercial_use=asked.commercial_use,
    )
    if asked.meaning:
        return _nearest(store, asked, wanted, spaces, vectors or {}, after)
    found = store.library.page(wanted, sort, asked.limit + 1, after)
    return _page(found, asked.limit, sort)


def _nearest(
    store: Store,
    asked: SoundSearch,
    wanted: Wanted,
    spaces: Spaces,
    vectors: Mapping[str, Vector],
    after: Place | None,
) -> KeptSounds:
    if asked.sort is not None:
        raise InvalidRequest("sort: given with meaning, whose order is nearness; leave it out")
    prompts, scorer = roles(store, vectors, spaces.former)
    if prompts:
        space, vector = prompts, vectors[prompts]
    elif scorer:
        space, vector = SOUND_PREFIX + scorer, vectors[scorer]
    else:
        raise NotSupported(
            "meaning: no encoder compares the sounds of this cache", hint="search by words, or set cache.encoder"
        )
    cosines = _cosines(store, wanted, spaces, space, vector)
    ranked = sorted(cosines.items(), key=lambda one: (-one[1], one[0]))[:_NEAREST]
    if after is not None:
        ranked = [one for one in ranked if (-one[1], one[0]) > (-after.value, after.id)]
    found: list[tuple[KeptSound, Place]] = []
    for start in range(0, len(ranked), asked.limit):
        part = ranked[start : start + asked.limit]
        known = store.library.sounds(wanted._replace(ids=[entry_id for entry_id, _ in part]))
        found += [
            (structs.replace(known[entry_id], score=round(cosine, 4)), Place(cosine, entry_id))
            for entry_id, cosine in part
            if entry_id in known
        ]
        if len(found) > asked.limit:
            break
    return _page(found, asked.limit, "nearest")


def _cosines(store: Store, wanted: Wanted, spaces: Spaces, space: str, vector: Vector) -> dict[int, float]:
    index = spaces.of(space)
    narrow = wanted._replace(engine=None, loop=None, commercial_use=None) != Wanted(wanted.namespace)
    if narrow:  # the nearest of all may be none of these
        ids = store.library.ids(wanted, _COMPARED + 1)
        if len(ids) <= _COMPARED:
            return _compared(index.compared, vector, ids)

    def fits(group: Settings) -> bool:
        return (
            group.namespace == wanted.namespace
            and wanted.engine in (None, group.engine)
            and wanted.loop in (None, group.loop)
            and wanted.commercial_use in (None, group.commercial)
        )

    found = index.search_like(vector, _NEAREST, fits)
    return found if index.exact else _compared(index.compared, vector, found)


def _compared(compare: _Compare, vector: Vector, ids: Iterable[int]) -> dict[int, float]:
    every = list(ids)
    found: dict[int, float] = {}
    for start in range(0, len(every), _VECTORS_AT_ONCE):
        found |= compare(vector, every[start : start + _VECTORS_AT_ONCE])
    return found


# -- pages


def _page(found: list[tuple[KeptSound, Place]], limit: int, order: str) -> KeptSounds:
    """Return the first so many, and the way to the rest where there is one."""
    page = found[:limit]
    more = page[-1][1] if len(found) > limit else None
    return KeptSounds(sounds=tuple(sound for sound, _ in page), next=None if more is None else _told(order, more))


def _told(order: str, place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([order, place.value, place.id])).decode().rstrip("=")


def _place_in(asked: SoundSearch, order: str) -> Place | None:
    if not asked.after:
        return None
    try:
        padded = asked.after + "=" * (-len(asked.after) % 4)
        named, value, entry_id = msgspec.json.decode(base64.b64decode(padded, b"-_", True), type=tuple[str, float, int])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise InvalidRequest(f"after: given {asked.after!r:.60}, allowed is the 'next' of an earlier page") from None
    if named != order or not -(2**63) <= entry_id < 2**63:
        raise InvalidRequest(f"after: given is a page of a search by {named!r:.20}, this one is by {order!r}")
    return Place(value, entry_id)
