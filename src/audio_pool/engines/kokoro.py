"""Kokoro: speech in English by ONNX Runtime, licensed freely from the weights to the dictionary.

Owns: its INFO and settings, which files a model directory has, and how a sentence becomes the model's inputs.
Must not know: torch, how sentences are joined, who asks.

Models come as onnx-community publishes them (``onnx/model.onnx``, ``voices/NAME.bin``, ``config.json`` or
``tokenizer.json``), and as kokoro-onnx does (``kokoro-v1.0.onnx`` with ``voices-v1.0.bin`` beside it). The usual way to
phonemes goes by way of espeak-ng, which is under the GPL: here they come from a dictionary.
"""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from msgspec import Meta, structs

from audio_pool.engine_info import EngineInfo, VoiceInfo
from audio_pool.engines._settings import Device, ModelSettings
from audio_pool.engines._speech.pronouncing import Pronouncer
from audio_pool.engines._speech.speaking import PAUSE, SPEED, Say, SpeakingEngine
from audio_pool.engines._speech.voice_model import VoiceModel, VoiceRun
from audio_pool.engines._wording import SPOKEN
from audio_pool.engines.base import Item
from audio_pool.errors import EngineUnavailable, InvalidConfig, nearest_name
from audio_pool.types import Label

__all__ = ["INFO", "Kokoro", "Settings", "described", "load"]

INFO = EngineInfo(
    name="kokoro",
    role="generator",
    kinds=("speech",),
    model="onnx-community/Kokoro-82M-v1.0-ONNX",
    licence="Apache-2.0",
    commercial_use=True,
    sample_rate=24_000,
    channels=1,
    batch=False,
    speech=True,
    natural_length=True,
    streams=True,
    languages=("en",),
    options=(SPEED, PAUSE),
    requires=("onnxruntime",),
    extra="kokoro",
    files=("onnx/model.onnx", "voices/[ab]*.bin", "config.json", "tokenizer.json"),
    parameters=82_000_000,
    wording=SPOKEN,
    tips=(
        "Write what is to be said, with its punctuation: a comma is a breath, a question mark a rise.",
        "Spell a name as it sounds where the voice misreads it: 'Shivawn' for Siobhan.",
        "A blank line makes a longer pause than a full stop.",
    ),
    summary="Kokoro: speech in American and British English, quick on a CPU, free for any use",
)

_MODELS = ("onnx/model.onnx", "model.onnx", "kokoro*.onnx", "onnx/*.onnx", "*.onnx")
_VOICES = ("voices*.bin", "voices*.npz")
"""All voices in one file; else ``voices/NAME.bin``, one in each."""
_STYLE = 256
_MOST_TOKENS = 510
_BEST_VOICE = "af_heart"
"""The default, where there is one of this name."""
_BRITISH = re.compile(r"b[fm]_")
_FOREIGN = re.compile(r"[efhijpz][fm]_")
"""Names begin with the letter of a language (a: American, b: British), then that of a sex."""
_PACKAGE = "misaki"
_VOCABULARY = {
    **dict(zip(";:,.!?", range(1, 7), strict=True)), "—": 9, "…": 10, '"': 11, "(": 12, ")": 13, "“": 14, "”": 15,
    " ": 16, "\u0303": 17, "ʣ": 18, "ʥ": 19, "ʦ": 20, "ʨ": 21, "ᵝ": 22, "\uab67": 23, "A": 24, "I": 25, "O": 31,
    "Q": 33, "S": 35, "T": 36, "W": 39, "Y": 41, "ᵊ": 42, **dict(zip("abcdef", range(43, 49), strict=True)),
    **dict(zip("hijklmnopqrstuvwxyz", range(50, 69), strict=True)), "ɑ": 69, "ɐ": 70, "ɒ": 71, "æ": 72, "β": 75,
    "ɔ": 76, "ɕ": 77, "ç": 78, "ɖ": 80, "ð": 81, "ʤ": 82, "ə": 83, "ɚ": 85, "ɛ": 86, "ɜ": 87, "ɟ": 90, "ɡ": 92,
    "ɥ": 99, "ɨ": 101, "ɪ": 102, "ʝ": 103, "ɯ": 110, "ɰ": 111, "ŋ": 112, "ɳ": 113, "ɲ": 114, "ɴ": 115, "ø": 116,
    "ɸ": 118, "θ": 119, "œ": 120, "ɹ": 123, "ɾ": 125, "ɻ": 126, "ʁ": 128, "ɽ": 129, "ʂ": 130, "ʃ": 131, "ʈ": 132,
    "ʧ": 133, "ʊ": 135, "ʋ": 136, "ʌ": 138, "ɣ": 139, "ɤ": 140, "χ": 142, "ʎ": 143, "ʒ": 147, "ʔ": 148, "ˈ": 156,
    "ˌ": 157, "ː": 158, "ʰ": 162, "ʲ": 164, "↓": 169, "→": 171, "↗": 172, "↘": 173, "ᵻ": 177,
}  # fmt: skip
"""Of Kokoro v1.0, for a model that brings none."""


