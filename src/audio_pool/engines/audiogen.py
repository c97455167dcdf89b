"""AudioGen: text to 16 kHz sounds with a language model of audio tokens, from audiocraft's own files.

Owns: what is particular to this model: its files, its window, its way of drawing.
Must not know: how the files are read (_audiocraft_parts.py), how tokens are drawn (_autoregressive.py), the pool.
Heavy imports happen inside load().

Paper: Kreuk et al., "AudioGen: Textually Guided Audio Generation", 2023; the published model is its second
version, on the algorithm of Copet et al., "Simple and Controllable Music Generation", 2023.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from audio_pool.engine_info import CompanionInfo, EngineInfo, OptionInfo
from audio_pool.engines import _audiocraft_parts as parts_of
from audio_pool.engines._autoregressive import AutoregressiveEngine, TokenModel, token_options
from audio_pool.engines._generation import Condition

__all__ = ["INFO", "AudioGen", "Settings", "load"]

_WINDOW_S = 10.0
_STRIDE_S = 2.0


def _options(window_s: float) -> tuple[OptionInfo, ...]:
    return token_options(window_s=window_s, stride_s=min(_STRIDE_S, window_s / 2))


INFO = EngineInfo(
    name="audiogen",
    role="generator",
    kinds=("effects", "ambience"),
    languages=("en",),
    model="facebook/audiogen-medium",
    licence="CC-BY-NC-4.0",
    commercial_use=False,
    sample_rate=16_000,
    channels=1,
    shortest_s=0.05,
    longest_s=600.0,
    window_s=_WINDOW_S,
    guidance_scale=3.0,
    extend=True,
    streams=True,
    options=_options(_WINDOW_S),
    files=parts_of.FILES,
    companions=(CompanionInfo(model="google-t5/t5-large", files=parts_of.T5_FILES, licence="Apache-2.0"),),
    requires=("torch", "transformers", "yaml", "sentencepiece"),
    extra="musicgen",
    parameters=2_200_000_000,
    tips=(
        "Say what is heard, in a short sentence: 'a dog barks twice while footsteps pass on gravel'.",
        "Sounds of the world, not music: it was trained on captions of recordings.",
        "Words are not spoken: 'a man speaks' gives a voice without a language.",
    ),
    summary="Sound effects and ambience up to 10 minutes, 16 kHz mono; drawn token by token.",
)

_WORKING_BYTES = 2**30
"""Keys and values of ten guided seconds, and the decoding of ten."""


class Settings(parts_of.AudiocraftSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of TorchSettings, text_encoder and codec."""


def load(info: EngineInfo, settings: Settings) -> AudioGen:
    """Load the model.

    Raises:
        EngineUnavailable, OutOfMemory; InvalidConfig: settings that do not go together.
    """
    opened, parts = parts_of.load(info, settings, "transformer_lm", _WORKING_BYTES)
    given, books = parts.config, parts.language_model.config.num_codebooks
    # the first models named their pattern elsewhere
    given.must_be("codebooks_pattern.modeling", "delay", given.get("transformer_lm.q_modeling"))
    given.must_be("codebooks_pattern.delay.delays", list(range(books)), list(range(books)))
    given.must_be("codebooks_pattern.delay.flatten_first", 0, 0)
    given.must_be("codebooks_pattern.delay.empty_initial", 0, 0)
    window_s = given.number("dataset.segment_duration", _WINDOW_S)
    info = structs.replace(
        info,
        window_s=window_s,
        options=_options(window_s),
        guidance_scale=given.number("classifier_free_guidance.inference_coef", info.guidance_scale),
    )
    model = TokenModel(
        tokenizer=parts.tokenizer,
        text_encoder=parts.text_encoder,
        projection=parts.projection,
        language_model=parts.language_model,
        codec=parts.codec,
    )
    engine = AudioGen(info, settings, opened, model)
    engine._warm()
    return engine


class AudioGen(AutoregressiveEngine):
    """Latents are codes, [K, frames], 50 frames a second."""

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        """Return the prompt's states [1, L, D]; of no text one state of zeros, as in training."""
        states: Any = parts_of.text_states(self._tokenizer, self._text_encoder, self._projection, prompt, self._device)
        return {"states": states[None].to(self.dtype)}
