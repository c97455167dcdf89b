"""The decoder that AudioLDM and AudioLDM2 share: latents -> log-mel (VAE) -> waveform (HiFi-GAN).

Owns: latent shapes for a duration, that decode, and a sound's way back into latents for audio-to-audio.
Must not know: any single engine, the pool.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from audio_pool.engines.base import Audio

__all__ = [
    "Decoding",
    "circular",
    "decode",
    "decode_turn",
    "encode",
    "hop_of",
    "latent_shape",
    "set_tiles",
]

_TILE = 64
"""Latent rows of one VAE tile (2.56 s at the official scale of 4)."""
_CHUNK = 256
"""Mel frames of one piece of the vocoder."""
_JOINT = 16
"""Latent rows over which two pieces of a long sound are blended (0.64 s)."""
_FFT, _HIGHEST_HZ, _FLOOR = 1024, 8000.0, 1e-5
"""AudioLDM's spectrogram: 1,024-point window, 0..8 kHz, natural log of magnitudes from 1e-5."""


def hop_of(vocoder: Any) -> int:
    """Return the samples per mel frame."""
    return math.prod(vocoder.config.upsample_rates)


def latent_shape(pipe: Any, frames: int) -> tuple[int, int, int]:
    """Return (channels, time, mel) of latents that decode to at least ``frames`` samples."""
    scale = pipe.vae_scale_factor
    mel_frames = math.ceil(frames / hop_of(pipe.vocoder))
    return (
        pipe.vae.config.latent_channels,
        math.ceil(mel_frames / scale),
        pipe.vocoder.config.model_in_dim // scale,
    )


def set_tiles(vae: Any) -> None:
    """Decode in tiles of time from now on, blended where they meet.

    Not exact: the VAE's group norm sees one tile at a time.
    """
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    vae.enable_tiling()
    vae.tile_latent_min_size = _TILE
    vae.tile_sample_min_size = _TILE * scale


def decode(pipe: Any, latents: torch.Tensor, *, chunked: bool) -> torch.Tensor:
    """Return [B, 1, T] from latents [B, C, time, mel]."""
    mel = _mel(pipe, latents)
    return _waves(pipe.vocoder, mel, chunked=chunked)[:, None]


def _waves(vocoder: Any, mel: torch.Tensor, *, chunked: bool) -> torch.Tensor:
    """Return samples [B, T] of a log-mel spectrogram [B, frames, mels]."""
    import torch

    hop, length = hop_of(vocoder), mel.shape[1]
    if not chunked:
        found: torch.Tensor = vocoder(mel)
        return found
    margin, pieces = _reach(vocoder.config), []
    for start in range(0, length, _CHUNK):
        stop = min(length, start + _CHUNK)
        left, right = max(0, start - margin), min(length, stop + margin)
        wave = vocoder(mel[:, left:right])
        # the last piece keeps whatever the vocoder makes beyond its last frame
        pieces.append(wave[:, (start - left) * hop : None if stop == length else (stop - left) * hop])
    return torch.cat(pieces, dim=-1)


