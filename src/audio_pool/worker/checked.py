"""Engines whose every result is checked where it is returned: the one place for all of them.

Owns: what a sound, a vector and notes must be to go any further, and the error that says what came instead.
Must not know: what is done with a result, sockets, the pool.

A sound that is not finite is not refused here: one of several candidates may be, and the quality gate leaves it
out. ``unusable`` says so of a single sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import Audio, Embedder, Generator, Item, OnStep, Passes, Scorer, Streams, Tells, Vectors
from audio_pool.errors import AudioPoolError, EngineError, EngineUnavailable, InvalidAudio
from audio_pool.transport.packing import encodable
from audio_pool.types import MAX_DURATION_S, Shape, frames_of
from audio_pool.validation import parse
from audio_pool.worker.kept_texts import KeptTexts

__all__ = [
    "CheckedEmbedder",
    "CheckedGenerator",
    "CheckedScorer",
    "check_received",
    "checked_info",
    "unusable",
]

_FRAMES_TOLERANCE = 2
"""Frames by which a sound may be shorter or longer than asked for: the rounding of another's arithmetic."""
_RATES = (1_000, 384_000)
"""Lowest and highest sample rate of what is handed over, in Hz."""
_NORM_TOLERANCE = 0.01
_LOUDEST = 1e6
"""Samples beyond it (120 dB over full scale) are no sound, and their squares may be infinite."""
_HINT = "docs/adding-an-engine.md says what an engine must return"


def checked_info(info: EngineInfo, name: str) -> EngineInfo:
    """Return what an engine says of itself, every field checked: its author learns of a wrong one when it is loaded.

    Raises:
        EngineUnavailable: names the field.
    """
    return parse(
        EngineInfo, encodable(msgspec.to_builtins(info)), error=EngineUnavailable, what=f"INFO of engine {name!r}"
    )


class CheckedGenerator:
    """A generator, and the contract that it is held to."""

    def __init__(self, engine: Generator, info: EngineInfo) -> None:
        self.info = info
        self.device = engine.device
        self._engine = engine

    def notes(self, item: Item) -> Notes:
        """Return the engine's notes, which can be sent and written. Raises EngineError, and what the engine raises."""
        notes = self._engine.notes(item)
        what = f"notes of engine {self.info.name!r}"
        if not isinstance(notes, Notes):
            raise EngineError(f"{what}: given {_shown(notes)}, allowed is Notes", hint=_HINT)
        try:
            return parse(Notes, encodable(msgspec.to_builtins(notes)), error=EngineError, what=what)
        except AudioPoolError:
            raise
        except Exception as exc:  # no plain data: an array among the details, say
            raise EngineError(f"{what} cannot be sent: {type(exc).__name__}: {exc}", hint=_HINT) from None

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """Return one float32 [C, T] per item, of its own length. Raises EngineError, and what the engine raises."""
        sounds = self._engine.generate(items, on_step)
        name = self.info.name
        if not isinstance(sounds, list | tuple) or len(sounds) != len(items):
            given = f"{len(sounds)} sounds" if isinstance(sounds, list | tuple) else _shown(sounds)
            raise EngineError(f"engine {name!r} returned {given} for {len(items)} items", hint=_HINT)
        for item, sound in zip(items, sounds, strict=True):
            self._check(item, sound)
        return list(sounds)

    def pieces(self, item: Item, on_step: OnStep | None = None) -> Iterator[Audio]:
        """Yield the sound's consecutive pieces, float32 [C, T]; one, where the engine gives none.

        Raises:
            EngineError, and what the engine raises.
        """
        if not self.gives_pieces:
            yield self.generate([item], on_step)[0]
            return
        assert isinstance(self._engine, Streams)
        frames, channels = 0, 0
        for piece in self._engine.pieces(item, on_step):
            fits = isinstance(piece, np.ndarray) and piece.dtype == np.float32 and piece.ndim == 2
            if not (fits and piece.shape[0] == (channels or piece.shape[0])):
                raise EngineError(
                    f"engine {self.info.name!r} gave {_shown(piece)} as a piece; "
                    "allowed is float32 [C, T], of as many channels as those before it",
                    hint=_HINT,
                )
            frames, channels = frames + piece.shape[1], len(piece)
            yield piece
        # what is checked of the whole, without keeping it
        self._check(item, np.broadcast_to(np.float32(0), (channels, frames)))

    @property
    def gives_pieces(self) -> bool:
        """True where sounds come piece by piece while they are made."""
        return self.info.streams and isinstance(self._engine, Streams)

    def shared(self, items: Sequence[Item]) -> list[int]:
        """Return for each item how many are made in one pass with it, itself included."""
        if not isinstance(self._engine, Passes):
            return [len(items) if self.info.batch else 1] * len(items)
        sizes = [1] * len(items)
        for one in self._engine.passes(items):
            for index in one:
                sizes[index] = len(one)
        return sizes

    def told(self) -> tuple[str, ...]:
        """Return what the engine says of what it made since the last question; nothing, where it never does."""
        return tuple(map(str, self._engine.told())) if isinstance(self._engine, Tells) else ()

    def _check(self, item: Item, sound: Audio) -> None:
        info = self.info
        rate = item.sample_rate if info.any_rate and item.sample_rate else info.sample_rate
        frames = frames_of(item.duration_s, rate)
        longest = round(info.longest_s * rate) + _FRAMES_TOLERANCE if info.natural_length else 0
        channels = (info.channels,) if info.channels else (1, 2)
        if (
            isinstance(sound, np.ndarray)
            and sound.dtype == np.float32
            and sound.ndim == 2
            and sound.shape[0] in channels
            and (1 <= sound.shape[1] <= longest or abs(sound.shape[1] - frames) <= _FRAMES_TOLERANCE)
        ):
            return
        counts = " or ".join(str(count) for count in channels)
        if longest:
            raise EngineError(
                f"engine {info.name!r} returned {_shown(sound)} for {len(item.prompt):,} characters "
                f"(seed {item.seed}); allowed is float32 [{counts}, 1 to {longest}]",
                hint=_HINT,
            )
        asked = f"{item.duration_s:g} s at {rate:,} Hz (seed {item.seed})"
        raise EngineError(
            f"engine {info.name!r} returned {_shown(sound)} for {asked}; "
            f"allowed is float32 [{counts}, {frames}], {_FRAMES_TOLERANCE} frames more or less",
            hint=_HINT,
        )

    def close(self) -> None:
        """Give memory back."""
        self._engine.close()


