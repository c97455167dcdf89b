"""What an engine's rate and channels lose of a given sound, and putting it back around what is new.

Owns: Lost.
Must not know: any engine, how a part is made anew or a sound continued (the engine pastes what it made into the sound
as it heard it).

An engine of 16 kHz and one channel gives a sound of 44.1 kHz and two back without its upper half and its sides, though
only a part of it was to be another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audio_pool.engines import Audio
from audio_pool.types import Edit

if TYPE_CHECKING:
    from audio_pool.audio.running_filter import RunningResampler

__all__ = ["Lost", "lost_of"]

_FADE_S = 0.03
"""As long as the engines' longest crossfade outside the new part."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Added to what an engine made of the given sound, it makes the rest of that the given sound again."""

    audio: Audio
    """float32 [C, T] at ``rate``: nothing where the sound is new."""
    rate: int
    made_at: int
    """The engine's rate."""

    def restored(self, made: Audio) -> Audio:
        """Return an engine's whole sound with what was lost, float32 [C, T] at ``rate``."""
        from audio_pool.audio import filter

        return self._added(filter.resample(made, self.made_at, self.rate), 0)

    def restored_pieces(self, pieces: Iterable[Audio]) -> Iterator[Audio]:
        """Yield an engine's consecutive pieces with what was lost, as ``restored`` has it."""
        from audio_pool.audio.running_filter import RunningResampler

        resampler: RunningResampler | None = None
        start, held = 0, None
        for piece in pieces:
            resampler = resampler or RunningResampler(len(piece), self.made_at, self.rate)
            if held is not None:
                out = self._added(resampler.push(held), start)
                start += out.shape[1]
                yield out
            held = piece
        if resampler is not None and held is not None:
            yield self._added(resampler.push(held, last=True), start)

    def _added(self, made: Audio, start: int) -> Audio:
        channels = max(len(made), len(self.audio))
        out = np.array(np.broadcast_to(made, (channels, made.shape[1])), np.float32)
        lost = self.audio[:, start : start + made.shape[1]]
        out[:, : lost.shape[1]] += lost
        return out


def lost_of(given: Audio, given_rate: int, *, engine: tuple[int, int], rate: int, edit: Edit | None) -> Lost | None:
    """Return what is lost of a given sound that an engine changes a part of or continues; None where nothing is.

    Args:
        given: float32 [C, T] at ``given_rate``.
        engine: its rate and channels.
        rate: of the finished sound.
        edit: what is new; None: nothing, the sound is given back as it is.
    """
    from audio_pool.audio import filter

    engine_rate, engine_channels = engine
    if len(given) > 2:  # no result has so many; engines hear what they have in common
        given = given.mean(axis=0, keepdims=True)
    if engine_rate >= min(given_rate, rate) and engine_channels >= len(given):
        return None
    heard = filter.resample(given, given_rate, engine_rate)
    if len(heard) != engine_channels:
        heard = heard.mean(axis=0, keepdims=True)
    whole = filter.resample(given, given_rate, rate)
    heard = filter.resample(heard, engine_rate, rate, frames=whole.shape[1])
    lost = (whole - heard).astype(np.float32)
    if edit is not None:
        lost *= _kept(lost.shape[1], rate, edit)
    return Lost(audio=lost, rate=rate, made_at=engine_rate)


def _kept(frames: int, rate: int, edit: Edit) -> Audio:
    """Return 1 where the sound stays, 0 where it is new, and the way between them: float32 [frames]."""
    seconds = np.arange(frames, dtype=np.float64) / rate
    if edit.mask_start_s is not None and edit.mask_end_s is not None:
        away = np.maximum(edit.mask_start_s - seconds, seconds - edit.mask_end_s)
    else:
        away = frames / rate - seconds
    share = np.clip(away / _FADE_S, 0.0, 1.0)
    return (share * share * (3 - 2 * share)).astype(np.float32)
