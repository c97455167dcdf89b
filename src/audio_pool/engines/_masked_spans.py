"""Which tokens a masked token model draws anew: spans of the least likely ones, fewer with every step.

Owns: the schedule, and the two ways in which spans lie (side by side, or overlapping at every token).
Must not know: how tokens are drawn, any single model, the pool.

Paper: Ziv et al., "Masked Audio Generation using a Single Non-Autoregressive Transformer", 2024 (MAGNeT).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["FIXED", "Spans", "masked_shares"]

FIXED = -1e4
"""Score of a token that is never masked again."""


def masked_shares(steps: int) -> list[float]:
    """Return the share of tokens to be masked before each step: a quarter of a cosine, from all to none."""
    import torch

    # float32 as the model was made with it: a share is multiplied and cut to a whole number of spans
    return [float(share) for share in torch.cos(torch.linspace(0, 1, steps) * math.pi * 0.5)]


class Spans:
    """The spans of one window of tokens, some of which stay as they are."""

    def __init__(self, known: npt.NDArray[np.bool_], length: int, overlapping: bool) -> None:
        """
        Args:
            known: bool [frames]: the window's tokens that are given.
            length: tokens of a span.
            overlapping: spans begin at every token; else they lie side by side, and what is left over at the
                window's end is not made.
        """
        self.length = length
        self.overlapping = overlapping and length > 1
        self.frames = len(known) if self.overlapping else len(known) // length * length
        self.known: npt.NDArray[np.bool_] = known[: self.frames]
        # a span with any token to be made is free; what is given inside it is put back by the sampler
        cells = self.known[:, None] if self.overlapping else self.known.reshape(-1, length)
        self._known_cells: npt.NDArray[np.bool_] = np.logical_and.reduce(cells, axis=1)

    def first_scores(self, rows: int, device: torch.device) -> torch.Tensor:
        """Return float32 [B, cells]: all alike but those that are given."""
        import torch

        scores = torch.zeros(rows, len(self._known_cells))
        scores[:, torch.from_numpy(self._known_cells)] = FIXED
        return scores.to(device)

    def mask(self, scores: torch.Tensor, share: float) -> torch.Tensor:
        """Return bool [B, frames]: the tokens to draw anew, a share of all those that are not given."""
        import torch

        count = max(int(np.float32(share) * np.float32((~self._known_cells).sum())), 1)
        if self.overlapping:
            rows = [self._overlapping(row, count) for row in scores.float().cpu().numpy()]
            return torch.from_numpy(np.stack(rows)).to(scores.device)
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(count, dim=1).indices, True)
        return chosen.repeat_interleave(self.length, dim=1)

    def scores(self, chances: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Return the next scores, greatest for what is to be masked first.

        Args:
            chances: [B, frames], of each token that is there.
            drawn: bool [B, frames], those that were drawn in this step; all others stay for good.
        """
        if self.overlapping:
            return (-chances.log()).masked_fill(~drawn, FIXED)
        cells = chances.unflatten(1, (-1, self.length))
        free = drawn.unflatten(1, (-1, self.length)).any(dim=2)
        return (1 - cells.amax(dim=2)).masked_fill(~free, FIXED)

    def _overlapping(self, scores: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.bool_]:
        """Return the mask of as many worst spans as bring the masked tokens near ``count`` (by bisection)."""
        sums = np.lib.stride_tricks.sliding_window_view(scores, self.length).sum(axis=1)
        worst_first = np.argsort(-sums, kind="stable")
        count = max(count, self.length)
        fewest, most = count // self.length, count - self.length + 1
        middle = round(0.5 * (fewest + most))
        mask = self._covered(worst_first[:middle])
        while fewest < middle < most:
            mask = self._covered(worst_first[:middle])
            if mask.sum() > count:
                most = middle
            else:
                fewest = middle
            middle = round(0.5 * (fewest + most))
        return mask

    def _covered(self, begins: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        mask = np.zeros(self.frames, dtype=bool)
        for shift in range(self.length):
            mask[begins + shift] = True
        return mask
