"""Engines and plain pipelines built from modules with random weights, without a file: tiny, or of a size that is given.

Only torch, diffusers, transformers, msgspec and numpy are needed. Modules are built where ``build_on`` says: on the
device itself for the official sizes, on the CPU where a CPU and a GPU are to have the same weights.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from msgspec import structs
from tests.support import checkpoints, plain_pipelines
from tests.support.tangoflux_reference import Reference

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import engine_info
from audio_pool.engines._oobleck import decoder_only
from audio_pool.engines._opening import Opened

GENERATORS = ("tangoflux", "audioldm", "audioldm2", "stable_audio")
_SEEDS = {"tangoflux": 11, "audioldm": 12, "audioldm2": 13, "stable_audio": 14, "clap": 15, "musicgen": 16}
_PARTS = ("transformer", "unet", "text_encoder", "text_encoder_2", "language_model", "projection_model", "fc")


def sampler_of(name: str) -> str:
    """The sampler's class where it is not the official one, else ""."""
    if name == "stable_audio" and importlib.util.find_spec("torchsde") is None:
        return "EDMDPMSolverMultistepScheduler"
    return ""


def parts(name: str, build_on: str, sizes: checkpoints.Sizes | None = None) -> dict[str, Any]:
    """The modules, tokenizers and scheduler of a model, in float32."""
    build = getattr(checkpoints, f"{name}_parts")
    more = {"scheduler": _without_torchsde()} if sampler_of(name) else {}
    torch.manual_seed(_SEEDS[name])
    with torch.device(build_on):
        found: dict[str, Any] = build(sizes or getattr(checkpoints, name.upper()), **more)
    if name == "tangoflux":
        found["frequencies"] = torch.randn(128, generator=torch.Generator().manual_seed(1)).to(build_on)
        found["tokenizer"] = checkpoints.t5_tokenizer()
    return found


def _without_torchsde() -> Any:
    """The sampler of Stable Audio's noise levels that draws no noise: the official one needs torchsde."""
    from diffusers import EDMDPMSolverMultistepScheduler

    return EDMDPMSolverMultistepScheduler(
        sigma_min=0.3, sigma_max=500.0, sigma_data=1.0, sigma_schedule="exponential", prediction_type="v_prediction"
    )


def elements(found: dict[str, Any]) -> dict[str, int]:
    """The number of weights of each part."""
    return {
        name: sum(weight.numel() for weight in part.parameters())
        for name, part in found.items()
        if isinstance(part, torch.nn.Module)
    }


