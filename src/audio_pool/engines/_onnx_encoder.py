"""Sentence encoders in ONNX Runtime: from the model's own ONNX file, or from one made of its weights.

Owns: which file is run, and how a text becomes a vector with it.
Must not know: torch, any single model, what the vectors are used for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_pool.engines._bert_graph import BertShape, bert_graph
from audio_pool.engines._graph_file import kept_graph
from audio_pool.errors import EngineUnavailable
from audio_pool.models.weights import require_whole

__all__ = ["OnnxEncoder"]

_FILES = ("onnx/model.onnx", "model.onnx")
_WEIGHTS = "model.safetensors"
_MODULES = {"Transformer", "Pooling", "Normalize"}
_BATCH = 32
_LONGEST = 512
"""Tokens, where a model's files do not say."""
_GRAPH_VERSION = 1
"""Of the files made: another graph is another file."""
_OTHERWISE = "use a model directory that has an ONNX file and name it by onnx_file, or backend = 'torch'"


class OnnxEncoder:
    """A model directory run by ONNX Runtime."""

    def __init__(self, name: str, path: Path, *, file: str, int8: bool) -> None:
        """
        Args:
            path: a directory in sentence-transformers' layout.
            file: of the directory; "": with ``int8`` one made of the weights, else the directory's own where it has
                one.
            int8: the weights are rounded to eight bits.

        Raises:
            EngineUnavailable: a library or part of the model is missing, or it would not load.
        """
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as exc:
            raise EngineUnavailable(
                f"{name} with backend 'onnx' needs onnxruntime and tokenizers: {exc}",
                hint="pip install 'audio-pool[semantic]'",
            ) from exc
        self._first_token = _pools_first_token(name, path)
        names = (file,) if file else () if int8 else _FILES
        own = next((path / one for one in names if (path / one).is_file()), None)
        if file and own is None:
            raise EngineUnavailable(f"{name}: {path} has no {file}", hint=_OTHERWISE)
        if own is not None:
            require_whole(own, engine=name)
        self._largest_batch = 1 if own else _BATCH  # what another's file does with rows of one batch is not known
        model = str(own) if own else _made(name, path, int8)
        try:
            self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
            options = onnxruntime.SessionOptions()
            # a prompt's few tokens gain nothing by a second thread, which the tasks beside it miss
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # both libraries raise their own C++ exceptions, without a common class
            reason = str(exc).partition("\n")[0]
            raise EngineUnavailable(f"{name}: {own or path} or its tokenizer does not load: {reason}") from exc
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_longest(path))
        self._inputs = {one.name for one in self._session.get_inputs()}
        self.dimensions = self.encode(["."]).shape[1]

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode the texts, those of one length together: nothing is padded, no vector depends on another text."""
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(place)
        rows: dict[int, npt.NDArray[np.float32]] = {}
        for places in by_length.values():
            for start in range(0, len(places), self._largest_batch):
                batch = places[start : start + self._largest_batch]
                hidden = self._run(np.array([tokens[place] for place in batch], np.int64))
                rows |= {place: self._pooled(one) for place, one in zip(batch, hidden, strict=True)}
        return np.stack([rows[place] for place in range(len(tokens))])

    def _run(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        outputs = self._session.run(None, {key: value for key, value in given.items() if key in self._inputs})
        return np.asarray(outputs[0], np.float32)

    def _pooled(self, hidden: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        pooled: npt.NDArray[np.float32] = hidden[0] if self._first_token else hidden.mean(axis=0)
        return pooled


def _made(name: str, path: Path, int8: bool) -> bytes:
    """Return an ONNX file made of the directory's weights.

    Raises:
        EngineUnavailable: it has none, or they are not those of a BERT as the graph has it.
    """
    config, weights = _json(path / "config.json"), path / _WEIGHTS
    kinds = [str(one.get("type", "")).rsplit(".", 1)[-1] for one in _list(path / "modules.json")]
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    others = [f"{key} {config[key]!r}" for key, value in expected.items() if config.get(key, value) != value]
    others += [kind for kind in kinds if kind not in _MODULES]
    if others or not weights.is_file():
        why = f"is no plain BERT ({', '.join(others)})" if others else f"has no {_WEIGHTS}"
        raise EngineUnavailable(f"{name}: no ONNX file can be made of {path}, which {why}", hint=_OTHERWISE)
    try:
        shape = BertShape(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
        )
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return kept_graph(f"{_GRAPH_VERSION} {digest} {shape} {int8}", lambda: _graph_of(weights, shape, int8))
    except Exception as exc:  # what damage raises depends on where it is: safetensors has its own root class
        raise EngineUnavailable(f"{name}: {weights} does not load: {type(exc).__name__}: {exc}") from exc


def _graph_of(weights: Path, shape: BertShape, int8: bool) -> bytes:
    from safetensors.numpy import load_file

    tensors = {name: np.asarray(tensor, np.float32) for name, tensor in load_file(weights).items()}
    prefix = "" if any(name.startswith("embeddings.") for name in tensors) else "bert."
    return bert_graph({name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, shape, int8=int8)


def _longest(path: Path) -> int:
    """Return how many tokens of a text count: what sentence-transformers says, else the tokenizer; the model's most."""
    said = _json(path / "sentence_bert_config.json").get("max_seq_length")
    said = said or _json(path / "tokenizer_config.json").get("model_max_length") or _LONGEST
    return int(min(said, _json(path / "config.json").get("max_position_embeddings") or _LONGEST))


def _pools_first_token(name: str, path: Path) -> bool:
    """Return True where the first token's vector is the text's, False where the mean of all is.

    Raises:
        EngineUnavailable: pooled in another way.
    """
    found = sorted(path.glob("*_Pooling/config.json"))
    config = _json(found[0]) if found else {}
    modes = {key for key, value in config.items() if key.startswith("pooling_mode_") and value is True}
    if config.get("pooling_mode"):
        modes = {str(config["pooling_mode"])}
    if modes in ({"pooling_mode_cls_token"}, {"cls"}):
        return True
    if modes in ({"pooling_mode_mean_tokens"}, {"mean"}):
        return False
    raise EngineUnavailable(f"{name}: {path} pools by {sorted(modes) or 'nothing known'}; allowed is mean or cls")


def _json(file: Path) -> dict[str, Any]:
    read = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return read if isinstance(read, dict) else {}


def _list(file: Path) -> list[dict[str, Any]]:
    read = json.loads(file.read_text("utf-8"))
    return [one for one in read if isinstance(one, dict)] if isinstance(read, list) else []
