"""What TangoFlux says of itself, and its settings.

Owns: its INFO, the text encoder that goes with it, its settings.
Must not know: how it is read or computed.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from audio_pool.engine_info import CompanionInfo, EngineInfo
from audio_pool.engines._samplers import FLOW, SHIFT, sampler_option
from audio_pool.engines._torch import TorchSettings

__all__ = ["INFO", "TEXT_ENCODER", "Settings"]

# The model's own files have the text encoder's weights, but neither its configuration nor its tokenizer.
TEXT_ENCODER = CompanionInfo(
    model="google/flan-t5-large",
    files=("config.json", "tokenizer*", "special_tokens_map.json", "spiece.model", "README.md"),
    licence="Apache-2.0",
)

INFO = EngineInfo(
    name="tangoflux",
    role="generator",
    kinds=("effects", "ambience"),
    languages=("en",),
    model="declare-lab/TangoFlux",
    licence="non-commercial research (TangoFlux, Stability AI community licence for its VAE)",
    commercial_use=False,
    sample_rate=44_100,
    channels=2,
    shortest_s=0.05,
    window_s=30.0,
    longest_s=600.0,
    steps=50,
    guidance_scale=4.5,
    negative_prompt=True,
    init_audio=True,
    inpaint=True,
    extend=True,
    loop=True,
    streams=True,
    options=(sampler_option(FLOW), SHIFT),
    companions=(TEXT_ENCODER,),
    requires=("torch", "diffusers", "transformers", "safetensors"),
    extra="diffusers",
    parameters=1_010_000_000,
    tips=(
        'Short sentences of what is heard, as in captions: "a dog barks while rain falls on a roof".',
        'Two or three events in their order work; more are mixed up.',
    ),
    summary="Sound effects and ambience, 44.1 kHz stereo; fast and close to the prompt.",
)


class Settings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of TorchSettings, and:"""

    text_encoder: Annotated[str, Meta(max_length=4096)] = ""
    """Directory or hub id of flan-t5-large's config and tokenizer; empty: a directory of that name
    inside or beside the model, else the hub's local cache."""