def engine(
    name: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    build_on: str = "cpu",
    sizes: checkpoints.Sizes | None = None,
    found: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """A diffusion engine.

    Args:
        device, dtype: of the engine.
        build_on: where its modules are made.
        sizes: of its parts; tiny by default.
        found: the parts, where they have been made.
        settings: further ones.
    """
    module = importlib.import_module(f"audio_pool.engines.{name}")
    wave_dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    opened = Opened(
        directory=Path(), revision="", device=torch.device(device), dtype=dtype, wave_dtype=wave_dtype
    )
    checked = module.Settings(device=device, dtype=str(dtype).removeprefix("torch."), **settings)
    found = parts(name, build_on, sizes) if found is None else found
    for part, loaded in found.items():
        if isinstance(loaded, torch.nn.Module) and dtype != torch.float32:
            loaded.to(dtype if part in _PARTS else wave_dtype)
            _keep_wide(loaded, dtype)
    if name == "tangoflux":
        from audio_pool.engines.tangoflux.checkpoint import duration_embedder

        given = (sizes or checkpoints.TANGOFLUX)["transformer"]
        duration = duration_embedder(found.pop("frequencies").float(), found["duration"].float())
        modules = {each: found[each] for each in ("text_encoder", "fc", "transformer")}
        modules |= {"duration": duration, "vae": decoder_only(found["vae"])}
        loaded_engine = module.TangoFlux(
            _info(name), checked, opened, module.Config(**given), found["tokenizer"], modules
        )
    else:
        loaded_engine = _of_pipeline(name, module, checked, opened, found)
    loaded_engine._warm()
    return loaded_engine


def musicgen(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    build_on: str = "cpu",
    sizes: checkpoints.Sizes | None = None,
    **settings: Any,
) -> Any:
    """MusicGen, without a tune."""
    from audio_pool.engines._autoregressive import TokenModel
    from audio_pool.engines.musicgen import MusicGen

    found = parts("musicgen", build_on, sizes)
    model = found["model"]
    wave_dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    opened = Opened(
        directory=Path(), revision="", device=torch.device(device), dtype=dtype, wave_dtype=wave_dtype
    )
    checked = importlib.import_module("audio_pool.engines.musicgen").Settings(
        device=device, dtype=str(dtype).removeprefix("torch."), **settings
    )
    given = TokenModel(
        tokenizer=found["tokenizer"],
        text_encoder=model.text_encoder.to(torch.float32 if dtype == torch.float16 else dtype),
        projection=model.enc_to_dec_proj.to(dtype),
        language_model=model.decoder.to(dtype),
        codec=model.audio_encoder.to(wave_dtype),
        channels=model.decoder.config.audio_channels,
    )
    return MusicGen(_info("musicgen"), checked, opened, given)


def _of_pipeline(name: str, module: Any, checked: Any, opened: Opened, found: dict[str, Any]) -> Any:
    cls = {"audioldm": "AudioLDM", "audioldm2": "AudioLDM2", "stable_audio": "StableAudio"}[name]
    return getattr(module, cls)(_info(name), checked, opened, _pipeline(name, found))


def _pipeline(name: str, found: dict[str, Any]) -> Any:
    import diffusers

    cls = {"audioldm": "AudioLDMPipeline", "audioldm2": "AudioLDM2Pipeline", "stable_audio": "StableAudioPipeline"}
    pipe = getattr(diffusers, cls[name])(**found)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _keep_wide(part: torch.nn.Module, dtype: torch.dtype) -> None:
    """T5 overflows in float16 at its last product of each block; loaders keep that in float32."""
    if dtype == torch.float16 and "T5" in type(part).__name__:
        for name, layer in part.named_modules():
            if name.endswith(".wo"):
                layer.float()


def _info(name: str) -> EngineInfo:
    return structs.replace(engine_info(name), model="random weights")


def plain(
    name: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    build_on: str = "cpu",
    sizes: checkpoints.Sizes | None = None,
) -> plain_pipelines.Sound:
    """The plain library's own way to a sound, all of it in one precision."""
    found = parts(name, build_on, sizes)
    for part in found.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    if name == "tangoflux":
        config = {**(sizes or checkpoints.TANGOFLUX)["transformer"], "audio_seq_len": 645, "max_duration": 30}
        modules = {each: found[each] for each in ("text_encoder", "fc", "transformer", "vae")}
        modules["linear"] = found["duration"]
        return plain_pipelines.tangoflux_sound(
            Reference(config, found["tokenizer"], modules, found["frequencies"], device, dtype)
        )
    pipe = _pipeline(name, found).to(device, dtype)
    sound: plain_pipelines.Sound = getattr(plain_pipelines, f"{name}_sound")(pipe)
    return sound


def clap(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    build_on: str = "cpu",
    sizes: checkpoints.Sizes | None = None,
    batch_size: int = 8,
) -> Any:
    """A CLAP scorer; its sounds have to be at 48 kHz."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    from audio_pool.engines.clap import ClapScorer

    sizes = sizes or checkpoints.CLAP
    config = ClapConfig(
        projection_dim=sizes["text"]["projection_dim"],
        text_config=checkpoints.roberta_config(sizes["text"]),
        audio_config={"enable_fusion": False, **sizes["audio"]},
    )
    torch.manual_seed(_SEEDS["clap"])
    with torch.device(build_on):
        model = ClapModel(config)
    checkpoints.lively(model.text_model)
    info = structs.replace(_info("clap"), dimensions=sizes["text"]["projection_dim"])
    extractor = ClapFeatureExtractor(frequency_min=50)
    placed = model.eval().requires_grad_(False).to(device=device, dtype=dtype)
    return ClapScorer(info, placed, extractor, checkpoints.roberta_tokenizer(longest=512), batch_size)
