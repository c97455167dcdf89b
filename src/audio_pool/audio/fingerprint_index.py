"""Fingerprints by their words: which of very many kept sounds are worth comparing with another.

Owns: an inverted index in memory, of some words a second of each sound.
Must not know: where fingerprints are kept, what is decided about those that are found.

A word is a third of a frame: eleven bands, each risen, fallen or neither. Of a kept sound the words with the most marks
are filed, a few for every half second, so that a part that was cut out has its own. All words of a sound that is
looked for are asked for, at every phase, and each that is found votes for a sound and an offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio.marks import PHASES, Fingerprint, Marks, Probe, Words

__all__ = ["Candidate", "FingerprintIndex"]

_GROUPS = ((0, 11), (11, 11), (22, 10))
"""First band and number of bands."""
_FEWEST_MARKS = 3
"""Of a word that says anything."""
_SEGMENT = 16
"""Frames: half a second."""
_WORDS_A_SEGMENT = 6
_SHORT = 34
"""Frames: of a sound that is no longer, every word is filed."""
_MOST_ASKED = 60_000
"""Words of one sound that are looked for; of a longer one, every second or third is."""
_FEW_ASKED = 6_000
"""Words of a sound, some seconds, up to which those that differ in one band are looked for, too."""
_COMMON = 4_000
"""A word that so many places have tells nothing."""
_MOST_VOTES = 4_000_000
_MOST_PARTS = 8
_MIDDLE = 1 << 26
"""Added to offsets, so that none is negative."""

Numbers = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Candidate:
    """A sound that may be the one."""

    number: int
    offsets: tuple[int, ...]
    """Where it may lie, in frames of the probe, the likeliest first."""
    votes: int


@dataclass(frozen=True)
class _Part:
    """Words in order, and where each stands."""

    words: Numbers
    numbers: Numbers
    frames: Numbers


class FingerprintIndex:
    """One thread at a time."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        """Number of places that words are filed at."""
        return sum(len(part.words) for part in self._parts)

    @property
    def size_bytes(self) -> int:
        """Memory it takes."""
        return 12 * len(self)

    def add(self, numbers: Sequence[int], kept: Sequence[Fingerprint]) -> None:
        """File sounds under their numbers, below 2 to the 32nd; thousands at once cost least."""
        if not kept:
            return
        lengths = [len(one.rises) for one in kept]
        rises, falls = np.concatenate([one.rises for one in kept]), np.concatenate([one.falls for one in kept])
        frames = np.concatenate([np.arange(length, dtype=np.uint32) for length in lengths])
        owner = np.repeat(np.asarray(numbers, np.uint32), lengths)
        place = np.repeat(np.arange(len(kept)), lengths)
        words, marks = _words(Marks(rises=rises, falls=falls))
        row, group = np.nonzero(marks >= _FEWEST_MARKS)
        segment = place[row].astype(np.int64) << 24 | frames[row] // _SEGMENT
        order = np.lexsort((-marks[row, group], segment))
        # the first of every segment
        starts = np.flatnonzero(np.diff(segment[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        short = np.repeat(np.asarray(lengths) <= _SHORT, lengths)
        chosen = order[(rank < _WORDS_A_SEGMENT) | short[row[order]]]
        row, group = row[chosen], group[chosen]
        self._file(words[row, group], owner[row], frames[row])

    def _file(self, words: Numbers, numbers: Numbers, frames: Numbers) -> None:
        parts = [_Part(words, numbers, frames)]
        while self._parts and (len(self._parts) >= _MOST_PARTS or len(self._parts[-1].words) < 2 * len(words)):
            parts.append(self._parts.pop())
            words = np.concatenate([part.words for part in parts])
        numbers = np.concatenate([part.numbers for part in parts])
        frames = np.concatenate([part.frames for part in parts])
        order = np.argsort(words, kind="stable")
        self._parts.append(_Part(words[order], numbers[order], frames[order]))

    def candidates(self, probe: Probe, most: int = 64) -> list[Candidate]:
        """Return the sounds that share most words with another, the likeliest first."""
        words, marks = _words(probe)
        row, group = np.nonzero(marks >= _FEWEST_MARKS)
        if len(row) > _MOST_ASKED:
            every = -(-len(row) // _MOST_ASKED)
            row, group = row[::every], group[::every]
        asked = words[row, group]
        if len(asked) <= _FEW_ASKED:
            asked, row = _with_near(asked, row)
        places = [self._places(part, asked, row) for part in self._parts]
        votes = np.concatenate(places) if places else np.zeros(0, np.int64)
        if not len(votes):
            return []
        found, counts = np.unique(votes, return_counts=True)
        top = np.argsort(-counts, kind="stable")[: 8 * most]
        offsets: dict[int, list[int]] = {}
        strongest: dict[int, int] = {}
        for vote, count in zip(found[top].tolist(), counts[top].tolist(), strict=True):
            number, offset = vote >> 32, (vote & 0xFFFFFFFF) - _MIDDLE
            offsets.setdefault(number, []).append(offset)
            strongest.setdefault(number, count)
        return [Candidate(number, tuple(at[:6]), strongest[number]) for number, at in offsets.items()][:most]

    @staticmethod
    def _places(part: _Part, asked: Numbers, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return a vote for each place of each word: a number and an offset in one."""
        first = np.searchsorted(part.words, asked, "left")
        counts = np.searchsorted(part.words, asked, "right") - first
        counts[counts > _COMMON] = 0
        if counts.sum() > _MOST_VOTES:  # the rarest say most
            order = np.argsort(counts, kind="stable")
            counts[order[np.cumsum(counts[order]) > _MOST_VOTES]] = 0
        at = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        offsets = np.repeat(rows, counts) - part.frames[at].astype(np.int64) * PHASES
        votes: npt.NDArray[np.int64] = part.numbers[at].astype(np.int64) << 32 | (offsets + _MIDDLE)
        return votes


def _with_near(words: Numbers, rows: npt.NDArray[np.int64]) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """Return words and all that have one mark less or more, each with its row."""
    bands = np.where(words >> 22 == len(_GROUPS) - 1, _GROUPS[-1][1], _GROUPS[0][1])
    near, at = [words], [rows]
    for band in range(max(count for _, count in _GROUPS)):
        rise, fall = np.uint32(1 << (band + 11)), np.uint32(1 << band)
        marked = words & (rise | fall) != 0
        inside = band < bands
        near += [words[marked] & ~(rise | fall), words[inside & ~marked] | rise, words[inside & ~marked] | fall]
        at += [rows[marked], rows[inside & ~marked], rows[inside & ~marked]]
    return np.concatenate(near), np.concatenate(at)


def _words(marks: Marks) -> tuple[Words, npt.NDArray[np.uint8]]:
    """Return the words of each frame, [N, 3], and how many marks each has."""
    words = np.empty((len(marks.rises), len(_GROUPS)), np.uint32)
    counts = np.empty(words.shape, np.uint8)
    for number, (first, bands) in enumerate(_GROUPS):
        mask = np.uint32((1 << bands) - 1)
        rises, falls = marks.rises >> np.uint32(first) & mask, marks.falls >> np.uint32(first) & mask
        words[:, number] = np.uint32(number << 22) | rises << np.uint32(11) | falls
        counts[:, number] = np.bitwise_count(rises | falls)
    return words, counts
