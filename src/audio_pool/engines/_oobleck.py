"""Stable Audio's waveform autoencoder as two engines use it: fused weights, only what is asked for, in pieces.

Owns: preparing diffusers' AutoencoderOobleck, and running its two halves.
Must not know: any single engine, the pool.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audio_pool.engines._paste import fitted

if TYPE_CHECKING:
    import torch

    from audio_pool.engines.base import Audio

__all__ = ["decode", "decoder_only", "encode", "legacy_weight_norm", "reach"]

_CHUNK = 256
"""Latent frames that a piece of a chunked decode keeps (11.9 s at the official size)."""


@contextlib.contextmanager
def legacy_weight_norm() -> Iterator[None]:
    """Inside, diffusers may build an AutoencoderOobleck: its files have the old weight norm's names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch.nn.utils.weight_norm` is deprecated", FutureWarning)
        yield


def decoder_only(vae: Any, *, keep_encoder: bool = False) -> Any:
    """Return the autoencoder without its encoder (half of its weights) and with the weight norm multiplied out.

    Weight norm would otherwise be computed again at every call, and offloading cannot follow it.
    """
    import torch

    if not keep_encoder:
        vae.encoder = torch.nn.Identity()
    for module in vae.modules():
        if hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)
    return vae


def reach(ratios: list[int]) -> int:
    """Return the latent frames on either side that a decoded sample depends on, for these downsampling ratios.

    A kernel of 7 on the latents, then at each level a transposed convolution and three residual units
    (kernel 7, dilations 1, 3, 9), then a kernel of 7 on the samples.
    """
    frames, hop = 3.0, 1
    for ratio in reversed(ratios):
        frames += 1.0 / hop + 1.0 / hop / ratio
        hop *= ratio
        frames += 3 * (1 + 3 + 9) / hop
    return math.ceil(frames + 3 / hop)


def decode(
    vae: Any, latents: torch.Tensor, samples: int, *, chunked: bool, whole: bool = False
) -> torch.Tensor:
    """Return [B, C, T], T >= samples where the latents reach that far, from latents [B, D, L].

    Only the latents that the first ``samples`` samples depend on are decoded; in pieces where
    ``chunked``, each with the neighbours it depends on, so that the result is that of one pass. ``whole``
    decodes all of them whatever is asked for: one shape, for a compiled decoder.
    """
    import torch

    ratios = list(vae.config.downsampling_ratios)
    if whole or any(ratio % 2 for ratio in ratios):
        # an odd ratio's transposed convolution is one sample short, and pieces would no longer meet
        return vae.decoder(latents)
    hop, margin = vae.hop_length, reach(ratios)
    wanted = min(latents.shape[-1], math.ceil(samples / hop))
    chunk = max(1, _CHUNK if chunked else wanted)
    pieces = []
    for start in range(0, wanted, chunk):
        stop = min(wanted, start + chunk)
        left, right = max(0, start - margin), min(latents.shape[-1], stop + margin)
        wave = vae.decoder(latents[..., left:right])
        pieces.append(wave[..., (start - left) * hop : (stop - left) * hop])
    return torch.cat(pieces, dim=-1)


def encode(
    vae: Any, encoder: Any, sound: Audio, channels: int, length: int, device: torch.device
) -> torch.Tensor:
    """Return latents float32 [D, length] of a sound float32 [C, T], cut or followed by silence.

    The likeliest of those that the encoder gives a spread of: the same ones every time. Of much silence only what lies
    near the sound and near the end is encoded, the same latent stands for the rest: the result is that of one pass.

    Args:
        vae: says how long a latent is, and how far one sees.
        encoder: its encoder, wherever that is kept.
        device: where it computes; weights that wait elsewhere for their turn do not tell.
    """
    import torch

    hop, ratios = int(vae.hop_length), list(vae.config.downsampling_ratios)
    margin = reach(ratios)
    some = min(length, math.ceil(sound.shape[1] / hop) + 2 * margin + 1)
    if any(ratio % 2 for ratio in ratios):
        some = length
    samples = torch.from_numpy(fitted(sound, channels, some * hop))[None]
    spread = encoder(samples.to(device, next(encoder.parameters()).dtype))
    found: torch.Tensor = spread.chunk(2, dim=1)[0][0].float()
    if some < length:
        silent = found[:, some - margin - 1 : some - margin].expand(-1, length - some)
        found = torch.cat([found[:, : some - margin], silent, found[:, some - margin :]], dim=1)
    return found
