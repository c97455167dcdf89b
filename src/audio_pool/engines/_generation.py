"""The common half of all torch generators: check items, batch them, encode prompts, decode, cut to length.

Owns: the way from items to sounds around the model itself: jobs, batches of compatible jobs, the cache of
encoded prompts, progress, exact lengths, notes, options.
Must not know: how a batch is sampled (_diffusion.py denoises; a language model would draw tokens), any single
model, the pool.

An engine family subclasses StagedEngine with ``_encode``, ``_sample``, ``_decode`` and ``_step_count``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeAlias

import numpy as np
from msgspec import structs

from audio_pool.engine_info import EngineInfo, Likeness, Notes
from audio_pool.engines import _torch
from audio_pool.engines._compiling import Compiler, repeated
from audio_pool.engines._fit import remedies
from audio_pool.engines._host import ToHost
from audio_pool.engines._item import check_item
from audio_pool.engines._memory import give_back
from audio_pool.engines._opening import Opened
from audio_pool.engines._paste import Stretch, fitted, pasted, stretch_of
from audio_pool.engines._quantize import quantization_of, quantize
from audio_pool.engines._ticker import Ticker
from audio_pool.engines._windows import Window
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.engines.options import option_values
from audio_pool.errors import EngineError, InvalidConfig, NotSupported
from audio_pool.types import Label, frames_of

if TYPE_CHECKING:
    import torch

__all__ = ["Coming", "Condition", "Job", "StagedEngine", "cut"]

_ENCODINGS_KEPT = 64

Condition: TypeAlias = "dict[str, torch.Tensor]"
"""A prompt's or a batch's tensors by name, rows first; with guidance the unconditional rows come first."""
Coming: TypeAlias = "Callable[[], Audio]"
"""A sound on its way from the device, float32 [C, T] of its exact length; called when it has arrived."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """An item with every default resolved."""

    index: int
    item: Item
    steps: int
    """0 where the engine has none: a sound's length decides."""
    guidance: float
    frames: int
    """Exact length of the result at the engine's rate."""
    options: Mapping[str, Label]
    """Every option of the engine, as asked for or by default."""
    given: Audio | None = None
    """float32 [C, T]: the sound that it is made of, as it is in the finished one. The item's own is what of it is shown
    to the model."""
    stretch: Stretch | None = None
    """Which part of it is new; None: all."""

    window: Window | None = None
    """Which part of a long sound is made; None: all of it at a time."""

    @property
    def strength(self) -> float:
        """Return how much of what is made is new, 0..1: 1 where there is no given sound."""
        if self.item.init_audio is None:
            return 1.0
        if self.item.init_strength is None:
            return 0.5 if self.stretch is None else 1.0
        return self.item.init_strength

    @property
    def unchanged(self) -> bool:
        """The given sound is the result."""
        return self.strength == 0

    @property
    def guided(self) -> bool:
        """An unconditional row is needed (guidance 1 is the prompt alone)."""
        return self.guidance > 1.0

    @property
    def text(self) -> tuple[str, str, bool]:
        """All that its encoding depends on."""
        return self.item.prompt, self.item.negative_prompt if self.guided else "", self.guided

    def number(self, option: str) -> float | None:
        """Return a numeric option's value; None where the model's own choice holds."""
        value = self.options.get(option)
        return float(value) if isinstance(value, int | float) else None


