"""A page of kept sounds: by words, by meaning, by what is known of them.

Owns: ``search``: how words and meaning narrow what is listed, and how they are weighed together; what a page's
``next`` is.
Must not know: the database, who asks, how a meaning became vectors.
"""

from __future__ import annotations

import base64
import binascii
import re
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
_MATCHED = 5_000
"""Sounds with the words of a text that are ranked: the newest."""
_NEAR_IN_MEANING = 100
"""Sounds without its words that a text brings."""
_VECTORS_AT_ONCE = 200
"""Read from the store at a time: look-ups go on between."""
_WORD = re.compile(r"\w+")
_Compare = Callable[[Vector, Iterable[int]], dict[int, float]]


def search(
    store: Store, asked: SoundSearch, namespace: str, spaces: Spaces, vectors: Mapping[str, Vector] | None = None
) -> KeptSounds:
    """Return one page.

    Args:
        namespace: the only one that is searched.
        spaces: the searchable ones of this store.
        vectors: float32 [D] of ``asked.meaning`` by encoder; needed where it is given. Or of ``asked.text``; without
            any, words alone decide.

    Raises:
        InvalidRequest: ``after`` is no page's ``next``, or is another search's; wishes that exclude each other.
        NotSupported: nothing here compares meanings. EngineUnavailable: faiss is missing.
    """
    sort = asked.sort or "newest"
    if asked.text and (asked.words or asked.meaning or asked.sort):
        given = "words" if asked.words else "meaning" if asked.meaning else "sort"
        raise InvalidRequest(f"{given}: given with text, which says words, meaning and order at once; leave one out")
    after = _place_in(asked, "best" if asked.text else "nearest" if asked.meaning else sort)
    ids = _chosen(asked, store.words.find(namespace, asked.words) if asked.words else None)
    wanted = Wanted(
        namespace=namespace,
        ids=ids,
        tags=asked.tags,
        engine=asked.engine,
        engines=asked.engines,
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
    if asked.text:
        return _best(store, asked, wanted, spaces, vectors or {}, after)
    found = store.library.page(wanted, sort, asked.limit + 1, after)
    return _page(found, asked.limit, sort)


def _chosen(asked: SoundSearch, found: list[int] | None) -> list[int] | None:
    """Return which entries are looked at; None: all."""
    if not asked.ids:
        return found
    named = set(asked.ids)
    return sorted(named) if found is None else [entry_id for entry_id in found if entry_id in named]


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
    cosines = _cosines(store, wanted, spaces, vectors)
    if cosines is None:
        raise NotSupported(
            "meaning: no encoder compares the sounds of this cache", hint="search by words, or set cache.encoder"
        )
    return _ranked(store, asked, wanted, cosines, after, "nearest", _NEAREST)


def _best(
    store: Store,
    asked: SoundSearch,
    wanted: Wanted,
    spaces: Spaces,
    vectors: Mapping[str, Vector],
    after: Place | None,
) -> KeptSounds:
    """Return a page of what has the words of a text and what is near to its meaning.

    The score is the mean of two shares: of the prompt's words, how many were asked for, where all of the text's are in
    it; and the similarity of meaning. Without an encoder it is the former alone.
    """
    cosines = _cosines(store, wanted, spaces, vectors)
    words = _words_of(asked.text)
    beginning = "" if asked.text[-1:].isspace() or not words else "*"
    ids = store.words.find(wanted.namespace, " ".join(words) + beginning) if words else []
    matched = store.library.ids(wanted._replace(ids=_chosen(asked, ids)), _MATCHED)
    shares = {
        entry_id: min(1.0, len(words) / max(1, len(_words_of(prompt))))
        for entry_id, prompt in store.library.prompts_of(matched)
    }
    if cosines is None:
        scores = shares
    else:
        least = min(cosines.values(), default=0.0)
        near = sorted(cosines.items(), key=lambda one: (-one[1], one[0]))
        others = [one for one in near if one[0] not in shares][:_NEAR_IN_MEANING]
        scores = {entry_id: max(0.0, cosine) / 2 for entry_id, cosine in others}
        for entry_id, share in shares.items():
            scores[entry_id] = (share + max(0.0, cosines.get(entry_id, least))) / 2
    page = _ranked(store, asked, wanted, scores, after, "best", _MATCHED)
    return structs.replace(page, by_meaning=cosines is not None)


def _ranked(
    store: Store,
    asked: SoundSearch,
    wanted: Wanted,
    scores: Mapping[int, float],
    after: Place | None,
    order: str,
    most: int,
) -> KeptSounds:
    """Return a page of the highest scores, each told with its sound."""
    ranked = sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:most]
    if after is not None:
        ranked = [one for one in ranked if (-one[1], one[0]) > (-after.value, after.id)]
    found: list[tuple[KeptSound, Place]] = []
    for start in range(0, len(ranked), asked.limit):
        part = ranked[start : start + asked.limit]
        known = store.library.sounds(wanted._replace(ids=[entry_id for entry_id, _ in part]))
        found += [
            (structs.replace(known[entry_id], score=round(score, 4)), Place(score, entry_id))
            for entry_id, score in part
            if entry_id in known
        ]
        if len(found) > asked.limit:
            break
    return _page(found, asked.limit, order)


def _cosines(
    store: Store, wanted: Wanted, spaces: Spaces, vectors: Mapping[str, Vector]
) -> dict[int, float] | None:
    """Return the similarities of the nearest; None: no encoder compares them."""
    prompts, scorer = roles(store, vectors, spaces.former)
    if prompts:
        space, vector = prompts, vectors[prompts]
    elif scorer:
        space, vector = SOUND_PREFIX + scorer, vectors[scorer]
    else:
        return None
    index = spaces.of(space)
    by_group = wanted._replace(engine=None, engines=(), loop=None, commercial_use=None, tags=tuple(wanted.tags))
    narrow = by_group != Wanted(wanted.namespace)
    if narrow:  # the nearest of all may be none of these
        ids = store.library.ids(wanted, _COMPARED + 1)
        if len(ids) <= _COMPARED:
            return _compared(index.compared, vector, ids)

    def fits(group: Settings) -> bool:
        return (
            group.namespace == wanted.namespace
            and wanted.engine in (None, group.engine)
            and (not wanted.engines or group.engine in wanted.engines)
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


def _words_of(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


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
