"""The verbs of ``library``: what a pool and its clients can be asked about kept sounds.

Owns: LibraryApi, and who has one.
Must not know: who asks, how an answer is come by.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from audio_pool.library import (
    KeptSound,
    KeptSounds,
    PictureReport,
    SoundFile,
    SoundRemoved,
    SoundsChanged,
    Waveform,
)
from audio_pool.stock import Duplicates, EvictionPlan, LikenessMethod
from audio_pool.types import Delivery

__all__ = ["HasLibrary", "LibraryApi"]


class LibraryApi(Protocol):
    """The verbs of ``library`` of AudioPool, AudioClient and AsyncAudioClient; the last one's answers are awaited.

    ``namespace`` None is the caller's own, else ``default``; what is another's is answered as what is not there.
    """

    def search(self, words: str = "", **fields: Any) -> KeptSounds | Awaitable[KeptSounds]:
        """Get a page of kept sounds.

        Args:
            words: see SoundSearch.
            fields: of SoundSearch, e.g. ``meaning="a storm", loop=True, limit=20``.
        """

    def sound(self, entry: int, *, namespace: str | None = None) -> KeptSound | Awaitable[KeptSound]:
        """Get one kept sound with its metadata. Raises NotFound."""

    def file(
        self, entry: int, *, namespace: str | None = None, delivery: Delivery = "path", **form: Any
    ) -> SoundFile | Awaitable[SoundFile]:
        """Get a kept sound's file in any format: written by a worker where it is not kept in it yet.

        Args:
            form: of FileForm, e.g. ``format="ogg"``.
        """

    def waveform(
        self, entry: int, *, namespace: str | None = None, buckets: int = 1024
    ) -> Waveform | Awaitable[Waveform]:
        """Get the least and greatest samples of a kept sound in up to so many (1..4096) buckets, to draw it by."""

    def tile(
        self, entry: int, *, namespace: str | None = None, delivery: Delivery = "path"
    ) -> PictureReport | Awaitable[PictureReport]:
        """Get a small picture (PNG) of a kept sound, its spectrogram alone: drawn by a worker where there is none yet,
        behind everything else that waits."""

    def mark(self, entry: int, *, namespace: str | None = None, **marks: Any) -> KeptSound | Awaitable[KeptSound]:
        """Change what is marked of a kept sound: its rating, tags, pin, or whether it is a favourite.

        Args:
            marks: of SoundMarks, e.g. ``rating=4, add_tags=["boss"]``.

        Raises:
            NotFound, Refused.
        """

    def remove(self, entry: int, *, namespace: str | None = None) -> SoundRemoved | Awaitable[SoundRemoved]:
        """Remove a kept sound, pinned or not. Raises NotFound, Refused."""

    def mark_many(
        self, entries: Sequence[int], *, namespace: str | None = None, **marks: Any
    ) -> SoundsChanged | Awaitable[SoundsChanged]:
        """Change what is marked of up to 1,000 kept sounds; what cannot be changed is told, and the rest is done.

        Args:
            marks: of SoundMarks, the same for all.

        Raises:
            Refused.
        """

    def remove_many(
        self, entries: Sequence[int], *, namespace: str | None = None, spare_pinned: bool = False
    ) -> SoundsChanged | Awaitable[SoundsChanged]:
        """Remove up to 1,000 kept sounds; what cannot be removed is told, and the rest is done. Raises Refused.

        Args:
            spare_pinned: pinned ones stay, and are told among those that failed.
        """

    def eviction(self, limit: int = 50) -> EvictionPlan | Awaitable[EvictionPlan]:
        """Get what eviction takes now and next, the first of them with their sounds. For operators. Raises Refused."""

    def duplicates(self, by: LikenessMethod = "any", limit: int = 50) -> Duplicates | Awaitable[Duplicates]:
        """Get sounds that are one too many, in groups, by their words or how they sound. For operators.

        Raises:
            Refused.
        """


class HasLibrary(Protocol):
    """Where kept sounds can be asked about."""

    @property
    def library(self) -> LibraryApi:
        """Kept sounds: searched, listened to, rated, tagged, removed."""
