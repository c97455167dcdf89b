"""Where the windows of a long sound or of a loop lie, and what joins them. Pure: counts and weights, no model.

Owns: ``Layout`` (how a model's latents lie in time), ``line`` for long sounds and their joints, ``Ring`` for loops.
Must not know: how a window is denoised or decoded, any single model.

Long sounds. MultiDiffusion (Bar-Tal et al., 2023) denoises all windows side by side and averages what they predict
where they overlap: no part is done before all are. Here a window is done before the next begins, so that the first
piece is there after one window's time: the next window starts with the overlap that its forerunner made, and is held to
it on its way through the noise levels. The overlap's first frame is held to the end, the others are let go evenly
earlier, the last one at once: the left is the forerunner's to the last bit, the right is the window's own. What is held
is the forerunner's latents of that level, not its finished ones with new noise, so nothing is averaged (the mean of two
noisy latents is quieter than either) and any sampler may be used.

Loops. Nothing of a loop is done before its end is, so all windows of one are denoised side by side, taken modulo its
length, weighted by triangles; and they begin elsewhere at every step, so that no place stays a window's edge. A model
that always makes its whole window sees a shorter loop several times over in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["MOST_STRETCH", "Joint", "Layout", "Ring", "Trail", "Window", "held_frames", "line", "ring", "window_seed"]

MOST_STRETCH = 0.01
"""Share of its length by which a loop of whole latent frames may differ from what was asked for, before it is
resampled: 17 cents."""
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a model's latents lie in time; counts are latent frames."""

    samples: int
    """Samples of one latent frame."""
    whole: int
    """Longest sound that is made in one pass."""
    window: int
    """What is made at a time of longer ones."""
    overlap: int
    """What two windows of a long sound share."""
    multiple: int = 1
    """A window's width is a multiple of it."""
    fixed: bool = False
    """The model makes a whole window whatever is asked for."""

    def frames(self, samples: int) -> int:
        """Return the latent frames that decode to at least so many samples."""
        return math.ceil(samples / self.samples)

    def turn(self, samples: int) -> int | None:
        """Return the latent frames of a loop of about so many samples; None where none comes near enough.

        Among those near enough a multiple of ``multiple`` is taken, which needs no window wider than itself, and one
        window before a little more than one.
        """
        exact = samples / self.samples
        nearest = [step * max(1, round(exact / step)) for step in dict.fromkeys((self.multiple, 1))]
        near = [one for one in (*nearest, self.window) if abs(one / exact - 1) <= MOST_STRETCH]
        return next((one for one in near if one <= self.window), near[0] if near else None)


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window of a long sound; counts are latent frames."""

    number: int
    start: int
    width: int
    done: int
    """How many of its first frames are the sound's: the rest is the next window's, or past the end."""


def line(frames: int, layout: Layout) -> list[Window]:
    """Return the windows of a sound of so many latent frames, each ``overlap`` into the one before.

    All but the last have the full width; it is narrower where the model can be, so that a sound of little more than one
    window costs little more, and its first piece is as long as any other's.
    """
    stride = layout.window - layout.overlap
    count = 1 + max(0, math.ceil((frames - layout.window) / stride))
    windows = []
    for number in range(count):
        start, last = number * stride, number == count - 1
        rest = math.ceil((frames - start) / layout.multiple) * layout.multiple
        width = layout.window if layout.fixed or not last else min(layout.window, rest)
        windows.append(Window(number=number, start=start, width=width, done=frames - start if last else stride))
    return windows


def window_seed(seed: int, number: int) -> int:
    """Return the seed of a window's noise: the sound's own for the first, others as far from it as from each other."""
    if not number:
        return seed
    # splitmix64 (Steele, Lea and Flood, 2014)
    mixed = (seed + number * _GOLDEN) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> shift)) * factor % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63


def held_frames(overlap: int, step: int, steps: int) -> int:
    """Return how many of an overlap's frames are held before step ``step`` of ``steps``; ``steps``: at the end."""
    return min(overlap, 1 + overlap * (steps - step) // max(1, steps))


@dataclass
class Trail:
    """The overlap of a window and the next on its way through the noise levels: its latents before each step."""

    start: int
    """Where it begins in the window that makes it."""
    length: int
    axis: int
    """Time's, of latents [B, ...]."""
    steps: int
    levels: list[torch.Tensor] = field(default_factory=list)

    def keep(self, latents: torch.Tensor) -> None:
        """Remember the overlap as the window that makes it has it now."""
        self.levels.append(latents.narrow(self.axis, self.start, self.length).clone())

    def hold(self, latents: torch.Tensor, step: int) -> torch.Tensor:
        """Return the next window's latents, held to what the overlap was before the same step."""
        count = held_frames(self.length, step, self.steps)
        held = latents.clone()
        held.narrow(self.axis, 0, count).copy_(self.levels[step].narrow(self.axis, 0, count))
        return held


@dataclass(frozen=True)
class Joint:
    """What a window has to do with its neighbours, before each of its steps and after the last."""

    before: Trail | None
    """What its beginning is held to."""
    after: Trail | None
    """What the next one's beginning will be held to."""

    def __call__(self, latents: torch.Tensor, step: int) -> torch.Tensor:
        """Return the latents to go on with."""
        if self.before is not None:
            latents = self.before.hold(latents, step)
        if self.after is not None:
            self.after.keep(latents)
        return latents


@dataclass(frozen=True)
class Ring:
    """The windows of a loop, modulo its length, in latent frames."""

    frames: int
    starts: Sequence[int]
    width: int

    @property
    def alone(self) -> bool:
        """One window is the whole loop: it has no edges where the model's own are circular."""
        return len(self.starts) == 1 and self.width == self.frames

    def places(self) -> npt.NDArray[np.int64]:
        """Return int64 [windows, width]: which of the loop's frames stands where."""
        starts = np.asarray(self.starts, np.int64)
        return (starts[:, None] + np.arange(self.width)) % self.frames

    def weights(self) -> npt.NDArray[np.float32]:
        """Return float32 [windows, width]: triangles, of which all at one frame sum to 1."""
        at = np.arange(self.width)
        triangle = np.minimum(at + 1, self.width - at).astype(np.float64)
        places = self.places()
        total = np.zeros(self.frames)
        np.add.at(total, places, np.broadcast_to(triangle, places.shape))
        found: npt.NDArray[np.float32] = (triangle / total[places]).astype(np.float32)
        return found


def ring(frames: int, layout: Layout) -> Ring:
    """Return the windows of a loop of so many latent frames, evenly around it."""
    if frames <= layout.window:
        width = layout.window if layout.fixed else math.ceil(frames / layout.multiple) * layout.multiple
        return Ring(frames, (0,), width)
    count = math.ceil(frames / (layout.window - layout.overlap))
    return Ring(frames, tuple(round(number * frames / count) for number in range(count)), layout.window)
