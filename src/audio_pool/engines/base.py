"""What an engine is: the protocols, EngineInfo, Item and Notes.

Owns: the contract between a worker and an engine.
Must not know: wire, channel, the pool. An engine can be loaded and used by itself.

An engine is ONE module with two names: ``INFO`` (an EngineInfo; the module's own imports are light)
and ``load(**settings)``, which imports the heavy libraries and returns a Generator, Embedder or
Scorer. docs/adding-an-engine.md shows one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from msgspec import Struct

__all__ = [
    "Audio",
    "Embedder",
    "EngineInfo",
    "Generator",
    "Item",
    "Notes",
    "OnStep",
    "Scorer",
    "Vectors",
]

Audio = npt.NDArray[np.float32]
"""float32 [C, T], -1..1 by intent; a raw candidate may exceed it."""
Vectors = npt.NDArray[np.float32]
"""float32 [N, D], rows of unit length."""
OnStep = Callable[[int, int], None]
"""Called as ``on_step(done, total)`` between steps; what it raises (errors.Cancelled) stops the run
cleanly, and the next run is unharmed."""


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What an engine is and can do, known without loading it."""

    name: str
    kind: Literal["generator", "embedder", "scorer"]
    model: str
    """Default model: a hub id, or the engine's own name where it needs no weights."""
    model_revision: str = ""
    licence: str
    commercial_use: bool
    sample_rate: int = 0
    """Hz; with ``any_rate`` only the default."""
    channels: int = 0
    shortest_s: float = 0.05
    longest_s: float = 600.0
    steps: int | None = None
    """Default number of inference steps; None where the engine has none."""
    guidance_scale: float | None = None
    """Default guidance; None where the engine has none."""
    any_rate: bool = False
    negative_prompt: bool = False
    init_audio: bool = False
    inpaint: bool = False
    seeds: bool = True
    batch: bool = True
    """False: items run one at a time because the model cannot keep them independent."""
    speech: bool = False
    """Speaks words; never matched by meaning."""
    loop: bool = False
    """Can make sounds that loop natively; ``notes(item).loops`` says for which."""
    gated: bool = True
    """False: not put through the quality gate (test engines)."""
    dimensions: int = 0
    """Embedders and scorers: D."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable, e.g. ("torch", "diffusers")."""
    extra: str = ""
    """The extra of this package that installs them."""
    summary: str = ""


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


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What an engine knows about an item before making it; a pure function of the item."""

    loops: bool = False
    """The engine can make this item loop natively."""
    expects: frozenset[str] = frozenset()
    """Quality checks to disarm: "noise", "silence", "decay", "mono", "clipping"."""
    highpass_hz: float | None = None
    """Highest cutoff that does not harm this sound; None: no opinion; 0: no high-pass at all."""
    warnings: tuple[str, ...] = ()
    """Named warnings, ``name: sentence``, e.g. "nearest_recipe: nothing fits 'xyzzy'; used 'drone'"."""
    details: dict[str, Any] = field(default_factory=dict)
    """Goes into the metadata under ``engine_details`` (e.g. the recipes matched)."""


class Generator(Protocol):
    """Makes sounds."""

    info: EngineInfo

    def notes(self, item: Item) -> Notes:
        """What is known about the item beforehand.

        Raises:
            NotSupported: the model cannot do what the item asks.
        """
        ...

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """One float32 [C, T] an item, each of its own exact length, in order.

        The same item gives the same sound alone and in any batch.

        Raises:
            NotSupported, OutOfMemory, EngineError; whatever ``on_step`` raises.
        """
        ...

    def close(self) -> None:
        """Gives memory back. The engine is not used afterwards."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    info: EngineInfo

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 [N, D], rows of unit length."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Scorer(Protocol):
    """Puts texts and sounds into one space (CLAP)."""

    info: EngineInfo

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """float32 [N, D], rows of unit length."""
        ...

    def embed_audio(self, sounds: Sequence[Audio], sample_rate: int) -> Vectors:
        """float32 [N, D], rows of unit length, for float32 [C, T] sounds at ``sample_rate``."""
        ...

    def close(self) -> None: ...