class StagedEngine:
    """The Generator protocol over a model in three stages: encoder, sampler, decoder."""

    trained_s: ClassVar[float] = math.inf
    """Longer sounds are made, with a warning: the model was trained on none."""

    sampler_stage: ClassVar[str] = "sampler"
    """Name of the stage between encoder and decoder, for the setting offload_modules."""

    never_quantized: ClassVar[frozenset[str]] = frozenset()
    """Parts of the encoder stage too small to be worth the loss."""

    alike: ClassVar[tuple[Likeness, ...]] = ("steps", "options", "guidance")
    """What sounds of one pass need in common, as far as a request tells: what ``_compatible`` goes by."""

    _given_back = False
    _compiler: Compiler | None = None
    """Of the modules that are compiled shape by shape."""

    def __init__(
        self,
        info: EngineInfo,
        settings: _torch.TorchSettings,
        opened: Opened,
        stages: Mapping[str, Mapping[str, torch.nn.Module]],
    ) -> None:
        """Quantise and place the model's parts.

        Args:
            info: with what the loaded model knows better than INFO.
            settings: checked.
            opened: device and precisions.
            stages: parts by name for "encoder", ``sampler_stage`` and "decoder".
        """
        self.info = structs.replace(
            info,
            model=settings.model or info.model,
            model_revision=opened.revision,
            dtype=str(opened.dtype).removeprefix("torch."),
            quantization=quantization_of(settings),
            max_batch=settings.max_batch if info.batch else 1,
            batch_alike=self.alike,
        )
        self.settings = settings
        self.device = str(opened.device)
        self.dtype = opened.dtype
        self._device = opened.device
        self._to_host = ToHost(opened.device)
        self._cap = _torch.MemoryCap(settings.max_memory, opened.device)
        for name, part in (*stages["encoder"].items(), *stages[self.sampler_stage].items()):
            if name not in self.never_quantized:
                quantize(part, settings, opened.device)
        for parts in stages.values():
            for part in parts.values():
                part.eval().requires_grad_(False)
        with self._working(0):
            self._placement = _torch.Placement(stages, settings, opened.device)
        self._encodings: OrderedDict[tuple[str, str, bool], Condition] = OrderedDict()

    # -- what an engine says about its model ------------------------------------------------------

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return one prompt's tensors, on the device."""
        raise NotImplementedError

    def _sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        """Return what the decoder makes sounds of, float32 [B, ...] in the jobs' order; tick after each step."""
        raise NotImplementedError

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        """Return [B, C, T] with T >= frames where the model can, from latents float32 [B, ...]."""
        raise NotImplementedError

    def _step_count(self, job: Job) -> int:
        """Return how often ``_sample`` ticks for a batch with this job."""
        raise NotImplementedError

    def _compatible(self, job: Job) -> tuple[Hashable, ...]:
        """Return what jobs that share a batch have in common."""
        return job.steps, job.guided, tuple(sorted(job.options.items())), job.strength, job.stretch is not None

    def _text_warnings(self, job: Job) -> list[str]:
        return []

    def _pass_s(self, job: Job) -> float:
        """Return the seconds that the model makes at a time for a job."""
        return job.item.duration_s

    def _most_around_s(self) -> float:
        """Return the longest piece that the model makes with a given sound around it."""
        return self.info.longest_s

    def _loops(self, item: Item) -> bool:
        """Return True if the model can make the item loop of itself."""
        return False

    # -- the protocol ------------------------------------------------------------------------------

    def notes(self, item: Item) -> Notes:
        """Refuse what cannot be done, and name what is done otherwise.

        Raises:
            NotSupported: a longer sound than the model makes, init audio or a voice where there is none.
            InvalidRequest: a field or an option out of bounds.
        """
        # a loop is asked of an engine that makes some, but not this one: whoever asks makes one of the sound
        job = self._job(0, dataclasses.replace(item, loop=False) if self.info.loop else item)
        loops = self.info.loop and self._loops(item)
        if loops and item.loop:
            job = self._job(0, item)
        warnings = self._text_warnings(job)
        if item.negative_prompt and not job.guided:
            warnings.append(
                f"negative_prompt_unused: guidance_scale {job.guidance:g} turns guidance off, "
                "and the negative prompt with it"
            )
        if self._pass_s(job) > self.trained_s:
            warnings.append(
                f"beyond_training_length: {self.info.name} was trained on {self.trained_s:g} s; "
                f"{job.item.duration_s:g} s may lose coherence"
            )
        return Notes(loops=loops, warnings=tuple(warnings))

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """Return one float32 [C, T] per item at ``info.sample_rate``, each round(duration_s * rate) frames.

        Raises:
            NotSupported, InvalidRequest, OutOfMemory; whatever ``on_step`` raises.
        """
        asked = [self._job(index, item) for index, item in enumerate(items)]
        sounds = {job.index: job.given for job in asked if job.unchanged and job.given is not None}
        coming: list[tuple[Job, Coming]] = []
        with self._running(len(items)):
            for jobs, latents in self._sampled([job for job in asked if job.index not in sounds], on_step):
                coming += zip(jobs, self._sounds(jobs, latents), strict=True)
            self._to_host.wait()
        if self._compiler is not None:
            self._compiler.begin()
        sounds |= {job.index: self._joined(job, arrived()) for job, arrived in coming}
        return [sounds[index] for index in range(len(items))]

    def _joined(self, job: Job, made: Audio) -> Audio:
        """Return the finished sound: where only a part of it was made, with the rest of the given one around it."""
        if job.stretch is None or job.given is None:
            return made
        return pasted(made, job.given, job.stretch, self.info.sample_rate)

    def passes(self, items: Sequence[Item]) -> list[list[int]]:
        """Return the indices of the items that ``generate`` makes at a time, pass by pass."""
        jobs = [self._job(index, item) for index, item in enumerate(items)]
        return [[job.index for job in batch] for batch in self._batches(jobs)]

    def told(self) -> tuple[str, ...]:
        """Return named warnings of what was made since the last question."""
        return () if self._compiler is None else self._compiler.told()

    def latents(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """Return what the decoder makes the sounds of, float32, one array per item, in the model's own layout."""
        found: dict[int, Audio] = {}
        asked = [self._job(index, item) for index, item in enumerate(items)]
        with self._running(len(items)):
            for jobs, latents in self._sampled(asked, on_step):
                for job, row in zip(jobs, latents.float().cpu().numpy(), strict=True):
                    found[job.index] = row
        return [found[index] for index in range(len(items))]

    def close(self) -> None:
        """Give the memory back."""
        if self._compiler is not None:
            self._compiler.close()
        # a subclass has names of its own for its parts: nothing is kept but what describes the engine
        for name in set(self.__dict__) - {"info", "settings", "device", "dtype", "_device"}:
            del self.__dict__[name]
        self._given_back = True
        give_back(self.device)

    if not TYPE_CHECKING:  # or every name would be one of its own to those who check types

        def __getattr__(self, name: str) -> NoReturn:
            """Say of what ``close`` took away that it did, wherever a subclass looks for it first."""
            if self.__dict__.get("_given_back") and not name.startswith("__"):
                raise EngineError(f"{self.info.name} was closed")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # -- the run -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _running(self, items: int) -> Iterator[None]:
        import torch

        if self._given_back:
            raise EngineError(f"{self.info.name} was closed")
        with self._working(items), torch.no_grad():
            yield

    @contextlib.contextmanager
    def _working(self, items: int) -> Iterator[None]:
        """Inside, the device is the current one, within the engine's share of it, and its errors are ours."""
        advice = remedies(self.settings, wide=self.dtype.itemsize, items=items)
        errors = _torch.device_errors(self.info.name, self._device, self.settings.max_memory, items, advice)
        with errors, self._cap.held():
            yield

    def _job(self, index: int, item: Item) -> Job:
        name = self.info.name
        check_item(name, item)
        like_it = item.init_audio is not None and item.mask is None and item.extend_s is None
        if like_it and not self.info.init_audio:
            raise NotSupported(f"{name} cannot start from audio (init_audio)")
        item, given, stretch = self._shown(item)
        if item.duration_s > self.info.longest_s + 1e-9:
            raise NotSupported(
                f"{name} makes at most {self.info.longest_s:g} s; {item.duration_s:g} s were asked for"
            )
        if item.voice is not None:
            raise NotSupported(f"{name} has no voices; voice={item.voice!r} was asked for")
        if item.loop and not self._loops(item):
            raise NotSupported(f"{name} makes no loops of itself; ask without loop and make one of the sound")
        if item.steps is not None and self.info.steps is None:
            raise NotSupported(f"{name} has no steps; steps={item.steps} was asked for")
        steps = item.steps if item.steps is not None else self.info.steps
        guidance = item.guidance_scale if item.guidance_scale is not None else self.info.guidance_scale
        assert guidance is not None, "the INFO of such an engine has it"
        return Job(
            index=index,
            item=item,
            steps=steps or 0,
            guidance=guidance,
            frames=frames_of(item.duration_s, self.info.sample_rate),
            options=option_values(self.info, item.options),
            given=given,
            stretch=stretch,
        )

    def _shown(self, item: Item) -> tuple[Item, Audio | None, Stretch | None]:
        """Return the item as the model is to make it, the whole given sound, and which part of that is new."""
        info, rate = self.info, self.info.sample_rate
        for field, asked, able in (("mask", item.mask, info.inpaint), ("extend_s", item.extend_s, info.extend)):
            if asked is not None and not able:
                raise NotSupported(f"{info.name} cannot change a part of a sound, nor continue one ({field})")
        if item.init_audio is None:
            stretch_of(item, info.name, rate, info.longest_s, info.longest_s)
            return item, None, None
        longest_s = self._most_around_s()
        stretch = stretch_of(item, info.name, rate, min(info.window_s or info.longest_s, longest_s), longest_s)
        given = fitted(item.init_audio, info.channels, frames_of(item.duration_s, rate))
        if stretch is None:
            return item, given, None
        first = stretch.first
        shown = dataclasses.replace(
            item,
            init_audio=given[:, first : stretch.last],
            duration_s=(stretch.last - first) / rate,
            mask=((stretch.start - first) / rate, (stretch.end - first) / rate),
            extend_s=None,
            # what is added is new: nothing was there
            init_strength=item.init_strength if item.extend_s is None else None,
        )
        return shown, given, stretch

    def _sampled(self, jobs: Sequence[Job], on_step: OnStep | None) -> Iterator[tuple[list[Job], torch.Tensor]]:
        """Yield batches of jobs with their float32 latents, rows in the jobs' order."""
        with self._placement.stage("encoder"):
            texts = {job.text: self._encoding(*job.text) for job in jobs}
        batches = self._batches(jobs)
        total = sum(self._step_count(batch[0]) for batch in batches)
        tick = Ticker(on_step, total, self._device)
        for batch in batches:
            yield batch, self._placed_sample(batch, [texts[job.text] for job in batch], tick)

    def _placed_sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        """``_sample`` with its stage's parts on the device; overridden where it needs other stages' work first."""
        with self._placement.stage(self.sampler_stage):
            return self._sample(jobs, texts, tick)

    def _batches(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Group jobs that can share a pass, at most ``max_batch`` of them."""
        groups: dict[tuple[Hashable, ...], list[Job]] = {}
        for job in jobs:
            groups.setdefault(self._compatible(job), []).append(job)
        size = self.settings.max_batch if self.info.batch else 1
        return [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]

    def _encoding(self, prompt: str, negative: str, guided: bool) -> Condition:
        """``_encode``, remembered: candidates and repeats share one pass of the text encoder."""
        key = (prompt, negative, guided)
        if key in self._encodings:
            self._encodings.move_to_end(key)
            return self._encodings[key]
        encoded = self._encodings[key] = self._encode(prompt, negative, guided)
        if len(self._encodings) > _ENCODINGS_KEPT:
            self._encodings.popitem(last=False)
        return encoded

    def _sounds(self, jobs: Sequence[Job], latents: torch.Tensor) -> list[Coming]:
        """Return each job's sound, on its way to main memory."""
        with self._placement.stage("decoder"):
            waves = self._waves(jobs, latents)
        return [partial(cut, wave, job.frames) for job, wave in zip(jobs, waves, strict=True)]

    def _waves(self, jobs: Sequence[Job], latents: torch.Tensor) -> list[torch.Tensor]:
        """Return each job's sound, [C, T], on its way here; overridden where rows must be decoded by themselves."""
        return self._decoded(latents, max(job.frames for job in jobs))

    def _decoded(self, latents: torch.Tensor, frames: int) -> list[torch.Tensor]:
        """Return [C, T] per row, on its way to the CPU."""
        if self.settings.vae_slicing:
            return [self._to_host(self._decode(row[None], frames)[0]) for row in latents]
        count = len(latents)
        if self._compiler is not None:
            latents = repeated(latents, self._compiler.rows_for("decoder", latents))
        return list(self._to_host(self._decode(latents, frames)[:count]))

    def _warm(self) -> None:
        """Run each configured shape once, so that the compiler's time is spent at load."""
        for shape in self.settings.compile_shapes if self.settings.compile else ():
            if shape.duration_s > self.info.longest_s:
                raise InvalidConfig(
                    f"compile_shapes: given duration_s = {shape.duration_s:g}; {self.info.name} makes at most "
                    f"{self.info.longest_s:g} s"
                )
            steps = None if self.info.steps is None else 2
            item = Item(prompt="warm up", seed=0, duration_s=shape.duration_s, steps=steps)
            with contextlib.nullcontext() if self._compiler is None else self._compiler.warming_up():
                self.generate([item] * shape.items)


def cut(wave: torch.Tensor, frames: int) -> Audio:
    """Return float32 [C, frames]; a model's last frames that it cannot make are silence (see its notes)."""
    found = wave[:, :frames].numpy()
    if found.shape[1] < frames:
        found = np.pad(found, ((0, 0), (0, frames - found.shape[1])))
    return np.ascontiguousarray(found, dtype=np.float32)
