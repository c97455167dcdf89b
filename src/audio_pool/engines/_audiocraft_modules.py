"""Puts the weights of audiocraft's files into transformers' modules: MusicGen's decoder, EnCodec, T5.

Owns: which of audiocraft's models these modules can be (any other is refused by its configuration), and how
its tensors are called there.
Must not know: how the files are read (_audiocraft.py), how tokens are drawn, any single engine, the pool.

Papers: Copet et al., "Simple and Controllable Music Generation", 2023; Defossez et al., "High Fidelity Neural
Audio Compression", 2022.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_pool.engines import _torch
from audio_pool.engines._audiocraft import Configuration, Package
from audio_pool.errors import EngineUnavailable
from audio_pool.models.weights import missing_model

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]

__all__ = ["codec", "language_model", "projection", "t5_encoder", "t5_name", "t5_weights"]

_DESCRIPTION = "condition_provider.conditioners.description."
_POSITIONS = 2048
"""Rows of the table of positions at first; the module makes a longer one when it is needed."""

# By audiocraft's names: the value that transformers' decoder computes, and what is meant where none is given.
_DECODER_IS: tuple[tuple[str, object, object], ...] = (
    ("transformer_lm.norm_first", True, False),
    ("transformer_lm.norm", "layer_norm", "layer_norm"),
    ("transformer_lm.activation", "gelu", "gelu"),
    ("transformer_lm.bias_ff", False, True),
    ("transformer_lm.bias_attn", False, True),
    ("transformer_lm.bias_proj", False, True),
    ("transformer_lm.layer_scale", None, None),
    ("transformer_lm.past_context", None, None),
    ("transformer_lm.positional_embedding", "sin", "sin"),
    ("transformer_lm.positional_scale", 1, 1),
    ("transformer_lm.max_period", 10_000, 10_000),
    ("transformer_lm.qk_layer_norm", False, False),
    ("transformer_lm.qk_layer_norm_cross", False, False),
    ("transformer_lm.kv_repeat", 1, 1),
    ("fuser.cross", ["description"], []),
    ("fuser.prepend", [], []),
    ("fuser.sum", [], []),
    ("fuser.input_interpolate", [], []),
    ("fuser.cross_attention_pos_emb", False, False),
    ("conditioners.description.model", "t5", None),
    ("conditioners.description.t5.normalize_text", False, False),
    ("interleave_stereo_codebooks.use", False, False),
)
_CODEC_IS: tuple[tuple[str, object, object], ...] = (
    ("compression_model", "encodec", None),
    ("encodec.autoencoder", "seanet", None),
    ("encodec.quantizer", "rvq", None),
    ("encodec.renormalize", False, False),
    ("seanet.activation", "ELU", "ELU"),
    ("seanet.activation_params.alpha", 1, 1),
    ("seanet.norm", "weight_norm", "none"),
    ("seanet.disable_norm_outer_blocks", 0, 0),
    ("seanet.decoder.final_activation", None, None),
)
_LAYER = re.compile(r"transformer\.layers\.(\d+)\.(.+)")
_IN_LAYER = (
    ("self_attn.mha.", "self_attn."),
    ("cross_attention.mha.", "cross_attention."),
    ("cross_attention.", "encoder_attn."),
    ("linear1.", "fc1."),
    ("linear2.", "fc2."),
    ("norm1.", "self_attn_layer_norm."),
    ("norm_cross.", "encoder_attn_layer_norm."),
    ("norm2.", "final_layer_norm."),
)
_AROUND = (
    ("emb.", "model.decoder.embed_tokens."),
    ("out_norm.", "model.decoder.layer_norm."),
    ("linears.", "lm_heads."),
)


# -- the language model ---------------------------------------------------------------------------


def language_model(package: Package, dtype: torch.dtype) -> Any:
    """Return a MusicgenForCausalLM with the file's weights, on the CPU; every position attends as its mask says.

    Raises:
        EngineUnavailable: a model of another architecture, or weights that are not its own.
    """
    import torch
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM
    from transformers.models.musicgen.modeling_musicgen import MusicgenSinusoidalPositionalEmbedding

    given = package.config
    for name, allowed, default in _DECODER_IS:
        given.must_be(name, allowed, default)
    width, card = given.whole("transformer_lm.dim"), given.whole("transformer_lm.card")
    config = MusicgenDecoderConfig(
        vocab_size=card,
        hidden_size=width,
        ffn_dim=int(given.number("transformer_lm.hidden_scale", 4) * width),
        num_hidden_layers=given.whole("transformer_lm.num_layers"),
        num_attention_heads=given.whole("transformer_lm.num_heads"),
        num_codebooks=given.whole("transformer_lm.n_q"),
        max_position_embeddings=_POSITIONS,
        pad_token_id=card,
        bos_token_id=card,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
    )
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = MusicgenForCausalLM(config)
    own = {key: value for key, value in package.state.items() if not key.startswith("condition_provider.")}
    _fill(model, _decoder_names(own), dtype, package.path)
    # computed, not stored: on the meta device it is not
    model.model.decoder.embed_positions = MusicgenSinusoidalPositionalEmbedding(_POSITIONS, width).to(dtype)
    return model


def projection(package: Package, dtype: torch.dtype) -> torch.nn.Linear:
    """Return the map from the text encoder's states to the language model's width, on the CPU.

    Raises:
        EngineUnavailable: the file has none.
    """
    import torch

    prefix = f"{_DESCRIPTION}output_proj."
    weights = {key.removeprefix(prefix): value for key, value in package.state.items() if key.startswith(prefix)}
    if "weight" not in weights:
        raise _wrong(package.path, [f"{prefix}weight is missing"])
    rows, columns = weights["weight"].shape
    linear = torch.nn.Linear(columns, rows, bias="bias" in weights)
    _fill(linear, weights, dtype, package.path)
    return linear


def _decoder_names(state: State) -> dict[str, torch.Tensor]:
    named: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        layer = _LAYER.fullmatch(key)
        if layer is None:
            named[_replaced(key, _AROUND)] = value
            continue
        where, rest = f"model.decoder.layers.{layer[1]}.", layer[2]
        for old, new in _IN_LAYER:
            rest = rest.replace(old, new) if rest.startswith(old) else rest
        attention, joined, _ = rest.partition("in_proj_weight")
        if joined:
            for name, part in zip("qkv", value.chunk(3), strict=True):
                named[f"{where}{attention}{name}_proj.weight"] = part
        else:
            named[where + rest] = value
    return named


def _replaced(key: str, prefixes: tuple[tuple[str, str], ...]) -> str:
    return next((new + key.removeprefix(old) for old, new in prefixes if key.startswith(old)), key)


# -- the codec ------------------------------------------------------------------------------------


def codec(package: Package, dtype: torch.dtype) -> Any:
    """Return an EncodecModel with the file's weights, on the CPU.

    Raises:
        EngineUnavailable: a codec of another architecture, or weights that are not its own.
    """
    from transformers import EncodecConfig, EncodecModel

    given = package.config
    for name, allowed, default in _CODEC_IS:
        given.must_be(name, allowed, default)
    model = EncodecModel(EncodecConfig(**_codec_arguments(given)))
    if model.config.num_quantizers != given.whole("rvq.n_q"):
        raise _wrong(package.path, [f"{given.whole('rvq.n_q')} codebooks of {given.whole('rvq.bins')} codes"])
    _fill(model, {_codec_name(key): value for key, value in package.state.items()}, dtype, package.path)
    return model


def _codec_arguments(given: Configuration) -> dict[str, Any]:
    rate, ratios = given.whole("sample_rate"), given.wholes("seanet.ratios")
    codes, books = given.whole("rvq.bins"), given.whole("rvq.n_q")
    hop = 1
    for ratio in ratios:
        hop *= ratio
    # transformers counts the codebooks by the bandwidth that they need
    bandwidth = (books + 0.5) * -(-rate // hop) * (codes - 1).bit_length() / 1000
    return {
        "sampling_rate": rate,
        "audio_channels": given.whole("channels", 1),
        "normalize": False,
        "target_bandwidths": [bandwidth],
        "hidden_size": given.whole("seanet.dimension", 128),
        "num_filters": given.whole("seanet.n_filters", 32),
        "num_residual_layers": given.whole("seanet.n_residual_layers", 3),
        "upsampling_ratios": ratios,
        "norm_type": "weight_norm",
        "kernel_size": given.whole("seanet.kernel_size", 7),
        "last_kernel_size": given.whole("seanet.last_kernel_size", 7),
        "residual_kernel_size": given.whole("seanet.residual_kernel_size", 3),
        "dilation_growth_rate": given.whole("seanet.dilation_base", 2),
        "use_causal_conv": bool(given.get("seanet.causal")),
        "pad_mode": given.text("seanet.pad_mode", "reflect"),
        "compress": given.whole("seanet.compress", 2),
        "num_lstm_layers": given.whole("seanet.lstm", 0),
        "trim_right_ratio": given.number("seanet.decoder.trim_right_ratio", 1.0),
        "codebook_size": codes,
        "codebook_dim": given.whole("seanet.dimension", 128),
        "use_conv_shortcut": given.get("seanet.true_skip") is False,
    }


def _codec_name(key: str) -> str:
    if key.startswith("quantizer."):
        return key.replace("quantizer.vq.layers.", "quantizer.layers.").replace("._codebook.", ".codebook.")
    key = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", key)
    key = key.replace(".convtr.convtr.", ".conv.").replace(".conv.conv.", ".conv.")
    return key.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )


# -- the text encoder -----------------------------------------------------------------------------


def t5_name(package: Package) -> str:
    """Return the name of the T5 that the model was trained with, such as "t5-base"."""
    return package.config.text("conditioners.description.t5.name")


def t5_weights(package: Package) -> dict[str, torch.Tensor]:
    """Return the text encoder's weights where the file has its own (it was trained along), else nothing."""
    prefix = f"{_DESCRIPTION}t5."
    return {key.removeprefix(prefix): value for key, value in package.state.items() if key.startswith(prefix)}


