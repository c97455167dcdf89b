"""The interface to the cache's database: named queries, by noun.

Owns: the protocols Store and its parts, and what their answers consist of.
Must not know: any database. The implementation is ``sqlite/``; another one is a folder beside it.

Threads: every method may be called on any thread; reads never wait for writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.calibrations import Calibrations
from audio_pool.cache.checks import Checks
from audio_pool.cache.entry import Adopted, Entry, Row, Vector
from audio_pool.cache.figures import Figures
from audio_pool.cache.inventory import Inventory
from audio_pool.cache.judgements import Judgements
from audio_pool.cache.library import Library, Words
from audio_pool.cache.making import MakingClaims
from audio_pool.cache.marks import Marks
from audio_pool.cache.pins import Pins
from audio_pool.cache.presets import KeptPresets
from audio_pool.cache.registry import Registry
from audio_pool.cache.seen import Seen
from audio_pool.cache.settings import Filters, Settings
from audio_pool.cache.sources import Sources
from audio_pool.cache.uses import Uses
from audio_pool.results import FinishedSound
from audio_pool.types import Peaks, Picture, Recipe, Rendition

__all__ = [
    "Adopted",
    "Also",
    "Change",
    "Changes",
    "Entries",
    "KeptRendition",
    "KeptVector",
    "Leaving",
    "Removal",
    "Renditions",
    "Store",
    "Vector",
    "Vectors",
]

Also: TypeAlias = Callable[[Any, int], None]  # Any: the connection of whichever database
"""What is written in the transaction that keeps a sound, by its entry's id; where it raises, nothing is kept. It may be
called several times."""


class Removal(NamedTuple):
    """Figures of a removal."""

    items: int = 0
    files: int = 0
    freed_bytes: int = 0

    def and_also(self, other: Removal) -> Removal:
        """Return the sum of both."""
        return Removal(self.items + other.items, self.files + other.files, self.freed_bytes + other.freed_bytes)


class Entries(Protocol):
    """Kept sounds: looking them up, keeping and removing them."""

    def with_text(self, prompt: str, filters: Filters) -> list[Row]:
        """Return fitting entries with the same normalised prompt."""

    def with_meaning(self, prompt: str, filters: Filters) -> list[Row]:
        """Return fitting entries with the same canonical prompt."""

    def with_recipe(self, recipe: Recipe, filters: Filters) -> list[Row]:
        """Return fitting entries of the identical recipe; without a seed in it, whatever seed was drawn.

        A revision, dtype or quantization that the recipe does not name is not compared.
        """

    def with_ids(self, ids: Sequence[int], filters: Filters) -> list[Row]:
        """Return those of the entries that exist and fit."""

    def with_words(self, namespace: str, prompt: str) -> list[int]:
        """Return ids of entries with the same normalised or canonical prompt, whatever their settings."""

    def variants(self, prompt: str, settings: Settings, length_tolerance: float) -> list[Row]:
        """Return entries of the same text and the same settings throughout, at any rate, of about the same length."""

    def identical(self, sound: FinishedSound) -> int | None:
        """Return the entry of this very recipe, seed included; None for a recipe without a seed."""

    def entry(self, entry_id: int) -> Entry | None:
        """Return the entry; None where it has been removed or cannot be read."""

    def preferred_among(self, ids: Sequence[int]) -> set[int]:
        """Return those that are offered before others of their words."""

    def put(
        self,
        sound: FinishedSound,
        vectors: Mapping[str, Vector],
        *,
        replace: bool = False,
        preferred: bool = False,
        also: Also | None = None,
    ) -> Entry:
        """Keep a sound: its file moves into place, its row is committed when this returns.

        A sound whose recipe (seed included) is already kept is not kept twice: the kept one is returned
        and the new file removed, unless ``replace``, or the kept file is gone. ``preferred`` is noted of a new one.
        ``also`` is written with the row, or of the one that was kept; what it raises is raised, and nothing was kept.

        Raises:
            StorageError: nothing was kept; the file is where it was.
            InvalidAudio: the file is missing, or is not FLAC.
        """

    def remove(self, ids: Iterable[int], *, spare_pinned: bool = False, remembered: bool = False) -> Removal:
        """Remove entries, their renditions, vectors and files; these last until the grace is over.

        An unknown id is passed over. The figures count what the files give back then.

        Args:
            spare_pinned: those that are pinned when it comes to it stay.
            remembered: the registry goes on knowing that they were made here; otherwise it forgets them, too.

        Raises:
            StorageError: those already removed stay removed.
        """

    def adopt(self, found: Sequence[Adopted]) -> list[bool]:
        """Give rows to masters that lie in their place, in one step; False for each whose file or recipe has one."""

    def expel(self, ids: Iterable[int]) -> None:
        """Remove entries as ``remove`` does, but put what lies in the place of their masters into quarantine."""


class Leaving(Protocol):
    """Files whose row is gone. Each stays for the grace time, for its path may have been delivered just before."""

    @property
    def grace_s(self) -> float:
        """Seconds between a removal and the unlinking of its files."""

    def let_go(self, files: Iterable[str]) -> Removal:
        """Let go of files that no row names, renders too."""

    def set_apart(self, file: str) -> None:
        """Put a file that no row names into quarantine at once; its path leads to it for the grace all the same."""

    def files(self) -> set[str]:
        """Return the files that are still there for their grace."""

    def unlink_due(self, *, at_once: bool = False, within_s: float = math.inf) -> Removal:
        """Unlink what was let go a grace ago; with ``at_once`` all of it. Stop after ``within_s``.

        What has become something else than a regular file is put into quarantine instead.
        """


class KeptVector(NamedTuple):
    """A vector and the settings of the entry that it belongs to."""

    entry_id: int
    data: bytes
    """float32 [D]."""
    settings: Settings


class Vectors(Protocol):
    """The vectors of entries, by space (an encoder's name, or ``sound:`` and a scorer's)."""

    def spaces(self) -> list[str]:
        """Spaces that vectors were ever kept in."""

    def has_space(self, space: str) -> bool:
        """Return True where vectors were ever kept in this space."""

    def counts(self) -> dict[str, int]:
        """Number of vectors by space."""

    def of(self, space: str, ids: Iterable[int]) -> dict[int, Vector]:
        """Return the entries' vectors, float32 [D] each; an entry without one is left out."""

    def searchable(self, space: str, ids: Iterable[int]) -> list[KeptVector]:
        """Return the vectors of these entries, by id; of entries that speak words there are none."""

    def searchable_after(self, space: str, after: int, limit: int) -> list[KeptVector]:
        """Return the next vectors by ascending id, as ``searchable``."""

    def count_lacking(self, space: str) -> int:
        """Number of entries, of those that ``searchable`` knows, without a vector in this space."""

    def lacking(self, space: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Return the next of them by ascending id, each with its prompt."""

    def keep(self, space: str, found: Mapping[int, Vector]) -> int:
        """Keep vectors of entries that have none there; return of how many. Who follows changes hears of them.

        Raises:
            StorageError: nothing was kept.
        """

    def batches(self, space: str) -> Iterator[tuple[npt.NDArray[np.int64], Vector]]:
        """Yield ids and vectors, float32 [N, D], of the whole space; odd ones are left out."""

    def sample(self, space: str, count: int) -> Vector:
        """Return about so many of the space's vectors from all over it, float32 [N, D]; odd ones are left out."""

    def searchable_ids(self, space: str) -> list[int]:
        """Return all entries that ``searchable`` knows."""

    def settings(self) -> list[Settings]:
        """Return the settings that there are among entries that can be found by meaning."""


class KeptRendition(NamedTuple):
    """Another format, rate or level of a kept sound."""

    entry_id: int
    spec: str
    """The Rendition, or the Picture, as JSON."""
    file: str
    size_bytes: int
    sha256: bytes = b""
    """b"" where it was kept before renditions were hashed."""


class Renditions(Protocol):
    """Other formats of kept sounds, and pictures of them, made once and kept beside their master."""

    def find(self, entry_id: int, rendition: Rendition | Picture | Peaks) -> KeptRendition | None:
        """Return the entry in another format, where it has been made and its file is whole."""

    def put(self, entry_id: int, rendition: Rendition | Picture | Peaks, source: Path | str) -> str:
        """Move a file from ``incoming`` beside its entry; return its path. One that is there and whole stays.

        Raises:
            StorageError: nothing was kept; also where the entry has been removed meanwhile.
        """

    def of(self, entry_id: int) -> list[KeptRendition]:
        """Return the renditions of one entry."""

    def all(self) -> list[KeptRendition]:
        """Return every rendition there is."""

    def within(self, folder: str) -> list[KeptRendition]:
        """Return the renditions that lie in a folder by their row."""

    def drop(self, entry_id: int, spec: str, *, damaged: bool = False) -> None:
        """Remove one rendition and its file; a damaged one's goes to quarantine."""

    def size_bytes(self, ids: Iterable[int]) -> int:
        """Bytes of all renditions of these entries."""


class Change(NamedTuple):
    """One entry that came or went."""

    seq: int
    entry_id: int
    removed: bool


class Changes(Protocol):
    """The numbered insertions and removals, for readers that keep a copy of their own."""

    def version(self) -> int:
        """Differs from its last value when anyone else wrote; a few microseconds."""

    def last_seq(self) -> int:
        """Return the number of the last change; 0 for a cache that never had one."""

    def since(self, seq: int, limit: int = 100_000) -> list[Change] | None:
        """Changes after ``seq``, oldest first; None: they are no longer all known, start afresh."""


class Store(Protocol):
    """One cache directory, opened."""

    @property
    def store_id(self) -> str:
        """Tells this store from every other."""

    @property
    def location(self) -> str:
        """Its place, for messages."""

    @property
    def others(self) -> tuple[str, ...]:
        """Addresses of the other servers that share it and live, as they were known some seconds ago."""

    @property
    def index_dir(self) -> Path:
        """A local directory for what can be built again from the store; may not exist yet."""

    @property
    def read_only(self) -> bool:
        """True where the disk takes no writes; reading goes on."""

    @property
    def trouble(self) -> str:
        """Why nothing can be kept, where that is known without trying; "" otherwise."""

    def now(self) -> float:
        """Return the time that rows are dated by, in seconds since 1970: of several heads the same."""

    @property
    def blobs(self) -> BlobStore:
        """The files."""

    @property
    def entries(self) -> Entries:
        """Kept sounds."""

    @property
    def leaving(self) -> Leaving:
        """Files of sounds that were removed."""

    @property
    def vectors(self) -> Vectors:
        """Their vectors."""

    @property
    def renditions(self) -> Renditions:
        """Their other formats."""

    @property
    def pins(self) -> Pins:
        """Entries that no rule removes."""

    @property
    def marks(self) -> Marks:
        """What people mark of sounds."""

    @property
    def presets(self) -> KeptPresets:
        """Named sets of words and parameters."""

    @property
    def library(self) -> Library:
        """Kept sounds by what is known of them."""

    @property
    def words(self) -> Words:
        """Kept sounds by the words of their prompts."""

    @property
    def judgements(self) -> Judgements:
        """What people judged."""

    @property
    def calibrations(self) -> Calibrations:
        """What was measured of encoders."""

    @property
    def changes(self) -> Changes:
        """Insertions and removals."""

    @property
    def inventory(self) -> Inventory:
        """The whole, for management."""

    @property
    def registry(self) -> Registry:
        """Which sounds were made here."""

    @property
    def seen(self) -> Seen:
        """What verification has found well."""

    @property
    def checks(self) -> Checks:
        """The whole, for verification."""

    @property
    def claims(self) -> MakingClaims:
        """Sounds in the making."""

    @property
    def sources(self) -> Sources:
        """Where those came from that were not made here."""

    @property
    def uses(self) -> Uses:
        """How they are used."""

    @property
    def figures(self) -> Figures:
        """How they are spread, and what of them is asked for."""

    @property
    def database_path(self) -> Path:
        """The file whose disappearance means that the rows are elsewhere, or nowhere."""

    def probe(self, size_bytes: int) -> None:
        """Try whether a sound of this size could be kept now. Raises StorageError."""

    def rescue(self) -> None:
        """Write the database again where its file was deleted while it was open here. Raises StorageError."""

    def renew_keys(self, most: int) -> bool:
        """File up to so many entries under the keys that this version makes; return True while some are left."""

    def sweep(self) -> None:
        """Clear away what processes that are gone left behind, as every opening does."""

    def close(self, *, keep_files: bool = False) -> None:
        """Close it and give the ``incoming`` folder back, unless ``keep_files``."""