def _mel(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return the log-mel spectrogram [B, T, mels] of latents [B, C, time, mel]."""
    dtype = next(pipe.vae.decoder.parameters()).dtype
    found: torch.Tensor = pipe.vae.decode(latents.to(dtype) / pipe.vae.config.scaling_factor).sample[:, 0]
    return found


@contextlib.contextmanager
def circular(module: torch.nn.Module) -> Iterator[None]:
    """Inside, a module's two-dimensional convolutions take [B, C, time, mel] for endless in time.

    Right for the UNet and for the VAE, whose other layers (group norms, attention without positions) do not mind where
    the beginning is, and whose upsampling repeats frames; the UNet's strides fit where time is a multiple of all of
    them. Not for the vocoder, whose transposed convolutions know no such padding.
    """
    import torch
    from torch.nn.functional import conv2d, pad

    def around(conv: torch.nn.Conv2d) -> Any:  # its private hook: the one place between its weights and its padding
        above, aside = conv.padding

        def forward(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            wrapped = pad(rows, (0, 0, above, above), mode="circular")
            return conv2d(wrapped, weight, bias, conv.stride, (0, aside), conv.dilation, conv.groups)

        return forward

    changed = [one for one in module.modules() if isinstance(one, torch.nn.Conv2d) and int(one.padding[0])]
    for one in changed:
        one._conv_forward = around(one)
    try:
        yield
    finally:
        for one in changed:
            del one._conv_forward


def decode_turn(pipe: Any, latents: torch.Tensor, *, chunked: bool, tile: int, closes: bool) -> torch.Tensor:
    """Return one turn [B, 1, T] of a loop from its latents [B, C, time, mel], T all of their samples.

    The VAE decodes a ring where it can: up to ``tile`` latent frames, if ``closes``. Else it decodes tiles, blended
    modulo the length. The vocoder gets what it depends on wrapped around both ends.
    """
    import torch

    if closes and latents.shape[2] <= tile and not pipe.vae.use_tiling:
        with circular(pipe.vae):
            mel = _mel(pipe, latents)
    else:
        mel = _mel_in_tiles(pipe, latents, _TILE if pipe.vae.use_tiling else tile)
    frames, hop, margin = mel.shape[1], hop_of(pipe.vocoder), _reach(pipe.vocoder.config)
    places = torch.arange(-margin, frames + margin, device=mel.device) % frames
    wave = _waves(pipe.vocoder, mel.index_select(1, places), chunked=chunked)
    return wave[:, None, margin * hop : (margin + frames) * hop]


def _mel_in_tiles(pipe: Any, latents: torch.Tensor, most: int) -> torch.Tensor:
    """Return the log-mel spectrogram [B, T, mels] of a loop's latents, tiles of at most ``most`` of them blended."""
    import torch
    from torch.nn.functional import pad

    turn, scale = latents.shape[2], pipe.vae_scale_factor
    tile = min(turn, most)
    count = math.ceil(turn / max(1, tile - _JOINT))
    at = torch.arange(tile * scale, device=latents.device)
    ramp = torch.minimum(at + 1, tile * scale - at).clamp(max=_JOINT * scale).float()
    total = weight = torch.zeros((), device=latents.device)
    for number in range(count):
        start = round(number * turn / count)
        rows = latents.roll(-start, 2)[:, :, :tile]
        rest = (turn - tile) * scale
        made = pad(_mel(pipe, rows).float() * ramp[:, None], (0, 0, 0, rest))
        total = total + made.roll(start * scale, 1)
        weight = weight + pad(ramp, (0, rest)).roll(start * scale)
    return (total / weight[:, None]).to(next(pipe.vocoder.parameters()).dtype)


class Decoding:
    """A long sound's latents [B, C, time, mel] on their way to samples, piece by piece.

    The VAE's group norms and attention see all that is decoded at a time, so there is no context with which pieces
    would be those of one decode; they overlap, and their spectrograms are blended there. The vocoder's reach is
    finite: with it, its pieces are exact.
    """

    def __init__(self, pipe: Any, *, chunked: bool) -> None:
        self._pipe = pipe
        self._chunked = chunked
        self._margin = _reach(pipe.vocoder.config)
        self._overlap: torch.Tensor | None = None
        """The last latents: the next piece begins with them again."""
        self._faded: torch.Tensor | None = None
        """Their spectrogram, not yet blended with the next piece's."""
        self._mel: torch.Tensor | None = None
        """The blended spectrogram that samples still to come depend on."""
        self._behind = 0
        """How many of its frames are behind the last sample that was given."""

    def push(self, latents: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Return the samples [B, 1, T] that no later latents will change."""
        import torch

        scale = self._pipe.vae_scale_factor
        rows = latents if self._overlap is None else torch.cat([self._overlap, latents], dim=2)
        mel = _mel(self._pipe, rows)
        if self._faded is not None:
            count = self._faded.shape[1]
            rise = ((torch.arange(count, device=mel.device) + 0.5) / count)[:, None].to(mel.dtype)
            mel = torch.cat([self._faded * (1 - rise) + mel[:, :count] * rise, mel[:, count:]], dim=1)
        joint = 0 if last else min(_JOINT, latents.shape[2])
        self._overlap = rows[:, :, rows.shape[2] - joint :]
        self._faded = mel[:, mel.shape[1] - joint * scale :]
        done = mel[:, : mel.shape[1] - joint * scale]
        known = done if self._mel is None else torch.cat([self._mel, done], dim=1)
        until = max(self._behind, known.shape[1] - (0 if last else self._margin))
        wave, hop = _waves(self._pipe.vocoder, known, chunked=self._chunked), hop_of(self._pipe.vocoder)
        given = wave[:, None, self._behind * hop : None if last else until * hop]
        first = max(0, until - self._margin)
        self._mel, self._behind = known[:, first:], until - first
        return given


def _reach(config: Any) -> int:
    """Mel frames on either side that a sample of the vocoder depends on."""
    frames, hop = 3.0, 1
    for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        frames += kernel / rate / hop
        hop *= rate
        blocks = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        frames += max((size - 1) / 2 * (sum(dilations) + len(dilations)) for size, dilations in blocks) / hop
    return math.ceil(frames + 3 / hop)


def encode(pipe: Any, sound: Audio, time: int, device: torch.device) -> torch.Tensor:
    """Return latents float32 [C, time, mel] of a sound float32 [C, T] at the vocoder's rate, cut or padded.

    The device is told, not the weights': offloaded ones wait elsewhere, and come when they are needed.
    """
    import numpy as np
    import torch
    from transformers.audio_utils import mel_filter_bank

    config, vae = pipe.vocoder.config, pipe.vae
    hop, mel_frames = hop_of(pipe.vocoder), time * pipe.vae_scale_factor
    samples = np.zeros(mel_frames * hop, np.float32)
    mono = np.asarray(sound, np.float32).mean(axis=0)[: len(samples)]
    samples[: len(mono)] = mono
    spectrum = torch.stft(
        torch.from_numpy(samples),
        n_fft=_FFT,
        hop_length=hop,
        window=torch.hann_window(_FFT),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    ).abs()[:, :mel_frames]
    filters = mel_filter_bank(
        num_frequency_bins=_FFT // 2 + 1,
        num_mel_filters=config.model_in_dim,
        min_frequency=0.0,
        max_frequency=min(_HIGHEST_HZ, config.sampling_rate / 2),
        sampling_rate=config.sampling_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    mel = (torch.from_numpy(filters.astype(np.float32)).T @ spectrum).clamp(min=_FLOOR).log().T
    encoded = vae.encode(mel[None, None].to(device, next(vae.encoder.parameters()).dtype)).latent_dist.mode()
    return encoded[0].float() * vae.config.scaling_factor
