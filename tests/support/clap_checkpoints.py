"""Tiny random CLAPs made on the spot: a directory in transformers' layout, and LAION's own .pt layout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

_WORDS = ["rain on a tin roof", "a dog barks twice", "the sea at night", "thunder, far away", "birds in a wood"]


def save_tokenizer(directory: Path) -> int:
    """RoBERTa's kind of tokenizer, trained on a few words; gives its vocabulary's size."""
    directory.mkdir(parents=True, exist_ok=True)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        _WORDS, vocab_size=320, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False
    )
    trained.save_model(str(directory))
    tokenizer = RobertaTokenizer.from_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return int(tokenizer.vocab_size)


def tiny_model(vocab_size: int, *, fused: bool = False, text_eps: float = 1e-5, seed: int = 0) -> ClapModel:
    config = ClapConfig(
        projection_dim=16,
        text_config={
            "vocab_size": vocab_size, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1,
            "intermediate_size": 96, "max_position_embeddings": 100, "layer_norm_eps": text_eps,
        },
        audio_config={
            "depths": [2, 1, 2, 1], "num_attention_heads": [1, 2, 2, 4], "patch_embeds_hidden_size": 8,
            "hidden_size": 64, "num_hidden_layers": 4, "enable_fusion": fused,
            "fusion_type": "aff_2d" if fused else None,
        },
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ClapModel(config)
        # Fresh weights are so small that every input gives nearly the same vector; spread them.
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, std=0.5 / weight[0].numel() ** 0.5 + 0.05)
            elif name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.05)
        norm = model.audio_model.audio_encoder.batch_norm
        norm.running_mean.normal_(-20.0, 5.0)
        norm.running_var.uniform_(100.0, 400.0)
    return model.eval()


def save_directory(directory: Path, **options: Any) -> ClapModel:
    """A whole ``laion/clap-htsat-unfused`` in small: config, safetensors, processor, tokenizer."""
    model = tiny_model(save_tokenizer(directory), **options)
    model.save_pretrained(directory)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad", frequency_min=50).save_pretrained(directory)
    return model


def laion_state(model: ClapModel) -> dict[str, torch.Tensor]:
    """The model's tensors as LAION's training writes them, with all that no embedding needs."""
    theirs: dict[str, torch.Tensor] = {}
    ours = model.state_dict()
    for key, value in ours.items():
        where = re.match(r"audio_model\.audio_encoder(\.layers\.\d+\.blocks\.\d+)\.attention\.self\.(\w+)", key)
        if where and where[2] in ("query", "key", "value"):
            if where[2] == "query":
                kind = key.rsplit(".", 1)[1]
                parts = [ours[key.replace(".query.", f".{name}.")] for name in ("query", "key", "value")]
                theirs[f"audio_branch{where[1]}.attn.qkv.{kind}"] = torch.cat(parts)
            continue
        name = key.replace("audio_model.audio_encoder.", "audio_branch.").replace("text_model.", "text_branch.")
        if name.startswith("audio_branch"):
            for ours_name, theirs_name in (
                ("batch_norm.", "bn0."), ("attention.self.", "attn."), ("attention.output.dense", "attn.proj"),
                ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"),
                ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
            ):  # fmt: skip
                name = name.replace(ours_name, theirs_name)
        theirs[name.replace("projection.linear1", "projection.0").replace("projection.linear2", "projection.2")] = value
    theirs["audio_branch.spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(513, 1, 1024)
    theirs["audio_branch.logmel_extractor.melW"] = torch.zeros(513, 64)
    theirs["audio_branch.tscam_conv.weight"] = torch.zeros(527, 64, 2, 3)
    theirs["audio_branch.head.weight"] = torch.zeros(527, 527)
    theirs["audio_branch.layers.0.blocks.1.attn_mask"] = torch.zeros(64, 64, 64)
    theirs["audio_transform.sequential.0.weight"] = torch.zeros(16, 16)
    theirs["text_transform.sequential.3.bias"] = torch.zeros(16)
    return {f"module.{name}": value.clone() for name, value in theirs.items()}


def save_laion(path: Path, model: ClapModel, **more: Any) -> None:
    """A ``630k-*.pt``: epoch, name and state_dict, and the tokenizer's directory beside it."""
    torch.save({"epoch": 45, "name": "tiny", "state_dict": laion_state(model), **more}, path)
