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
from audio_pool.engines._windows import Layout

if TYPE_CHECKING:
    import torch

    from audio_pool.engines.base import Audio

__all__ = ["Decoding", "decode", "decode_turn", "decoder_only", "encode", "layout", "legacy_weight_norm", "reach"]

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


def _meets(vae: Any) -> bool:
    """Return True if pieces meet: an odd ratio's transposed convolution is one sample short."""
    return all(ratio % 2 == 0 for ratio in vae.config.downsampling_ratios)


def layout(vae: Any, window: int, whole: int) -> Layout | None:
    """Return how latents of this autoencoder lie in time; None where its pieces do not meet.

    Args:
        window: latent frames that the model makes, always all of them.
        whole: longest sound that is made at a time: it may be a little more, and then end in silence.
    """
    if not _meets(vae):
        return None
    return Layout(samples=vae.hop_length, whole=whole, window=window, overlap=window // 4, fixed=True)


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
    if whole or not _meets(vae):
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
    if not _meets(vae):
        some = length
    samples = torch.from_numpy(fitted(sound, channels, some * hop))[None]
    spread = encoder(samples.to(device, next(encoder.parameters()).dtype))
    found: torch.Tensor = spread.chunk(2, dim=1)[0][0].float()
    if some < length:
        silent = found[:, some - margin - 1 : some - margin].expand(-1, length - some)
        found = torch.cat([found[:, : some - margin], silent, found[:, some - margin :]], dim=1)
    return found


def decode_turn(vae: Any, latents: torch.Tensor, *, time_axis: int, chunked: bool) -> torch.Tensor:
    """Return one turn [B, C, T] of a loop from its latents, T = L * hop for L of them.

    What a sample depends on is wrapped around both ends, decoded with the turn and cut off: exact. Circular padding of
    the convolutions would not be: there is none for the transposed ones.
    """
    import torch

    latents = latents.movedim(time_axis, -1).to(next(vae.decoder.parameters()).dtype)
    turn, margin = latents.shape[-1], reach(list(vae.config.downsampling_ratios))
    places = torch.arange(-margin, turn + margin, device=latents.device) % turn
    wrapped = latents.index_select(-1, places)
    wave = decode(vae, wrapped, wrapped.shape[-1] * vae.hop_length, chunked=chunked or turn > _CHUNK)
    return wave[..., margin * vae.hop_length : (margin + turn) * vae.hop_length]


class Decoding:
    """A long sound's latents on their way to samples, piece by piece: the samples of one decode of all of them."""

    def __init__(self, vae: Any, *, time_axis: int, chunked: bool) -> None:
        self._vae = vae
        self._time_axis = time_axis
        self._chunked = chunked
        self._margin = reach(list(vae.config.downsampling_ratios))
        self._kept: torch.Tensor | None = None
        """The latents that samples still to come depend on."""
        self._behind = 0
        """How many of them are behind the last sample that was given."""

    def push(self, latents: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Return the samples [B, C, T] that no later latents will change."""
        import torch

        latents = latents.movedim(self._time_axis, -1).to(next(self._vae.decoder.parameters()).dtype)
        rows = latents if self._kept is None else torch.cat([self._kept, latents], dim=-1)
        hop, until = self._vae.hop_length, rows.shape[-1] - (0 if last else self._margin)
        until = max(self._behind, until)
        wave = decode(self._vae, rows, rows.shape[-1] * hop, chunked=self._chunked)
        given = wave[..., self._behind * hop : until * hop]
        first = max(0, until - self._margin)
        self._kept, self._behind = rows[..., first:], until - first
        return given
