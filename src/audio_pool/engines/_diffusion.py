"""What every diffusion engine does alike: check items, batch them, denoise, decode, cut to length.

Owns: the run loop from items to sounds, per-item seeds, guidance, progress, and the cache of
encoded prompts.
Must not know: any single model (each engine says how it encodes, predicts and decodes), the pool.

A new engine subclasses DiffusionEngine with ``_encode``, ``_condition``, ``_predict``, ``_decode`` and
``_noise_shape``; audioldm.py is the shortest example.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from msgspec import structs

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import _torch
from audio_pool.engines._opening import DiffusionSettings, Opened
from audio_pool.engines._quantize import quantize
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.errors import InvalidRequest, NotSupported
from audio_pool.types import frames_of

if TYPE_CHECKING:
    import torch

__all__ = [
    "DiffusionEngine",
    "Job",
    "stacked",
    "truncations",
]

_ENCODINGS_KEPT = 64


@dataclass(frozen=True, kw_only=True)
class Job:
    """An item with every default settled."""

    index: int
    item: Item
    steps: int
    guidance: float
    frames: int
    """Exact length of the result at the engine's rate."""

    @property
    def guided(self) -> bool:
        """Whether an unconditional row is needed (guidance 1 is the prompt alone)."""
        return self.guidance > 1.0

    @property
    def text(self) -> tuple[str, str, bool]:
        """What its encoding depends on."""
        return self.item.prompt, self.item.negative_prompt if self.guided else "", self.guided


Condition = dict[str, Any]
"""Tensors by name, rows first; with guidance the unconditional rows come before the others."""


