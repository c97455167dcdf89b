"""The engines of a rectified flow: noise and sound are mixed along a straight line, and the model says its slope.

Owns: what those share beyond the common run: samplers, where a run starts, and how it starts from a given sound.
Must not know: how a single engine makes its condition, the pool. A flow enters where the given sound is noised to the
strength, and takes that share of its steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from audio_pool.engines._diffusion import DiffusionEngine
from audio_pool.engines._generation import Job
from audio_pool.engines._samplers import FLOW

if TYPE_CHECKING:
    import torch

__all__ = ["FlowDiffusion"]


class FlowDiffusion(DiffusionEngine):
    """Its scheduler's timesteps are the share of noise, times the configuration's ``num_train_timesteps``."""

    samplers = FLOW

    _around: torch.Tensor | None = None
    """The given sounds of the run that starts, as latents like the noise, until ``_condition`` has read them."""

    def _start(self, jobs: Sequence[Job], noise: torch.Tensor, scheduler: Any, timesteps: torch.Tensor) -> torch.Tensor:
        scheduler.set_begin_index(0)
        return noise

    def _scaled(self, scheduler: Any, rows: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return rows

    def _schedule(self, job: Job) -> tuple[Any, torch.Tensor]:
        if job.strength == 1:
            return super()._schedule(job)
        steps = max(1, round(job.steps * job.strength))
        scheduler, timesteps = super()._schedule(dataclasses.replace(job, steps=steps))
        if job.unchanged:
            return scheduler, timesteps[:0]
        scheduler.sigmas, scheduler.timesteps = scheduler.sigmas * job.strength, timesteps * job.strength
        return scheduler, scheduler.timesteps

    def _given(self, jobs: Sequence[Job], noise: torch.Tensor) -> torch.Tensor | None:
        self._around = super()._given(jobs, noise)
        return self._around

    def _noised(
        self, scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor:
        level = float(timestep) / self._scheduler.config.num_train_timesteps
        return (1 - level) * latents + level * noise
