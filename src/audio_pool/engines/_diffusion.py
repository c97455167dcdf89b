"""Diffusion: the denoising loop, with guidance, per-item noise and any of diffusers' schedulers.

Owns: the run from encoded prompts to latents.
Must not know: any single model (each engine says how it conditions and predicts), the pool; checking,
batching, decoding and lengths are _generation.py's.

A new engine subclasses DiffusionEngine with ``_encode``, ``_condition``, ``_predict``, ``_decode`` and
``_noise_shape``; sounds longer than the model and loops are _windowed.py's. audioldm.py is the shortest example.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _samplers, _torch
from audio_pool.engines._compiling import Compiler, repeated
from audio_pool.engines._generation import Condition, Job, StagedEngine
from audio_pool.engines._opening import Opened
from audio_pool.engines._ticker import Ticker

if TYPE_CHECKING:
    import torch

__all__ = ["BeforeStep", "DiffusionEngine", "stacked"]

BeforeStep: TypeAlias = "Callable[[torch.Tensor, int], torch.Tensor]"
"""Called as ``before_step(latents, step)`` with float32 [B, ...]; once more after the last step, with their number."""


def stacked(texts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return one tensor of many ``[R, ...]``: all first rows, then (with guidance, R = 2) all second rows."""
    import torch

    return torch.stack(list(texts), dim=1).flatten(0, 1)


