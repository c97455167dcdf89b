"""The searchable spaces of one opening of the store.

Owns: Spaces: which there are, made when they are first asked for, and what is done for all of them.
Must not know: what counts as a hit, who asks.

Threads: any; ``tidy`` on one that may take its time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from audio_pool.cache.store import Store
from audio_pool.errors import AudioPoolError

if TYPE_CHECKING:
    from audio_pool.cache.vectors import VectorSpace

__all__ = ["Spaces"]

_log = logging.getLogger(__name__)


class Spaces:
    """Indexes by the name of their space."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spaces: dict[str, VectorSpace] = {}
        self._preparing = threading.Lock()
        self.former = ""
        """The space that answers for entries without a vector of the present encoder; "": none."""

    def of(self, name: str, *, background: bool = False) -> VectorSpace:
        """Return the index of a space.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        found = self._spaces.get(name)
        if found is None:
            from audio_pool.cache.vectors import VectorSpace  # faiss, where there is one

            with self._preparing:
                found = self._spaces.get(name) or VectorSpace(self._store, name, background=background)
                self._spaces[name] = found
        return found

    def prepare(self, names: Iterable[str], *, background: bool = False) -> None:
        """Load or build the indexes of these spaces; otherwise the first look-up by meaning does.

        Args:
            background: large ones are left to ``tidy``, and until then nothing is found in them; small ones to
                ``open`` or the first look-up.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        for name in names:
            self.of(name, background=background)

    def open(self) -> None:
        """Load or build the small ones now, which the first look-up would wait for."""
        for space in list(self._spaces.values()):
            try:
                space.open()
            except AudioPoolError as exc:  # the first look-up says so again
                _log.warning("the index of %s cannot be opened: %s", space.space, exc)

    def follow(self, *, wait: bool = True) -> None:
        """Take over what was changed; without ``wait`` a few changes, where nobody else is at it."""
        for space in list(self._spaces.values()):
            try:
                space.follow(wait=wait)
            except AudioPoolError as exc:  # the index is derived: what goes wrong in it costs no sound
                _log.warning("the index of %s does not follow: %s", space.space, exc)

    def tidy(self) -> None:
        """Load, build, compact and save where it is time to: a minute or two for a large index without a snapshot."""
        for space in list(self._spaces.values()):
            space.tidy()

    def stop(self) -> None:
        """Break off what ``tidy`` is at, and return when it has ended; nothing is tidied any more."""
        for space in list(self._spaces.values()):
            space.stop()

    def save(self) -> None:
        """Write snapshots of what has changed."""
        for space in list(self._spaces.values()):
            space.save()

    def building(self) -> dict[str, float]:
        """Return by name how far those are that nothing is found in yet: 0 to 1."""
        return {
            name: space.progress for name, space in list(self._spaces.items()) if not (space.ready or space.at_once)
        }
