"""Several takes of one sound that differ audibly: the same request with other seeds until they do.

Owns: ``make_variants``, which seeds are tried and when two takes count as different.
Must not know: the command line, how a sound is made.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct, structs

from audio_pool.api import Asked, OnEvent
from audio_pool.audio import codec
from audio_pool.audio.descriptors import descriptors, distance
from audio_pool.pool.delivery import copy_file
from audio_pool.results import AudioResult
from audio_pool.types import MAX_SEED, AudioRequest

__all__ = ["Take", "Variants", "make_variants"]

_TRIES_PER_TAKE = 4
_HEARD_DB = 0.5
"""About what a difference in level must be to be heard of short sounds."""
_SHORTEST_MEASURED_S = 0.4
"""Below this a sound's level is that of its peak (ITU-R BS.1770-4 measures blocks of 400 ms)."""


class _Pool(Protocol):
    """An AudioPool or an AudioClient."""

    def generate(
        self, prompt: Asked, *, timeout_s: float | None = None, on_event: OnEvent | None = None, **fields: Any
    ) -> AudioResult: ...


class Take(Struct, frozen=True, kw_only=True):
    """One variant."""

    path: str
    seed: int
    loudness_lufs: float | None
    """None: silence, or under 400 ms."""
    nearest_distance: float | None
    """To the most similar take before it, in spectral descriptors; None for the first."""
    warnings: tuple[str, ...] = ()


class Variants(Struct, frozen=True, kw_only=True):
    """All takes of one prompt."""

    prompt: str
    takes: tuple[Take, ...]
    least_distance: float | None
    """Between any two takes; None where there is one only."""
    greatest_distance: float | None


@contextlib.contextmanager
def _file_of(result: AudioResult) -> Iterator[Path]:
    """Yield the sound's file; one of its own for a sound that was sent, whose path is another machine's."""
    if result.data is None:
        yield Path(result.path)
        return
    with tempfile.NamedTemporaryFile(suffix=Path(result.path).suffix) as file:
        file.write(result.data)
        file.flush()
        yield Path(file.name)


def _is_quieter(result: AudioResult) -> bool:
    """Return True where a take would be heard to be quieter than the others: its true peak bounded its gain."""
    told = result.metadata
    return (
        told.duration_s >= _SHORTEST_MEASURED_S
        and told.target_lufs is not None
        and told.loudness_lufs is not None
        and told.loudness_lufs < told.target_lufs - _HEARD_DB
    )


def make_variants(
    pool: _Pool,
    request: AudioRequest,
    paths: Sequence[Path],
    *,
    least_distance: float = 0.1,
    timeout_s: float | None = None,
    on_event: OnEvent | None = None,
    on_take: Callable[[Take], object] | None = None,
) -> Variants:
    """Make one take per path and write it there; an existing file is replaced.

    A take closer than ``least_distance`` to another is made anew with the next seed, at most four times per
    take in all; after that it is accepted as it is. So is one whose peaks kept it quieter than was asked for.

    Args:
        pool: running, or a client of one that is.
        request: with the first seed; the others follow it.
        paths: absolute, in the order of the takes; nothing is written there before the take is accepted.
        timeout_s: of each sound.
        on_event: called with the events of each sound.
        on_take: called with each take that is written.

    Raises:
        AudioPoolError: what a sound came to instead. OSError: a file cannot be written.
    """
    first = request.seed or 0
    takes: list[Take] = []
    vectors: list[npt.NDArray[np.float32]] = []
    tries_left = len(paths) * _TRIES_PER_TAKE
    tried = 0
    while len(takes) < len(paths):
        seed = (first + tried) % (MAX_SEED + 1)
        tried, tries_left = tried + 1, tries_left - 1
        asked = structs.replace(request, seed=seed, output_path=None)
        result = pool.generate(asked, timeout_s=timeout_s, on_event=on_event)
        with _file_of(result) as file:
            vector = descriptors(*codec.read(file))
        nearest = min((float(distance(vector, other)) for other in vectors), default=None)
        spare = tries_left - (len(paths) - len(takes) - 1)
        alike = nearest is not None and nearest < least_distance
        if (alike or _is_quieter(result)) and spare > 0:
            continue
        with _file_of(result) as file:
            path = copy_file(file, paths[len(takes)])
        take = Take(
            path=path,
            seed=seed,
            loudness_lufs=result.metadata.loudness_lufs,
            nearest_distance=nearest,
            warnings=result.metadata.warnings,
        )
        vectors.append(vector)
        takes.append(take)
        if on_take is not None:
            on_take(take)
    distances = [float(distance(one, other)) for i, one in enumerate(vectors) for other in vectors[:i]]
    return Variants(
        prompt=request.prompt,
        takes=tuple(takes),
        least_distance=min(distances, default=None),
        greatest_distance=max(distances, default=None),
    )
