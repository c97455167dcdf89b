"""A diffusion engine's model on disk: its settings, where it is, whether it fits, and how it is read.

Owns: DiffusionSettings, and everything between a setting and a loaded pipeline on the CPU.
Must not know: any single engine, how a sound is made, the pool.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from msgspec import Meta

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _torch
from audio_pool.engines._bars import no_bars
from audio_pool.engines._locate import locate, missing_model
from audio_pool.errors import InvalidConfig
from audio_pool.validation import parse

if TYPE_CHECKING:
    import torch

__all__ = ["DiffusionSettings", "Opened", "load_pipeline", "open_model", "settings_of"]


class DiffusionSettings(_torch.DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set on every diffusion engine."""

    model: Annotated[str, Meta(min_length=1, max_length=4096)] = ""
    """A directory, or a hub id; empty: the engine's default."""
    revision: Annotated[str, Meta(max_length=128)] = ""
    """Branch, tag or commit of a hub id."""
    offline: bool = True
    """Never download; a model that is not on disk is an error at load."""


S = TypeVar("S", bound=DiffusionSettings)


def settings_of(cls: type[S], engine: str, given: Mapping[str, Any]) -> S:
    """The checked settings of an engine.

    Raises:
        InvalidConfig: naming the field, what was given and what is allowed.
    """
    plain = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in given.items()}
    return parse(cls, plain, error=InvalidConfig, what=f"engine {engine!r}")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model directory found, checked against the device's memory, not loaded yet."""

    directory: Path
    revision: str
    """The commit where the model is a snapshot of the hub's cache, else what the setting says."""
    device: torch.device
    dtype: torch.dtype
    wave_dtype: torch.dtype
    """Of what makes the waveform: bfloat16's 8 bits would be audible as noise at about -50 dB."""


def open_model(info: EngineInfo, settings: DiffusionSettings, working_bytes: int) -> Opened:
    """Finds the model and makes sure that it will fit.

    Raises:
        EngineUnavailable, OutOfMemory, InvalidConfig.
    """
    import torch

    device = _torch.settle_device(settings.device)
    dtype = _torch.dtype_of(settings.dtype, device)
    directory = locate(info.name, settings.model or info.model, settings.revision, offline=settings.offline)
    _torch.check_memory(info.name, directory, settings, device, working_bytes)
    _torch.cap_memory(settings.max_memory, device)
    wave_dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    # a snapshot's folder is named after its commit
    revision = directory.name if directory.parent.name == "snapshots" else settings.revision
    return Opened(
        directory=directory,
        revision=revision,
        device=device,
        dtype=dtype,
        wave_dtype=wave_dtype,
    )


def load_pipeline(info: EngineInfo, cls: Any, opened: Opened, **parts: Any) -> Any:
    """A diffusers pipeline from its directory, on the CPU.

    Raises:
        EngineUnavailable: naming what is missing or unreadable.
    """
    dtypes = {"default": opened.dtype, "vae": opened.wave_dtype, "vocoder": opened.wave_dtype}
    try:
        with no_bars():
            pipe = cls.from_pretrained(str(opened.directory), dtype=dtypes, local_files_only=True, **parts)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise missing_model(info.name, f"{str(opened.directory)!r} does not load as its model: {exc}") from exc
    pipe.set_progress_bar_config(disable=True)
    return pipe
