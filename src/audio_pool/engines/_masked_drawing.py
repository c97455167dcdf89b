"""The drawing of a window of audio tokens all at once: codebook by codebook, the least likely ones anew each step.

Owns: which tokens are drawn when and how, each row's own luck.
Must not know: how logits come about (it is given a Predictor), where a sound's windows lie, the pool.

Paper: Ziv et al., "Masked Audio Generation using a Single Non-Autoregressive Transformer", 2024 (MAGNeT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from audio_pool.engines._masked_spans import Spans, masked_shares

if TYPE_CHECKING:
    import torch

__all__ = ["Chances", "MaskedDrawing", "Predictor"]

_COLDEST = 1e-2


@dataclass(frozen=True, kw_only=True)
class Chances:
    """From logits to the chances of tokens."""

    temperature: float
    """At a codebook's first step; it falls to nothing step by step."""
    top_p: float
    """Only the likeliest tokens that have this share of all chances together; 0: as ``top_k`` says."""
    top_k: int
    """Only so many likeliest tokens; 0: all."""

    def kept(self, chances: torch.Tensor) -> torch.Tensor:
        """Return the chances [..., V] with those of unlikely tokens set to 0."""
        import torch

        if self.top_p > 0:
            sorted_chances, order = chances.sort(dim=-1, descending=True)
            before = sorted_chances.cumsum(dim=-1) - sorted_chances
            unlikely = torch.zeros_like(chances, dtype=torch.bool).scatter(-1, order, before > self.top_p)
            return chances.masked_fill(unlikely, 0)
        if 0 < self.top_k < chances.shape[-1]:
            least = chances.topk(self.top_k, dim=-1).values[..., -1:]
            return chances.masked_fill(chances < least, 0)
        return chances


class Predictor(Protocol):
    """A model, conditioned for a batch's rows."""

    def __call__(self, codes: torch.Tensor, book: int, share: float) -> torch.Tensor:
        """Return float32 logits [B, frames, V] of one codebook.

        Args:
            codes: int64 [B, K, frames]; V stands for a token that is not there yet.
            book: the codebook.
            share: of its tokens, those that are not there yet.
        """
        ...


class MaskedDrawing:
    """Draws windows of codes for the rows of one batch."""

    def __init__(
        self, seeds: Sequence[int], vocabulary: int, chances: Chances, device: torch.device
    ) -> None:
        import torch

        # on the CPU whatever the device: a seed means one sound
        self._luck = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._absent, self._chances, self._device = vocabulary, chances, device

    def window(
        self,
        given: torch.Tensor,
        spans: Spans,
        steps: Sequence[int],
        predict: Predictor,
        tick: Callable[[], None],
    ) -> torch.Tensor:
        """Return int64 codes [B, K, spans.frames], those that are given among them.

        Args:
            given: int64 [B, K, spans.frames]; heeded where ``spans.known``.
            spans: of the window.
            steps: of each codebook.
            predict: the model.
            tick: called after each step.
        """
        import torch

        known = torch.from_numpy(spans.known).to(self._device)
        codes = given.where(known, self._absent)
        for book, count in enumerate(steps):
            self._fill(codes, book, count, spans, predict, tick)
        return codes

    def _fill(
        self,
        codes: torch.Tensor,
        book: int,
        steps: int,
        spans: Spans,
        predict: Predictor,
        tick: Callable[[], None],
    ) -> None:
        tokens = codes[:, book]
        given = tokens.clone()
        scores = spans.first_scores(len(tokens), self._device)
        for step, share in enumerate(masked_shares(steps)):
            tokens[spans.mask(scores, share)] = self._absent
            tokens.copy_(given.where(given != self._absent, tokens))
            heat = self._chances.temperature * (steps - 1 - step) / steps
            chances = (predict(codes, book, share) / max(heat, _COLDEST)).softmax(dim=-1)
            drawn = self._drawn(chances)
            absent = tokens == self._absent
            tokens.copy_(drawn.where(absent, tokens))
            scores = spans.scores(chances.gather(-1, drawn[..., None])[..., 0], absent)
            tick()

    def _drawn(self, chances: torch.Tensor) -> torch.Tensor:
        """Return int64 [B, frames], each row by its own luck.

        The smallest of exponential times, each token's at its own rate, comes from a token by its chance. The
        times belong to tokens, not to ranks: near ties may be ordered otherwise in a batch than alone.
        """
        import torch

        times = torch.stack([torch.empty(chances.shape[1:]).exponential_(generator=luck) for luck in self._luck])
        drawn: torch.Tensor = (self._chances.kept(chances) / times.to(chances.device)).argmax(dim=-1)
        return drawn
