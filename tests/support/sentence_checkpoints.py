"""Tiny random sentence encoders in the official layout, in torch and as ONNX."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rain", "on", "a", "tin", "roof", "dog", "barks", "##s", "."]


def save_directory(path: Path, *, pooling: str, seed: int = 0) -> Path:
    """A BERT of two layers with ``modules.json``, pooled by "cls" or "mean"."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    raw = path / "raw"
    raw.mkdir(parents=True)
    (raw / "vocab.txt").write_text("\n".join(WORDS))
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(raw)
    BertTokenizerFast(vocab=str(raw / "vocab.txt")).save_pretrained(raw)
    transformer = Transformer(str(raw), max_seq_length=32)
    model = SentenceTransformer(modules=[transformer, Pooling(16, pooling_mode=pooling), Normalize()], device="cpu")
    model.save(str(path / "model"), create_model_card=False)
    return path / "model"


def add_onnx(directory: Path, dimensions: int = 8) -> np.ndarray:
    """Puts ``onnx/model.onnx`` there: a table of token vectors and no more; gives the table back.

    Written by hand, field by field of ONNX's protobuf, so that no exporter is needed.
    """
    table = np.random.default_rng(1).standard_normal((len(WORDS), dimensions)).astype(np.float32)
    node = _text(1, "table") + _text(1, "input_ids") + _text(2, "last_hidden_state") + _text(4, "Gather")
    tensor = (
        _number(1, len(WORDS)) + _number(1, dimensions) + _number(2, 1) + _text(8, "table") + _bytes(9, table.tobytes())
    )
    graph = (
        _bytes(1, node)
        + _text(2, "tiny")
        + _bytes(5, tensor)
        + _bytes(11, _value("input_ids", 7, ("b", "t")))
        + _bytes(12, _value("last_hidden_state", 1, ("b", "t", "d")))
    )
    model = _number(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, 13))
    (directory / "onnx").mkdir()
    (directory / "onnx" / "model.onnx").write_bytes(model)
    assert json.loads((directory / "modules.json").read_text())
    return table


def _value(name: str, element: int, names: tuple[str, ...]) -> bytes:
    shape = b"".join(_bytes(1, _text(2, one)) for one in names)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, element) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