class CheckedEmbedder:
    """An embedder, and the contract that it is held to."""

    def __init__(self, engine: Embedder, info: EngineInfo) -> None:
        self.info = info
        self.device = engine.device
        self._engine = engine
        self._kept = KeptTexts(lambda texts: _checked_vectors(info, engine.embed(texts), len(texts)))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length. Raises EngineError, and what the engine raises."""
        return self._kept.embed(texts)

    def close(self) -> None:
        """Give memory back."""
        self._engine.close()


class CheckedScorer:
    """A scorer, and the contract that it is held to."""

    def __init__(self, engine: Scorer, info: EngineInfo) -> None:
        self.info = info
        self.device = engine.device
        self._engine = engine
        self._kept = KeptTexts(lambda texts: _checked_vectors(info, engine.embed_text(texts), len(texts)))

    @property
    def logit_scale(self) -> float:
        """Return the factor of cosines before a softmax. Raises EngineError."""
        scale = self._engine.logit_scale
        if not isinstance(scale, int | float) or not 0 < scale < _LOUDEST:
            raise EngineError(
                f"engine {self.info.name!r}: given a logit_scale of {scale!r}, allowed is a positive number", hint=_HINT
            )
        return float(scale)

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length. Raises EngineError, and what the engine raises."""
        return self._kept.embed(texts)

    def embed_audio(self, sounds: Sequence[Audio], sample_rate: int) -> Vectors:
        """Return float32 [N, D], rows of unit length. Raises EngineError, and what the engine raises."""
        return _checked_vectors(self.info, self._engine.embed_audio(sounds, sample_rate), len(sounds))

    def close(self) -> None:
        """Give memory back."""
        self._engine.close()


def unusable(sound: Audio) -> str:
    """Return what makes a sound's samples useless, "" where nothing does."""
    # two looks without a copy: a batch's next one waits for this, and a sound with anything wrong is rare
    if sound.size and sound.min() >= -_LOUDEST and sound.max() <= _LOUDEST:  # neither holds for a NaN
        return ""
    wrong = int(np.count_nonzero(~(np.abs(sound) <= _LOUDEST)))
    return f"{wrong:,} of {sound.size:,} samples that are no number, infinite or beyond {_LOUDEST:g}" if wrong else ""


def check_received(audio: Audio, sample_rate: int, shape: Shape) -> None:
    """Raise InvalidAudio for what no generator that was asked for this shape returns: another process says it did."""
    low, high = _RATES
    turn = shape.frames * sample_rate / shape.sample_rate
    slack = _FRAMES_TOLERANCE + sample_rate / shape.sample_rate
    most = turn + (shape.tail_s * sample_rate if shape.loop else 0.0) + slack
    if shape.natural_length:  # a given sound and as much again
        turn, slack, most = 1.0, 0.0, 2 * MAX_DURATION_S * sample_rate
    fits = audio.dtype == np.float32 and audio.ndim == 2 and audio.shape[0] in (1, 2)
    if not (low <= sample_rate <= high and fits and turn - slack <= audio.shape[1] <= most):
        raise InvalidAudio(
            f"given {audio.dtype} {list(audio.shape)} at {sample_rate:,} Hz, "
            f"allowed is float32 [1 or 2, {turn:.0f} to {most:.0f}] at {low:,} to {high:,} Hz"
        )


def _checked_vectors(info: EngineInfo, vectors: Vectors, count: int) -> Vectors:
    fits = (
        isinstance(vectors, np.ndarray)
        and vectors.dtype == np.float32
        and vectors.ndim == 2
        and len(vectors) == count
        and vectors.shape[1] == (info.dimensions or vectors.shape[1])
        and vectors.shape[1] > 0
    )
    if not fits:
        dimensions = info.dimensions or "D"
        raise EngineError(
            f"engine {info.name!r} returned {_shown(vectors)}; allowed is float32 [{count}, {dimensions}]", hint=_HINT
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not (np.abs(norms - 1.0) <= _NORM_TOLERANCE).all():  # nor is a norm that is no number
        worst = norms[int(np.argmax(np.where(np.isfinite(norms), np.abs(norms - 1.0), np.inf)))]
        raise EngineError(
            f"engine {info.name!r} returned a vector of length {worst:g}; "
            f"allowed is 1, {_NORM_TOLERANCE:g} more or less",
            hint=_HINT,
        )
    return vectors


def _shown(value: object) -> str:  # opaque: whatever an engine returned
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"
