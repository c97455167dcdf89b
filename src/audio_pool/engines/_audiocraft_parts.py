"""Opens a model in audiocraft's layout: its two files, the T5 that they do not carry, its fit in memory.

Owns: the settings of such engines, where their parts are looked for, and what they share in using them: the
states of a text.
Must not know: how tokens are drawn, any single engine, the pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import _audiocraft_modules as modules
from audio_pool.engines import _fit, _torch
from audio_pool.engines._audiocraft import CODEC_FILE, MODEL_FILE, Configuration, Package, read_package
from audio_pool.engines._opening import Opened, open_model
from audio_pool.errors import EngineUnavailable, InvalidConfig
from audio_pool.models import hub
from audio_pool.models.weights import missing_model, parts_of, weight_elements

if TYPE_CHECKING:
    import torch

__all__ = [
    "FILES",
    "T5_FILES",
    "AudiocraftSettings",
    "Parts",
    "load",
    "padded_states",
    "text_states",
]

FILES = (MODEL_FILE, CODEC_FILE, "README.md")
T5_FILES = ("config.json", "tokenizer*", "special_tokens_map.json", "spiece.model", "model.safetensors", "README.md")
_WHOLE_S = 30.0
"""Length of the sound whose working memory is known."""
_TEXT_LONGEST = 512
"""Tokens that a T5 was trained on, where its tokenizer does not say."""
_TEXT_BUCKET = 32
"""Compiled, texts are padded (masked) to multiples of this: each length would be its own compilation."""


class AudiocraftSettings(_torch.TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of TorchSettings, and:"""

    text_encoder: Annotated[str, Meta(max_length=4096)] = ""
    """Directory or hub id of the T5 that the model was trained with; empty: a directory of its name inside or
    beside the model, else the hub's local cache."""
    codec: Annotated[str, Meta(max_length=4096)] = ""
    """Directory or hub id of an EnCodec in transformers' layout, for a model whose file only names one; empty:
    looked for by that name as the T5 is."""

    def refuse_ignored(self) -> None:
        super().refuse_ignored()
        if self.attention_slicing:
            raise InvalidConfig("attention_slicing does nothing for this engine: leave it out, or lower max_batch")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A model's modules, on the CPU, and what it was trained with."""

    config: Configuration
    language_model: Any
    """transformers' MusicgenForCausalLM."""
    projection: torch.nn.Linear
    codec: Any
    """transformers' EncodecModel."""
    tokenizer: Any
    text_encoder: Any


