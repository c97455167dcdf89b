"""BERT's encoder as an ONNX graph, from the weights in a directory: in float32, or with int8 weights.

Owns: the graph, how weights and activations become int8.
Must not know: torch, ONNX Runtime, what the vectors are used for.

One text a row, all rows of one length: there is no padding, and so no mask. ONNX Runtime's own dynamic quantisation
takes one scale for all activations of a run, so that a text's vector depends on the texts beside it (cosine 0.986
for MiniLM). Here every token has a scale of its own, and every column of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.engines._onnx_graph import OnnxGraph

__all__ = ["BertShape", "bert_graph"]

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats]
"""A checkpoint's, by the names that transformers gives them."""

_MOST = 127.0
_LEAST_SCALE = 1e-8
"""For a token whose activations are all zero."""


@dataclass(frozen=True, kw_only=True)
class BertShape:
    """What the weights do not say by themselves."""

    layers: int
    heads: int
    epsilon: float
    """Of the layer norms."""


def bert_graph(weights: Tensors, shape: BertShape, *, int8: bool) -> bytes:
    """Return the content of an ONNX file: int64 ``input_ids`` [B, T] to float32 ``last_hidden_state`` [B, T, D].

    A row's result does not depend on the others, not in the last bit: pooling, whose order of additions does, is left
    to the caller.

    Raises:
        KeyError: a weight is not there.
    """
    return _Bert(weights, shape, int8).encoded()


class _Bert:
    def __init__(self, weights: Tensors, shape: BertShape, int8: bool) -> None:
        self._weights = weights
        self._shape = shape
        self._int8 = int8
        self._graph = OnnxGraph("bert")
        self._width = weights["embeddings.word_embeddings.weight"].shape[1]
        self._quantised: dict[str, tuple[str, str]] = {}
        """A value's int8 form and its tokens' scales, by its name: query, key and value share one."""

    def encoded(self) -> bytes:
        graph = self._graph
        hidden = self._embedded(graph.input("input_ids", "int64", ("texts", "tokens")))
        for number in range(self._shape.layers):
            hidden = self._layer(hidden, f"encoder.layer.{number}.")
        graph.output(hidden, "float32", ("texts", "tokens", self._width))
        return graph.encoded()

    def _embedded(self, ids: str) -> str:
        graph, weights = self._graph, self._weights
        # every token is of type 0
        words = weights["embeddings.word_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        if self._int8:
            rows = _scales(words, axis=1)
            table = graph.constant("words", np.round(words / rows).astype(np.int8))
            found = graph.node("Cast", graph.node("Gather", table, ids), to=1)
            hidden = graph.node("Mul", found, graph.node("Gather", graph.constant("word_scales", rows), ids))
        else:
            hidden = graph.node("Gather", graph.constant("words", words), ids)
        positions = graph.constant("positions", weights["embeddings.position_embeddings.weight"])
        count = graph.node("Shape", ids, start=1, end=2)
        begin, axis = self._whole("begin", [0]), self._whole("positions_axis", [0])
        hidden = graph.node("Add", hidden, graph.node("Slice", positions, begin, count, axis))
        return self._norm(hidden, "embeddings.LayerNorm")

    def _layer(self, hidden: str, name: str) -> str:
        graph = self._graph
        mixed = self._linear(self._attention(hidden, name + "attention.self."), name + "attention.output.dense")
        hidden = self._norm(graph.node("Add", hidden, mixed), name + "attention.output.LayerNorm")
        inner = graph.node("Gelu", self._linear(hidden, name + "intermediate.dense"))
        widened = self._linear(inner, name + "output.dense")
        return self._norm(graph.node("Add", hidden, widened), name + "output.LayerNorm")

    def _attention(self, hidden: str, name: str) -> str:
        graph, heads = self._graph, self._shape.heads
        each = self._width // heads
        # the scores' 1/sqrt(d) is put into the weights, half on either side
        query = self._heads(self._linear(hidden, name + "query", each**-0.25), (0, 2, 1, 3))
        key = self._heads(self._linear(hidden, name + "key", each**-0.25), (0, 2, 3, 1))
        value = self._heads(self._linear(hidden, name + "value"), (0, 2, 1, 3))
        weights = graph.node("Softmax", graph.node("MatMul", query, key), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=(0, 2, 1, 3))
        return graph.node("Reshape", mixed, self._whole("joined", [0, 0, self._width]))

    def _heads(self, values: str, order: tuple[int, ...]) -> str:
        heads = self._shape.heads
        split = self._graph.node("Reshape", values, self._whole("split", [0, 0, heads, self._width // heads]))
        return self._graph.node("Transpose", split, perm=order)

    def _linear(self, values: str, name: str, scale: float = 1.0) -> str:
        graph = self._graph
        weights: Floats = self._weights[name + ".weight"].T * np.float32(scale)
        bias = graph.constant(name + ".bias", self._weights[name + ".bias"] * np.float32(scale))
        if not self._int8:
            product = graph.node("MatMul", values, graph.constant(name + ".weight", weights))
            return graph.node("Add", product, bias)
        columns = _scales(weights, axis=0)
        whole = graph.constant(name + ".weight", np.round(weights / columns).astype(np.int8))
        tokens, scales = self._by_token(values)
        product = graph.node("MatMulInteger", tokens, whole, graph.constant("zero", np.array(128, np.uint8)))
        product = graph.node("Mul", graph.node("Cast", product, to=1), scales)
        product = graph.node("Mul", product, graph.constant(name + ".scales", columns[0] / np.float32(_MOST)))
        return graph.node("Add", product, bias)

    def _by_token(self, values: str) -> tuple[str, str]:
        """Return values as uint8 around 128, and the greatest of each token, by which they were divided."""
        if values not in self._quantised:
            graph = self._graph
            most = graph.node("ReduceMax", graph.node("Abs", values), self._whole("last_axis", [-1]), keepdims=1)
            most = graph.node("Max", most, self._number("least", _LEAST_SCALE))
            scaled = graph.node("Mul", values, graph.node("Div", self._number("most", _MOST), most))
            shifted = graph.node("Add", graph.node("Round", scaled), self._number("middle", 128.0))
            self._quantised[values] = graph.node("Cast", shifted, to=2), most
        return self._quantised[values]

    def _norm(self, values: str, name: str) -> str:
        gain = self._graph.constant(name + ".weight", self._weights[name + ".weight"])
        bias = self._graph.constant(name + ".bias", self._weights[name + ".bias"])
        return self._graph.node("LayerNormalization", values, gain, bias, axis=-1, epsilon=self._shape.epsilon)

    def _whole(self, name: str, numbers: int | list[int]) -> str:
        return self._graph.constant(name, np.array(numbers, np.int64))

    def _number(self, name: str, value: float) -> str:
        return self._graph.constant(name, np.array(value, np.float32))


def _scales(weights: Floats, axis: int) -> Floats:
    """Return what takes the greatest weight along an axis to 127."""
    scales: Floats = np.maximum(np.abs(weights).max(axis, keepdims=True), _LEAST_SCALE) / np.float32(_MOST)
    return scales.astype(np.float32)