class DiffusionEngine(StagedEngine):
    """The Generator protocol over a diffusion model in stages: encoder, denoiser, decoder."""

    alike = (*StagedEngine.alike, "init_audio")
    sampler_stage = "denoiser"
    time_axis: ClassVar[int] = 2
    """Of a batch's latents: the axis along which sounds go on."""

    samplers: ClassVar[Mapping[str, _samplers.Sampler]] = {}
    """What the option ``scheduler`` may name; the option itself stands in INFO."""

    def __init__(
        self,
        info: EngineInfo,
        settings: _torch.TorchSettings,
        opened: Opened,
        stages: Mapping[str, Mapping[str, torch.nn.Module]],
        scheduler: Any,
    ) -> None:
        """Quantise, place and (where asked) compile the model's parts.

        Args:
            info: with what the loaded model knows better than INFO.
            settings: checked.
            opened: device and precisions.
            stages: parts by name for "encoder", "denoiser" (one part) and "decoder".
            scheduler: a diffusers scheduler (they share no base class that says what they take); copied for
                each run.
        """
        (self._denoiser,) = stages["denoiser"].values()
        self._rows_apart = settings.attention_slicing and not hasattr(self._denoiser, "set_attention_slice")
        if settings.attention_slicing and not self._rows_apart:
            self._denoiser.set_attention_slice("auto")
        super().__init__(info, settings, opened, stages)
        self._scheduler = scheduler
        if settings.compile:
            self._compiler = Compiler(settings, self._device)
            self._compiler.add(self._denoiser)
            for part in stages["decoder"].values():
                # an autoencoder's forward is encode and decode; only its decoder half is called
                self._compiler.add(getattr(part, "decoder", part))

    # -- what an engine says about its model ------------------------------------------------------

    def _condition(self, jobs: Sequence[Job], texts: Sequence[Condition]) -> Condition:
        """Return a batch's tensors, each with one row per job (two with guidance: all unconditional first)."""
        raise NotImplementedError

    def _predict(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Return the denoiser's output for noisy rows at one timestep."""
        raise NotImplementedError

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        """Return the shape of one sound's latents; sounds of one shape share a batch."""
        raise NotImplementedError

    def _latent_samples(self) -> int:
        """Return the samples that one step along the latents' time is long."""
        raise NotImplementedError

    def _sound_latents(self, job: Job, length: int) -> torch.Tensor:
        """Return the sound that the job is made of as latents of this length, float32 as ``_noise_shape``, unscaled.

        The decoder's stage is on the device.
        """
        raise NotImplementedError

    def _timesteps(self, scheduler: Any, steps: int) -> None:
        """Set the run's steps. On the CPU: schedulers look numbers up by them, and each would wait for a GPU."""
        scheduler.set_timesteps(steps, device="cpu")

    def _set_steps(self, scheduler: Any, job: Job) -> None:
        """Set a job's steps, where more than their number decides where they lie."""
        self._timesteps(scheduler, job.steps)

    def _scheduler_settings(self, job: Job) -> dict[str, float]:
        """Return what the job changes in the scheduler's configuration."""
        return {}

    def _step_settings(self, job: Job) -> dict[str, float]:
        """Return further arguments of the scheduler's ``step``."""
        return {}

    # -- the run -----------------------------------------------------------------------------------

    def _compatible(self, job: Job) -> tuple[Hashable, ...]:
        return *super()._compatible(job), self._noise_shape(job)

    def _schedule(self, job: Job) -> tuple[Any, torch.Tensor]:
        """Return a scheduler of this run's own (an aborted run leaves nothing behind) and its timesteps."""
        chosen, flow = self._sampler(job), self.samplers is _samplers.FLOW
        with _samplers.numpy_copies():
            scheduler = _samplers.built(self._scheduler, None if flow else chosen, self._scheduler_settings(job))
            self._set_steps(scheduler, job)
            if flow and chosen is not None:
                scheduler = _samplers.over_flow(scheduler, chosen)
        return scheduler, scheduler.timesteps

    def _sampler(self, job: Job) -> _samplers.Sampler | None:
        """Return what the job asks for; None: the checkpoint's own."""
        name = job.options.get(_samplers.OPTION)
        return None if name is None else self.samplers[str(name)]

    def _step_count(self, job: Job) -> int:
        return len(self._schedule(job)[1])

    def _start(
        self, jobs: Sequence[Job], noise: torch.Tensor, scheduler: Any, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Return the latents that denoising starts from where there is no given sound, or nothing of it is to stay."""
        return noise * scheduler.init_noise_sigma

    def _given(self, jobs: Sequence[Job], noise: torch.Tensor) -> torch.Tensor | None:
        """Return the jobs' given sounds as latents like the noise; None where they start from noise alone."""
        import torch

        if jobs[0].stretch is None and jobs[0].strength >= 1:
            return None
        with self._placement.stage("decoder"):
            found = [self._sound_latents(job, noise.shape[self.time_axis]) for job in jobs]
        return torch.stack(found).to(noise.device)

    def _noised(
        self, scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor:
        """Return latents with as much noise as they have before the step at this timestep."""
        add = scheduler.scale_noise if hasattr(scheduler, "scale_noise") else None
        at = timestep[None].expand(len(latents))
        noisy: torch.Tensor = add(latents, at, noise) if add else scheduler.add_noise(latents, noise, at)
        return noisy

    def _new(self, jobs: Sequence[Job], latents: torch.Tensor) -> torch.Tensor:
        """Return where latents [B, ...] are free, bool of as many axes: elsewhere they are the given sound's."""
        import torch

        samples, axis = self._latent_samples(), self.time_axis
        free = torch.ones(len(jobs), latents.shape[axis], dtype=torch.bool)
        for row, job in zip(free, jobs, strict=True):
            if job.stretch is not None:
                start, end = job.stretch.start - job.stretch.first, job.stretch.end - job.stretch.first
                row[: start // samples] = False
                row[math.ceil(end / samples) :] = False
        shape = [len(jobs), *[1] * (latents.ndim - 1)]
        shape[axis] = latents.shape[axis]
        return free.view(shape).to(latents.device)

    def _scaled(self, scheduler: Any, rows: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the denoiser's input, which some schedulers scale."""
        return scheduler.scale_model_input(rows, t)

    def _step(
        self,
        scheduler: Any,
        pred: torch.Tensor,
        t: torch.Tensor,
        latents: torch.Tensor,
        generators: list[torch.Generator],
        job: Job,
    ) -> torch.Tensor:
        """Return the next latents; samplers that draw noise on the way draw each row's from its own generator."""
        draws = "generator" in inspect.signature(scheduler.step).parameters
        drawn = {"generator": generators} if draws else {}
        return scheduler.step(pred, t, latents, **drawn, **self._step_settings(job)).prev_sample

    def _placed_sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        return self._denoised(jobs, texts, tick)

    def _pass_shape(self, job: Job) -> tuple[int, ...]:
        """Return the shape of the latents that one pass makes of a job."""
        return self._noise_shape(job)

    def _pass_seed(self, job: Job) -> int:
        """Return the seed of one pass's noise."""
        return job.item.seed

    def _denoised(
        self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker, before_step: BeforeStep | None = None
    ) -> torch.Tensor:
        """Return float32 latents [B, ...]: the model runs in its dtype, sums and guidance in float32.

        Args:
            jobs, texts: the batch's.
            tick: called after each step.
            before_step: may change the latents before each step, and what the last one made.
        """
        import torch

        # before the denoiser comes to the device: a start may need the decoder there, a condition the encoder
        scheduler, timesteps = self._schedule(jobs[0])
        # on the CPU in float32 whatever the device and precision: a seed means one sound
        generators = [torch.Generator().manual_seed(self._pass_seed(job)) for job in jobs]
        shape = self._pass_shape(jobs[0])
        noise = torch.stack([torch.randn(shape, generator=each) for each in generators]).to(self._device)
        latents = self._start(jobs, noise, scheduler, timesteps)
        given = self._given(jobs, noise)
        if given is not None and jobs[0].strength < 1:
            latents = self._noised(scheduler, given, noise, timesteps[0]) if len(timesteps) else given
        new = None if given is None or jobs[0].stretch is None else self._new(jobs, latents)
        condition = self._condition(jobs, texts)
        scale = None
        if jobs[0].guided:
            scale = torch.tensor([job.guidance for job in jobs], device=self._device)
            scale = scale.view(-1, *[1] * (latents.ndim - 1))
        # all at once: each step's copy by itself would wait until the device has done all that is queued
        placed = timesteps.to(self._device)
        with self._placement.stage(self.sampler_stage):
            for step, (t, t_placed) in enumerate(zip(timesteps, placed, strict=True)):
                if before_step is not None:
                    latents = before_step(latents, step)
                if new is not None and given is not None:
                    latents = torch.where(new, latents, self._noised(scheduler, given, noise, t))
                rows = self._scaled(scheduler, latents, t)
                pred = self._prediction(jobs, rows, t_placed, condition, scale, generators)
                latents = self._step(scheduler, pred, t, latents, generators, jobs[0])
                tick()
        if before_step is not None:
            latents = before_step(latents, len(timesteps))
        return latents if new is None or given is None else torch.where(new, latents, given)

    def _prediction(
        self,
        jobs: Sequence[Job],
        rows: torch.Tensor,
        t: torch.Tensor,
        condition: Condition,
        scale: torch.Tensor | None,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """Return what the model says of a pass's latents at one timestep, as ``_guided`` does."""
        return self._guided(rows, t, condition, scale)

    def _guided(
        self, rows: torch.Tensor, t: torch.Tensor, condition: Condition, scale: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the prediction for rows [B, ...], float32, guided by ``scale`` [B, ...] where there is one."""
        import torch

        rows = (rows if scale is None else torch.cat([rows] * 2)).to(self.dtype)
        if self.settings.compile and self._device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        pred = self._predicted(rows, t, condition).float()
        if scale is None:
            return pred
        without, towards = pred.chunk(2)
        return without + scale * (towards - without)

    def _predicted(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        if not self._rows_apart:
            return self._predict_padded(rows, t, condition)
        import torch

        apart = []
        for at in range(len(rows)):
            one = {key: value[at : at + 1] for key, value in condition.items()}
            apart.append(self._predict(rows[at : at + 1], t, one))
        return torch.cat(apart)

    def _predict_padded(self, rows: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """``_predict``, with rows more where a larger batch is compiled: each row is itself whatever is beside it."""
        count = len(rows)
        most = count if self._compiler is None else self._compiler.rows_for(self.sampler_stage, rows)
        if most == count:
            return self._predict(rows, t, condition)
        padded = {name: repeated(value, most) for name, value in condition.items()}
        return self._predict(repeated(rows, most), t, padded)[:count]
