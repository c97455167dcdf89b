"""Diffusion beyond the model's window: long sounds window by window, loops as rings, and their decode.

Owns: the runs of _diffusion.py put together by the windows of _windows.py.
Must not know: any single model, the pool.

An engine subclasses WindowedDiffusion with ``_layout``, ``_decoding`` and ``_decode_turn`` on top of what every
diffusion engine says, and asks ``_span`` for the seconds that it tells its model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from audio_pool.engines._diffusion import DiffusionEngine
from audio_pool.engines._generation import Coming, Condition, Job, cut
from audio_pool.engines._ticker import Ticker
from audio_pool.engines._windows import Joint, Layout, Ring, Trail, Window, line, ring, window_seed
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.errors import NotSupported
from audio_pool.types import frames_of

if TYPE_CHECKING:
    import torch

__all__ = ["Decoding", "WindowedDiffusion", "fitted"]


class Decoding(Protocol):
    """A long sound's latents on their way to samples, piece by piece."""

    def push(self, latents: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Return the samples [B, C, T] that no later latents will change, from the next latents [B, ...]."""
        ...


class WindowedDiffusion(DiffusionEngine):
    """A diffusion engine whose sounds may be longer than its model's, and whose loops close by themselves."""

    _weighed: tuple[Ring, torch.Tensor] | None = None
    """The last loop's windows and their weights."""

    # -- what an engine says about its model ------------------------------------------------------

    def _layout(self) -> Layout | None:
        """Return how the latents lie in time; None: this model makes no longer sounds, and no loops of itself."""
        raise NotImplementedError

    def _decoding(self) -> Decoding:
        """Return what decodes one batch of long sounds."""
        raise NotImplementedError

    def _decode_turn(self, latents: torch.Tensor) -> torch.Tensor:
        """Return [B, C, T] of loops' latents, T all of their samples, the last one before the first."""
        raise NotImplementedError

    def _closed(self) -> contextlib.AbstractContextManager[object]:
        """Inside, the denoiser's ends in time meet, where it can be made so; see ``_closes``."""
        return contextlib.nullcontext()

    def _closes(self) -> bool:
        """Return True if ``_closed`` lets a window that is the whole loop have no edges."""
        return False

    def _limit_to_one_pass(self) -> None:
        """Say what this checkpoint can do, once its parts are there: without a layout, no more than its window."""
        if self._layout() is None:
            most = self.info.window_s or self.info.longest_s
            self.info = structs.replace(self.info, longest_s=most, window_s=None, loop=False, streams=False)

    # -- which windows -----------------------------------------------------------------------------

    def _windows(self, job: Job) -> list[Window]:
        """Return the windows of a sound that is longer than one pass; none for all others, and for loops."""
        layout = self._layout()
        if layout is None or job.item.loop or job.window is not None:
            return []
        frames = layout.frames(job.frames)
        return line(frames, layout) if frames > layout.whole else []

    def _ring(self, job: Job) -> Ring | None:
        """Return the windows of a loop."""
        layout = self._layout()
        if layout is None or not job.item.loop:
            return None
        turn = layout.turn(job.frames)
        assert turn is not None, "checked with the item"
        return ring(turn, layout)

    def _loops(self, item: Item) -> bool:
        layout = self._layout()
        if layout is None or item.init_audio is not None:
            return False
        return layout.turn(frames_of(item.duration_s, self.info.sample_rate)) is not None

    def _job(self, index: int, item: Item) -> Job:
        job = super()._job(index, item)
        if item.init_audio is not None and self._windows(job):
            raise NotSupported(
                f"{self.info.name} starts from a sound where it makes at most {self.info.window_s:g} s; "
                f"{item.duration_s:g} s were asked for"
            )
        return job

    def _most_around_s(self) -> float:
        return self.info.window_s or self.info.longest_s

    def _pass_s(self, job: Job) -> float:
        layout = self._layout()
        if layout is None or not (job.item.loop or self._windows(job)):
            return super()._pass_s(job)
        return min(job.item.duration_s, layout.window * layout.samples / self.info.sample_rate)

    def _span(self, job: Job) -> tuple[float, float]:
        """Return where in its sound the part lies that a pass makes: its start, and the sound's end from there.

        A loop has neither: to the model it is a part of something longer than its window.
        """
        layout = self._layout()
        if layout is None:
            return 0.0, job.item.duration_s
        frame_s = layout.samples / self.info.sample_rate
        if job.item.loop:
            return 0.0, layout.window * frame_s
        start_s = job.window.start * frame_s if job.window else 0.0
        return start_s, job.item.duration_s - start_s

    # -- the run -----------------------------------------------------------------------------------

    def _compatible(self, job: Job) -> tuple[Hashable, ...]:
        turn = self._ring(job)
        return *super()._compatible(job), len(self._windows(job)), turn and turn.frames

    def _step_count(self, job: Job) -> int:
        return super()._step_count(job) * max(1, len(self._windows(job)))

    def _pass_shape(self, job: Job) -> tuple[int, ...]:
        shape, axis, turn = list(super()._pass_shape(job)), self.time_axis - 1, self._ring(job)
        if turn is not None:
            shape[axis] = turn.frames
        elif job.window is not None:
            shape[axis] = job.window.width
        return tuple(shape)

    def _pass_seed(self, job: Job) -> int:
        return window_seed(super()._pass_seed(job), job.window.number if job.window else 0)

    def _placed_sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        import torch

        if not self._windows(jobs[0]):
            return super()._placed_sample(jobs, texts, tick)
        return torch.cat(list(self._in_windows(jobs, texts, tick)), dim=self.time_axis)

    def _in_windows(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> Iterator[torch.Tensor]:
        """Yield a batch's latents [B, ...] window by window, each as far as the next one leaves it as it is."""
        layout = self._layout()
        assert layout is not None
        trail: Trail | None = None
        for window in self._windows(jobs[0]):
            placed = [dataclasses.replace(job, window=window) for job in jobs]
            more = window.done + layout.overlap <= window.width
            steps = super()._step_count(placed[0])
            joint = Joint(trail, Trail(window.done, layout.overlap, self.time_axis, steps) if more else None)
            latents = self._denoised(placed, texts, tick, joint)
            trail = joint.after
            yield latents.narrow(self.time_axis, 0, window.done)

    def _prediction(
        self,
        jobs: Sequence[Job],
        rows: torch.Tensor,
        t: torch.Tensor,
        condition: Condition,
        scale: torch.Tensor | None,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        turn = self._ring(jobs[0])
        if turn is None:
            return super()._prediction(jobs, rows, t, condition, scale, generators)
        if turn.alone and self._closes():
            # wherever it began, it would see the same ring
            with self._closed():
                return self._guided(rows, t, condition, scale)
        return self._around(turn, rows, t, condition, scale, generators)

    def _around(
        self,
        turn: Ring,
        latents: torch.Tensor,
        t: torch.Tensor,
        condition: Condition,
        scale: torch.Tensor | None,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """Return what the model says of loops, from another beginning each time, the windows' opinions averaged."""
        import torch

        axis = self.time_axis
        by = [int(torch.randint(turn.frames, (), generator=each)) for each in generators]
        rolled = torch.stack([row.roll(-more, axis - 1) for row, more in zip(latents, by, strict=True)])
        halves = {name: value.chunk(1 if scale is None else 2) for name, value in condition.items()}
        weights = self._weights(turn, latents)
        total = torch.zeros_like(rolled)
        # compiled, as many rows as any other batch of so many sounds has
        together = 1 if self.settings.compile else max(1, self.settings.max_batch // len(latents))
        for first in range(0, len(turn.starts), together):
            starts = turn.starts[first : first + together]
            seen = torch.cat([_seen(rolled, start, turn.width, axis) for start in starts])
            many = {name: torch.cat([half for half in found for _ in starts]) for name, found in halves.items()}
            scales = None if scale is None else torch.cat([scale] * len(starts))
            opinions = self._guided(seen, t, many, scales).chunk(len(starts))
            for start, weight, one in zip(starts, weights[first : first + together], opinions, strict=True):
                total += _laid(one * weight, start, turn.frames, axis)
        return torch.stack([row.roll(more, axis - 1) for row, more in zip(total, by, strict=True)])

    def _weights(self, turn: Ring, latents: torch.Tensor) -> torch.Tensor:
        """Return each window's weights, on the device from the first step on: [windows, 1, ..., width, ..., 1]."""
        import torch

        if self._weighed is None or self._weighed[0] != turn:
            shape = [1] * latents.ndim
            shape[self.time_axis] = turn.width
            weights = torch.from_numpy(turn.weights()).to(latents.device)
            self._weighed = turn, weights.view(len(turn.starts), *shape)
        return self._weighed[1]

    # -- the decode of what is made in windows -------------------------------------------------------

    def _sounds(self, jobs: Sequence[Job], latents: torch.Tensor) -> list[Coming]:
        windows, turn = self._windows(jobs[0]), self._ring(jobs[0])
        if not windows and turn is None:
            return super()._sounds(jobs, latents)
        sounds: list[Coming] = []
        # vae_slicing: one sound at a time
        size = 1 if self.settings.vae_slicing else len(jobs)
        for first in range(0, len(jobs), size):
            rows, own = latents[first : first + size], jobs[first : first + size]
            with self._placement.stage("decoder"):
                if turn is not None:
                    waves = self._to_host(self._decode_turn(rows))
                    sounds += [partial(_turned, wave, job.frames) for wave, job in zip(waves, own, strict=True)]
                    continue
                decoding = self._decoding()
                parts = rows.split([window.done for window in windows], dim=self.time_axis)
                pieces = [
                    self._to_host(decoding.push(part, last=number == len(parts) - 1))
                    for number, part in enumerate(parts)
                ]
            sounds += [partial(_in_a_row, pieces, row, job.frames) for row, job in enumerate(own)]
        return sounds

    def pieces(self, item: Item, on_step: OnStep | None = None) -> Iterator[Audio]:
        """Yield the sound piece by piece, float32 [C, T]; in a row they are what ``generate([item])`` gives.

        A sound longer than one pass comes as its windows are done; all others, and loops, in one piece.

        Raises:
            what ``generate`` raises.
        """
        job = self._job(0, item)
        windows = self._windows(job)
        if not windows:
            yield from self.generate([item], on_step)
            return
        run = self._in_pieces(job, Ticker(on_step, self._step_count(job), self._device), len(windows))
        while True:
            # not across the yield: whoever takes the piece has a life of its own in the meantime
            with self._running(1):
                piece = next(run, None)
            if piece is None:
                return
            yield piece

    def _in_pieces(self, job: Job, tick: Ticker, count: int) -> Iterator[Audio]:
        with self._placement.stage("encoder"):
            text = self._encoding(*job.text)
        decoding, left = self._decoding(), job.frames
        for number, latents in enumerate(self._in_windows([job], [text], tick), 1):
            with self._placement.stage("decoder"):
                wave = decoding.push(latents, last=number == count)[0].float().cpu()
            frames = left if number == count else min(left, wave.shape[-1])
            left -= frames
            yield cut(wave, frames)


def _turned(wave: torch.Tensor, frames: int) -> Audio:
    """Return one turn of a loop, brought to its exact length."""
    return cut(fitted(wave, frames), frames)


def _in_a_row(pieces: Sequence[torch.Tensor], row: int, frames: int) -> Audio:
    """Return one sound of pieces [B, C, T], which have arrived by now."""
    import torch

    return cut(torch.cat([piece[row] for piece in pieces], dim=-1), frames)


def _seen(latents: torch.Tensor, start: int, width: int, axis: int) -> torch.Tensor:
    """Return what a window sees of loops [B, ...], as often as they fit into it."""
    import torch

    turned = latents.roll(-start, axis)
    return torch.cat([turned] * math.ceil(width / turned.shape[axis]), dim=axis).narrow(axis, 0, width)


def _laid(window: torch.Tensor, start: int, frames: int, axis: int) -> torch.Tensor:
    """Return a window's sum over all places of each of the loop's frames: the way back from ``_seen``.

    Turn by turn: an addition by index has no order on a GPU where an index comes twice.
    """
    first, *others = window.split(frames, dim=axis)
    total = first if first.shape[axis] == frames else _widened(first, frames, axis)
    for other in others:
        total.narrow(axis, 0, other.shape[axis]).add_(other)
    return total.roll(start, axis)


def _widened(first: torch.Tensor, frames: int, axis: int) -> torch.Tensor:
    """Return it with zeros after its end."""
    shape = list(first.shape)
    shape[axis] = frames
    whole = first.new_zeros(shape)
    whole.narrow(axis, 0, first.shape[axis]).copy_(first)
    return whole


def fitted(turn: torch.Tensor, frames: int) -> torch.Tensor:
    """Return one turn of a loop [C, T] resampled to ``frames``: as periodic as before, by its spectrum.

    Not audio/loop.py's: that one needs scipy, which an engine's interpreter need not have.
    """
    import torch

    length = turn.shape[-1]
    if length == frames:
        return turn
    bins = min(length, frames) // 2 + 1
    return torch.fft.irfft(torch.fft.rfft(turn)[..., :bins], n=frames) * (frames / length)
