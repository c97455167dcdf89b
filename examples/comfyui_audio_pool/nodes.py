"""The nodes: make a sound, find a kept one, get another like it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import host
from .gateway import DEFAULT_ADDRESS, Gateway, GatewayError
from .waveform import audio_of

_CATEGORY = "audio/audio_pool"
_OUT_TYPES = ("AUDIO", "INT", "STRING")
_OUT_NAMES = ("audio", "sound_id", "metadata")
_GATEWAY = ("STRING", {"default": "", "placeholder": DEFAULT_ADDRESS, "tooltip": "Empty: AUDIO_POOL_GATEWAY."})
_MAX_SEED = 2**63 - 1
_ANY = "any"
Result = tuple[dict[str, Any], int, str]


class MakeSound:
    """A sound made of words; the same words again come from the pool's cache."""

    CATEGORY = _CATEGORY
    DESCRIPTION = __doc__
    FUNCTION = "make"
    RETURN_TYPES = _OUT_TYPES
    RETURN_NAMES = _OUT_NAMES

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "prompt": ("STRING", {"multiline": True, "default": "rain on a tin roof"}),
                "seconds": ("FLOAT", {"default": 4.0, "min": 0.05, "max": 600.0, "step": 0.05}),
                "loop": ("BOOLEAN", {"default": False, "tooltip": "Repeats without a gap."}),
                "seed": (
                    "INT",
                    {"default": -1, "min": -1, "max": _MAX_SEED, "tooltip": "-1: any, a kept sound as well."},
                ),
            },
            "optional": {
                "negative_prompt": ("STRING", {"multiline": True, "default": ""}),
                "engine": ("STRING", {"default": "", "tooltip": "A model, or kind:music; empty: the pool's default."}),
                "candidates": ("INT", {"default": 0, "min": 0, "max": 16, "tooltip": "0: the pool's default."}),
                "gateway": _GATEWAY,
            },
        }

    def make(
        self,
        prompt: str,
        seconds: float,
        loop: bool,
        seed: int,
        negative_prompt: str = "",
        engine: str = "",
        candidates: int = 0,
        gateway: str = "",
    ) -> Result:
        fields: dict[str, Any] = {"prompt": prompt, "duration_s": seconds, "loop": loop}
        if seed >= 0:
            fields["seed"] = seed
        if negative_prompt.strip():
            fields["negative_prompt"] = negative_prompt
        if engine.strip():
            fields["engine"] = engine.strip()
        if candidates:
            fields["candidates"] = candidates
        return _made(Gateway(gateway), fields)


class FindSound:
    """A kept sound, found by its words or by meaning."""

    CATEGORY = _CATEGORY
    DESCRIPTION = __doc__
    FUNCTION = "find"
    RETURN_TYPES = _OUT_TYPES
    RETURN_NAMES = _OUT_NAMES

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "words": ("STRING", {"default": "", "tooltip": "All of them stand in the sound's prompt."}),
                "meaning": ("STRING", {"default": "", "tooltip": "Other words for it; the nearest comes first."}),
                "loop": ([_ANY, "loops", "no loops"], {"default": _ANY}),
                "number": ("INT", {"default": 1, "min": 1, "max": 200, "tooltip": "Which of those that fit."}),
            },
            "optional": {"gateway": _GATEWAY},
        }

    @classmethod
    def IS_CHANGED(cls, **widgets: Any) -> float:
        return float("nan")  # what is kept changes while the widgets stay as they are

    def find(self, words: str, meaning: str, loop: str, number: int, gateway: str = "") -> Result:
        asked = Gateway(gateway)
        which = {_ANY: "", "loops": "true", "no loops": "false"}[loop]
        found = asked.search(words=words.strip(), meaning=meaning.strip(), loop=which, limit=str(number))
        if len(found) < number:
            raise GatewayError(f"audio_pool: {len(found)} kept sounds fit, given was number {number}; ask for less.")
        return _kept(asked, found[number - 1]["id"])


class AnotherSound:
    """Another sound like a kept one: other takes of the same words, by number."""

    CATEGORY = _CATEGORY
    DESCRIPTION = __doc__
    FUNCTION = "vary"
    RETURN_TYPES = _OUT_TYPES
    RETURN_NAMES = _OUT_NAMES

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "sound_id": ("INT", {"default": 1, "min": 1, "max": _MAX_SEED, "forceInput": True}),
                "number": (
                    "INT",
                    {"default": 1, "min": 1, "max": 99, "control_after_generate": True,
                     "tooltip": "Each number is another take; those that are kept come first."},
                ),
            },
            "optional": {"gateway": _GATEWAY},
        }  # fmt: skip

    def vary(self, sound_id: int, number: int, gateway: str = "") -> Result:
        asked = Gateway(gateway)
        metadata = asked.sound(sound_id)["metadata"]
        fields = _asked_like(metadata)
        result = _made(asked, {**fields, "variant": number + 1})
        if result[1] == sound_id:  # the sound is itself one of the takes; the first is nobody's number
            result = _made(asked, {**fields, "variant": 1})
        return result


def _asked_like(metadata: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"prompt": metadata["prompt"], "loop": metadata["is_loop"], "engine": metadata["engine"]}
    if not metadata.get("natural_length"):
        fields["duration_s"] = metadata["requested_duration_s"] or metadata["duration_s"]
    for name in ("negative_prompt", "voice", "options"):
        if metadata.get(name):
            fields[name] = metadata[name]
    return fields


def _made(asked: Gateway, fields: Mapping[str, Any]) -> Result:
    if not str(fields["prompt"]).strip():
        raise GatewayError("audio_pool: the prompt is empty; say in words what is to be heard.")
    made = asked.make(
        {**fields, "format": "wav", "bit_depth": 32},
        on_progress=host.progress_bar(),
        interrupted=host.interrupted,
    )
    if made is None:
        host.end_interrupted()
        raise AssertionError("an interruption ends the prompt")
    sound, data = made
    return audio_of(data), sound["id"] or 0, json.dumps(sound["metadata"])


def _kept(asked: Gateway, number: int) -> Result:
    sound = asked.sound(number)
    return audio_of(asked.file(number)), number, json.dumps(sound["metadata"])


NODE_CLASS_MAPPINGS = {
    "AudioPoolMakeSound": MakeSound,
    "AudioPoolFindSound": FindSound,
    "AudioPoolAnotherSound": AnotherSound,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "AudioPoolMakeSound": "Make Sound (audio_pool)",
    "AudioPoolFindSound": "Find Sound (audio_pool)",
    "AudioPoolAnotherSound": "Another Sound (audio_pool)",
}
