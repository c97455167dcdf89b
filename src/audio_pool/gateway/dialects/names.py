"""What other APIs' names of models and voices mean here.

Owns: the built-in table, how ``[http.models]`` and ``[http.voices]`` add to it, what is said of a name that is none.
Must not know: any dialect's requests.

A name is looked for in the configuration, among the pool's engines (``kind:KIND`` too), then in the built-in table. In
the configuration ``"*"`` is any other name; without it a name that nobody knows is an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec import Struct, structs

from audio_pool.api import EngineReport
from audio_pool.errors import NotFound, UnknownEngine, nearest_name
from audio_pool.gateway.door import Door

__all__ = ["DEFAULT_MODEL", "Chosen", "Names", "UnknownVoice"]

DEFAULT_MODEL = "audio_pool"
"""The pool's default engine."""
_ANY = "*"
_FRESH_S = 5.0
"""So long is what the pool said of its engines believed."""
_SPEECH, _MUSIC, _STABLE_AUDIO, _AUDIOLDM2 = "speech", "kind:music", "stable_audio", "audioldm2"
_ACE_STEP = "ace_step"
_BUILT_IN = {
    DEFAULT_MODEL: "",
    "default": "",
    "tts-1": _SPEECH,
    "tts-1-hd": _SPEECH,
    "gpt-4o-mini-tts": _SPEECH,
    "eleven_text_to_sound_v2": "",
    "eleven_text_to_sound_v3": "",
    "eleven_multilingual_v2": _SPEECH,
    "eleven_turbo_v2_5": _SPEECH,
    "eleven_flash_v2_5": _SPEECH,
    "eleven_v3": _SPEECH,
    "music_v1": _MUSIC,
    "music_v2": _MUSIC,
    "music_v2_5": _MUSIC,
    "stable-audio-2": _STABLE_AUDIO,
    "stable-audio-2.5": _STABLE_AUDIO,
    "stable-audio": _STABLE_AUDIO,
    "fal-ai/stable-audio": _STABLE_AUDIO,
    "fal-ai/stable-audio-25/text-to-audio": _STABLE_AUDIO,
    "fal-ai/stable-audio-25/audio-to-audio": _STABLE_AUDIO,
    "fal-ai/stable-audio-25/inpaint": _STABLE_AUDIO,
    "fal-ai/ace-step": _ACE_STEP,
    "fal-ai/ace-step/audio-to-audio": _ACE_STEP,
    "fal-ai/ace-step/audio-inpaint": _ACE_STEP,
    "fal-ai/ace-step/audio-outpaint": _ACE_STEP,
    "fal-ai/elevenlabs/sound-effects": "",
    "fal-ai/elevenlabs/sound-effects/v2": "",
    "stabilityai/stable-audio-open-1.0": _STABLE_AUDIO,
    "audioldm2": _AUDIOLDM2,
    "cvssp/audioldm2": _AUDIOLDM2,
}
"""Published names, and the engine that comes nearest: one that speaks, one of a kind, one of an implementation or a
model; the default engine where the pool has none of them."""
_OPENAI_VOICES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip


class UnknownVoice(NotFound):
    """A voice that no engine here has."""


class Chosen(Struct, frozen=True, kw_only=True):
    """What a name means."""

    engine: str | None
    """None: the pool's default."""
    speech: bool = False
    """It speaks the words instead of sounding like them."""
    voice: str | None = None
    has_speed: bool = False
    """It has an option ``speed``."""

    def with_voice(self, voice: str | None) -> Chosen:
        """Return the same with a voice."""
        return structs.replace(self, voice=voice)


