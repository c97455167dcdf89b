"""Opens a torch generator's model: its place on disk, its fit in memory, how it is read.

Owns: everything between the settings and a loaded pipeline on the CPU.
Must not know: any single engine, how a sound is made, the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _fit, _torch
from audio_pool.models.weights import missing_model

if TYPE_CHECKING:
    import torch

__all__ = ["Opened", "load_pipeline", "open_model", "reading_errors"]


_WHOLE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model directory found, checked against the device's memory, not loaded yet."""

    directory: Path
    revision: str
    """The commit, where the model's place tells it; else what the setting says."""
    device: torch.device
    dtype: torch.dtype
    wave_dtype: torch.dtype
    """Of what makes the waveform: bfloat16's 8 bits would be audible as noise at about -50 dB."""


def open_model(
    info: EngineInfo, settings: _torch.TorchSettings, working_bytes: int, whole_s: float | None = None
) -> Opened:
    """Find the model and make sure that it will fit.

    Args:
        info, settings: the engine's.
        working_bytes: what one sound takes beside the weights, at two bytes a number.
        whole_s: seconds of that sound; None: of the model's window, 30 at the most.

    Raises:
        EngineUnavailable, OutOfMemory, InvalidConfig.
    """
    import torch

    settings.refuse_ignored()
    device = _torch.settle_device(settings.device)
    dtype = _torch.dtype_of(settings.dtype, device)
    found = settings.locate(info)
    if not found.path.is_dir():
        raise missing_model(info.implementation, f"{str(found.path)!r} is a file; allowed is a directory")
    _torch.MemoryCap(settings.max_memory, device)  # refused before anything is read
    whole_s = whole_s or min(info.window_s or info.longest_s, _WHOLE_S)
    fit = _fit.fit_of(_fit.parts_in(found.path), settings, device, working_bytes, whole_s)
    _fit.check_fit(info.name, fit, device)
    wave_dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    return Opened(
        directory=found.path,
        revision=found.revision or settings.revision,
        device=device,
        dtype=dtype,
        wave_dtype=wave_dtype,
    )


def load_pipeline(info: EngineInfo, cls: Any, opened: Opened, **parts: Any) -> Any:
    """Read a diffusers pipeline from its directory, onto the CPU.

    Raises:
        EngineUnavailable: naming what is missing or unreadable.
    """
    import torch

    dtypes = {"default": opened.dtype, "vae": opened.wave_dtype, "vocoder": opened.wave_dtype}
    try:
        with _torch.no_bars(), _torch.device_errors(info.name, torch.device("cpu"), None, 0):
            pipe = cls.from_pretrained(str(opened.directory), dtype=dtypes, local_files_only=True, **parts)
    except reading_errors() as exc:
        tried = f"{str(opened.directory)!r} does not load as its model: {exc}"
        raise missing_model(info.implementation, tried) from exc
    _refuse_unfilled(info, pipe, opened)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _refuse_unfilled(info: EngineInfo, pipe: Any, opened: Opened) -> None:
    """Refuse a part whose weights are another model's: diffusers warns, and leaves tensors without values."""
    import torch

    for part, module in pipe.components.items():
        if not isinstance(module, torch.nn.Module):
            continue
        unfilled = [name for name, tensor in module.named_parameters() if tensor.device.type == "meta"]
        if unfilled:
            raise missing_model(
                info.implementation,
                f"the weights in {str(opened.directory / part)!r} are not this model's: {len(unfilled)} of its tensors "
                f"are missing ({', '.join(unfilled[:3])})",
            )


def reading_errors() -> tuple[type[Exception], ...]:
    """Return what the libraries raise for files that are whole and still not those of the model.

    safetensors' and pickle's errors share no class with the others.
    """
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    values = (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError)
    return OSError, EOFError, *values, UnpicklingError, SafetensorError
