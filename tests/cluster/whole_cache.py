"""A cache in which every kind of thing is known of sounds, and all that a store knows of them, to be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tests.support.cache_sounds import sound

from audio_pool.cache.calibration import Measured
from audio_pool.cache.judgements import Given
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.store import Store
from audio_pool.cache.uses import Counted
from audio_pool.library import SoundMarks
from audio_pool.presets import Preset
from audio_pool.types import Rendition

__all__ = ["OGG", "beside", "filled", "known"]

OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-2.0)


def filled(directory: Path, count: int = 10) -> SqliteStore:
    """A local cache in which every kind of thing is known of sounds."""
    store = SqliteStore(directory, grace_s=0.0)
    rng = np.random.default_rng(1)
    ids = []
    for n in range(count):
        vectors = {name: rng.normal(size=8).astype(np.float32) for name in ("minilm@1", "sound:clap")}
        tags = {"tags": ["weather"], "labels": {"take": n}} if n % 2 else {}
        made = sound(store.blobs.incoming, f"sound {n // 2}", seed=n, metadata=tags)
        entry = store.entries.put(made, vectors, preferred=n == 3)
        assert entry.id is not None
        ids.append(entry.id)
    for entry_id in ids[:3]:
        made_ogg = store.blobs.incoming / "made.ogg"
        made_ogg.write_bytes(b"OggS" + bytes([entry_id % 256]) * 300)
        store.renditions.put(entry_id, OGG, made_ogg)
    store.marks.mark(ids[1], SoundMarks(rating=4, favourite=True, add_tags=["good"]))
    store.pins.pin(ids[2:4])
    store.judgements.give(
        [
            Given("default", "a drizzle", "sound 1", "right", "manager"),
            Given("default", "a storm", "sound 1", "wrong", "feedback", ids[2]),
        ]
    )
    store.registry.fill([(entry_id, bytes([entry_id % 256]) * 64) for entry_id in ids[1:]])  # the first has none
    store.uses.record(Counted({ids[4]: 3}, {}, {}), 2_000_000_000.0)
    words = {"after": "in a hall"}
    store.presets.set([Preset(id=name, type="prompt", content=words) for name in ("hall", "yard")])
    bounds = {"error": 0.1, "at_070": 0.8, "plain": 0.9, "error_at_most": 0.2}
    pairs = {"same_pairs": 10, "different_pairs": 10, "unrelated_pairs": 10}
    shares = {"accepted_same": 0.9, "accepted_different": 0.1, "accepted_same_plain": 0.5}
    store.calibrations.keep(msgspec.convert({"space": "minilm@1", **bounds, **pairs, **shares}, Measured))
    return store


def known(store: Store) -> dict[tuple[str, str], dict[str, Any]]:
    """All that a store knows of each entry, by what it is in any store."""
    found = {}
    kept = {one.entry_id: one for one in store.checks.masters()}
    judged = [one.given for one in store.judgements.since(0)]
    numbers = {mark.number for mark in store.registry.fingerprints_after(0, 1000)}
    marks = [one for one in map(store.registry.with_fingerprint, sorted(numbers)) if one is not None]
    for item in store.inventory.items():
        entry, master = store.entries.entry(item.id), kept[item.id]
        assert entry is not None
        store.blobs.bring(master.file, master.size_bytes)
        data = Path(store.blobs.path_of(master.file)).read_bytes()
        assert hashlib.sha256(data).digest() == master.sha256
        renditions = {}
        for one in store.renditions.of(item.id):
            store.blobs.bring(one.file, one.size_bytes)
            renditions[one.spec] = Path(store.blobs.path_of(one.file)).read_bytes()
            assert one.sha256 == hashlib.sha256(renditions[one.spec]).digest()
        spaces = {space: store.vectors.of(space, [item.id]).get(item.id) for space in store.vectors.spaces()}
        files = [master.sha256, *(hashlib.sha256(one).digest() for one in renditions.values())]
        registered = [one for digest in files for one in store.registry.with_file(digest)]
        found[item.namespace, str(entry.metadata.seed)] = {
            "item": item._replace(id=0, file=""),
            "recipe": entry.recipe,
            "metadata": entry.metadata,
            "created_at": entry.created_at,
            "master": data,
            "renditions": renditions,
            "vectors": {space: vector.tobytes() for space, vector in spaces.items() if vector is not None},
            "marked": list(store.marks.of([item.id]).values()),
            "judged": [given._replace(entry_id=None) for given in judged if given.entry_id == item.id],
            "preferred": item.id in store.entries.preferred_among([item.id]),
            "uses": list(store.uses.of([item.id]).values()),
            # every file of it is known as its own, so that whoever has one is told where it comes from
            "registered": [(one.entry_id == item.id, one.namespace, one.made) for one in registered],
            "fingerprints": [mark for registered, mark in marks if registered.entry_id == item.id],
        }
    return found


def beside(store: Store) -> dict[str, Any]:
    """What a store knows that is of no single entry."""
    return {
        "judged": sorted(one.given for one in store.judgements.since(0) if one.given.entry_id is None),
        "presets": store.presets.page(type=None, suiting=(), after="", limit=100),
        "calibrations": store.calibrations.all(),
    }
