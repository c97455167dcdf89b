"""What ``audio-pool doctor --cluster`` says of an object store: from trial objects, which are deleted again.

Owns: what is tried there, and what the outcome means for a head.
Must not know: the command, rows, other parts of a cluster; obstore, but through the bucket.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import statistics
import time
from collections.abc import Callable, Iterator

from audio_pool.cache.objects.bucket import Bucket, Missing, Unreachable
from audio_pool.cache.objects.files import MARKER
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.errors import AudioPoolError, StorageError
from audio_pool.finding import Finding

__all__ = ["findings"]

_TIMES = 3
_BYTES = 256 << 10
_SLOW_S = 0.5
_CLOCKS_APART_S = 60.0
"""Graces are counted by the store's clock; the shortest are of two minutes."""


def findings(place: ObjectPlace, store_id: str) -> Iterator[Finding]:
    """Yield what there is to say of an object store; ends early where nothing further can be asked.

    Args:
        place: where it is, and how it is spoken to.
        store_id: of the cache whose rows name its objects; "": not known, or not made yet.
    """
    try:
        bucket = Bucket(place)
    except AudioPoolError as exc:
        yield Finding("objects", "problem", exc.message, exc.hint)
        return
    trials = [f"trials/doctor-{secrets.token_hex(8)}-{number}" for number in (1, 2)]
    try:
        yield from _tried(bucket, trials, place.settings.fetch_s)
        yield from _owner(bucket, store_id)
    except Unreachable as exc:
        mend = (
            "is it running, is cache.objects.endpoint its address, does a firewall lie between? http needs allow_http"
        )
        yield Finding("objects", "problem", exc.message, exc.hint or mend)
    except StorageError as exc:
        yield Finding("objects", "problem", exc.message, exc.hint)
    finally:
        with contextlib.suppress(AudioPoolError):
            bucket.delete(trials)
        bucket.close()


def _tried(bucket: Bucket, trials: list[str], fetch_s: float) -> Iterator[Finding]:
    """Do with an object what a head does with a sound."""
    (one, two), data = trials, secrets.token_bytes(_BYTES)
    put_s = _middle(lambda: bucket.write(one, data))
    fetched = io.BytesIO()
    get_s = _middle(lambda: bucket.fetch(one, fetched, fetch_s))
    if fetched.getvalue() != data * _TIMES:
        yield Finding("objects", "problem", f"{bucket.location} gave back other bytes than it got", "see its log")
        return
    told = f"{bucket.location}: 256 KiB are stored in {put_s * 1000:.0f} ms and fetched in {get_s * 1000:.0f} ms"
    if max(put_s, get_s) > _SLOW_S:
        yield Finding(
            "objects", "note", told, "a store in the heads' own region; hits wait for it where they have no copy"
        )
    else:
        yield Finding("objects", "ok", told)
    if bucket.write(one, b"another", once=True):
        told = "writes what is to be written only where nothing lies (If-None-Match is not heeded)"
        mend = "two caches could take one prefix: upgrade it, or use a store that has conditional writes"
        yield Finding("objects.once", "problem", told, mend)
    else:
        yield Finding("objects.once", "ok", "an object that is there is not written over")
    stored = bucket.look(one)
    bucket.copy(one, two)
    listed = {found.key for found in bucket.list("trials")} & set(trials)
    bucket.delete(trials)
    left = {found.key for found in bucket.list("trials")} & set(trials)
    if stored is None or listed != set(trials) or left:
        told = f"lists {len(listed)} of 2 objects, and {len(left)} after they were deleted"
        mend = "a store whose lists are consistent; what this one misses, the collector takes for lost"
        yield Finding("objects.lists", "problem", told, mend)
    else:
        yield Finding("objects.lists", "ok", "copies, lists and deletes, and its lists are up to date")
    if stored is not None:
        apart = stored.modified_at - time.time()
        told = f"{abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
        if abs(apart) > _CLOCKS_APART_S:
            mend = "graces are counted by the store's clock alone, so nothing is lost; run chrony where it is wrong"
            yield Finding("objects.clock", "note", told, mend)
        else:
            yield Finding("objects.clock", "ok", told)


def _owner(bucket: Bucket, store_id: str) -> Iterator[Finding]:
    """Say whose the prefix is."""
    try:
        found = bucket.read(MARKER).decode(errors="replace")
    except Missing:
        yield Finding("objects.prefix", "ok", "belongs to no cache yet: the first sound takes it")
        return
    if not store_id:
        told = "belongs to a cache, and which one this will be is not known here"
        mend = "where the database is new, give it a prefix of its own; else see what is told of the database"
        yield Finding("objects.prefix", "note", told, mend)
    elif found == store_id:
        yield Finding("objects.prefix", "ok", "belongs to this cache")
    else:
        yield Finding("objects.prefix", "problem", "belongs to another cache", "give each a prefix of its own")


def _middle(work: Callable[[], object]) -> float:
    """Return how long something takes, in seconds."""
    took = []
    for _ in range(_TIMES):
        begun = time.monotonic()
        work()
        took.append(time.monotonic() - begun)
    return statistics.median(took)
