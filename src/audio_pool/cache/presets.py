"""The interface to the presets that are kept.

Owns: the protocol KeptPresets.
Must not know: any database (``sqlite/presets.py`` is the implementation); who may set presets, what they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from audio_pool.presets import Preset, PresetType

__all__ = ["Expected", "KeptPresets"]


class Expected(NamedTuple):
    """What a preset has to say for it to be changed."""

    revision: str
    """"": there is to be none."""
    or_none: bool = False
    """It may also not be kept."""


class KeptPresets(Protocol):
    """Presets by id. What is set is seen by every process on the directory when ``set`` returns."""

    def of(self, ids: Sequence[str]) -> dict[str, Preset]:
        """Return those of these presets that are kept; by their key, quick enough for whoever waits for a request."""

    def page(
        self, *, type: PresetType | None, suiting: Sequence[str], after: str, limit: int
    ) -> list[Preset]:
        """Return so many presets after an id, in the order of their ids.

        Args:
            suiting: those for all engines, or for one of these, alone; (): all.
        """

    def like(self, name: str) -> list[str]:
        """Return some ids of about the length of this one and the same first letter; a few hundred at most."""

    def set(self, presets: Sequence[Preset], expected: Expected | None = None) -> tuple[Preset, ...]:
        """Keep presets in the place of those with their ids, all or none; return them as they are now.

        Args:
            expected: of a single one.

        Raises:
            Conflict: it says something else now. InvalidRequest: there would be too many.
            StorageError: nothing was changed.
        """

    def restore(self, presets: Sequence[Preset]) -> None:
        """Keep presets as they are, their times too, where none of their ids is kept. Raises StorageError."""

    def remove(self, preset_id: str, expected: Expected | None = None) -> bool:
        """Remove one; False where there is none. Raises Conflict, StorageError."""
