"""A given sound and what goes on from it: as codes that a model is given, and joined to what it then drew.

Owns: how much of the sound a model hears, and the join, which is unheard.
Must not know: which model continues it, the pool.

What comes before the join is the given sound itself, bit for bit: a codec's round trip would blur it. The model's
codes are decoded from before the join, so that there both say nearly the same; over the last moments of the given
sound one fades into the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio_pool.audio import Audio
from audio_pool.engine_info import EngineInfo
from audio_pool.engines.base import Item
from audio_pool.errors import InvalidRequest, NotSupported
from audio_pool.types import frames_of

if TYPE_CHECKING:
    import torch

__all__ = ["Continuation", "check_given", "continued_frames", "fitted"]

_FADE_S = 0.05


def check_given(info: EngineInfo, item: Item, *, takes_tune: bool = False) -> None:
    """Refuse what an engine that continues sounds cannot make of a given one.

    Args:
        info: the engine's.
        item: as asked for.
        takes_tune: ``init_audio`` without ``extend_s`` has a meaning for the model.

    Raises:
        NotSupported, InvalidRequest.
    """
    if item.mask is not None and not info.inpaint:
        raise NotSupported(f"{info.name} cannot make a part of a sound anew (mask)")
    if item.extend_s is not None and not info.extend:
        raise NotSupported(f"{info.name} cannot continue a sound (extend_s)")
    if item.init_audio is not None and item.extend_s is None and item.mask is None and not takes_tune:
        able = "continue a sound (extend_s)" + (" or make a part of one anew (mask)" if info.inpaint else "")
        raise NotSupported(f"{info.name}: init_audio: this model can {able}, and nothing else with it")
    if item.extend_s is None:
        return
    if item.init_audio is None or not (math.isfinite(item.extend_s) and item.extend_s > 0):
        raise InvalidRequest(
            f"{info.name}: extend_s: given {item.extend_s!r}, allowed is a number of seconds above 0, with init_audio"
        )
    if item.extend_s > info.longest_s + 1e-9:
        raise NotSupported(f"{info.name} makes at most {info.longest_s:g} s; {item.extend_s:g} were asked for")


def continued_frames(item: Item, rate: int) -> int | None:
    """Return the samples of a given sound and what follows it; None where none is continued."""
    if item.extend_s is None or item.init_audio is None:
        return None
    return int(item.init_audio.shape[1]) + frames_of(item.extend_s, rate)


def fitted(sound: Audio, channels: int) -> torch.Tensor:
    """Return a sound with as many channels as a model has, float32 [channels, T]."""
    import torch

    wave = torch.from_numpy(sound).float()
    return wave if len(wave) == channels else wave.mean(dim=0, keepdim=True).expand(channels, -1)


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """A sound that is to be continued."""

    sound: torch.Tensor
    """float32 [C, T]."""
    samples: int
    """Of one frame of codes."""
    most: int
    """Frames that the model hears at most."""
    rate: int

    @property
    def given(self) -> int:
        """Frames that the model hears."""
        whole: int = self.sound.shape[1] // self.samples
        return min(self.most, max(1, whole))

    @property
    def heard(self) -> torch.Tensor:
        """What the model hears, [C, given * samples]; before a sound that is shorter than a frame, silence."""
        from torch.nn.functional import pad

        wanted = self.given * self.samples
        end = self.sound[:, max(0, self.sound.shape[1] - wanted) :]
        return pad(end, (wanted - end.shape[1], 0))

    def joined(self, decoded: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the given sound and what follows it, piece by piece.

        Args:
            decoded: pieces [C, T] of what the model was given and drew, from the first frame given.
        """
        import torch

        fade = min(round(_FADE_S * self.rate), self.sound.shape[1], self.given * self.samples)
        left = self.given * self.samples - fade
        """Samples that only lead up to the fade."""
        held: list[torch.Tensor] = []
        joined = False
        for piece in decoded:
            if joined:
                yield piece
                continue
            cut = min(left, piece.shape[1])
            left -= cut
            held.append(piece[:, cut:])
            if sum(one.shape[1] for one in held) >= fade:
                after = torch.cat(held, dim=1)
                rising = torch.linspace(0.0, 1.0, fade + 2)[1:-1]
                kept = self.sound.shape[1] - fade
                mixed = self.sound[:, kept:] * (1.0 - rising) + after[:, :fade] * rising
                yield torch.cat([self.sound[:, :kept], mixed, after[:, fade:]], dim=1)
                joined = True