def load(info: EngineInfo, settings: AudiocraftSettings, kind: str, working_bytes: int) -> tuple[Opened, Parts]:
    """Find the model, make sure that it will fit, and load its parts.

    Args:
        info, settings: the engine's.
        kind: audiocraft's name of the language model's kind.
        working_bytes: what one sound takes beside the weights, at two bytes per number.

    Raises:
        EngineUnavailable, OutOfMemory, InvalidConfig.
    """
    engine = info.implementation or info.name
    opened = open_model(info, settings, working_bytes)
    package = read_package(opened.directory / MODEL_FILE, engine)
    if package.pretrained:
        raise missing_model(engine, f"{str(package.path)!r} names {package.pretrained!r} and holds no weights")
    package.config.must_be("lm_model", kind, "transformer_lm")
    sound = read_package(opened.directory / CODEC_FILE, engine)
    text_directory = _beside(modules.t5_name(package), settings.text_encoder, "text_encoder", opened, settings, engine)
    text_elements = sum(weight_elements(path) for files in parts_of(text_directory).values() for path in files)
    # exactly, now that the files are open: they hold half precision, and T5's decoder is not loaded
    counted = _fit.counted_parts(
        {"encoder": text_elements // 2, "sampler": package.elements, "decoder": sound.elements}
    )
    _fit.check_fit(info.name, _fit.fit_of(counted, settings, opened.device, working_bytes, _WHOLE_S), opened.device)
    tokenizer, text_encoder = modules.t5_encoder(text_directory, modules.t5_weights(package), opened.dtype, engine)
    if tokenizer.model_max_length > 2**31:  # transformers' way to say that none was given
        tokenizer.model_max_length = _TEXT_LONGEST
    projection = modules.projection(package, opened.dtype)
    if projection.in_features != text_encoder.config.d_model:
        raise EngineUnavailable(
            f"{engine}: the model was trained with a T5 of width {projection.in_features}; {str(text_directory)!r} is "
            f"one of width {text_encoder.config.d_model}",
            hint=f"it needs {modules.t5_name(package)}; set text_encoder to where that lies",
        )
    parts = Parts(
        config=package.config,
        language_model=modules.language_model(package, opened.dtype),
        projection=projection,
        codec=_codec(sound, opened, settings, engine),
        tokenizer=tokenizer,
        text_encoder=text_encoder,
    )
    drawn, known = parts.language_model.config, parts.codec.config
    if known.num_quantizers < drawn.num_codebooks or known.codebook_size != drawn.vocab_size:
        raise EngineUnavailable(
            f"{engine}: the model draws {drawn.num_codebooks} codebooks of {drawn.vocab_size} codes; the codec of "
            f"{str(sound.path)!r} has {known.num_quantizers} of {known.codebook_size}"
        )
    return opened, parts


def _codec(sound: Package, opened: Opened, settings: AudiocraftSettings, engine: str) -> Any:
    if not sound.pretrained and not settings.codec:
        return modules.codec(sound, opened.wave_dtype)
    from transformers import EncodecModel

    directory = _beside(sound.pretrained, settings.codec, "codec", opened, settings, engine)
    try:
        return EncodecModel.from_pretrained(str(directory), dtype=opened.wave_dtype, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise missing_model(engine, f"{str(directory)!r} does not load as an EnCodec: {exc}") from exc


def _beside(name: str, given: str, setting: str, opened: Opened, settings: AudiocraftSettings, engine: str) -> Path:
    """Return where a model lies that the files only name.

    Args:
        name: as audiocraft has it: a hub id, or the old name of a T5 without its owner.
        given: what the setting says instead.
        setting: its name, for the message.
    """
    leaf = name.rsplit("/", 1)[-1]
    hub_id = name if "/" in name else f"google-t5/{name}"
    if not given:
        for folder in (opened.directory, opened.directory.parent):
            for tail in (leaf, hub_id, hub_id.replace("/", "--")):
                if (folder / tail / "config.json").is_file():
                    return folder / tail
    try:
        return hub.ensure(
            given or hub_id,
            engine=engine,
            models_dir=settings.models_dir or None,
            offline=settings.offline,
            files=T5_FILES if setting == "text_encoder" else (),
        ).path
    except EngineUnavailable as exc:
        if given:
            raise
        raise missing_model(
            engine,
            f"{hub_id!r}, which the model needs, is neither at {str(opened.directory / leaf)!r} nor at "
            f"{str(opened.directory.parent / leaf)!r} nor in the hub's local cache (setting {setting} names another)",
            hub_id,
        ) from exc


# -- what such engines do alike -------------------------------------------------------------------


def text_states(tokenizer: Any, encoder: Any, projection: Any, text: str, device: torch.device) -> torch.Tensor:
    """Return what the language model attends to, [L, D]; of no text one state of zeros, as in training."""
    import torch

    dtype = projection.weight.dtype
    if not text:
        return torch.zeros(1, projection.out_features, dtype=dtype, device=device)
    tokens = tokenizer(text, truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt").to(device)
    states = encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)[0][0]
    projected: torch.Tensor = projection(states.to(dtype))
    return projected


def padded_states(states: Sequence[torch.Tensor], *, whole_buckets: bool) -> dict[str, torch.Tensor]:
    """Return ``states`` [B, L, D] of rows of their own lengths, and a ``mask`` [B, L] where it hides anything."""
    import torch

    lengths = torch.tensor([len(row) for row in states])
    longest = int(lengths.max())
    if whole_buckets:
        longest = math.ceil(longest / _TEXT_BUCKET) * _TEXT_BUCKET
    padded = states[0].new_zeros(len(states), longest, states[0].shape[-1])
    for row, state in zip(padded, states, strict=True):
        row[: len(state)] = state
    found = {"states": padded}
    if whole_buckets or int(lengths.min()) < longest:
        found["mask"] = (torch.arange(longest) < lengths[:, None]).long().to(padded.device)
    return found