class Settings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every model's settings, and where this one's parts are."""

    device: Device = "cpu"
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    """Of one sentence; 0: as many as ONNX Runtime finds good."""
    file: Annotated[str, Meta(max_length=512)] = ""
    """Of the model's directory, e.g. "onnx/model_fp16.onnx"; empty: ``onnx/model.onnx``, else the first there is."""
    voice: Annotated[str, Meta(max_length=64)] = ""
    """Who speaks where a request names nobody; empty: ``af_heart``, else the first there is."""
    dictionaries: Annotated[str, Meta(max_length=4096)] = ""
    """A directory with us_gold.json, us_silver.json, gb_gold.json, gb_silver.json; empty: the package misaki's."""


def described(info: EngineInfo, settings: Settings, path: Path) -> EngineInfo:
    """Return the info with the voices that the model at ``path`` has; only names of files are read."""
    return structs.replace(info, voices=_listed(sorted(_voice_names(_directory(path))), settings.voice))


def load(info: EngineInfo, settings: Settings) -> Kokoro:
    """Return the engine. Raises EngineUnavailable, InvalidConfig."""
    found = settings.locate(info)
    info = structs.replace(info, model=settings.model or info.model, model_revision=found.revision)
    return Kokoro(info, settings, found.path)


class Kokoro(SpeakingEngine):
    """Kokoro, loaded."""

    def __init__(self, info: EngineInfo, settings: Settings, path: Path) -> None:
        """
        Args:
            path: the model's directory, or its ONNX file.

        Raises:
            EngineUnavailable: a part is missing, or not what it should be. InvalidConfig: there is no such voice.
        """
        directory, name = _directory(path), info.name
        file = path if path.is_file() else _model_file(name, directory, settings.file)
        voices = _listed(sorted(_voice_names(directory)), settings.voice)
        if not voices:
            raise EngineUnavailable(
                f"{name}: {directory} has no voices: neither voices/NAME.bin nor voices*.bin",
                hint=f"audio-pool models fetch {info.implementation or name}",
            )
        if settings.voice and voices[0].name != settings.voice:
            near = nearest_name(settings.voice, [voice.name for voice in voices])
            hint = f"did you mean {near!r}?" if near else f"its voices: {', '.join(voice.name for voice in voices)}"
            raise InvalidConfig(f"engine {name!r}: voice: given {settings.voice!r}, which it does not have; {hint}")
        self._model = VoiceModel(name, file, device=settings.device, threads=settings.threads)
        self._tokens = _tokens_input(name, file, self._model.inputs)
        self._whole_speeds = "int" in self._model.inputs.get("speed", "")
        self._vocabulary = _vocabulary(directory, self._model.metadata)
        self._directory = directory
        self._styles: dict[str, npt.NDArray[np.float32]] = {}
        self._pronouncers: dict[bool, Pronouncer] = {}
        self._dictionaries = _dictionaries(name, settings.dictionaries)
        self.device = self._model.device
        self.info = structs.replace(info, voices=voices, dtype=_precision(file))
        self._pronouncer(british=voices[0].language == "en-GB")  # what fails, fails at load
        self._style(voices[0].name)

    def close(self) -> None:
        """Give memory back."""
        self._styles.clear()
        self._pronouncers.clear()
        del self._model

    def _begin(self, item: Item, voice: VoiceInfo, options: dict[str, Label]) -> Say:
        run, style = self._model.run(item.seed), self._style(voice.name)
        pronouncer = self._pronouncer(british=voice.language == "en-GB")
        speed = float(options[SPEED.name] or 1.0)

        def say(sentence: str) -> npt.NDArray[np.float32]:
            phonemes = pronouncer.phonemes(sentence)
            waves = [self._wave(run, part, style, speed) for part in _parts(phonemes, _MOST_TOKENS)]
            waves = [wave for wave in waves if wave.size]
            return np.concatenate(waves) if waves else np.zeros(0, np.float32)

        return say

    def _wave(
        self, run: VoiceRun, phonemes: str, style: npt.NDArray[np.float32], speed: float
    ) -> npt.NDArray[np.float32]:
        ids = [self._vocabulary[one] for one in phonemes if one in self._vocabulary]
        if not any(one.isalpha() for one in phonemes) or not ids:
            return np.zeros(0, np.float32)
        whole = self._whole_speeds
        return run(
            {
                self._tokens: np.array([[0, *ids, 0]]),
                "style": style[min(len(ids), len(style)) - 1][None],
                "speed": np.array([max(1, round(speed)) if whole else speed]),
            }
        )

    def _style(self, voice: str) -> npt.NDArray[np.float32]:
        """Return a voice's style for each number of phonemes: float32 [N, 256]."""
        if voice not in self._styles:
            self._styles[voice] = _style_of(self.info.name, self._directory, voice)
        return self._styles[voice]

    def _pronouncer(self, *, british: bool) -> Pronouncer:
        if british not in self._pronouncers:
            kind = "gb" if british else "us"
            files = [self._dictionaries / f"{kind}_{rank}.json" for rank in ("gold", "silver")]
            rules = Path(__file__).parent / "_speech" / f"letters_{kind}.txt"
            self._pronouncers[british] = Pronouncer(files, rules, british=british)
        return self._pronouncers[british]


