"""An engine that says a text sentence by sentence.

Owns: options that all of them have, the choice of a voice, sentences in order with progress and pauses, pieces for
streams, and what the gate must not hold against a voice.
Must not know: how a sentence becomes a wave (each engine's ``_begin``).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from audio_pool.engine_info import EngineInfo, Notes, OptionInfo, VoiceInfo
from audio_pool.engines._speech.joining import between, edged
from audio_pool.engines._speech.sentences import LONGEST, Ending, Sentence, split
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.engines.options import option_values
from audio_pool.errors import InvalidRequest, NotSupported, nearest_name
from audio_pool.types import MAX_SPOKEN_CHARS, Label

__all__ = ["PAUSE", "SPEED", "Say", "SpeakingEngine", "voice_named"]

SPEED = OptionInfo(
    name="speed", type="float", default=1.0, low=0.5, high=2.0, summary="How fast it speaks: 2 is twice as fast"
)
PAUSE = OptionInfo(
    name="pause_s", type="float", default=0.35, low=0.0, high=3.0,
    summary="Silence after a sentence, seconds; after a paragraph it is about twice as long",
)  # fmt: skip
_HIGHPASS_HZ = 50.0
"""A deep voice begins at 70 Hz."""
_EXPECTS = frozenset({"pauses", "decay", "mono"})
"""Of the gate's checks: speech is one channel, and has pauses and an end of its own."""

Say = Callable[[str], npt.NDArray[np.float32]]
"""The wave of one sentence, float32 [T] at the engine's rate; empty where nothing in it can be said."""


def voice_named(info: EngineInfo, name: str | None) -> VoiceInfo:
    """Return a voice by its name; the first where none is named.

    Raises:
        InvalidRequest: there is no such voice; names the nearest.
    """
    if name is None:
        return info.voices[0]
    for voice in info.voices:
        if voice.name == name:
            return voice
    names = [voice.name for voice in info.voices]
    near = nearest_name(name, names)
    hint = f"did you mean {near!r}?" if near else f"its voices: {', '.join(names[:20])}{' ...' * (len(names) > 20)}"
    raise InvalidRequest(f"voice: given {name!r}, which engine {info.name!r} does not have; {hint}")


class SpeakingEngine(abc.ABC):
    """The generator's half that all voices share."""

    info: EngineInfo
    device: str

    longest_sentence = LONGEST

    @abc.abstractmethod
    def _begin(self, item: Item, voice: VoiceInfo, options: dict[str, Label]) -> Say:
        """Return what says the sentences of one item, in order."""

    # -- the contract ------------------------------------------------------------------------------

    def notes(self, item: Item) -> Notes:
        """Return what is known of the item beforehand. Raises InvalidRequest, NotSupported."""
        option_values(self.info, item.options)
        voice = voice_named(self.info, item.voice)
        if item.loop:
            raise NotSupported(f"{self.info.name}: a loop was asked for; what is said has its own length and end")
        if item.negative_prompt or item.init_audio is not None:
            what = "a negative prompt" if item.negative_prompt else "init_audio"
            raise NotSupported(f"{self.info.name}: {what} was given, this engine speaks text and takes nothing else")
        if len(item.prompt) > MAX_SPOKEN_CHARS:
            raise InvalidRequest(
                f"prompt: given {len(item.prompt):,} characters, engine {self.info.name!r} says {MAX_SPOKEN_CHARS:,}"
            )
        details = {"voice": voice.name, "language": voice.language, "sentences": len(self._sentences(item, voice))}
        return Notes(expects=_EXPECTS, highpass_hz=_HIGHPASS_HZ, details=details | self._details(voice))

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        """Return one float32 [1, T] per item, each as long as its words take.

        Raises:
            InvalidRequest: nothing in the text can be said, or it takes longer than is allowed.
            OutOfMemory, EngineError; whatever ``on_step`` raises.
        """
        counts = [len(self._sentences(item, voice_named(self.info, item.voice))) for item in items]
        total, sounds = sum(counts), []
        for place, item in enumerate(items):
            before = sum(counts[:place])
            sounds.append(np.concatenate(list(self.pieces(item, _counting(on_step, before, total))), axis=1))
        return sounds

    def pieces(self, item: Item, on_step: OnStep | None = None) -> Iterator[Audio]:
        """Yield the sentences of one item, each with the silence before it: float32 [1, T].

        Raises:
            as ``generate``.
        """
        rate, voice = self.info.sample_rate, voice_named(self.info, item.voice)
        options = option_values(self.info, item.options)
        sentences = self._sentences(item, voice)
        pause_s = float(options[PAUSE.name] or 0.0)
        say = self._begin(item, voice, options)
        last: Audio | None = None
        ends: Ending = "sentence"
        frames = 0
        for done, sentence in enumerate(sentences, 1):
            wave = say(sentence.text)
            if wave.size:
                said = edged(wave[None], rate)
                piece = said
                if last is not None:
                    piece = np.concatenate([between(last, said, ends, pause_s, rate), said], axis=1)
                last, ends, frames = said, sentence.ends, frames + piece.shape[1]
                self._refuse_too_long(frames)
                yield piece
            if on_step is not None:
                on_step(done, len(sentences))
        if last is None:
            raise InvalidRequest(f"prompt: there is nothing in it that voice {voice.name!r} could say")

    @abc.abstractmethod
    def close(self) -> None:
        """Give memory back. The engine is not used afterwards."""

    # -- what engines may add ----------------------------------------------------------------------

    def _details(self, voice: VoiceInfo) -> dict[str, str]:
        """Return what else is to be told of a sound by this voice."""
        return {}

    def _prepared(self, text: str, voice: VoiceInfo) -> str:
        """Return the text as it is to be split into sentences."""
        return text

    def _sentences(self, item: Item, voice: VoiceInfo) -> list[Sentence]:
        return split(self._prepared(item.prompt, voice), voice.language or "en", longest=self.longest_sentence)

    def _refuse_too_long(self, frames: int) -> None:
        if frames > self.info.longest_s * self.info.sample_rate:
            raise InvalidRequest(
                f"prompt: it takes more than {self.info.longest_s:g} s to say, which is the most",
                hint="ask for less text, or for a greater speed",
            )


def _counting(on_step: OnStep | None, before: int, total: int) -> OnStep | None:
    """Return ``on_step`` for one of several items, counting over all sentences."""
    if on_step is None:
        return None
    report = on_step
    return lambda done, _: report(before + done, total)