def stacked(texts: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor of many ``[R, ...]``: all first rows, then (with guidance, R = 2) all second rows."""
    import torch

    return torch.stack(list(texts), dim=1).flatten(0, 1)


class DiffusionEngine:
    """The Generator protocol over a diffusion model in stages: encoder, denoiser, decoder."""

    trained_s: ClassVar[float] = math.inf
    """Longer sounds are made, with a warning: the model has never heard any."""

    never_quantized: ClassVar[frozenset[str]] = frozenset()
    """Parts of the encoder stage too small to be worth the loss."""

    def __init__(
        self,
        info: EngineInfo,
        settings: DiffusionSettings,
        opened: Opened,
        stages: Mapping[str, Mapping[str, torch.nn.Module]],
        scheduler: Any,
    ) -> None:
        """Quantises, places and (where asked) compiles the model's parts.

        Args:
            info: as ``INFO``, with what the loaded model knows better.
            settings: checked.
            opened: device and precisions.
            stages: parts by name for "encoder", "denoiser" (one part) and "decoder".
            scheduler: a diffusers scheduler; copied for each run.
        """
        self.info = structs.replace(info, model=settings.model or info.model, model_revision=opened.revision)
        self.settings = settings
        self.device = opened.device
        self.dtype = opened.dtype
        self._scheduler = scheduler
        self._step_draws = "generator" in inspect.signature(scheduler.step).parameters
        (self._denoiser,) = stages["denoiser"].values()
        for name, part in (*stages["encoder"].items(), ("denoiser", self._denoiser)):
            if name not in self.never_quantized:
                quantize(part, settings, opened.device)
        for parts in stages.values():
            for part in parts.values():
                part.eval().requires_grad_(False)
        self._rows_apart = settings.attention_slicing and not hasattr(self._denoiser, "set_attention_slice")
        if settings.attention_slicing and not self._rows_apart:
            self._denoiser.set_attention_slice("auto")
        self._placement = _torch.Placement(stages, settings, opened.device)
        self._encodings: OrderedDict[tuple[str, str, bool], Condition] = OrderedDict()
        if settings.compile:
            _torch.compile_module(self._denoiser, settings, self.device)
            for part in stages["decoder"].values():
                # an autoencoder's forward is encode and decode; only its decoder half is called
                _torch.compile_module(getattr(part, "decoder", part), settings, self.device)

    # -- what an engine says about its model ------------------------------------------------------

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """One prompt's tensors, on the device, as ``_condition`` wants them."""
        raise NotImplementedError

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """A batch's tensors, every one with a row a job (two with guidance: all unconditional first)."""
        raise NotImplementedError

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The denoiser's output for noisy rows at one timestep."""
        raise NotImplementedError

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        """[B, C, T] with T >= frames where the model can, from latents float32 [B, ...]."""
        raise NotImplementedError

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        """Of one sound's latents; sounds of one shape share a batch."""
        raise NotImplementedError

    def _timesteps(self, scheduler: Any, steps: int) -> None:
        """Sets the run's steps. On the CPU: schedulers look numbers up by them, and each would wait for a GPU."""
        scheduler.set_timesteps(steps, device="cpu")

    def _text_warnings(self, job: Job) -> list[str]:
        return []

    # -- the protocol ------------------------------------------------------------------------------

    def notes(self, item: Item) -> Notes:
        """What cannot be done is refused, what is done otherwise is said.

        Raises:
            NotSupported: a longer sound than the model makes, init audio or a voice where there is none.
        """
        job = self._job(0, item)
        said = self._text_warnings(job)
        if item.negative_prompt and not job.guided:
            said.append(
                f"negative_prompt_unused: guidance_scale {job.guidance:g} turns guidance off, "
                "and the negative prompt with it"
            )
        if item.duration_s > self.trained_s:
            said.append(
                f"beyond_training_length: {self.info.name} was trained on {self.trained_s:g} s; "
                f"{item.duration_s:g} s may lose coherence"
            )
        return Notes(warnings=tuple(said))

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """One float32 [C, T] an item at ``info.sample_rate``, each round(duration_s * rate) frames.

        Raises:
            NotSupported, OutOfMemory; whatever ``on_step`` raises.
        """
        sounds: dict[int, Audio] = {}
        with self._running(len(items)):
            for jobs, latents in self._denoised(items, on_step):
                with self._placement.stage("decoder"):
                    waves = self._decoded(latents, max(job.frames for job in jobs))
                for job, wave in zip(jobs, waves, strict=True):
                    sounds[job.index] = _cut(wave, job.frames)
        return [sounds[index] for index in range(len(items))]

    def latents(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """The denoised latents, float32, one array an item, in the model's own layout."""
        found: dict[int, Audio] = {}
        with self._running(len(items)):
            for jobs, latents in self._denoised(items, on_step):
                for job, row in zip(jobs, latents.float().cpu().numpy(), strict=True):
                    found[job.index] = row
        return [found[index] for index in range(len(items))]

    def close(self) -> None:
        """Gives the memory back."""
        import torch

        self._encodings.clear()
        del self._denoiser, self._placement
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # -- the run -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _running(self, items: int) -> Iterator[None]:
        import torch

        with _torch.memory_errors(self.info.name, self.device, self.settings.max_memory, items), torch.no_grad():
            yield

    def _job(self, index: int, item: Item) -> Job:
        name = self.info.name
        _checked(name, item)
        if item.duration_s > self.info.longest_s + 1e-9:
            raise NotSupported(
                f"{name} makes at most {self.info.longest_s:g} s; {item.duration_s:g} s were asked for"
            )
        if item.init_audio is not None and not self.info.init_audio:
            raise NotSupported(f"{name} cannot start from audio (init_audio)")
        if item.voice is not None:
            raise NotSupported(f"{name} has no voices; voice={item.voice!r} was asked for")
        if item.loop:
            raise NotSupported(f"{name} makes no loops of itself; ask without loop and make one of the sound")
        steps = item.steps if item.steps is not None else self.info.steps
        guidance = item.guidance_scale if item.guidance_scale is not None else self.info.guidance_scale
        assert steps is not None and guidance is not None, "a diffusion engine's INFO has both"
        frames = frames_of(item.duration_s, self.info.sample_rate)
        return Job(index=index, item=item, steps=steps, guidance=guidance, frames=frames)

    def _denoised(
        self, items: Sequence[Item], on_step: OnStep | None
    ) -> Iterator[tuple[list[Job], torch.Tensor]]:
        """Batches of jobs with their float32 latents, rows in the jobs' order."""
        jobs = [self._job(index, item) for index, item in enumerate(items)]
        with self._placement.stage("encoder"):
            texts = {job.text: self._encoding(*job.text) for job in jobs}
        batches = self._batches(jobs)
        total = sum(self._step_count(batch[0]) for batch in batches)
        tick = _Ticker(on_step, total, self.device)
        for batch in batches:
            with self._placement.stage("denoiser"):
                latents = self._denoise(batch, [texts[job.text] for job in batch], tick)
            yield batch, latents

    def _batches(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Jobs that can share a pass: same steps, same shape, all guided or none."""
        groups: dict[Any, list[Job]] = {}
        for job in jobs:
            groups.setdefault(self._kind(job), []).append(job)
        size = self.settings.max_batch if self.info.batch else 1
        return [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]

    def _kind(self, job: Job) -> Any:
        return job.steps, job.guided, self._noise_shape(job)

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

    def _schedule(self, job: Job) -> tuple[Any, torch.Tensor]:
        """A scheduler of this run's own (an aborted run leaves nothing behind) and its timesteps."""
        scheduler = type(self._scheduler).from_config(self._scheduler.config)
        self._timesteps(scheduler, job.steps)
        return scheduler, scheduler.timesteps

    def _step_count(self, job: Job) -> int:
        return len(self._schedule(job)[1])

    def _start(
        self, jobs: Sequence[Job], noise: torch.Tensor, scheduler: Any, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """The latents that denoising starts from."""
        return noise * scheduler.init_noise_sigma

    def _scaled(self, scheduler: Any, rows: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The denoiser's input, which some schedulers scale."""
        return scheduler.scale_model_input(rows, t)

    def _step(
        self, scheduler: Any, pred: Any, t: Any, latents: Any, generators: list[torch.Generator]
    ) -> torch.Tensor:
        """The next latents; samplers that draw noise on the way draw each row's from its own generator."""
        drawn = {"generator": generators} if self._step_draws else {}
        return scheduler.step(pred, t, latents, **drawn).prev_sample

    def _denoise(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: _Ticker) -> torch.Tensor:
        """Float32 latents [B, ...]: the model runs in its dtype, sums and guidance in float32."""
        import torch

        scheduler, timesteps = self._schedule(jobs[0])
        # on the CPU in float32 whatever the device and precision: a seed means one sound
        generators = [torch.Generator().manual_seed(job.item.seed) for job in jobs]
        shape = self._noise_shape(jobs[0])
        noise = torch.stack([torch.randn(shape, generator=each) for each in generators]).to(self.device)
        latents = self._start(jobs, noise, scheduler, timesteps)
        condition = self._condition(jobs, texts)
        guided = jobs[0].guided
        scale = torch.tensor([job.guidance for job in jobs], device=self.device)
        scale = scale.view(-1, *[1] * (latents.ndim - 1))
        for t in timesteps:
            rows = torch.cat([latents] * 2) if guided else latents
            rows = self._scaled(scheduler, rows, t).to(self.dtype)
            if self.settings.compile and self.device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            pred = self._predicted(rows, t.to(self.device), condition).float()
            if guided:
                without, towards = pred.chunk(2)
                pred = without + scale * (towards - without)
            latents = self._step(scheduler, pred, t, latents, generators)
            tick()
        return latents

    def _predicted(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        if not self._rows_apart:
            return self._predict(rows, t, condition)
        import torch

        apart = []
        for at in range(len(rows)):
            one = {key: value if value is None else value[at : at + 1] for key, value in condition.items()}
            apart.append(self._predict(rows[at : at + 1], t, one))
        return torch.cat(apart)

    def _decoded(self, latents: torch.Tensor, frames: int) -> list[torch.Tensor]:
        """[C, T] a row, on the CPU."""
        if self.settings.vae_slicing:
            return [self._decode(row[None], frames)[0].float().cpu() for row in latents]
        return list(self._decode(latents, frames).float().cpu())

    def _warm(self) -> None:
        """Runs each configured shape once, so that the compiler's time is spent at load."""
        for shape in self.settings.compile_shapes if self.settings.compile else ():
            item = Item(prompt="warm up", seed=0, duration_s=min(shape.duration_s, self.info.longest_s), steps=2)
            self.generate([item] * shape.items)


def _checked(name: str, item: Item) -> None:
    """Refuses an Item that never went through a request's checks.

    Raises:
        InvalidRequest: naming the field, what was given and what is allowed.
    """

    def refuse(field: str, given: Any, allowed: str) -> None:
        raise InvalidRequest(f"{name}: {field}: given {given!r}, allowed is {allowed}")

    for field in ("prompt", "negative_prompt"):
        if not isinstance(getattr(item, field), str):
            refuse(field, getattr(item, field), "text")
    if not 0 <= item.seed < 2**63:
        refuse("seed", item.seed, "0 to 2**63 - 1")
    if not (math.isfinite(item.duration_s) and item.duration_s > 0):
        refuse("duration_s", item.duration_s, "a number of seconds above 0")
    if item.steps is not None and not 1 <= item.steps <= 1000:
        refuse("steps", item.steps, "1 to 1000")
    if item.guidance_scale is not None and not 0 <= item.guidance_scale <= 100:
        refuse("guidance_scale", item.guidance_scale, "0 to 100")
    if item.init_strength is not None and not 0 <= item.init_strength <= 1:
        refuse("init_strength", item.init_strength, "0 to 1")
    sound = item.init_audio
    if sound is not None and (sound.ndim != 2 or not sound.size or not np.isfinite(sound).all()):
        refuse("init_audio", getattr(sound, "shape", sound), "a finite float32 array [C, T]")


def truncations(job: Job, tokenizer: Any) -> list[str]:
    """Named warnings for texts of which the model reads only the beginning."""
    said, most = [], tokenizer.model_max_length
    for name, text in (("prompt", job.item.prompt), ("negative_prompt", job.item.negative_prompt)):
        given = len(tokenizer(text).input_ids)
        if given > most:
            said.append(f"{name}_truncated: {given} tokens, of which the model reads {most}")
    return said


class _Ticker:
    """Counts steps and reports them, at most two ahead of a GPU.

    Launches return long before the GPU has worked; without the wait a cancel would come after all of
    them were queued, and progress would be a fiction. Two steps in flight keep the GPU fed.
    """

    def __init__(self, on_step: OnStep | None, total: int, device: torch.device) -> None:
        self._on_step = on_step
        self._total = total
        self._done = 0
        self._events: list[Any] = []
        self._marker: Callable[[], Any] | None = None
        if on_step is not None and device.type == "cuda":
            import torch

            self._marker = torch.cuda.Event

    def __call__(self) -> None:
        self._done += 1
        if self._on_step is None:
            return
        if self._marker is not None:
            event = self._marker()
            event.record()
            self._events.append(event)
            if len(self._events) > 2:
                self._events.pop(0).synchronize()
        self._on_step(self._done, self._total)


def _cut(wave: torch.Tensor, frames: int) -> Audio:
    """float32 [C, frames]; a model's last frames that it cannot make are silence (see its notes)."""
    found = wave[:, :frames].numpy()
    if found.shape[1] < frames:
        found = np.pad(found, ((0, 0), (0, frames - found.shape[1])))
    return np.ascontiguousarray(found, dtype=np.float32)
