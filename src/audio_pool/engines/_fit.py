"""Whether a model fits on its device: an estimate before it is loaded, and what to change where it does not.

Owns: Part and Fit (what a model takes by stage, placement, precision, batch and length), the check before loading,
and the advice in a refusal, which names nothing that is set already.
Must not know: any single engine, how parts are moved (_torch.Placement), the pool. Only headers of files are read.

Weights are counted. What the work takes beside them is a first guess per engine, scaled by what is known of it: the
sampler's grows with the batch, the decoder's with batch and length, unless it decodes in pieces or one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from audio_pool.engines._torch import TorchSettings, device_memory, dtype_of
from audio_pool.errors import OutOfMemory
from audio_pool.gpu import parse_bytes, require_free, shown
from audio_pool.models.weights import parts_of, tensor_shapes, weight_elements

if TYPE_CHECKING:
    import torch

__all__ = ["Fit", "Part", "check_fit", "counted_parts", "fit_of", "part_of", "parts_in", "remedies"]

Stage = Literal["encoder", "sampler", "decoder"]
_STAGES: tuple[Stage, ...] = ("encoder", "sampler", "decoder")
_DECODERS = ("vae", "vocoder", "audio_encoder", "codec", "autoencoder")
"""In parts' names, as diffusers and transformers give them: what makes the waveform."""
_SAMPLERS = ("unet", "transformer", "decoder")
_TABLES = ("embed", "shared", "wte", "wpe", "position", "lm_head")
"""In tensors' names: matrices that are looked up in, not multiplied by; quantisation leaves them."""
_STORED = {"none": 0.0, "8bit": 1.05, "4bit": 0.6}
"""Bytes of a number of a quantised layer, its share of the scales included."""
_SHARES: dict[Stage, float] = {"encoder": 0.1, "sampler": 0.5, "decoder": 1.0}
"""Of an engine's working bytes, for one sound of its whole length, by stage."""
_PIECE_S = 12.0
"""Length of the pieces of a chunked decode."""
_USUAL_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part's weights, in numbers."""

    name: str
    stage: Stage
    linear: int
    """In matrices that quantisation packs; 0 in a decoder, which stays as it is."""
    other: int
    largest: int
    """Of its largest tensor: what is there at a time, at the least, where layers come one by one."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a model takes on its device."""

    parts: tuple[Part, ...]
    settings: TorchSettings
    wide: int
    """Bytes of a number of encoder and sampler."""
    wave_wide: int
    """Bytes of a number of the decoder."""
    working_bytes: int
    """What one sound of ``whole_s`` takes beside the weights, at two bytes a number."""
    whole_s: float

    def needed(self, items: int = 1, duration_s: float = _USUAL_S) -> int:
        """Return the bytes at the fullest of the stages, for so many sounds of this length at once."""
        return int(max(self._resident(stage) + self._work(stage, items, duration_s) for stage in _STAGES))

    def at_load(self) -> int:
        """Return the bytes that have to be free: for one usual sound, or the largest batch that is warmed up."""
        shapes = self.settings.compile_shapes if self.settings.compile else []
        warmed = [self.needed(min(shape.items, self.settings.max_batch), shape.duration_s) for shape in shapes]
        return max([self.needed(), *warmed])

    def _bytes(self, part: Part) -> float:
        wide = self.wave_wide if part.stage == "decoder" else self.wide
        packed = _STORED[self.settings.quantization] or wide
        return part.linear * packed + part.other * wide

    def _resident(self, stage: Stage) -> float:
        """Return the bytes of weights on the device while a stage works."""
        waiting = [part for part in self.parts if self._waits(part)]
        staying = sum(self._bytes(part) for part in self.parts if not self._waits(part))
        if self.settings.offload in ("sequential", "group"):
            # one layer at a time; a group's successor is fetched while it works
            at_once = 1 if self.settings.offload == "sequential" else 2
            return staying + at_once * max((part.largest * self.wide for part in waiting), default=0)
        return staying + sum(self._bytes(part) for part in waiting if part.stage == stage)

    def _waits(self, part: Part) -> bool:
        chosen = self.settings.offload_modules
        if not chosen:
            return self.settings.offload != "none"
        stages = {name if name in ("encoder", "decoder") else "sampler" for name in chosen if not self._is_part(name)}
        return part.name in chosen or part.stage in stages

    def _is_part(self, name: str) -> bool:
        return name not in _STAGES and any(part.name == name for part in self.parts)

    def _work(self, stage: Stage, items: int, duration_s: float) -> float:
        wide = self.wave_wide if stage == "decoder" else self.wide
        one = self.working_bytes * _SHARES[stage] * wide / 2
        if stage != "decoder":
            return one * items * max(1.0, duration_s / self.whole_s)
        length_s = min(duration_s, _PIECE_S) if self.settings.chunked_decode else duration_s
        return one * length_s / self.whole_s * (1 if self.settings.vae_slicing else items)


