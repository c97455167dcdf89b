"""EnCodec: from sounds to codes, and from codes to sounds of any length, piece by piece.

Owns: the decoder in pieces whose sum is the whole, and the codes of a given sound. Works on transformers'
EncodecModel. Paper: Défossez et al., "High Fidelity Neural Audio Compression", 2022.
Must not know: which model draws the codes, the pool.

The decoder is a convolution, an LSTM, and convolutions that raise the rate. Its LSTM remembers everything, its
convolutions look a few frames to either side: a piece takes up the LSTM where the last one left it, and has a
few frames of both neighbours beside it. Whole, ten minutes would take gigabytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from audio_pool.errors import EngineUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["PieceDecoder", "check_codec", "encoded", "frame_samples", "plain_codebooks"]


def frame_samples(codec: Any) -> int:
    """Return the samples of one frame of codes."""
    return math.prod(codec.config.upsampling_ratios)


def check_codec(codec: Any, what: str) -> None:
    """Refuse what cannot be decoded in pieces: normalised over a sound's whole length, or chunked by itself.

    Raises:
        EngineUnavailable.
    """
    config = codec.config
    if config.norm_type != "weight_norm" or config.normalize or config.chunk_length_s is not None:
        raise EngineUnavailable(
            f"{what}: an EnCodec with norm_type {config.norm_type!r}, normalize {config.normalize} and "
            f"chunk_length_s {config.chunk_length_s}; allowed is 'weight_norm', False and None, as of the models at "
            "16 and 32 kHz"
        )


def plain_codebooks(codec: Any) -> Any:
    """Return the quantiser's codebooks as modules whose call looks codes up: [..., frames] -> [..., frames, D].

    Weights that wait in main memory come to the device when their module is called; the library's quantiser is
    never called, it is asked by other methods.
    """
    import torch

    class Codebook(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, entries: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer("entries", entries)

        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.embedding(codes, self.entries)

    return torch.nn.ModuleList([Codebook(layer.codebook.embed) for layer in codec.quantizer.layers])


def encoded(codec: Any, waves: torch.Tensor, codebooks: int) -> torch.Tensor:
    """Return the codes of sounds, int64 [B, codebooks, frames].

    Args:
        codec: transformers' EncodecModel with ``plain_codebooks``.
        waves: [B, 1, T], T a multiple of ``frame_samples``.
        codebooks: how many of the quantiser's, first to last.
    """
    import torch

    residual = codec.encoder(waves.to(next(codec.decoder.parameters()).dtype)).transpose(1, 2).float()
    every = torch.arange(codec.config.codebook_size, device=waves.device)
    codes = []
    for codebook in codec.quantizer[:codebooks]:
        entries = codebook(every).float()
        distance = entries.square().sum(dim=1) - 2 * residual @ entries.T
        codes.append(distance.argmin(dim=-1))
        residual = residual - entries[codes[-1]]
    return torch.stack(codes, dim=1)


class PieceDecoder:
    """Decodes rows of codes from their beginning to their end, in pieces of any length."""

    def __init__(self, codec: Any) -> None:
        """
        Args:
            codec: transformers' EncodecModel with ``plain_codebooks`` in place of its quantiser.
        """
        layers = list(codec.decoder.layers)
        (at,) = (index for index, layer in enumerate(layers) if hasattr(layer, "lstm"))
        self._quantizer = codec.quantizer
        self._head, self._lstm, self._tail = layers[:at], layers[at].lstm, layers[at + 1 :]
        self._samples = frame_samples(codec)
        self._head_reach = _reach(self._head)
        self._reach = _reach(self._tail)
        self._state: Any = None
        self._inner: torch.Tensor | None = None
        """Quantised codes that the first convolution still needs, [B, D, frames]."""
        self._remembered: torch.Tensor | None = None
        """The LSTM's frames that the later convolutions still need, [B, D, frames]."""
        self._read = 0
        """Frames that have come in."""
        self._recalled = 0
        """Frames that the LSTM has passed on."""
        self._made = 0
        """Frames that have gone out as samples."""

    def __call__(self, codes: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Return the samples that are certain by now, [B, 1, T]; with ``last`` all that are left.

        Args:
            codes: int64 [B, K, frames], those that follow on the ones before.
            last: no more will follow.
        """
        import torch

        if codes.shape[-1]:
            looked = [book(row) for book, row in zip(self._quantizer, codes.unbind(1), strict=False)]
            inner = sum(looked[1:], looked[0]).transpose(1, 2)
            self._inner = inner if self._inner is None else torch.cat([self._inner, inner], dim=-1)
            self._read += codes.shape[-1]
        assert self._inner is not None, "a sound has at least one frame"
        ready = self._read if last else max(self._recalled, self._read - self._head_reach)
        if ready > self._recalled:
            begin = self._read - self._inner.shape[-1]
            shaped = _through(self._head, self._inner)[..., self._recalled - begin : ready - begin]
            passed, self._state = self._lstm(shaped.permute(2, 0, 1), self._state)
            recalled = passed.permute(1, 2, 0) + shaped
            known = [] if self._remembered is None else [self._remembered]
            self._remembered = torch.cat([*known, recalled], dim=-1)
            self._recalled = ready
            self._inner = self._inner[..., max(0, ready - self._head_reach - begin) :]
        return self._raised(last)

    def _raised(self, last: bool) -> torch.Tensor:
        """Return the samples of the LSTM's frames that have all their neighbours."""
        ready = self._recalled if last else max(self._made, self._recalled - self._reach)
        held = self._remembered
        if held is None or ready == self._made:
            return self._inner.new_zeros(self._inner.shape[0], 1, 0)  # type: ignore[union-attr]  # as __call__ asserts
        begin = self._recalled - held.shape[-1]
        wave = _through(self._tail, held)
        wave = wave[..., (self._made - begin) * self._samples : (ready - begin) * self._samples]
        self._remembered = held[..., max(0, ready - self._reach - begin) :]
        self._made = ready
        return wave


def _through(layers: list[Any], inner: torch.Tensor) -> Any:
    for layer in layers:
        inner = layer(inner)
    return inner


def _reach(layers: list[Any]) -> int:
    """Return how many frames to either side these layers look at most."""
    reach, per_frame = 0.0, 1
    for layer in layers:
        for conv in (each for each in layer.modules() if hasattr(each, "kernel_size") and hasattr(each, "dilation")):
            (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
            if hasattr(conv, "output_padding") and "Transpose" in type(conv).__name__:
                reach += math.ceil(kernel / stride) / per_frame
                per_frame *= stride
            else:
                reach += (kernel - 1) * dilation / per_frame
    return math.ceil(reach)
