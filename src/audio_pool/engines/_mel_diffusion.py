"""The engines whose latents are pictures of sound: AudioLDM and AudioLDM2.

Owns: what those share beyond the common run: parts and stages, latent shapes, the decode through a
mel spectrogram, and audio-to-audio.
Must not know: how a single engine makes its condition, the pool.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import structs

from audio_pool.engine_info import EngineInfo, OptionInfo
from audio_pool.engines import _mel, _samplers
from audio_pool.engines._generation import Job
from audio_pool.engines._opening import Opened
from audio_pool.engines._texts import bound_tokens, truncations
from audio_pool.engines._torch import TorchSettings
from audio_pool.engines._windowed import Decoding, WindowedDiffusion
from audio_pool.engines._windows import Layout
from audio_pool.engines.base import Item
from audio_pool.errors import NotSupported
from audio_pool.types import frames_of

if TYPE_CHECKING:
    import torch

__all__ = ["ETA", "MelDiffusion"]

ETA = OptionInfo(
    name="eta",
    type="float",
    default=0.0,
    low=0.0,
    high=1.0,
    summary="Noise that the DDIM sampler adds at every step: 0 none, 1 as much as DDPM (DDIM paper, eq. 16)",
)


class MelDiffusion(WindowedDiffusion):
    """A diffusers pipeline with ``unet``, ``vae`` and ``vocoder``.

    Up to ``window_s`` a sound is made in one pass, which the model was trained on to ``trained_s``; longer ones in
    windows of what it was trained on.
    """

    trained_s = 10.24
    alike = (*WindowedDiffusion.alike, "length")
    samplers = _samplers.NOISE
    encoder_parts: ClassVar[tuple[str, ...]]
    """The pipeline's parts that make the condition."""

    def __init__(
        self,
        info: EngineInfo,
        settings: TorchSettings,
        opened: Opened,
        pipe: Any,
    ) -> None:
        self.pipe = pipe
        text = getattr(pipe.text_encoder.config, "text_config", pipe.text_encoder.config)
        # RoBERTa counts positions from its padding mark's number on
        bound_tokens(pipe.tokenizer, int(text.max_position_embeddings) - int(text.pad_token_id or 0) - 1)
        if settings.chunked_decode:
            _mel.set_tiles(pipe.vae)
        stages = {
            "encoder": {name: getattr(pipe, name) for name in self.encoder_parts},
            "denoiser": {"unet": pipe.unet},
            "decoder": {"vae": pipe.vae, "vocoder": pipe.vocoder},
        }
        self._own_eta = _takes_eta(pipe.scheduler)
        info = structs.replace(
            info,
            sample_rate=pipe.vocoder.config.sampling_rate,
            # a checkpoint may bring another sampler, which knows no eta
            options=tuple(one for one in info.options if one.name != ETA.name or self._own_eta),
        )
        super().__init__(info, settings, opened, stages, pipe.scheduler)

    def _job(self, index: int, item: Item) -> Job:
        job = super()._job(index, item)
        if job.number(ETA.name) and not self._with_eta(job):
            name = job.options[_samplers.OPTION]
            raise NotSupported(f"{self.info.name}: eta belongs to the sampler 'ddim'; scheduler={name!r} has none")
        return job

    def _with_eta(self, job: Job) -> bool:
        sampler = self._sampler(job)
        return self._own_eta if sampler is None else sampler is self.samplers["ddim"]

    def _step_settings(self, job: Job) -> dict[str, float]:
        eta = job.number(ETA.name)
        return {} if eta is None or not self._with_eta(job) else {"eta": eta}

    def _noise_shape(self, job: Job) -> tuple[int, ...]:
        return _mel.latent_shape(self.pipe, self._roomy(job))

    def _roomy(self, job: Job) -> int:
        """Return the samples that a pass makes: compiled, those of the least of ``compile_shapes`` that holds them.

        The rest is cut off; what the sound is follows from the settings, not from what happens to be compiled by now.
        """
        of_its_own = job.item.loop or job.window is not None or job.given is not None
        if not self.settings.compile or of_its_own or self._windows(job):
            return job.frames
        lengths = [frames_of(shape.duration_s, self.info.sample_rate) for shape in self.settings.compile_shapes]
        return min((frames for frames in lengths if frames >= job.frames), default=job.frames)

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        return _mel.decode(self.pipe, latents, chunked=self.settings.chunked_decode)

    def _layout(self) -> Layout:
        samples = self._latent_samples()
        per_s, window_s = self.info.sample_rate / samples, self.info.window_s or self.info.longest_s
        # the UNet halves time so often
        multiple = 2 ** (len(self.pipe.unet.config.block_out_channels) - 1)
        window = max(1, round(self.trained_s * per_s / multiple)) * multiple
        return Layout(
            samples=samples,
            whole=math.ceil(round(window_s * per_s, 6)),
            window=window,
            overlap=window // 4,
            multiple=multiple,
        )

    def _closes(self) -> bool:
        return not self.settings.compile  # compiled code keeps the padding that it was compiled with

    def _closed(self) -> contextlib.AbstractContextManager[object]:
        return _mel.circular(self.pipe.unet)

    def _decoding(self) -> Decoding:
        return _mel.Decoding(self.pipe, chunked=self.settings.chunked_decode)

    def _decode_turn(self, latents: torch.Tensor) -> torch.Tensor:
        tile, chunked = self._layout().window, self.settings.chunked_decode
        return _mel.decode_turn(self.pipe, latents, chunked=chunked, tile=tile, closes=self._closes())

    def _text_warnings(self, job: Job) -> list[str]:
        return truncations(job, self.pipe.tokenizer)

    # -- audio-to-audio: start from the given sound, noised to the step that init_strength names -----

    def _skipped(self, job: Job) -> int:
        """Return the number of steps left out at the start, because the given sound already stands there.

        Any strength above 0 takes a step: none would hand the given sound back as if it had been worked on.
        """
        return job.steps - (max(1, round(job.steps * job.strength)) if job.strength else 0)

    def _schedule(self, job: Job) -> tuple[Any, torch.Tensor]:
        scheduler, timesteps = super()._schedule(job)
        skipped = self._skipped(job) * scheduler.order
        if skipped and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        return scheduler, timesteps[skipped:]

    def _latent_samples(self) -> int:
        return _mel.hop_of(self.pipe.vocoder) * int(self.pipe.vae_scale_factor)

    def _sound_latents(self, job: Job, length: int) -> torch.Tensor:
        assert job.item.init_audio is not None, "asked for where there is a given sound"
        return _mel.encode(self.pipe, job.item.init_audio, length, self._device)


def _takes_eta(scheduler: Any) -> bool:
    return "eta" in inspect.signature(scheduler.step).parameters