class Names:
    """The table of one gateway."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._engines: tuple[EngineReport, ...] = ()
        self._asked = float("-inf")

    async def generators(self) -> tuple[EngineReport, ...]:
        """Return the engines of the pool that make sounds."""
        now = time.monotonic()
        if now - self._asked > _FRESH_S:
            found = await self._door.client.engines()
            self._engines = tuple(one for one in found.engines if one.role == "generator" and one.state != "not hosted")
            self._asked = now
        return self._engines

    async def models(self) -> list[str]:
        """Return every name that may be asked for."""
        engines = [engine.name for engine in await self.generators()]
        configured = [name for name in self._door.settings.models if name != _ANY]
        return list(dict.fromkeys([*configured, DEFAULT_MODEL, *engines, *_BUILT_IN]))

    async def model(self, name: str | None, default: str = DEFAULT_MODEL) -> Chosen:
        """Return what makes the sounds of a model.

        Args:
            default: the name where none is given.

        Raises:
            UnknownEngine: nobody knows it; names the nearest that is known.
        """
        name = name or default
        engines = await self.generators()
        settings = self._door.settings.models
        known = settings.get(name)
        if known is not None:
            return _chosen(known.engine, engines)
        if name in {engine.name for engine in engines} or name.startswith("kind:"):
            return _chosen(name, engines)
        if name in _BUILT_IN:
            return _chosen(_nearest(_BUILT_IN[name], engines), engines)
        if _ANY in settings:
            return _chosen(settings[_ANY].engine, engines)
        names = await self.models()
        near = nearest_name(name, names)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names[:12])} …"
        raise UnknownEngine(f"model: given {name!r:.80}, which is none of this server; {hint}")

    async def voice(self, name: str, model: Chosen) -> Chosen:
        """Return a model with a voice: a sound has none, and any name will do.

        Raises:
            UnknownVoice: the engine speaks, and has no such voice.
        """
        found = self._configured_voice(name, await self.generators())
        if found is not None:
            return found
        if not model.speech:
            return model
        engine = _report_of(model.engine, await self.generators())
        own = [] if engine is None else [voice.name for voice in engine.voices]
        if name in own or not own:
            return model.with_voice(name if own else None)
        if name in _OPENAI_VOICES:
            return model.with_voice(own[_OPENAI_VOICES.index(name) % len(own)])
        raise _unknown_voice(name, [*self._door.settings.voices, *own])

    async def speaker(self, voice: str) -> Chosen:
        """Return the engine that has a voice, whichever it is.

        Raises:
            UnknownVoice: none has.
        """
        engines = await self.generators()
        found = self._configured_voice(voice, engines)
        if found is not None:
            return found
        speaking = [(engine.name, one.name) for engine in engines if engine.speech for one in engine.voices]
        for engine, own in speaking:
            if own == voice:
                return _chosen(engine, engines).with_voice(own)
        raise _unknown_voice(voice, [*self._door.settings.voices, *(own for _, own in speaking)])

    async def voices(self) -> list[str]:
        """Return the names of all voices."""
        speaking = [one.name for engine in await self.generators() if engine.speech for one in engine.voices]
        return list(dict.fromkeys([*self._door.settings.voices, *speaking]))

    def _configured_voice(self, name: str, engines: Iterable[EngineReport]) -> Chosen | None:
        known = self._door.settings.voices.get(name)
        if known is None:
            return None
        return _chosen(known.engine, engines).with_voice(known.voice)


def _chosen(engine: str | None, engines: Iterable[EngineReport]) -> Chosen:
    report = _report_of(engine, engines)
    if report is None:
        return Chosen(engine=engine or None)
    has_speed = any(option.name == "speed" for option in report.options)
    return Chosen(engine=engine, speech=report.speech, has_speed=has_speed)


def _report_of(engine: str | None, engines: Iterable[EngineReport]) -> EngineReport | None:
    """Return what is known of an engine by its name, or of the first of a kind."""
    kind = (engine or "").removeprefix("kind:") if (engine or "").startswith("kind:") else None
    return next((one for one in engines if one.name == engine or kind in one.kinds), None)


def _nearest(meant: str, engines: Iterable[EngineReport]) -> str | None:
    """Return what a name of the built-in table comes to in this pool; None: its default engine."""
    for engine in engines:
        if meant == _SPEECH and engine.speech:
            return engine.name
        if meant.startswith("kind:") and meant.removeprefix("kind:") in engine.kinds:
            return meant
        if meant and meant in (engine.name, engine.implementation):
            return engine.name
    return None


def _unknown_voice(name: str, known: list[str]) -> UnknownVoice:
    near = nearest_name(name, known)
    hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
    return UnknownVoice(f"voice: given {name!r:.80}, which no engine here has; {hint}")
