"""Just enough of ONNX's protobuf to write a small graph, the same bytes every time, without a library.

Field numbers and types: onnx/onnx.proto3 of the ONNX project, IR version 8. Wire format: a tag is
field << 3 | type, type 0 a varint, 2 a length and as many bytes.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FLOAT, INT64 = 1, 7  # TensorProto.DataType
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}

Array: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.int64]
Shape: TypeAlias = Sequence[int | str]  # a string names a dimension of any size


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def tensor(name: str, array: Array) -> bytes:
    """A TensorProto with its numbers as little-endian raw data."""
    dims = b"".join(_number(1, size) for size in array.shape)
    little = array.astype(array.dtype.newbyteorder("<"))
    return dims + _number(2, _TYPES[array.dtype]) + _bytes(8, name) + _bytes(9, little.tobytes())


def node(op: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    """A NodeProto with one output; attributes are whole numbers."""
    ends = b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output)
    given = b"".join(
        _bytes(5, _bytes(1, name) + _number(3, value) + _number(20, 2)) for name, value in attributes.items()
    )
    return ends + _bytes(3, output) + _bytes(4, op) + given


def _value(name: str, element: int, shape: Shape) -> bytes:
    dims = b"".join(_bytes(1, _bytes(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, element) + _bytes(2, dims)))


def model(
    name: str,
    *,
    nodes: Sequence[bytes],
    weights: Mapping[str, Array],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    opset: int = 17,
) -> bytes:
    """A ModelProto: int64 inputs, float outputs."""
    graph = (
        b"".join(_bytes(1, one) for one in nodes)
        + _bytes(2, name)
        + b"".join(_bytes(5, tensor(key, array)) for key, array in weights.items())
        + b"".join(_bytes(11, _value(key, INT64, shape)) for key, shape in inputs.items())
        + b"".join(_bytes(12, _value(key, FLOAT, shape)) for key, shape in outputs.items())
    )
    return _number(1, 8) + _bytes(2, "feltwire") + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, opset))
