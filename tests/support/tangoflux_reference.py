"""TangoFlux's algorithm, one sound at a time, written from its description alone.

No engine code is used: it reads the three official files with safetensors, builds diffusers' and
transformers' modules, and follows the published inference step by step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderOobleck, FluxTransformer2DModel
from safetensors.torch import load_file
from tests.support.checkpoints import legacy_weight_norm
from transformers import AutoConfig, AutoTokenizer, T5EncoderModel

NAMES = "num_layers num_single_layers in_channels attention_head_dim joint_attention_dim num_attention_heads"


Velocity = Callable[[torch.Tensor, float], torch.Tensor]


def _euler(x: torch.Tensor, sigmas: list[float], v: Velocity, _: torch.Generator) -> torch.Tensor:
    for now, following in pairwise(sigmas):
        x = x + (following - now) * v(x, now)
    return x


def _euler_stochastic(x: torch.Tensor, sigmas: list[float], v: Velocity, drawn: torch.Generator) -> torch.Tensor:
    for now, following in pairwise(sigmas):
        clean = x - now * v(x, now)
        x = (1 - following) * clean + following * torch.randn(x.shape, generator=drawn).to(x)
    return x


def _heun(x: torch.Tensor, sigmas: list[float], v: Velocity, _: torch.Generator) -> torch.Tensor:
    """The trapezoid rule, whose last step would have to look beyond the end."""
    for now, following in pairwise(sigmas):
        slope = v(x, now)
        if following > 0:
            slope = (slope + v(x + (following - now) * slope, following)) / 2
        x = x + (following - now) * slope
    return x


def _dpmpp_2m(x: torch.Tensor, sigmas: list[float], v: Velocity, _: torch.Generator) -> torch.Tensor:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2, with alpha = 1 - sigma."""
    before: tuple[torch.Tensor, float] | None = None
    for now, following in pairwise([min(sigma, 1 - 1e-6) for sigma in sigmas]):
        start, clean = math.log((1 - now) / now), x - now * v(x, now)
        if following == 0:
            return clean
        step, towards = math.log((1 - following) / following) - start, clean
        if before is not None:
            towards = clean + (clean - before[0]) * step / (2 * (start - before[1]))
        before = clean, start
        x = following / now * x - (1 - following) * math.expm1(-step) * towards
    return x


FLOWS = {"euler": _euler, "euler_stochastic": _euler_stochastic, "heun": _heun, "dpmpp_2m": _dpmpp_2m}