def t5_encoder(directory: Path, own: State, dtype: torch.dtype, engine: str) -> tuple[Any, Any]:
    """Return T5's tokenizer and encoder, on the CPU.

    Args:
        directory: with its configuration, tokenizer and weights.
        own: the model's own weights of it, taken in place of those in the directory.
        dtype: of the encoder.
        engine: the implementation, for messages.

    Raises:
        EngineUnavailable: the directory holds no T5.
    """
    from transformers import AutoTokenizer, T5EncoderModel

    try:
        with _torch.no_bars():
            tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
            encoder = T5EncoderModel.from_pretrained(str(directory), dtype=dtype, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise missing_model(engine, f"{str(directory)!r} does not load as a T5: {_torch.first_line(exc)}") from exc
    if own:
        missing, _ = encoder.load_state_dict({key: value.to(dtype) for key, value in own.items()}, strict=False)
        if set(missing) - {"encoder.embed_tokens.weight", "shared.weight"}:
            raise _wrong(directory, [f"{name} is missing" for name in missing])
    return tokenizer, encoder


# -- weights --------------------------------------------------------------------------------------


def _fill(module: Any, weights: State, dtype: torch.dtype, path: Path) -> None:
    """Give the module its weights in ``dtype``, copied: those that were read still lie in the file."""
    copied = {
        name: value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
        for name, value in weights.items()
    }
    try:
        missing, unexpected = module.load_state_dict(copied, strict=False, assign=True)
    except RuntimeError as exc:  # a shape that differs
        raise _wrong(path, [" ".join(str(exc).split())[:300]]) from exc
    if missing or unexpected:
        raise _wrong(
            path,
            [f"{name} is missing" for name in missing] + [f"{name} is not of this model" for name in unexpected],
        )


def _wrong(path: Path, names: list[str]) -> EngineUnavailable:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return EngineUnavailable(
        f"the weights in {str(path)!r} are not those that its xp.cfg describes: {shown}",
        hint="fetch the file again, or export the model again with audiocraft.utils.export",
    )
