"""Piper: speech in many languages by its official voices, in ONNX Runtime.

Owns: its INFO and settings, what a voice's files say, and the inputs of its model.
Must not know: piper-tts, which is under the GPL: a process of its own turns text into phoneme numbers
(``_speech/phonemizer.py``), and nothing else is asked of it; the voice's model is run here.

A voice is ``X.onnx`` with ``X.onnx.json``, and often a MODEL_CARD beside them that names its licence. A model directory
may hold any number of them, at any depth.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct, structs

from audio_pool.engine_info import EngineInfo, OptionInfo, VoiceInfo
from audio_pool.engines._settings import Device, ModelSettings
from audio_pool.engines._speech.english import spoken_titles
from audio_pool.engines._speech.phonemizer import Phonemizer
from audio_pool.engines._speech.speaking import PAUSE, SPEED, Say, SpeakingEngine
from audio_pool.engines._speech.voice_model import VoiceModel
from audio_pool.engines._wording import SPOKEN
from audio_pool.engines.base import Item
from audio_pool.errors import EngineUnavailable, InvalidConfig, nearest_name
from audio_pool.types import Label

__all__ = ["INFO", "Piper", "Settings", "described", "load"]

_NOISE = OptionInfo(
    name="noise_scale", type="float", low=0.0, high=2.0,
    summary="How much the sound of a voice varies; unset: as the voice's file says, usually 0.667; 0: not at all",
)  # fmt: skip
_NOISE_W = OptionInfo(
    name="noise_w", type="float", low=0.0, high=2.0,
    summary="How much the length of its phonemes varies; unset: as the voice's file says, usually 0.8; 0: not at all",
)  # fmt: skip

INFO = EngineInfo(
    name="piper",
    role="generator",
    kinds=("speech",),
    model="rhasspy/piper-voices",
    licence="each voice's own, as its MODEL_CARD says",
    commercial_use=False,
    sample_rate=22_050,
    channels=1,
    batch=False,
    speech=True,
    natural_length=True,
    streams=True,
    options=(SPEED, PAUSE, _NOISE, _NOISE_W),
    requires=("onnxruntime", "piper"),
    extra="piper",
    files=tuple(f"en/en_US/ljspeech/medium/{name}" for name in ("*.onnx", "*.onnx.json", "MODEL_CARD")),
    parameters=20_000_000,
    wording=SPOKEN,
    tips=(
        "Write in the language of the voice, with its punctuation.",
        "Write words of another language as they sound in the voice's own.",
        "noise_scale and noise_w at 0 give the plainest reading, and spare opening the model for each seed.",
    ),
    summary="Piper: speech in some forty languages, quick on a CPU; its phonemizer is under the GPL and runs by itself",
)

_FREE = re.compile(r"public domain|\bcc0\b|\bcc[ -]?by\b|creative commons attribution|\bmit\b|apache|\bbsd\b", re.I)
_RESTRICTED = re.compile(r"non[- ]?commercial|\bnc\b|research|personal use|\bnd\b|no ?deriv|unknown|see url", re.I)
_UNTOLD = "not told: the voice has no MODEL_CARD"


class Settings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every model's settings, and who speaks."""

    device: Device = "cpu"
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    """Of one sentence; 0: as many as ONNX Runtime finds good."""
    voice: Annotated[str, Meta(max_length=64)] = ""
    """Who speaks where a request names nobody; empty: the first by name."""
    python: Annotated[str, Meta(max_length=4096)] = ""
    """Interpreter that has piper-tts, for the phonemizer's process; empty: the worker's own."""
    loaded_voices: Annotated[int, Meta(ge=1, le=64)] = 4
    """Voices' models kept in memory, those used last; a speaker of the same file costs nothing."""

    @property
    def needs(self) -> tuple[tuple[str, ...], str]:
        """Modules that this process must be able to find, and the extra that brings them."""
        return (("onnxruntime",) if self.python else INFO.requires), INFO.extra


class _Speaker(Struct, frozen=True, kw_only=True):
    """One voice: a file, and one of its speakers."""

    info: VoiceInfo
    config: Path
    sid: int | None
    sample_rate: int
    licence: str
    scales: tuple[float, float, float]
    """noise_scale, length_scale, noise_w, as the voice's file has them."""

    @property
    def model(self) -> Path:
        return self.config.with_suffix("")


