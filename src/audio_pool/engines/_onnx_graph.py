"""Writes ONNX files: a graph of named values, as the protobuf message that ONNX Runtime reads.

Owns: the message's fields and numbers, as onnx.proto names them; ``OnnxGraph``.
Must not know: any model, ONNX Runtime.

Written by hand, since what is needed are five messages: the library ``onnx`` would be 31 MB for them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["OnnxGraph", "property_entry"]

_IR_VERSION, _OPSET = 9, 20
"""Opset 20 has Gelu; ONNX Runtime reads it since 1.17."""
_ELEMENTS = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7}
_FLOAT, _INT, _INTS = 1, 2, 7
"""Of AttributeProto.AttributeType."""

Attribute = int | float | Sequence[int]


class OnnxGraph:
    """A graph under construction: values are made in the order in which they are computed, and named as they are."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: dict[str, bytes] = {}
        self._ends: list[bytes] = []
        self._made = 0

    def input(self, name: str, dtype: str, axes: Sequence[str | int]) -> str:
        """Declare what is given to a run."""
        self._ends.append(_message(11, _value(name, dtype, axes)))
        return name

    def output(self, name: str, dtype: str, axes: Sequence[str | int]) -> None:
        """Declare what a run gives."""
        self._ends.append(_message(12, _value(name, dtype, axes)))

    # opaque: an array of one of the element types above
    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """Give a value that is part of the file; a second of one name is the first."""
        if name not in self._constants:
            tensor = b"".join(_number(1, length) for length in array.shape)
            tensor += _number(2, _ELEMENTS[array.dtype.name]) + _text(8, name)
            self._constants[name] = _message(5, tensor + _message(9, np.ascontiguousarray(array).tobytes()))
        return name

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Attribute) -> str:
        """Compute a value; return its name."""
        return self.nodes(operator, 1, *inputs, name=name, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *inputs: str, name: str = "", **attributes: Attribute) -> list[str]:
        """Compute several values by one operator; return their names."""
        self._made += 1
        name = name or f"{operator}_{self._made}"
        names = [name] if outputs == 1 else [f"{name}_{number}" for number in range(outputs)]
        node = b"".join(_text(1, one) for one in inputs) + b"".join(_text(2, one) for one in names)
        node += _text(3, name) + _text(4, operator)
        node += b"".join(_message(5, _attribute(key, value)) for key, value in sorted(attributes.items()))
        self._nodes.append(_message(1, node))
        return names

    def encoded(self) -> bytes:
        """Return the content of the file."""
        graph = b"".join([*self._nodes, _text(2, self._name), *self._constants.values(), *self._ends])
        opset = _text(1, "") + _number(2, _OPSET)
        return _number(1, _IR_VERSION) + _text(2, "audio_pool") + _message(8, opset) + _message(7, graph)


def property_entry(key: str, value: str) -> bytes:
    """Return a model's metadata entry, which may be put at the end of its file."""
    return _message(14, _text(1, key) + _text(2, value))


def _value(name: str, dtype: str, axes: Sequence[str | int]) -> bytes:
    shape = b"".join(_message(1, _text(2, one) if isinstance(one, str) else _number(1, one)) for one in axes)
    return _text(1, name) + _message(2, _message(1, _number(1, _ELEMENTS[dtype]) + _message(2, shape)))


def _attribute(key: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _text(1, key) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return _text(1, key) + _number(3, value) + _number(20, _INT)
    return _text(1, key) + b"".join(_number(8, one) for one in value) + _number(20, _INTS)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value & (1 << 64) - 1)  # negative ones as 64 bits, two's complement


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
