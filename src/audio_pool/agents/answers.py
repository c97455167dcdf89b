"""What tools answer, as data: an agent's program reads these, and their JSON Schemas say what is in them.

Owns: SoundFile, SoundFiles, FoundSound, FoundSounds.
Must not know: how they are put into the protocol's blocks (content.py).
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from audio_pool.library import KeptSound, KeptSounds
from audio_pool.results import SoundMetadata

__all__ = ["FoundSound", "FoundSounds", "SoundFile", "SoundFiles"]


class SoundFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sound and where its file is."""

    uri: str
    path: str | UnsetType = UNSET
    id: int | UnsetType = UNSET
    text: str
    engine: str
    duration_seconds: float
    loop: bool
    format: str
    size_bytes: int
    sample_rate: int
    channels: int
    seed: int | UnsetType = UNSET
    loudness_lufs: float | UnsetType = UNSET
    seam_score: float | UnsetType = UNSET
    from_cache: bool
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, metadata: SoundMetadata, *, form: str, size_bytes: int, uri: str, path: str | None) -> SoundFile:
        """Return what is told of a finished sound."""
        loop = metadata.loop
        return cls(
            uri=uri,
            path=UNSET if path is None else path,
            id=UNSET if metadata.entry_id is None else metadata.entry_id,
            text=metadata.prompt,
            engine=metadata.engine,
            duration_seconds=metadata.duration_s,
            loop=metadata.is_loop,
            format=form,
            size_bytes=size_bytes,
            sample_rate=metadata.sample_rate,
            channels=metadata.channels,
            seed=UNSET if metadata.base_seed is None else metadata.base_seed,
            loudness_lufs=UNSET if metadata.loudness_lufs is None else metadata.loudness_lufs,
            seam_score=UNSET if loop is None else loop.seam_score,
            from_cache=metadata.cached,
            warnings=metadata.warnings,
        )

    @property
    def line(self) -> str:
        """What a reader wants to know first: where it is."""
        facts = [f"{self.duration_seconds:.2f} s", f"{self.sample_rate} Hz", self.format]
        if self.loop:
            facts.append("loop" if self.seam_score is UNSET else f"loop (seam score {self.seam_score:.0f} of 100)")
        if self.loudness_lufs is not UNSET:
            facts.append(f"{self.loudness_lufs:.1f} LUFS")
        facts.append("from the cache" if self.from_cache else f"new, made by {self.engine}")
        if self.seed is not UNSET:
            facts.append(f"seed {self.seed}")
        if self.id is not UNSET:
            facts.append(f"id {self.id}")
        place = self.uri if self.path is UNSET else self.path
        return "\n".join([f"{place}\n  {', '.join(facts)}", *(f"  warning: {one}" for one in self.warnings)])


class SoundFiles(Struct, frozen=True, kw_only=True):
    """Several sounds of the same words."""

    sounds: tuple[SoundFile, ...]


class FoundSound(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A kept sound, as a search finds it."""

    id: int
    uri: str
    text: str
    engine: str
    duration_seconds: float
    loop: bool
    tags: tuple[str, ...] = ()
    rating: int | UnsetType = UNSET
    favourite: bool = False
    similarity: float | UnsetType = UNSET
    """To the meaning that was asked for, -1..1."""

    @classmethod
    def of(cls, sound: KeptSound, uri: str) -> FoundSound:
        """Return what is told of a kept sound."""
        return cls(
            id=sound.id,
            uri=uri,
            text=sound.prompt,
            engine=sound.engine,
            duration_seconds=sound.duration_s,
            loop=sound.is_loop,
            tags=sound.tags,
            rating=UNSET if sound.rating is None else sound.rating,
            favourite=sound.favourite,
            similarity=sound.score,
        )

    @property
    def line(self) -> str:
        """One line for a reader."""
        near = "" if self.similarity is UNSET else f", similarity {self.similarity:.2f}"
        loop = ", loop" if self.loop else ""
        return f"id {self.id}: {self.text} ({self.duration_seconds:.2f} s{loop}, {self.engine}{near})"


class FoundSounds(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page of kept sounds."""

    sounds: tuple[FoundSound, ...]
    next: str | UnsetType = UNSET
    """To be given as 'after' for the next page; left out on the last."""

    @classmethod
    def of(cls, page: KeptSounds, found: tuple[FoundSound, ...]) -> FoundSounds:
        """Return a page's answer."""
        return cls(sounds=found, next=UNSET if page.next is None else page.next)
