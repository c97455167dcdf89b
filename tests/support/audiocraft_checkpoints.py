"""Tiny random checkpoints in audiocraft's official layout, made on the spot by the reference implementation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tests.support.audiocraft_models import Codec, LanguageModel
from tests.support.checkpoints import T5, t5_config, t5_tokenizer

RATIOS = (5, 4, 4)
RATE = 4000
"""A rate at which 80 samples make a frame: 50 frames/s, as of the official models."""
CODES = 64
BOOKS = 4
SEGMENT_S = {"magnet": 1, "audiogen": 2}


@dataclass
class Built:
    """A checkpoint's place, and the reference modules that were saved there."""

    directory: Path
    language_model: LanguageModel
    codec: Codec
    text_encoder: Any
    tokenizer: Any

    def states(self, text: str) -> torch.Tensor:
        """Return what the language model attends to, [L, D]; of no text one state of zeros."""
        if not text:
            return torch.zeros(1, self.language_model.out_norm.weight.shape[0])
        tokens = self.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            return self.language_model.project(self.text_encoder(**tokens).last_hidden_state[0])


def configuration(kind: str, **changed: Any) -> dict[str, Any]:
    """``xp.cfg`` of a language model: the values that its training set, references among them."""
    magnet = kind == "magnet"
    tree: dict[str, Any] = {
        "solver": kind,
        "sample_rate": RATE,
        "channels": 1,
        "lm_model": "transformer_lm_magnet" if magnet else "transformer_lm",
        "codebooks_pattern": {"modeling": "parallel" if magnet else "delay", "delay": {"delays": [0, 1, 2, 3]}},
        "transformer_lm": {
            "dim": 32, "num_heads": 4, "num_layers": 2, "hidden_scale": 4, "n_q": BOOKS, "card": CODES,
            "dropout": 0.0, "emb_lr": None, "activation": "gelu", "norm_first": True, "bias_ff": False,
            "bias_attn": False, "bias_proj": False, "past_context": None, "causal": not magnet, "custom": False,
            "memory_efficient": True, "layer_scale": None, "positional_embedding": "sin", "xpos": False,
            "norm": "layer_norm", "cross_attention": False, "qk_layer_norm": False, "kv_repeat": 1,
            "two_step_cfg": False,
        },
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
        "fuser": {"cross_attention_pos_emb": False, "cross_attention_pos_emb_scale": 1, "sum": [], "prepend": [],
                  "cross": ["description"], "input_interpolate": []},
        "conditioners": {"description": {"model": "t5", "t5": {
            "name": "t5-base", "finetune": False, "word_dropout": 0.3, "normalize_text": False}}},
        "dataset": {"segment_duration": SEGMENT_S[kind], "sample_rate": "${sample_rate}"},
        "optim": {"eps": "1e-8"},
        "continue_from": "???",
    }  # fmt: skip
    if magnet:
        tree["transformer_lm"] |= {"subcodes_context": 5, "compression_model_framerate": 50, "span_len": -1}
        tree["masking"] = {"span_len": 3}
        tree["generate"] = {"lm": {"temp": 3.0, "top_k": 0, "top_p": 0.9, "max_cfg_coef": 10.0, "min_cfg_coef": 1.0}}
    for name, value in changed.items():
        *folders, leaf = name.split("__")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = value
    return tree


def codec_configuration() -> dict[str, Any]:
    return {
        "sample_rate": RATE,
        "channels": 1,
        "compression_model": "encodec",
        "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": "${sample_rate}",
                    "channels": "${channels}", "causal": False, "renormalize": False},
        "seanet": {"dimension": 16, "channels": "${channels}", "causal": "${encodec.causal}", "n_filters": 4,
                   "n_residual_layers": 1, "ratios": list(RATIOS), "activation": "ELU",
                   "activation_params": {"alpha": 1.0}, "norm": "weight_norm", "norm_params": {}, "kernel_size": 7,
                   "residual_kernel_size": 3, "last_kernel_size": 7, "dilation_base": 2, "pad_mode": "constant",
                   "true_skip": True, "compress": 2, "lstm": 2, "disable_norm_outer_blocks": 0, "encoder": {},
                   "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None}},
        "rvq": {"n_q": BOOKS, "q_dropout": False, "bins": CODES},
    }  # fmt: skip


def build(directory: Path, kind: str, *, plain: bool = False, **changed: Any) -> Built:
    """Save a model's two files, and its T5 beside it.

    Args:
        directory: gets a folder for each.
        kind: "magnet" or "audiogen".
        plain: the configuration is a mapping, not YAML.
        changed: values of the configuration, by names joined with two underlines.
    """
    from transformers import T5EncoderModel

    torch.manual_seed(17)
    model = directory / f"tiny-{kind}"
    model.mkdir(parents=True)
    text = T5EncoderModel(t5_config({**T5, "feed_forward_proj": "relu"})).eval()
    tokenizer = t5_tokenizer()
    tokenizer.save_pretrained(str(directory / "t5-base"))
    text.save_pretrained(str(directory / "t5-base"))
    language = LanguageModel(
        width=32, heads=4, layers=2, scale=4, books=BOOKS, codes=CODES, text=T5["d_model"]
    ).eval()  # fmt: skip
    codec = Codec(filters=4, ratios=RATIOS, width=16, books=BOOKS, codes=CODES).eval()
    # as published: half precision
    language.half().float()
    config = configuration(kind, **changed)
    best = {name: tensor.half() for name, tensor in language.state_dict().items()}
    _save(model / "state_dict.bin", best, config if plain else yaml.safe_dump(config, sort_keys=False))
    _save(model / "compression_state_dict.bin", codec.state_dict(), yaml.safe_dump(codec_configuration()))
    return Built(model, language, codec, text, tokenizer)


def _save(path: Path, state: dict[str, torch.Tensor], config: object) -> None:
    torch.save({"best_state": state, "xp.cfg": config, "version": "1.3.0", "exported": True}, path)
