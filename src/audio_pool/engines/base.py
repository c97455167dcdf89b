"""The contract of engines: the protocols Generator, Embedder and Scorer, and the Item that a generator makes.

Owns: what a worker may expect of an engine, and an engine of a worker.
Must not know: the wire, sockets, the pool. An engine can be loaded and used by itself.

An engine is a module or a package with ``INFO`` (an EngineInfo; its own imports are light), usually
``Settings`` (a frozen msgspec Struct), and ``load``, which imports the heavy libraries and returns a
Generator, Embedder or Scorer. docs/adding-an-engine.md shows one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.types import Label

__all__ = [
    "Audio",
    "Embedder",
    "Engine",
    "Generator",
    "Item",
    "OnStep",
    "Passes",
    "ReadsMeaning",
    "Scorer",
    "Streams",
    "Tells",
    "Vectors",
]

Vectors = npt.NDArray[np.float32]
"""float32 [N, D], rows of unit length."""
OnStep = Callable[[int, int], None]
"""Called as ``on_step(done, total)`` between steps; what it raises (errors.Cancelled) stops the run
cleanly, and the next run is unharmed."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One sound to generate. ``None`` means the engine's default.

    ``duration_s`` is exact: the result has round(duration_s * rate) frames.
    """

    prompt: str
    seed: int
    duration_s: float
    negative_prompt: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    loop: bool = False
    """Asks for a natively looping result; only set where ``notes(item).loops``."""
    sample_rate: int | None = None
    """Wanted rate in Hz; heeded by engines with ``any_rate``, ignored by others."""
    voice: str | None = None
    init_audio: Audio | None = None
    """float32 [C, T] at the engine's rate."""
    init_strength: float | None = None
    mask: tuple[float, float] | None = None
    """Start and end in seconds of what is made anew of ``init_audio``; only where ``info.inpaint``."""
    extend_s: float | None = None
    """Seconds by which ``init_audio`` is continued; ``duration_s`` is then that of both. Only where ``info.extend``."""
    options: Mapping[str, Label] = field(default_factory=dict)
    """The engine's own parameters, checked against ``INFO.options``; those not named have their default."""


@runtime_checkable
class Generator(Protocol):
    """Makes sounds."""

    info: EngineInfo
    """INFO under the name it is asked for, with what the loaded model knows better."""
    device: str
    """Where it computes: "cpu", "cuda:0", ..."""

    def notes(self, item: Item) -> Notes:
        """Return what is known about the item beforehand.

        Raises:
            NotSupported: the model cannot do what the item asks.
            InvalidRequest: a field or an option out of bounds.
        """
        ...

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """Return one float32 [C, T] per item, each of its own exact length, in order.

        The same item gives the same sound alone and in any batch.

        Raises:
            NotSupported, InvalidRequest, OutOfMemory, EngineError; whatever ``on_step`` raises.
        """
        ...

    def close(self) -> None:
        """Give memory back. The engine is not used afterwards."""
        ...


@runtime_checkable
class Passes(Protocol):
    """A generator that says beforehand which items it makes at a time; who does not makes all of them together."""

    def passes(self, items: Sequence[Item]) -> list[list[int]]:
        """Return the indices of the items, pass by pass. Raises what ``notes`` raises."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    info: EngineInfo
    device: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length."""
        ...

    def close(self) -> None:
        """Give memory back. The engine is not used afterwards."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Puts texts and sounds into one space (CLAP)."""

    info: EngineInfo
    device: str

    @property
    def logit_scale(self) -> float:
        """Return the factor of cosines before a softmax over labels, as the model learned it."""
        ...

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length."""
        ...

    def embed_audio(self, sounds: Sequence[Audio], sample_rate: int) -> Vectors:
        """Return float32 [N, D], rows of unit length, for float32 [C, T] sounds at ``sample_rate``."""
        ...

    def close(self) -> None:
        """Give memory back. The engine is not used afterwards."""
        ...


@runtime_checkable
class ReadsMeaning(Protocol):
    """A generator that can read prompts by their meaning, once it is given an embedder."""

    def use_encoder(self, encoder: Embedder) -> None:
        """Compare prompts by this embedder's vectors from now on."""
        ...


@runtime_checkable
class Tells(Protocol):
    """A generator that has something to say of what it made, which it could not know beforehand."""

    def told(self) -> tuple[str, ...]:
        """Return named warnings of what was made since the last question, as in ``Notes.warnings``."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A generator that gives a long sound piece by piece; its ``info.streams`` is True."""

    def pieces(self, item: Item, on_step: OnStep | None = None) -> Iterator[Audio]:
        """Yield the sound's consecutive pieces, float32 [C, T] each.

        All of them in a row are exactly what ``generate([item])`` gives.

        Raises:
            what ``generate`` raises.
        """
        ...


Engine = Generator | Embedder | Scorer
