"""The vectors of sounds that are taken in: made by the configured encoder and scorer, or taken over where they agree.

Owns: which arrays of a directory can be believed, and what is embedded anew.
Must not know: how sounds are found and prepared.

The first system kept one row of an array for each line of its listing, and lost the order at every crash. Its
vectors are therefore taken only where those that are tried, from the first to the last, come out the same.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_pool.cache.entry import Vector
from audio_pool.engines import Embedder, Scorer
from audio_pool.errors import AudioPoolError
from audio_pool.tasks import SOUND_PREFIX

__all__ = ["ARRAYS", "Meaning", "Sample", "Wanted"]

_log = logging.getLogger(__name__)

ARRAYS = ("bge_text.npy", "clap_text.npy", "clap_audio.npy")
"""Of the first system: of the words by BGE and by CLAP, of the sound by CLAP."""
_TRIED = 8
_SAME = 0.99
"""Least cosine of a vector and the one made anew for them to be of one model."""


class Wanted(NamedTuple):
    """One sound that needs vectors."""

    prompt: str
    master: Path
    row: int | None
    """Its line in the first system's listing."""


class Sample(NamedTuple):
    """A line of the first system's listing, to try its arrays by."""

    row: int
    prompt: str
    audio: Path


class Meaning:
    """An encoder and a scorer, each under the space that its vectors are kept in; either may be missing.

    They are loaded when the first vector is needed, which may be never.
    """

    def __init__(
        self,
        encoder: tuple[str, Callable[[], Embedder]] | None = None,
        scorer: tuple[str, Callable[[], Scorer]] | None = None,
    ) -> None:
        self._encoder = encoder
        self._scorer = scorer
        self._prompts: npt.NDArray[np.float32] | None = None
        self._sounds: npt.NDArray[np.float32] | None = None
        self.notes: dict[str, str] = {}
        """What became of each array."""
        self.taken_over = 0
        self.embedded = 0

    @functools.cached_property
    def _embedder(self) -> Embedder:
        assert self._encoder is not None, "the caller looked"
        return self._encoder[1]()

    @functools.cached_property
    def _listener(self) -> Scorer:
        assert self._scorer is not None, "the caller looked"
        return self._scorer[1]()

    def close(self) -> None:
        """Give the memory of what was loaded back."""
        for name in ("_embedder", "_listener"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    @property
    def encoder(self) -> str:
        """The space of prompts; "" where there is no encoder."""
        return self._encoder[0] if self._encoder else ""

    def try_arrays(self, directory: Path, lines: Sequence[Sample]) -> None:
        """Look at the first system's arrays and say in ``notes`` which are taken over.

        Args:
            lines: those of the listing whose sound is there; others have rows of their own.
        """
        for name in ARRAYS:
            if (directory / name).is_file():
                array = _opened(directory / name)
                self.notes[name] = array if isinstance(array, str) else self._tried(name, array, lines)

    def _tried(self, name: str, array: npt.NDArray[np.float32], lines: Sequence[Sample]) -> str:
        """Take an array over, up to its end, where the rows that are tried come out the same; say what became of it."""
        if name == "clap_text.npy":
            return "not needed: words are compared by the encoder"
        engine = self._encoder if name == "bge_text.npy" else self._scorer
        if engine is None:
            return f"there is no {'encoder' if name == 'bge_text.npy' else 'scorer'} to try it by"
        samples = _spread([one for one in lines if one.row < len(array)])
        if not samples:
            return "no row of it can be tried; made anew"
        try:
            if name == "bge_text.npy":
                made = self._embedder.embed([one.prompt for one in samples])
            else:
                made = np.concatenate([self._heard(one.audio) for one in samples])
        except AudioPoolError as exc:
            return f"cannot be tried: {exc.message}"
        if array.shape[1] != made.shape[1]:
            return f"is of another model ({array.shape[1]} dimensions, not {made.shape[1]}); made anew"
        given = array[[one.row for one in samples]].astype(np.float32)
        with np.errstate(all="ignore"):
            cosines = (given * made).sum(axis=1) / np.linalg.norm(given, axis=1)
        if not (cosines >= _SAME).all():
            return "is of another model, or its rows are not in the order of the lines; made anew"
        if name == "bge_text.npy":
            self._prompts = array
        else:
            self._sounds = array
        left = sum(one.row >= len(array) for one in lines)
        return "taken over" + (f" as far as it goes; {left:,} made anew" if left else "")

    def _heard(self, path: Path) -> npt.NDArray[np.float32]:
        from audio_pool.audio import codec

        audio, rate = codec.read(path)
        return self._listener.embed_audio([audio], rate)

    def vectors(self, batch: Sequence[Wanted]) -> list[dict[str, Vector]]:
        """Return each sound's vectors by space: of its words, and of what is heard.

        Raises:
            EngineError: of the encoder or the scorer.
        """
        found: list[dict[str, Vector]] = [{} for _ in batch]
        if self._encoder is not None:
            self._of_prompts(self._encoder[0], batch, found)
        if self._scorer is not None:
            self._of_sounds(self._scorer[0], batch, found)
        return found

    def similarities(self, batch: Sequence[Wanted], vectors: Sequence[dict[str, Vector]]) -> list[float | None]:
        """Return how well each sound fits its words by the scorer; None where there is none."""
        if self._scorer is None or not batch:
            return [None] * len(batch)
        space = self._scorer[0]
        texts = self._listener.embed_text([one.prompt for one in batch])
        sounds = [one.get(SOUND_PREFIX + space) for one in vectors]
        return [
            None if sound is None else float(np.dot(text.astype(np.float64), sound.astype(np.float64)))
            for text, sound in zip(texts, sounds, strict=True)
        ]

    def _of_prompts(self, space: str, batch: Sequence[Wanted], found: list[dict[str, Vector]]) -> None:
        anew = []
        for number, one in enumerate(batch):
            known = _row_of(self._prompts, one.row)
            if known is None:
                anew.append(number)
            else:
                found[number][space] = known
        self.taken_over += len(batch) - len(anew)
        if anew:
            for number, vector in zip(anew, self._embedder.embed([batch[n].prompt for n in anew]), strict=True):
                found[number][space] = np.asarray(vector, np.float32)
            self.embedded += len(anew)

    def _of_sounds(self, space: str, batch: Sequence[Wanted], found: list[dict[str, Vector]]) -> None:
        for number, one in enumerate(batch):
            known = _row_of(self._sounds, one.row)
            # one by one: a sound may be ten minutes long
            found[number][SOUND_PREFIX + space] = self._heard(one.master)[0] if known is None else known


def _spread(lines: Sequence[Sample]) -> list[Sample]:
    """Return some of the lines, the first and the last among them."""
    if not lines:
        return []
    places = np.linspace(0, len(lines) - 1, min(_TRIED, len(lines))).round().astype(int)
    return [lines[place] for place in dict.fromkeys(places.tolist())]


def _opened(path: Path) -> npt.NDArray[np.float32] | str:
    """Return an array without reading all of it, or what is wrong with it."""
    try:
        array: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        return f"cannot be read ({exc}); made anew"
    if array.ndim != 2 or array.dtype.kind != "f":
        return f"holds {array.dtype} of shape {array.shape}, not rows of vectors; made anew"
    return array


def _row_of(array: npt.NDArray[np.float32] | None, row: int | None) -> Vector | None:
    """Return one row at unit length; None where it says nothing, as of sounds that could not be embedded."""
    if array is None or row is None or row >= len(array):
        return None
    vector = np.array(array[row], np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if np.isfinite(length) and length > 0 else None