# -- files -------------------------------------------------------------------------------------------------


def _directory(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _model_file(name: str, directory: Path, asked: str) -> Path:
    if asked:
        if not (directory / asked).is_file():
            raise EngineUnavailable(f"{name}: {directory} has no {asked}", hint="leave file out, or name one it has")
        return directory / asked
    for pattern in _MODELS:
        found = sorted(directory.glob(pattern))
        if found:
            return found[0]
    raise EngineUnavailable(f"{name}: {directory} has no ONNX file", hint=f"audio-pool models fetch {INFO.name}")


def _tokens_input(name: str, file: Path, inputs: Mapping[str, str]) -> str:
    """Return what the model calls its tokens. Raises EngineUnavailable for a model that is not Kokoro."""
    found = next((one for one in ("input_ids", "tokens") if one in inputs), "")
    if not found or not {"style", "speed"} <= set(inputs):
        raise EngineUnavailable(
            f"{name}: {file} takes {', '.join(sorted(inputs))}; Kokoro takes input_ids or tokens, style, speed"
        )
    return found


def _precision(file: Path) -> str:
    """Return what the file's name says of its weights."""
    stem = file.stem.partition("_")[2] if file.stem.startswith("model_") else file.stem.rpartition(".")[2]
    return stem if stem in ("fp16", "q4", "q4f16", "q8f16", "quantized", "uint8", "uint8f16", "int8") else "float32"


def _vocabulary(directory: Path, metadata: Mapping[str, str]) -> dict[str, int]:
    """Return the number of each phoneme: as the model file says, else the directory's files, else v1.0's."""
    told: list[Any] = []  # opaque: whatever JSON stands there
    files = (_text(directory / one) for one in ("config.json", "tokenizer.json"))
    for text in (metadata.get("kokoro_config", ""), *files):
        try:
            told.append(json.loads(text) if text else None)
        except ValueError:
            continue
    for one in told:
        if isinstance(one, dict):
            model = one.get("model")
            found = one.get("vocab") or (model.get("vocab") if isinstance(model, dict) else None)
            if isinstance(found, dict) and found:
                return {str(key): int(value) for key, value in found.items() if isinstance(value, int)}
    return dict(_VOCABULARY)


def _text(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""


def _dictionaries(name: str, asked: str) -> Path:
    """Return the folder of the dictionaries: read as data, the package's code is not run. Raises EngineUnavailable."""
    if asked:
        folder = Path(asked).expanduser()
    else:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise EngineUnavailable(
                f"{name} needs pronouncing dictionaries, which come with the package {_PACKAGE}: not installed",
                hint="pip install 'audio-pool[kokoro]', or set dictionaries to a folder that has them",
            )
        folder = Path(spec.origin).parent / "data"
    missing = [one for one in ("us_gold.json", "gb_gold.json") if not (folder / one).is_file()]
    if missing:
        raise EngineUnavailable(f"{name}: {folder} has no {' and no '.join(missing)}", hint="set dictionaries")
    return folder


# -- voices ------------------------------------------------------------------------------------------------


def _voice_names(directory: Path) -> Iterator[str]:
    for file in _all_in_one(directory):
        with zipfile.ZipFile(file) as archive:
            yield from (name.removesuffix(".npy") for name in archive.namelist())
    yield from (file.stem for file in sorted(directory.glob("voices/*.bin")))


def _all_in_one(directory: Path) -> list[Path]:
    found = [file for pattern in _VOICES for file in sorted(directory.glob(pattern))]
    return [file for file in found if file.is_file() and zipfile.is_zipfile(file)][:1]


def _listed(names: list[str], first: str) -> tuple[VoiceInfo, ...]:
    """Return the voices that speak English, the default one first."""
    able = [name for name in dict.fromkeys(names) if not _FOREIGN.match(name)]
    first = first or _BEST_VOICE
    able.sort(key=lambda name: name != first)
    return tuple(VoiceInfo(name=name, language=_language(name), summary=_summary(name)) for name in able)


def _language(name: str) -> str:
    return "en-GB" if _BRITISH.match(name) else "en-US"


def _summary(name: str) -> str:
    kind, _, own = name.partition("_")
    sex = {"f": "a woman's", "m": "a man's"}.get(kind[1:2], "")
    return f"{own.replace('_', ' ').title()}, {sex} voice" if sex and own else ""


def _style_of(name: str, directory: Path, voice: str) -> npt.NDArray[np.float32]:
    try:
        file = directory / "voices" / f"{voice}.bin"
        if file.is_file():
            style = np.fromfile(file, np.float32)
        else:
            (file,) = _all_in_one(directory)
            with np.load(file, allow_pickle=False) as voices:
                style = np.asarray(voices[voice], np.float32)
        if not style.size or style.size % _STYLE:
            raise ValueError(f"{style.size:,} numbers are no rows of {_STYLE}")
        return style.reshape(-1, _STYLE)
    except (OSError, ValueError, KeyError) as exc:
        raise EngineUnavailable(f"{name}: voice {voice!r} in {directory} cannot be read: {exc}") from exc


def _parts(phonemes: str, most: int) -> Iterator[str]:
    """Yield phonemes in parts of at most ``most``, cut between words."""
    while len(phonemes) > most:
        end = phonemes.rfind(" ", most // 2, most)
        end = most if end < 0 else end
        yield phonemes[:end].strip()
        phonemes = phonemes[end:].strip()
    if phonemes:
        yield phonemes
