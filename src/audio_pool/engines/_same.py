"""Stable Audio 3's autoencoder in windows: a whole long sound at once would need memory by the square of its length.

Owns: running diffusers' AutoencoderSAME, either way, piece by piece with the neighbours that each piece depends on.
Must not know: any single engine, the pool.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Same", "reach"]

_CHUNK = 64
"""Latent frames that a piece keeps (5.9 s at the official size)."""


def reach(config: Any) -> int:
    """Return the latent frames on either side that a decoded sample, or an encoded frame, depends on.

    Each layer's attention looks ``sliding_window`` segments to either side; a level's segments are shorter by the
    strides of those between it and the latents.
    """
    frames, hop = 0.0, 1
    levels = zip(config.encoder_strides, config.encoder_transformer_depths, strict=True)
    for stride, depth in reversed(list(levels)):
        frames += depth * config.sliding_window / hop
        hop *= stride
    return math.ceil(frames)


class Same:
    """An AutoencoderSAME that is called in windows; the result is that of one pass."""

    def __init__(self, vae: Any, device: torch.device) -> None:
        """
        Args:
            vae: read from its files; its weight norm is multiplied out here.
            device: where it works.
        """
        import torch

        for module in vae.modules():
            if hasattr(module, "weight_g"):
                torch.nn.utils.remove_weight_norm(module)
        self._vae = vae
        self.hop = int(vae.downsampling_ratio)
        self._margin = reach(vae.config)
        self._dtype = next(vae.parameters()).dtype
        # kept apart: they are used outside any module's call, where offloading would not bring them
        bottleneck = vae.bottleneck
        self._scale, self._bias, self._deviation = (
            tensor.detach().clone().to(device) for tensor in (bottleneck.scale, bottleneck.bias, bottleneck.running_std)
        )

    def decode(self, latents: torch.Tensor, samples: int) -> torch.Tensor:
        """Return [B, C, T], T >= samples where the latents reach that far, from latents [B, D, L]."""
        import torch

        length = latents.shape[-1]
        wanted = min(length, math.ceil(samples / self.hop))
        latents = latents.to(self._dtype) * self._deviation
        pieces = []
        for start, stop, left, right in self._windows(wanted, length):
            wave = self._vae.patch_embed.decode(self._vae.decoder(latents[..., left:right]))
            pieces.append(wave[..., (start - left) * self.hop : (stop - left) * self.hop])
        return torch.cat(pieces, dim=-1)

    def encode(self, sound: torch.Tensor) -> torch.Tensor:
        """Return float32 latents [B, D, L] of a sound [B, C, L * hop] on the device."""
        import torch

        length = sound.shape[-1] // self.hop
        sound = sound.to(self._dtype)
        pieces = []
        for start, stop, left, right in self._windows(length, length):
            piece = self._vae.patch_embed.encode(sound[..., left * self.hop : right * self.hop])
            pieces.append(self._vae.encoder(piece)[..., start - left : stop - left])
        return ((torch.cat(pieces, dim=-1) * self._scale + self._bias) / self._deviation).float()

    def _windows(self, wanted: int, length: int) -> list[tuple[int, int, int, int]]:
        """Return for each piece the frames that it keeps, and those that it is made of."""
        windows = []
        for start in range(0, wanted, _CHUNK):
            stop = min(wanted, start + _CHUNK)
            windows.append((start, stop, max(0, start - self._margin), min(length, stop + self._margin)))
        return windows
