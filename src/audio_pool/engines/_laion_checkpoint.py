"""LAION's own CLAP checkpoints (``630k-*.pt``) as transformers' ClapModel.

Owns: finding and reading such a file without running code from it, its tokenizer, and the two naming schemes.
Must not know: sounds, which engine loads it.

Differences beyond names: LAION's attention keeps query, key and value in one matrix; its spectrogram,
class head and the two ``*_transform`` heads of its training play no part in an embedding.
"""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from audio_pool.errors import EngineUnavailable, InvalidConfig
from audio_pool.models.weights import find, require_whole

__all__ = ["checkpoint_in", "clap_model", "read_state", "tokenizer_of"]

State = dict[str, Any]

_UNUSED = re.compile(
    r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\."
    r"|audio_branch\.layers\.\d+\.blocks\.\d+\.attn_mask$"
    r"|audio_branch\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index$"
    r"|text_branch\.embeddings\.(position_ids|token_type_ids)$"
    r"|(audio|text)_transform\."
)
_NAMES = (
    (re.compile(r"^text_branch\."), "text_model."),
    (re.compile(r"^audio_branch\.bn0\."), "audio_model.audio_encoder.batch_norm."),
    (re.compile(r"^audio_branch\."), "audio_model.audio_encoder."),
    (re.compile(r"^(audio|text)_projection\.0\."), r"\1_projection.linear1."),
    (re.compile(r"^(audio|text)_projection\.2\."), r"\1_projection.linear2."),
    (re.compile(r"(\.blocks\.\d+)\.norm1\."), r"\1.layernorm_before."),
    (re.compile(r"(\.blocks\.\d+)\.norm2\."), r"\1.layernorm_after."),
    (re.compile(r"(\.blocks\.\d+)\.mlp\.fc1\."), r"\1.intermediate.dense."),
    (re.compile(r"(\.blocks\.\d+)\.mlp\.fc2\."), r"\1.output.dense."),
    (re.compile(r"(\.blocks\.\d+)\.attn\.proj\."), r"\1.attention.output.dense."),
    (re.compile(r"(\.blocks\.\d+)\.attn\.relative"), r"\1.attention.self.relative"),
)
_QKV = re.compile(r"^audio_branch(\.layers\.\d+\.blocks\.\d+)\.attn\.qkv\.(weight|bias)$")
_HEAD_WIDTH = 64
"""Width of one attention head of the text encoder, in RoBERTa of every size."""


_PREFERRED = "630k-audioset-best.pt"
_TEXT_MODEL = "roberta-base"


def checkpoint_in(path: Path) -> Path:
    """Return the checkpoint that a file or directory stands for.

    Raises:
        EngineUnavailable: the directory has none, or several without the usual one among them.
    """
    if path.is_file():
        return path
    files = sorted(path.glob("*.pt"))
    preferred = path / _PREFERRED
    if len(files) == 1 or preferred in files:
        return preferred if preferred in files else files[0]
    raise EngineUnavailable(
        f"{path} holds {len(files)} checkpoints (*.pt) and no {_PREFERRED}",
        hint="give the file itself as the model",
    )


def tokenizer_of(path: Path, text_model: str, models_dir: str, *, engine: str) -> Any:
    """Return the RoBERTa tokenizer that a LAION checkpoint needs and does not carry.

    Args:
        path: the checkpoint; a directory ``roberta-base`` beside it is taken first.
        text_model: hub id or directory that is to be taken instead; "" for none.
        models_dir: directory of models; "" for none.
        engine: the implementation, for the command in the hint.

    Raises:
        EngineUnavailable: nowhere on this machine, with the ways to give it.
    """
    from transformers import AutoTokenizer

    hub_id = f"FacebookAI/{_TEXT_MODEL}"
    places = [text_model] if text_model else [str(path.parent / _TEXT_MODEL), _TEXT_MODEL, hub_id]
    found = next(filter(None, (find(place, models_dir=models_dir or None) for place in places)), None)
    if found is None:
        raise EngineUnavailable(
            f"{path.name} carries no tokenizer, and {text_model or _TEXT_MODEL} is not on this machine",
            hint=f"run: audio-pool models fetch {engine} --model {hub_id} --only '*.json' --only merges.txt; or set "
            f"text_model to a directory with {_TEXT_MODEL}'s tokenizer",
        )
    require_whole(found.path, engine=engine, model="" if found.place == "directory" else hub_id, weights=False)
    try:
        return AutoTokenizer.from_pretrained(found.path, local_files_only=True)
    except (OSError, ValueError) as exc:
        raise EngineUnavailable(f"{found.path} holds no tokenizer: {str(exc).splitlines()[0]}") from exc