class Reference:
    """The modules and the algorithm.

    Args:
        config: of the model's config.json.
        tokenizer: the text encoder's.
        parts: text_encoder, fc, linear (of the duration), transformer, vae.
        frequencies: of the duration.
    """

    def __init__(
        self,
        config: dict[str, Any],
        tokenizer: Any,
        parts: dict[str, torch.nn.Module],
        frequencies: torch.Tensor,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.length, self.channels = config["audio_seq_len"], config["in_channels"]
        self.longest = config["max_duration"]
        self.tokenizer = tokenizer
        self.at = {"device": device, "dtype": dtype}
        for part in parts.values():
            part.to(**self.at).eval()
        self.text_encoder, self.fc, self.linear = parts["text_encoder"], parts["fc"], parts["linear"]
        self.transformer, self.vae = parts["transformer"], parts["vae"]
        self.frequencies = frequencies.to(**self.at)

    @classmethod
    def read(cls, model: Path, text: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Reference:
        """From the three official files and the text encoder's directory."""
        config = json.loads((model / "config.json").read_text())
        weights = load_file(model / "tangoflux.safetensors")

        def under(prefix: str) -> dict[str, torch.Tensor]:
            return {name[len(prefix) :]: w for name, w in weights.items() if name.startswith(prefix)}

        text_config = AutoConfig.from_pretrained(text)
        width = text_config.d_model
        text_encoder = T5EncoderModel(text_config)
        text_encoder.load_state_dict(under("text_encoder."), strict=False)
        fc = torch.nn.Sequential(torch.nn.Linear(width, config["joint_attention_dim"]), torch.nn.ReLU())
        fc.load_state_dict(under("fc."))
        prefix = "duration_emebdder.time_positional_embedding."
        linear = torch.nn.Linear(257, width)
        linear.load_state_dict(under(prefix + "1."))
        transformer = FluxTransformer2DModel(
            **{name: config[name] for name in NAMES.split()},
            pooled_projection_dim=width,
            guidance_embeds=False,
        )
        transformer.load_state_dict(under("transformer."))
        with legacy_weight_norm():
            vae = AutoencoderOobleck(**json.loads((model / "vae_config.json").read_text()))
        vae.load_state_dict(load_file(model / "vae.safetensors"))
        parts = {"text_encoder": text_encoder, "fc": fc, "linear": linear, "transformer": transformer, "vae": vae}
        tokenizer = AutoTokenizer.from_pretrained(text)
        return cls(config, tokenizer, parts, weights[prefix + "0.weights"], device, dtype)

    def encode(self, text: str, **padding: object) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.tokenizer(text, truncation=True, return_tensors="pt", **padding).to(self.at["device"])
        states = self.text_encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        weights = tokens.attention_mask[..., None].to(states.dtype)
        return states, self.fc((states * weights).sum(1) / weights.sum(1))

    @torch.no_grad()
    def latents(
        self,
        prompt: str,
        seed: int,
        duration_s: float,
        steps: int,
        guidance: float,
        negative: str = "",
        *,
        shift: float = 1.0,
        sampler: str = "euler",
        sound: torch.Tensor | None = None,
        strength: float = 1.0,
    ) -> torch.Tensor:
        """float32 [1, audio_seq_len, in_channels].

        ``shift`` is that of Esser et al. 2024, eq. 23; ``sampler`` one of FLOWS. A ``sound`` float32 [2, T] is noised
        to ``strength``, from where so much of the flow is left.
        """
        states, pooled = self.encode(prompt, max_length=512)
        fraction = torch.tensor([[min(max(duration_s, 0.0), self.longest) / self.longest]], **self.at)
        f = 2 * math.pi * fraction * self.frequencies
        duration = self.linear(torch.cat([fraction, f.sin(), f.cos()], dim=-1))[:, None]
        if guidance > 1:
            empty, empty_pooled = self.encode(negative, max_length=states.shape[1], padding="max_length")
            states, pooled = torch.cat([empty, states]), torch.cat([empty_pooled, pooled])
            duration = torch.cat([duration, duration])
        states = torch.cat([states, duration], dim=1)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, self.length, self.channels, generator=generator).to(**self.at)
        if sound is not None:
            padded = torch.nn.functional.pad(sound, (0, self.length * self.vae.hop_length - sound.shape[1]))
            known = self.vae.encode(padded[None].to(**self.at)).latent_dist.mode().transpose(1, 2)
            x, steps = (1 - strength) * known + strength * x, max(1, round(steps * strength))
        sigmas = [1 - i * (1 - 1 / steps) / (steps - 1) for i in range(steps)] + [0.0] if steps > 1 else [1.0, 0.0]
        sigmas = [strength * shift * sigma / (1 + (shift - 1) * sigma) for sigma in sigmas]
        ids = torch.arange(self.length, dtype=torch.float32)[:, None].repeat(1, 3).to(self.at["device"])

        def velocity_at(x: torch.Tensor, now: float) -> torch.Tensor:
            velocity = self.transformer(
                hidden_states=torch.cat([x, x]) if guidance > 1 else x,
                timestep=torch.full((len(states),), now, **self.at),  # t / 1000 with t = 1000 sigma
                pooled_projections=pooled,
                encoder_hidden_states=states,
                txt_ids=torch.zeros(states.shape[1], 3, device=self.at["device"]),
                img_ids=ids,
                return_dict=False,
            )[0]
            if guidance > 1:
                without, towards = velocity.chunk(2)
                velocity = without + guidance * (towards - without)
            return velocity

        return FLOWS[sampler](x, sigmas, velocity_at, generator)

    @torch.no_grad()
    def wave(self, latents: torch.Tensor, duration_s: float) -> torch.Tensor:
        """float32 [2, T]."""
        return self.vae.decode(latents.transpose(1, 2)).sample[0, :, : int(duration_s * 44100)]
