"""What people judged of hits, written beside an export and taken in again.

Owns: the file ``judgements.jsonl``. A sound is named in it by the hash of its master, for ids are each cache's own.
Must not know: what a judgement does to a look-up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from audio_pool.cache.judgements import Given, Judged, Source
from audio_pool.cache.store import Store
from audio_pool.prompts.normalize import text_key

__all__ = ["VERDICTS", "take_verdicts", "verdict_lines"]

VERDICTS = "judgements.jsonl"
_AT_ONCE = 200
_LONGEST_LINE = 1 << 16


class _Line(Struct, frozen=True, kw_only=True):
    """One judgement as it is written."""

    namespace: str
    query: str
    prompt: str
    verdict: Judged
    source: Source
    master_sha256: str | None = None


def verdict_lines(store: Store) -> Iterator[str]:
    """Yield every judgement of a cache as a line, the oldest first."""
    for one in store.judgements.since(0):
        given = one.given
        master = store.checks.master(given.entry_id) if given.entry_id is not None else None
        line: dict[str, Any] = given._asdict()  # JSON, as documented in docs/manager.md
        del line["entry_id"]
        line["master_sha256"] = master.sha256.hex() if master is not None else None
        yield json.dumps({**line, "judged_at": one.judged_at}, ensure_ascii=False)


def take_verdicts(store: Store, directory: Path) -> tuple[int, int]:
    """Take the judgements beside an export in; what was judged here already stays as it is.

    Returns:
        How many are new, and how many lines could not be taken: torn, or about a sound that is not here.
    """
    path = directory / VERDICTS
    if not path.is_file():
        return 0, 0
    known = {_like(one.given) for one in store.judgements.since(0)}
    taken, left = 0, 0
    with path.open("rb") as file:
        while lines := list(islice(iter(lambda: file.readline(_LONGEST_LINE), b""), _AT_ONCE)):
            fresh: list[Given] = []
            for line in lines:
                given = _given_in(store, line)
                if given is None:
                    left += 1
                elif _like(given) not in known:
                    known.add(_like(given))
                    fresh.append(given)
            store.judgements.give(fresh)
            taken += len(fresh)
    return taken, left


def _given_in(store: Store, line: bytes) -> Given | None:
    try:
        told = msgspec.json.decode(line, type=_Line)
        sha256 = bytes.fromhex(told.master_sha256 or "")
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    given = Given(told.namespace, told.query, told.prompt, told.verdict, told.source)
    if not sha256:
        return None if given.is_one_text else given
    entry_id = store.sources.entry_of(told.namespace, told.prompt, sha256)
    return None if entry_id is None else given._replace(entry_id=entry_id)


def _like(given: Given) -> tuple[str, frozenset[str], int | None]:
    """Return what a later judgement would replace."""
    return given.namespace, frozenset((text_key(given.query), text_key(given.prompt))), given.entry_id
