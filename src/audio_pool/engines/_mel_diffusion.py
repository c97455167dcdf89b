"""The engines whose latents are pictures of sound: AudioLDM and AudioLDM2.

Owns: what those share beyond the common run: parts and stages, latent shapes, the decode through a
mel spectrogram, and audio-to-audio.
Must not know: how a single engine makes its condition, the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import structs

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _diffusion, _mel, _opening

if TYPE_CHECKING:
    import torch

__all__ = ["MelDiffusion"]


class MelDiffusion(_diffusion.DiffusionEngine):
    """A diffusers pipeline with ``unet``, ``vae`` and ``vocoder``."""

    trained_s = 10.24
    encoder_parts: ClassVar[tuple[str, ...]]
    """The pipeline's parts that make the condition."""

    def __init__(
        self,
        info: EngineInfo,
        settings: _opening.DiffusionSettings,
        opened: _opening.Opened,
        pipe: Any,
    ) -> None:
        self.pipe = pipe
        if settings.chunked_decode:
            _mel.set_tiles(pipe.vae)
        stages = {
            "encoder": {name: getattr(pipe, name) for name in self.encoder_parts},
            "denoiser": {"unet": pipe.unet},
            "decoder": {"vae": pipe.vae, "vocoder": pipe.vocoder},
        }
        info = structs.replace(info, sample_rate=pipe.vocoder.config.sampling_rate)
        super().__init__(info, settings, opened, stages, pipe.scheduler)

    def _noise_shape(self, job: _diffusion.Job) -> tuple[int, ...]:
        return _mel.latent_shape(self.pipe, job.frames)

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        return _mel.decode(self.pipe, latents, chunked=self.settings.chunked_decode)

    def _text_warnings(self, job: _diffusion.Job) -> list[str]:
        return _diffusion.truncations(job, self.pipe.tokenizer)

    # -- audio-to-audio: start from the given sound, noised to the step that init_strength names -----

    def _kind(self, job: _diffusion.Job) -> Any:
        return *super()._kind(job), self._skipped(job)  # strength 1 skips nothing: it is like no sound at all

    def _skipped(self, job: _diffusion.Job) -> int:
        """Steps left out at the start because the given sound already stands there."""
        if job.item.init_audio is None:
            return 0
        strength = 0.5 if job.item.init_strength is None else job.item.init_strength
        return job.steps - round(job.steps * strength)

    def _schedule(self, job: _diffusion.Job) -> tuple[Any, torch.Tensor]:
        scheduler, timesteps = super()._schedule(job)
        skipped = self._skipped(job) * scheduler.order
        if skipped and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        return scheduler, timesteps[skipped:]

    def _start(
        self, jobs: Sequence[_diffusion.Job], noise: torch.Tensor, scheduler: Any, timesteps: torch.Tensor
    ) -> torch.Tensor:
        import torch

        sounds = [job.item.init_audio for job in jobs if job.item.init_audio is not None]
        if not self._skipped(jobs[0]):
            return super()._start(jobs, noise, scheduler, timesteps)
        with self._placement.stage("decoder"):
            encoded = [_mel.encode(self.pipe, sound, noise.shape[2]) for sound in sounds]
        latents = torch.stack(encoded).to(noise.device)
        if not len(timesteps):
            return latents
        return scheduler.add_noise(latents, noise, timesteps[:1].expand(len(jobs)))
