"""Crossfades: one turn cut out of longer material, its end blended into its start, in phase where there is a phase.

Owns: ``Splice``, the blend at constant power, correlations.
Must not know: where a splice is best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import irfft, rfft

__all__ = ["Splice", "aligned", "blend", "correlations", "spliced"]


@dataclass(frozen=True, kw_only=True)
class Splice:
    """One turn of material: where it starts, how long it is, and how much of its start is crossfaded; frames."""

    start: int
    length: int
    fade: int


def spliced(audio: Audio, splice: Splice) -> Audio:
    """Cut out one turn, what follows it blended into its start (the formula is in loop.py): float32 [C, length]."""
    start, length, fade = splice.start, splice.length, splice.fade
    turn = audio[:, start : start + length].copy()
    turn[:, :fade] = blend(audio[:, start + length : start + length + fade], turn[:, :fade])
    return turn


def blend(leaving: Audio, coming: Audio) -> Audio:
    """Crossfade two float32 [C, T] at constant power, whatever their correlation."""
    steps = (np.arange(leaving.shape[1], dtype=np.float64) + 0.5) / max(1, leaving.shape[1])
    angle = np.pi / 2 * steps * steps * (3 - 2 * steps)
    fade_in, fade_out = np.sin(angle), np.cos(angle)
    # below zero the parts cancel; lifting them fully would pump, so the lift is bounded
    rho = float(np.clip(correlation(leaving, coming), -0.25, 1.0))
    lift = 1 / np.sqrt(1 + 2 * rho * fade_in * fade_out)
    return (leaving * (fade_out * lift) + coming * (fade_in * lift)).astype(np.float32)  # type: ignore[no-any-return]


def correlation(a: Audio, b: Audio) -> float:
    """Compute the normalised correlation of two float32 [C, T], -1..1; 0 where one is silent."""
    energy = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / energy if energy > 1e-12 else 0.0


def _product(a: Audio, b: Audio) -> float:
    """Compute the inner product without BLAS threads: bit-identical everywhere, and no thread pool."""
    return float(np.einsum("ct,ct->", a, b, dtype=np.float64))


def correlations(part: Audio, material: Audio) -> npt.NDArray[np.float64]:
    """Correlate ``part`` [C, n] with each stretch of ``material`` [C, m], normalised: [m - n + 1]."""
    n, m = part.shape[1], material.shape[1]
    size = _fast(m)  # no more: the lags kept are those that do not wrap
    padded = np.zeros((2, len(part), size), np.float32)
    padded[0, :, :n], padded[1, :, :m] = part, material
    heads, whole = rfft(padded)
    dots = irfft((np.conj(heads) * whole).sum(axis=0, keepdims=True), size)[0, : m - n + 1]
    # the first stretch is summed, of the others what comes and what goes
    comes, goes = (np.einsum("ct,ct->t", one, one, dtype=np.float64) for one in (material[:, n:], material[:, : m - n]))
    power = _product(material[:, :n], material[:, :n]) + np.concatenate([[0.0], np.cumsum(comes - goes)])
    energy = np.maximum(power, 0.0) * _product(part, part)
    found: npt.NDArray[np.float64] = np.where(energy > 1e-12, dots / np.sqrt(np.maximum(energy, 1e-12)), 0.0)
    return found


def _fast(least: int) -> int:
    """Return the next length whose transform is fast: two, three or nine times a power of two."""
    return min(odd << max(1, (-(-least // odd) - 1).bit_length()) for odd in (1, 3, 9))


def aligned(audio: Audio, frames: int, reach: int, start: int, fade: int) -> tuple[Splice, float]:
    """Find the length within ``reach`` of ``frames`` of highest correlation; return splice and correlation."""
    head = audio[:, start : start + fade]
    first = start + frames - reach
    rho = correlations(head, audio[:, first : first + 2 * reach + fade])
    # slightly prefer the requested length: it needs no resampling
    away = np.abs(np.arange(len(rho)) - reach) / max(1, reach)
    at = int(np.argmax(rho - 1e-3 * away))
    return Splice(start=start, length=frames - reach + at, fade=fade), float(rho[at])
