"""Tiny random checkpoints in the official directory layouts, made on the spot.

The layouts are the real ones (file names, keys, legacy weight-norm names, class names); only the sizes
are small. Weights are drawn from a fixed seed, so a checkpoint is the same in every run.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from audio_pool.engines._oobleck import legacy_weight_norm

PIECES = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("rain", "tin", "roof", "dog", "bark", "wind", "sea", "low", "quality", "music", "the", "a", "on")


def t5_tokenizer(directory: Path, longest: int = 512) -> int:
    """A T5 tokenizer of letters and a few words; returns the size of its vocabulary."""
    from transformers import T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocabulary += [("▁" + word, -2.0) for word in WORDS]
    vocabulary += [(letter, -6.0) for letter in PIECES]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=longest)
    tokenizer.save_pretrained(str(directory))
    return len(vocabulary)


def t5_config(vocabulary: int, width: int = 32) -> object:
    from transformers import T5Config

    return T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )


def oobleck(**sizes: object) -> object:
    """A small AutoencoderOobleck with every weight random (its snakes start at zero)."""
    from diffusers import AutoencoderOobleck

    with legacy_weight_norm():
        vae = AutoencoderOobleck(**sizes)
    for name, parameter in vae.named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.data.normal_(0.0, 0.2)
    return vae


OOBLECK = {
    "encoder_hidden_size": 8,
    "downsampling_ratios": [4, 4, 8, 16],
    "channel_multiples": [1, 1, 2, 2],
    "decoder_channels": 4,
    "decoder_input_channels": 64,
    "audio_channels": 2,
    "sampling_rate": 44100,
}


def tangoflux(directory: Path, *, text_beside: bool = True, sequence: int = 645) -> Path:
    """declare-lab/TangoFlux's three files, vae_config.json, and flan-t5-large's config and tokenizer."""
    from diffusers import FluxTransformer2DModel
    from transformers import T5EncoderModel

    torch.manual_seed(11)
    model = directory / "TangoFlux"
    model.mkdir(parents=True)
    text = (directory if text_beside else model) / "flan-t5-large"
    text.mkdir()
    width = 32
    config = t5_config(t5_tokenizer(text), width)
    config.save_pretrained(str(text))
    sizes = {
        "num_layers": 1,
        "num_single_layers": 1,
        "in_channels": 64,
        "attention_head_dim": 128,
        "joint_attention_dim": width,
        "num_attention_heads": 1,
    }
    given = {**sizes, "audio_seq_len": sequence, "max_duration": 30, "text_encoder_name": "google/flan-t5-large"}
    (model / "config.json").write_text(json.dumps(given))
    encoder = T5EncoderModel(config)
    weights = {"text_encoder." + name: value for name, value in encoder.state_dict().items()}
    weights.pop("text_encoder.encoder.embed_tokens.weight", None)
    weights["fc.0.weight"] = torch.randn(width, width) / width**0.5
    weights["fc.0.bias"] = torch.randn(width) * 0.1
    weights["duration_emebdder.time_positional_embedding.0.weights"] = torch.randn(128)
    weights["duration_emebdder.time_positional_embedding.1.weight"] = torch.randn(width, 257) * 0.1
    weights["duration_emebdder.time_positional_embedding.1.bias"] = torch.randn(width) * 0.1
    transformer = FluxTransformer2DModel(**sizes, pooled_projection_dim=width, guidance_embeds=False)
    weights |= {"transformer." + name: value for name, value in transformer.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, model / "tangoflux.safetensors")
    save_file(oobleck(**OOBLECK).state_dict(), model / "vae.safetensors")
    (model / "vae_config.json").write_text(json.dumps(OOBLECK))
    return model