def described(info: EngineInfo, settings: Settings, path: Path) -> EngineInfo:
    """Return the info with the voices that lie at ``path``, and their licences; only JSON and cards are read.

    Raises:
        EngineUnavailable: a voice's file cannot be read.
    """
    return _told(info, _speakers(info.name, path, settings.voice))


def load(info: EngineInfo, settings: Settings) -> Piper:
    """Return the engine. Raises EngineUnavailable, InvalidConfig."""
    found = settings.locate(info)
    info = structs.replace(info, model=settings.model or info.model, model_revision=found.revision)
    return Piper(info, settings, found.path)


class Piper(SpeakingEngine):
    """The voices of a directory, loaded as they are asked for."""

    def __init__(self, info: EngineInfo, settings: Settings, path: Path) -> None:
        """
        Args:
            path: a directory with voices, or one voice's ONNX file.

        Raises:
            EngineUnavailable: no voice there, one that cannot be read, no piper-tts. InvalidConfig: no such voice.
        """
        name = info.name
        self._speakers = {one.info.name: one for one in _speakers(name, path, settings.voice)}
        if not self._speakers:
            raise EngineUnavailable(
                f"{name}: {path} has no voices: no X.onnx with X.onnx.json",
                hint=f"audio-pool models fetch {info.implementation or name}",
            )
        first = next(iter(self._speakers))
        if settings.voice and first != settings.voice:
            near = nearest_name(settings.voice, list(self._speakers))
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(list(self._speakers)[:20])}"
            raise InvalidConfig(f"engine {name!r}: voice: given {settings.voice!r}, which is not there; {hint}")
        self._settings = settings
        self._models: OrderedDict[Path, VoiceModel] = OrderedDict()
        self.info = structs.replace(_told(info, list(self._speakers.values())), dtype="float32")
        self.device = self._model(self._speakers[first]).device
        self._phonemizer = Phonemizer(name, settings.python)

    def close(self) -> None:
        """Give memory back, and end the phonemizer's process."""
        self._models.clear()
        self._phonemizer.close()

    def _begin(self, item: Item, voice: VoiceInfo, options: dict[str, Label]) -> Say:
        speaker = self._speakers[voice.name]
        noise, length, noise_w = speaker.scales
        noise = noise if options[_NOISE.name] is None else float(options[_NOISE.name] or 0.0)
        noise_w = noise_w if options[_NOISE_W.name] is None else float(options[_NOISE_W.name] or 0.0)
        scales = np.array([noise, length / float(options[SPEED.name] or 1.0), noise_w], np.float32)
        run = self._model(speaker).run(item.seed, draws=noise > 0.0 or noise_w > 0.0)

        def say(sentence: str) -> npt.NDArray[np.float32]:
            ids = self._phonemizer.numbers(speaker.config, sentence)
            if not ids:
                return np.zeros(0, np.float32)
            feed = {"input": np.array([ids]), "input_lengths": np.array([len(ids)]), "scales": scales}
            if speaker.sid is not None:
                feed["sid"] = np.array([speaker.sid])
            return self._at_the_engines_rate(run(feed), speaker.sample_rate)

        return say

    def _at_the_engines_rate(self, wave: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
        if rate == self.info.sample_rate:
            return wave
        from audio_pool.audio import filter

        resampled: npt.NDArray[np.float32] = filter.resample(wave[None], rate, self.info.sample_rate)[0]
        return resampled

    def _details(self, voice: VoiceInfo) -> dict[str, str]:
        return {"voice_licence": self._speakers[voice.name].licence}

    def _prepared(self, text: str, voice: VoiceInfo) -> str:
        return spoken_titles(text) if voice.language.startswith("en") else text

    def _model(self, speaker: _Speaker) -> VoiceModel:
        """Return a voice's model, loaded where it is not; those that were used longest ago are let go."""
        file = speaker.model
        if file not in self._models:
            model = VoiceModel(self.info.name, file, device=self._settings.device, threads=self._settings.threads)
            if not {"input", "input_lengths", "scales"} <= set(model.inputs):
                raise EngineUnavailable(
                    f"{self.info.name}: {file} takes {', '.join(sorted(model.inputs))}; "
                    "a voice of Piper takes input, input_lengths, scales"
                )
            while len(self._models) >= self._settings.loaded_voices:
                self._models.popitem(last=False)
            self._models[file] = model
        self._models.move_to_end(file)
        return self._models[file]


# -- voices ------------------------------------------------------------------------------------------------


def _speakers(name: str, path: Path, first: str) -> list[_Speaker]:
    """Return every voice at a place, by name, the default one first. Raises EngineUnavailable."""
    files = [path] if path.is_file() else sorted(path.rglob("*.onnx"))
    speakers = [one for file in files if Path(f"{file}.json").is_file() for one in _of_file(name, Path(f"{file}.json"))]
    return sorted(speakers, key=lambda one: one.info.name != first)


def _of_file(name: str, config: Path) -> list[_Speaker]:
    try:
        told = json.loads(config.read_text("utf-8"))
        rate, speakers = int(told["audio"]["sample_rate"]), int(told.get("num_speakers", 1))
        inference: dict[str, Any] = told.get("inference", {})
        scales = (
            float(inference.get("noise_scale", 0.667)),
            float(inference.get("length_scale", 1.0)),
            float(inference.get("noise_w", 0.8)),
        )
        named = {str(speaker): int(sid) for speaker, sid in told.get("speaker_id_map", {}).items()}
        default = int(told.get("default_speaker_id", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise EngineUnavailable(f"{name}: {config} is no voice's configuration: {type(exc).__name__}: {exc}") from exc
    stem = _as_name(config.name.removesuffix(".onnx.json"))
    language = _language(told, stem)
    licence = _licence(config.parent)

    def speaker(voice: str, sid: int | None, summary: str) -> _Speaker:
        info = VoiceInfo(name=voice[:64], language=language, summary=summary)
        return _Speaker(info=info, config=config, sid=sid, sample_rate=rate, licence=licence, scales=scales)

    if speakers <= 1:
        return [speaker(stem, None, f"{rate / 1000:g} kHz")]
    every = [speaker(stem, default, f"{rate / 1000:g} kHz, {speakers} speakers: number {default}")]
    for own, sid in sorted((named or {str(number): number for number in range(speakers)}).items()):
        every.append(speaker(f"{stem}.{_as_name(own)}", sid, f"{rate / 1000:g} kHz, speaker {own}"))
    return every


def _as_name(text: str) -> str:
    """Return a text as a request may name it."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-") or "voice"


def _language(told: dict[str, Any], stem: str) -> str:
    """Return a voice's language, BCP 47: "en-GB"."""
    language = told.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    espeak = told.get("espeak")
    found = code or stem.partition("-")[0] or (espeak.get("voice") if isinstance(espeak, dict) else "")
    return str(found or "").replace("_", "-")


def _licence(folder: Path) -> str:
    """Return what a voice's MODEL_CARD says of its licence."""
    for card in ("MODEL_CARD", "MODEL_CARD.md", "README.md"):
        file = folder / card
        if file.is_file():
            found = re.search(r"^\W*licen[cs]e\W*:\W*(.+)$", file.read_text("utf-8", "replace"), re.I | re.M)
            return " ".join(found[1].split())[:200].strip("* ") if found else f"not told in its {card}"
    return _UNTOLD


def _told(info: EngineInfo, speakers: list[_Speaker]) -> EngineInfo:
    """Return the info with what the voices say: names, languages, the highest rate, all of their licences."""
    if not speakers:
        return info
    licences = list(dict.fromkeys(one.licence for one in speakers))
    free = all(_FREE.search(one) and not _RESTRICTED.search(one) for one in licences)
    languages = dict.fromkeys(one.info.language.partition("-")[0] for one in speakers if one.info.language)
    return structs.replace(
        info,
        voices=tuple(one.info for one in speakers),
        languages=tuple(languages),
        sample_rate=max(one.sample_rate for one in speakers),
        licence="; ".join(licences)[:500],
        commercial_use=free,
    )
