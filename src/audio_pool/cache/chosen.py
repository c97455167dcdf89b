"""What a removal would take away, however much it is.

Owns: Selection, and the entries in it, read from the store when they are looked at.
Must not know: by what they were chosen, how they are removed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from audio_pool.cache.blobs import Render
from audio_pool.cache.inventory import Chosen

__all__ = ["ChosenItems", "Selection", "selected"]

_MB = 1024 * 1024
_AT_ONCE = 500

Json = dict[str, Any]  # the documented results of docs/manager.md
Read = Callable[[Sequence[int]], list[Json]]


class ChosenItems(Sequence[Json]):
    """Entries as ``list_cache_items`` gives them; 8 bytes of each are kept. One removed meanwhile is left out."""

    def __init__(self, ids: Sequence[int] = (), read: Read = lambda ids: []) -> None:
        self.ids = ids
        self._read = read

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Json]:
        for start in range(0, len(self.ids), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    @overload
    def __getitem__(self, at: int) -> Json: ...
    @overload
    def __getitem__(self, at: slice) -> list[Json]: ...
    def __getitem__(self, at: int | slice) -> Json | list[Json]:
        if isinstance(at, int):
            return self._read([self.ids[at]])[0]
        wanted = self.ids[at]
        found = {item["id"]: item for item in self._read(wanted)}
        return [found[entry_id] for entry_id in wanted if entry_id in found]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of lists


@dataclass(frozen=True, slots=True)
class Selection:
    """The entries and renders that a removal would take away."""

    items: ChosenItems = field(default_factory=ChosenItems)
    """As ``list_cache_items`` gives them."""
    size_bytes: int = 0
    """Of masters, renditions and renders."""
    renders: tuple[Render, ...] = ()
    """Delivered results that are not entries."""
    spared: int = 0
    """Pinned entries that would have been among them."""

    @property
    def size_mb(self) -> float:
        return self.size_bytes / _MB


def selected(chosen: Iterable[Chosen], read: Read, renders: Iterable[Render], *, pinned_too: bool) -> Selection:
    """Return the selection of these entries, without pinned ones unless they are wanted, and of these renders."""
    ids, size_bytes, spared, others = array("q"), 0, 0, tuple(renders)
    for one in chosen:
        if one.pinned and not pinned_too:
            spared += 1
            continue
        ids.append(one.id)
        size_bytes += one.size_bytes
    size_bytes += sum(render.size_bytes for render in others)
    return Selection(ChosenItems(ids, read), size_bytes, others, spared)