def parts_in(directory: Path) -> list[Part]:
    """Return a model's parts: the folders of a pipeline, else what its tensors' names begin with."""
    folders = parts_of(directory)
    if "" in folders:
        folders = {"": folders[""]}  # what lies in folders beside whole weights is another model's
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    counted: list[Part] = []
    for folder, files in folders.items():
        for file in files:
            named = tensor_shapes(file)
            if named is None:
                counted.append(_counted(folder or file.stem, weight_elements(file)))
                continue
            whole = folder or (file.stem if _stage_of(file.stem) == "decoder" else "")
            for tensor, shape in named.items():
                shapes.setdefault(whole or tensor.partition(".")[0], {})[tensor] = shape
    return [*(part_of(name, tensors) for name, tensors in shapes.items()), *counted]


def _stage_of(part: str) -> Stage:
    if any(word in part for word in _DECODERS):
        return "decoder"
    return "sampler" if part.startswith(_SAMPLERS) else "encoder"


def part_of(name: str, tensors: dict[str, tuple[int, ...]]) -> Part:
    """Return a part by the shapes of its tensors."""
    stage = _stage_of(name)
    sizes = {tensor: math.prod(shape) for tensor, shape in tensors.items()}
    linear = sum(
        size
        for tensor, size in sizes.items()
        if stage != "decoder" and len(tensors[tensor]) == 2 and not any(word in tensor for word in _TABLES)
    )
    total = sum(sizes.values())
    return Part(name=name, stage=stage, linear=linear, other=total - linear, largest=max(sizes.values(), default=0))


def _counted(name: str, elements: int) -> Part:
    """Return a part of which only the size is known: a pickle's."""
    stage = _stage_of(name)
    linear = 0 if stage == "decoder" else elements * 9 // 10
    return Part(name=name, stage=stage, linear=linear, other=elements - linear, largest=elements // 16)


def counted_parts(elements: dict[Stage, int]) -> list[Part]:
    """Return parts of which only the sizes are known, by stage."""
    names: dict[Stage, str] = {"encoder": "encoder", "sampler": "transformer", "decoder": "codec"}
    return [_counted(names[stage], count) for stage, count in elements.items()]


def fit_of(
    parts: Iterable[Part], settings: TorchSettings, device: torch.device, working_bytes: int, whole_s: float
) -> Fit:
    """Return what a model takes on a device.

    Args:
        parts: as ``parts_in`` returns them.
        settings: precision, quantisation, placement and slices all change it.
        device: where it will run.
        working_bytes: what one sound of ``whole_s`` takes beside the weights, at two bytes a number.
        whole_s: seconds.
    """
    wide = dtype_of(settings.dtype, device).itemsize
    wave_wide = 4 if str(dtype_of(settings.dtype, device)) == "torch.bfloat16" else wide
    return Fit(
        parts=tuple(parts),
        settings=settings,
        wide=wide,
        wave_wide=wave_wide,
        working_bytes=working_bytes,
        whole_s=whole_s,
    )


def check_fit(engine: str, fit: Fit, device: torch.device) -> int:
    """Refuse before loading what will not fit, and return the estimate of bytes needed on the device.

    Raises:
        OutOfMemory: with the figure needed, the figure found and what to change.
    """
    settings, needed = fit.settings, fit.at_load()
    advice = remedies(settings, wide=fit.wide)
    cap = parse_bytes(settings.max_memory) if settings.max_memory else None
    if cap is not None and needed > cap:
        raise OutOfMemory(
            f"{engine} needs about {shown(needed)} on {device}; max_memory allows {shown(cap)}",
            hint=f"raise max_memory, or {advice}",
        )
    if settings.check_memory and device.type == "cuda":
        require_free(engine, str(device), needed, device_memory(device), advice)
    return needed


def remedies(settings: TorchSettings, *, wide: int, items: int = 0) -> str:
    """Return what would take less memory and is not done yet, in words, what costs least first.

    Args:
        wide: bytes of a number, as loaded.
        items: sounds of a pass that did not fit; 0 while loading.
    """
    found: list[str] = []
    if items > 1:
        found.append("ask for fewer candidates")
    if items:
        found.append("ask for a shorter duration")
    if items > 1 and not settings.vae_slicing:
        found.append("set vae_slicing = true")
    if not settings.chunked_decode:
        found.append("set chunked_decode = true")
    if wide > 2:
        found.append("set dtype = 'float16'")
    if settings.quantization != "4bit":
        smaller = "'8bit' or '4bit'" if settings.quantization == "none" else "'4bit'"
        found.append(f"set quantization = {smaller}")
    if settings.compile:
        found.append("leave out compile, and set offload = 'model'")
    elif settings.offload_modules:
        found.append("leave out offload_modules, so that all parts wait in main memory")
    elif settings.offload != "sequential":
        smaller = "'model' or 'sequential'" if settings.offload == "none" else "'sequential'"
        found.append(f"set offload = {smaller}")
    found.append("free the device of what else is on it, or use device = 'cpu' or a smaller model")
    return ", or ".join(found)
