"""How a loop closes: as its engine made it, or by a crossfade, also where the engine's own joint shows.

Owns: Closing; when a turn that its engine closed is taken as it is.
Must not know: how sounds are generated, judged or written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_pool.engines.base import Audio
from audio_pool.reports import LoopReport
from audio_pool.types import Shape

__all__ = ["Closing", "as_made", "by_crossfade"]

_SHOWS = 50.0
"""Seam score under which a joint shows: by some measure twice as remarkable as the 99th percentile of all places."""
_CALM = 97.0
"""Seam score from which a turn need not begin elsewhere: within three points of an ordinary place."""
_STROKE_S = 0.1
_STROKE_DB = 3.0
"""By how much it is louder after a joint that a stroke stands on: no fault, the turn begins a little earlier."""


@dataclass(frozen=True, kw_only=True)
class Closing:
    """One turn, float32 [C, frames], and how its end meets its beginning."""

    audio: Audio
    native: bool
    crossfade_frames: int = 0
    seam_score: float | None = None
    """Where it had to be known; None: nobody has looked at the joint yet."""
    warnings: tuple[str, ...] = ()

    def report(self, audio: Audio, sample_rate: int) -> LoopReport:
        """Return what the metadata says of it, from the turn as it will be heard."""
        from audio_pool.audio import seam

        score = self.seam_score
        if score is None:
            score = seam.seam_score(audio, sample_rate, self.crossfade_frames)
        return LoopReport(
            seam_score=round(score, 2),
            crossfade_s=round(self.crossfade_frames / sample_rate, 6),
            method="native" if self.native else "crossfade",
        )


def by_crossfade(audio: Audio, shape: Shape, before: tuple[str, ...] = ()) -> Closing:
    """Make a turn of material that is longer than one by the shape's tail."""
    from audio_pool.audio import loop

    tail = round(shape.tail_s * shape.sample_rate)
    made = loop.make_loop(audio, shape.frames, tail, shape.sample_rate)
    return Closing(
        audio=made.audio,
        native=False,
        crossfade_frames=made.crossfade_frames,
        warnings=(*before, *made.warnings),
    )


def as_made(audio: Audio, shape: Shape) -> Closing:
    """Return an engine's turn [C, frames], begun at a calm place, or crossfaded where its joint shows.

    It shows where the joint itself, not the place that the turn will begin at, is more remarkable than the rest: begun
    elsewhere, it would be heard all the same. Only of ``auto``: who asks for ``native`` gets it.
    """
    from audio_pool.audio import seam

    score = seam.seam_score(audio, shape.sample_rate, 0)
    if score >= _CALM:
        return Closing(audio=audio, native=True, seam_score=score)
    if shape.loop_method == "auto" and score < _SHOWS and not _on_a_stroke(audio, shape.sample_rate):
        said = f"loop_crossfaded: the joint that the engine made shows (seam score {score:.0f} of 100)"
        return by_crossfade(audio, shape, (said,))
    turned, score = seam.rotate_to_quiet_start(audio, shape.sample_rate)
    return Closing(audio=turned, native=True, seam_score=score)


def _on_a_stroke(audio: Audio, sample_rate: int) -> bool:
    """Return True if something begins at the joint: it is louder for a while."""
    some = max(1, min(round(_STROKE_S * sample_rate), audio.shape[1] // 4))
    before, after = (np.square(part, dtype=np.float64).mean() for part in (audio[:, -some:], audio[:, :some]))
    return bool(after > before * 10 ** (_STROKE_DB / 10))
