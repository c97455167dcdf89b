"""The decoder that AudioLDM and AudioLDM2 share: latents -> log-mel (VAE) -> waveform (HiFi-GAN).

Owns: latent shapes for a duration, that decode, and a sound's way back into latents for audio-to-audio.
Must not know: any single engine, the pool.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from audio_pool.engines.base import Audio

__all__ = ["decode", "encode", "hop_of", "latent_shape", "set_tiles"]

_TILE = 64
"""Latent rows of one VAE tile (2.56 s at the official scale of 4)."""
_CHUNK = 256
"""Mel frames of one piece of the vocoder."""
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
    import torch

    dtype = next(pipe.vae.decoder.parameters()).dtype
    mel = pipe.vae.decode(latents.to(dtype) / pipe.vae.config.scaling_factor).sample[:, 0]
    hop, length = hop_of(pipe.vocoder), mel.shape[1]
    if not chunked:
        return pipe.vocoder(mel)[:, None]
    margin, pieces = _reach(pipe.vocoder.config), []
    for start in range(0, length, _CHUNK):
        stop = min(length, start + _CHUNK)
        left, right = max(0, start - margin), min(length, stop + margin)
        wave = pipe.vocoder(mel[:, left:right])
        # the last piece keeps whatever the vocoder makes beyond its last frame
        pieces.append(wave[:, (start - left) * hop : None if stop == length else (stop - left) * hop])
    return torch.cat(pieces, dim=-1)[:, None]


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
