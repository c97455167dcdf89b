"""The drawing of a batch's audio tokens: windows, the delay between codebooks, one step after the other.

Owns: which token of which codebook is drawn at which step, and what of it is known beforehand.
Must not know: how a step's logits come about (it is given a Predictor), how codes become sound, the pool.

Codebook k of a frame is drawn k steps after codebook 0, so that it is told of the ones before (Copet et al.,
"Simple and Controllable Music Generation", 2023, section 2.2: the delay pattern). A sound longer than the model's
window is drawn window by window: each begins with the last frames of the one before, which it is given, and goes
on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from audio_pool.engines._token_draws import Chances, Luck, Sampling

if TYPE_CHECKING:
    import torch

__all__ = ["Codebooks", "Drawing", "Predictor", "Row", "Window", "steps_of", "windows"]


@dataclass(frozen=True, kw_only=True)
class Codebooks:
    """What a frame of codes is made of."""

    count: int
    """K: of all channels together."""
    delays: tuple[int, ...]
    """Steps by which each codebook comes late, K of them."""
    vocabulary: int
    """V: each code is below it; as a token, V itself stands where a codebook has nothing to say."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sound to be drawn."""

    frames: int
    """All of them, the given ones too."""
    sampling: Sampling
    given: torch.Tensor | None = None
    """Codes that it begins with, int64 [K, frames]."""

    @property
    def begun(self) -> int:
        """Frames that are given."""
        return 0 if self.given is None else self.given.shape[-1]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of frames that the model has before it at once."""

    begin: int
    known: int
    """Frames from ``begin`` that are there already."""
    end: int


class Predictor(Protocol):
    """A model, conditioned for the rows of one window, that has read all tokens before these."""

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, K, V] of what follows the last of these tokens, int64 [B, K, steps].

        With guidance of 2B rows, all unconditional ones first.
        """
        ...


Opens: TypeAlias = "Callable[[Sequence[int], Window], Predictor]"
"""From the rows that a window has (by their numbers) and the longest of their windows to a fresh Predictor."""


def windows(frames: int, width: int, stride: int, begun: int = 0) -> list[Window]:
    """Return the windows of a sound, each ``stride`` frames after the one before."""
    found = [Window(begin=0, known=begun, end=min(frames, width))]
    while found[-1].end < frames:
        begin = found[-1].begin + stride
        found.append(Window(begin=begin, known=width - stride, end=min(frames, begin + width)))
    return found


def steps_of(frames: int, width: int, stride: int, codebooks: Codebooks, begun: int = 0) -> int:
    """Return how many steps a sound takes."""
    late = max(codebooks.delays)
    return sum(each.end - each.begin - each.known + late for each in windows(frames, width, stride, begun))


@dataclass(kw_only=True)
class _OpenWindow:
    """The window that is being drawn."""

    window: Window
    rows: list[int]
    """Numbers of the rows that reach into it."""
    ends: list[int]
    """Column at which each of them is done."""
    grid: torch.Tensor
    """Tokens with each codebook's delay, int64 [B, K, columns]; -1: not drawn yet."""
    predict: Predictor
    chances: Chances
    column: int
    """Of the next token."""
    read: int = 0
    """Columns that the predictor has read."""


class Drawing:
    """Draws all rows, a step at a call of ``step``."""

    def __init__(
        self,
        rows: Sequence[Row],
        codebooks: Codebooks,
        opens: Opens,
        device: torch.device,
        *,
        width: int,
        stride: int,
    ) -> None:
        """
        Args:
            rows: all guided or none, and all with as many frames given.
            codebooks: the model's.
            opens: makes a Predictor for each window.
            device: where it computes.
            width, stride: of the windows, in frames.
        """
        import torch

        self._rows, self._books, self._opens, self._device = rows, codebooks, opens, device
        self._plan = windows(max(row.frames for row in rows), width, stride, rows[0].begun)
        self._late = max(codebooks.delays)
        self._luck = [Luck(row.sampling.seed, codebooks.count, codebooks.vocabulary, device) for row in rows]
        self._none = torch.zeros(codebooks.count, codebooks.vocabulary, device=device)
        """The noise of a row that is done: what would be drawn of it goes nowhere."""
        self._codes: list[torch.Tensor] = []
        for row in rows:
            codes = torch.zeros(codebooks.count, row.frames, dtype=torch.long, device=device)
            if row.given is not None:
                codes[:, : row.begun] = row.given
            self._codes.append(codes)
        self._open: _OpenWindow | None = None
        self.ready = rows[0].begun
        """Frames from the beginning that are drawn in all codebooks, of rows that have as many."""

    @property
    def done(self) -> bool:
        """Every token of every row is drawn."""
        return self._open is None and not self._plan

    def step(self) -> None:
        """Draw the next token of every codebook whose turn it is."""
        import torch

        if self._open is None:
            self._open = self._opened(self._plan.pop(0))
        now = self._open
        grid, at = now.grid, now.column
        logits = now.predict(grid[:, :, now.read : at])
        now.read = at
        noise = [
            self._luck[row].next() if at < end else self._none for row, end in zip(now.rows, now.ends, strict=True)
        ]
        drawn = now.chances.drawn(logits, torch.stack(noise))
        grid[:, :, at] = torch.where(grid[:, :, at] < 0, drawn, grid[:, :, at])
        now.column += 1
        self.ready = max(self.ready, now.window.begin + at - self._late)
        if now.column == grid.shape[-1]:
            self._keep(now)
            self._open = None

    def codes(self, row: int, begin: int = 0, end: int | None = None) -> torch.Tensor:
        """Return a row's frames as far as they are drawn (``ready``), int64 [K, frames]."""
        if self._open is not None:
            self._keep(self._open)
        return self._codes[row][:, begin:end]

    def _opened(self, window: Window) -> _OpenWindow:
        """Open a window: rows that reach into it, with what they know of it."""
        import torch

        rows = [number for number, row in enumerate(self._rows) if row.frames > window.begin + window.known]
        lengths = [min(window.end, self._rows[row].frames) - window.begin for row in rows]
        books, columns = self._books, 1 + max(lengths) + self._late
        grid = torch.full((len(rows), books.count, columns), books.vocabulary, dtype=torch.long)
        for place, row in enumerate(rows):
            known = self._codes[row][:, window.begin : window.begin + window.known].cpu()
            for book, late in enumerate(books.delays):
                grid[place, book, 1 + late : 1 + late + lengths[place]] = -1
                grid[place, book, 1 + late : 1 + late + window.known] = known[book]
        return _OpenWindow(
            window=window,
            rows=rows,
            ends=[1 + length + self._late for length in lengths],
            grid=grid.to(self._device),
            predict=self._opens(rows, window),
            chances=Chances([self._rows[row].sampling for row in rows], books.vocabulary, self._device),
            column=1 + window.known,
        )

    def _keep(self, now: _OpenWindow) -> None:
        """Take over what a window has drawn: seldom, as each copy is a launch on a GPU."""
        window = now.window
        for place, row in enumerate(now.rows):
            end = min(self.ready, self._rows[row].frames, window.end) - window.begin
            for book, late in enumerate(self._books.delays):
                drawn = now.grid[place, book, 1 + late + window.known : 1 + late + end]
                self._codes[row][book, window.begin + window.known : window.begin + end] = drawn
