"""Which token comes next: each row's own chances, and each row's own luck.

Owns: guidance, temperature, top_k and top_p of a batch whose rows need not agree, and the noise of its seeds.
Must not know: how logits come about, any single model, the pool.

A token is drawn by the Gumbel-max trick: the greatest of logits plus Gumbel noise is distributed as softmax of
the logits. Unlike a look-up in summed-up chances it gives the same token where the logits of a batch differ from
those of a single row in their last bits, unless two tokens are tied within these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Chances", "Luck", "Sampling"]

_BLOCK = 32
"""Steps whose noise is drawn at once."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How one row's tokens are drawn."""

    seed: int
    guidance: float
    temperature: float
    """0: always the likeliest token."""
    top_k: int
    """Only the ``top_k`` likeliest tokens; 0: all."""
    top_p: float
    """Only the likeliest tokens that have this share of all chances together; 1: all."""


class Chances:
    """From logits to tokens, for the rows of one batch."""

    def __init__(self, rows: Sequence[Sampling], vocabulary: int, device: torch.device) -> None:
        import torch

        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)

        self.guided = rows[0].guidance > 1.0
        self._guidance = column([row.guidance for row in rows])
        hot = [row.temperature > 0 for row in rows]
        self._temperature = column([row.temperature or 1.0 for row in rows])
        self._noisy = column([float(each) for each in hot])
        ks = [row.top_k if 0 < row.top_k < vocabulary else vocabulary for row in rows]
        self._most = max(ks)
        self._limited = min(ks) < vocabulary
        self._ks = torch.tensor(ks, device=device).view(-1, 1, 1)
        # what sums to a hair more than 1 must lose nothing where all chances are wanted
        self._ps = column([row.top_p if row.top_p < 1.0 else 2.0 for row in rows])
        self._nucleus = any(row.top_p < 1.0 for row in rows)

    def drawn(self, logits: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return int64 [B, K].

        Args:
            logits: [B, K, V], or with guidance [2B, K, V], all unconditional rows first.
            noise: float32 [B, K, V] of ``Luck``.
        """
        logits = logits.float()
        if self.guided:
            without, towards = logits.chunk(2)
            logits = without + self._guidance * (towards - without)
        logits = logits / self._temperature
        if self._limited:
            best = logits.topk(self._most, dim=-1).values
            least = best.gather(-1, (self._ks - 1).expand(*best.shape[:-1], 1))
            logits = logits.masked_fill(logits < least, -float("inf"))
        if self._nucleus:
            logits = self._within_nucleus(logits)
        tokens: torch.Tensor = (logits + self._noisy * noise).argmax(dim=-1)
        return tokens

    def _within_nucleus(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask what the likeliest tokens that make up ``top_p`` do not need."""
        import torch

        chances, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        before = chances.cumsum(dim=-1) - chances
        out = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before > self._ps)
        return logits.masked_fill(out, -float("inf"))


class Luck:
    """One row's Gumbel noise, float32 [K, V] a step: the same stream whatever else is in the batch.

    Drawn on the CPU whatever the device: a seed means one sound. Drawn in blocks, which change nothing (torch
    draws uniform numbers one after the other) and save a call and a copy per step.
    """

    def __init__(self, seed: int, codebooks: int, vocabulary: int, device: torch.device) -> None:
        import torch

        self._generator = torch.Generator().manual_seed(seed)
        self._shape = (_BLOCK, codebooks, vocabulary)
        self._device = device
        self._block: torch.Tensor | None = None
        self._at = 0

    def next(self) -> torch.Tensor:
        """Return the next step's noise on the device."""
        if self._block is None or self._at == _BLOCK:
            self._block, self._at = self._drawn(), 0
        self._at += 1
        return self._block[self._at - 1]

    def _drawn(self) -> torch.Tensor:
        import torch

        uniform = torch.rand(self._shape, generator=self._generator)
        # torch draws 0, never 1: half of the smallest step in its place keeps the noise finite
        noise = uniform.clamp_(min=2.0**-25).log_().neg_().log_().neg_()
        if self._device.type != "cuda":
            return noise.to(self._device)
        return noise.pin_memory().to(self._device, non_blocking=True)