def read_state(path: Path, *, engine: str) -> State:
    """Read the checkpoint's tensors under LAION's names, without the ``module.`` of its parallel training.

    Args:
        path: the checkpoint.
        engine: the implementation, for the command in the message.

    Raises:
        EngineUnavailable: not a checkpoint, or it holds more than tensors and plain values.
        InvalidConfig: a checkpoint with feature fusion.
    """
    import torch

    require_whole(path, engine=engine)
    # Some of LAION's files keep their best score as a numpy scalar, which is data and nothing else.
    scalar = np.float64(0).__reduce__()[0]
    harmless = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        type(np.dtype("f8")),
        type(np.dtype("f4")),
    ]
    try:
        with torch.serialization.safe_globals(harmless):
            read = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as exc:
        raise EngineUnavailable(
            f"{path} holds more than tensors and plain values, and is not loaded: "
            f"{str(exc).strip().splitlines()[-1]}",
            hint="use an original LAION file (630k-*.pt), or a directory in transformers' layout",
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError) as exc:
        raise EngineUnavailable(f"{path} is no checkpoint that torch can read: {exc}") from None
    state = read.get("state_dict", read) if isinstance(read, dict) else None
    if not isinstance(state, dict) or not state:
        raise EngineUnavailable(f"{path} is no LAION CLAP checkpoint: it holds no state_dict")
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    if any("fusion_model" in key or "mel_conv2d" in key for key in state):
        raise InvalidConfig(
            f"{path} is a CLAP with feature fusion: its vector of a sound depends on the sounds beside it",
            hint="use an unfused one, e.g. 630k-audioset-best.pt",
        )
    return state


def clap_model(path: Path, *, engine: str) -> Any:
    """Build a transformers ClapModel (float32, on the CPU, in evaluation mode) with the checkpoint's weights.

    Raises:
        EngineUnavailable, InvalidConfig: as ``read_state``; or tensors are missing, or are not known.
    """
    import torch
    from transformers import ClapModel

    state = read_state(path, engine=engine)
    try:
        config = _config(state)
    except KeyError as exc:
        raise EngineUnavailable(f"{path} is no LAION CLAP checkpoint: it has no tensor {exc}") from None
    with torch.random.fork_rng(devices=[]):
        model = ClapModel(config)
    own = set(dict(model.named_buffers()))
    missing, unexpected = model.load_state_dict(_renamed(state), strict=False)
    missing = [key for key in missing if key not in own or "batch_norm" in key]
    if missing or unexpected:
        raise EngineUnavailable(
            f"{path} does not fit CLAP: {len(missing)} tensors missing ({', '.join(missing[:3])}), "
            f"{len(unexpected)} unknown ({', '.join(unexpected[:3])})",
            hint="only CLAP with HTSAT and RoBERTa is known (630k-*.pt, music_*.pt)",
        )
    return model.eval()


def _config(state: State) -> Any:
    """Return the sizes that the tensors have; what no tensor shows is the same in all of LAION's models."""
    from transformers import ClapConfig

    stages = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("audio_branch.layers."))
    blocks = [
        1 + max(int(key.split(".")[4]) for key in state if key.startswith(f"audio_branch.layers.{i}.blocks."))
        for i in range(stages)
    ]
    tables = [
        state[f"audio_branch.layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in range(stages)
    ]
    words = state["text_branch.embeddings.word_embeddings.weight"]
    layers = 1 + max(
        int(key.split(".")[3]) for key in state if key.startswith("text_branch.encoder.layer.")
    )
    return ClapConfig(
        projection_dim=int(state["text_projection.2.weight"].shape[0]),
        projection_hidden_act="relu",
        text_config={
            "vocab_size": int(words.shape[0]),
            "hidden_size": int(words.shape[1]),
            "num_hidden_layers": layers,
            "num_attention_heads": max(1, int(words.shape[1]) // _HEAD_WIDTH),
            "intermediate_size": int(state["text_branch.encoder.layer.0.intermediate.dense.weight"].shape[0]),
            "max_position_embeddings": int(
                state["text_branch.embeddings.position_embeddings.weight"].shape[0]
            ),
            "type_vocab_size": int(state["text_branch.embeddings.token_type_embeddings.weight"].shape[0]),
            "layer_norm_eps": 1e-5,  # RoBERTa's; ClapTextConfig's own default is 1e-12
        },
        audio_config={
            "depths": blocks,
            "num_attention_heads": [int(table.shape[1]) for table in tables],
            "num_hidden_layers": stages,
            "window_size": (round(float(tables[0].shape[0]) ** 0.5) + 1) // 2,
            "patch_embeds_hidden_size": int(state["audio_branch.patch_embed.proj.weight"].shape[0]),
            "hidden_size": int(state["audio_branch.norm.weight"].shape[0]),
            "num_mel_bins": int(state["audio_branch.bn0.weight"].shape[0]),
        },
    )


def _renamed(state: State) -> State:
    renamed: State = {}
    for key, value in state.items():
        if _UNUSED.match(key):
            continue
        joined = _QKV.match(key)
        if joined:
            where = f"audio_model.audio_encoder{joined[1]}.attention.self"
            for name, part in zip(("query", "key", "value"), value.chunk(3, dim=0), strict=True):
                renamed[f"{where}.{name}.{joined[2]}"] = part
            continue
        for pattern, name in _NAMES:
            key = pattern.sub(name, key)
        renamed[key] = value
    return renamed
