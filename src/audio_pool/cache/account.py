"""Everything that is known of one entry, and what people judged, as plain values for a person.

Owns: ``account_of``, ``judge`` and ``judged``.
Must not know: the terminal, the database.
"""

from __future__ import annotations

from typing import Any

import msgspec

from audio_pool.cache.judgements import Given, Judged, Judgement
from audio_pool.cache.store import Store
from audio_pool.errors import InvalidRequest, NotFound

__all__ = ["account_of", "judge", "judged"]

Json = dict[str, Any]  # the documented results of docs/manager.md


def account_of(store: Store, entry_id: int) -> Json:
    """Return an entry's recipe, metadata, hash, vectors (dimensions by space), renditions and judgements.

    Raises:
        NotFound: there is no such entry, or it cannot be read.
    """
    entry, master = store.entries.entry(entry_id), store.checks.master(entry_id)
    if entry is None or master is None:
        raise NotFound(f"no entry with id {entry_id} that can be read", hint="audio-pool cache list shows ids")
    recipe = entry.recipe
    vectors = {space: store.vectors.of(space, [entry_id]) for space in store.vectors.spaces()}
    return {
        "sha256": master.sha256.hex(),
        "recipe": msgspec.to_builtins(recipe),
        "metadata": entry.metadata.to_dict(),
        "vectors": {space: len(found[entry_id]) for space, found in vectors.items() if entry_id in found},
        "renditions": [
            {
                "file": store.blobs.path_of(one.file),
                "spec": msgspec.json.decode(one.spec),
                "size_kb": one.size_bytes / 1024,
            }
            for one in store.renditions.of(entry_id)
        ],
        "judgements": [
            _as_json(one) for one in store.judgements.about(recipe.namespace, recipe.prompt, entry_id)
        ],
    }


def judge(
    store: Store, query: str, verdict: Judged, *, prompt: str | None, entry_id: int | None, namespace: str
) -> Json:
    """Write one judgement down: of a pair of prompts, or of one sound. Return it.

    Raises:
        NotFound: there is no such entry in the namespace.
        InvalidRequest: words are empty, or both prompts say the same already.
    """
    if not query.strip() or (prompt is not None and not prompt.strip()):
        raise InvalidRequest("a prompt is empty; give the words of both")
    if entry_id is not None:
        entry = store.entries.entry(entry_id)
        if entry is None or entry.recipe.namespace != namespace:
            raise NotFound(f"no entry with id {entry_id} in namespace {namespace!r}")
        prompt = entry.recipe.prompt
    assert prompt is not None, "a pair has two prompts"
    given = Given(namespace, query.strip(), prompt.strip(), verdict, "manager", entry_id)
    if given.is_one_text and entry_id is None:
        raise InvalidRequest(
            "both prompts are the same text, for which a sound is kept or is not", hint="name the sound by its id"
        )
    store.judgements.give([given])
    return _given(given)


def judged(store: Store, limit: int) -> list[Json]:
    """Return what was judged, the newest first."""
    return [_as_json(one) for one in store.judgements.newest(limit)]


def _as_json(one: Judgement) -> Json:
    return {**_given(one.given), "judged_at": one.judged_at}


def _given(given: Given) -> Json:
    return given._asdict()
