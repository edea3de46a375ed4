"""ONNX graphs of recurrent networks, written node by node.

ONNX's own GRU and LSTM read each row up to its own length and forget the padding behind it, which no exporter of
loops does; and the same weights give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from feltwire.models._bundle import GRAPH

Floats: TypeAlias = npt.NDArray[np.float32]

OPSET: Final = 17
IR_VERSION: Final = 8  # what onnxruntime from 1.15 on reads


class Graph:
    """A graph in the making. Tensors are known by their names."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def weight(self, name: str, array: npt.NDArray[Any]) -> str:
        """A constant tensor."""
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operation: str, inputs: Sequence[str], output: str | Sequence[str], **attributes: Any) -> str:
        """A node; returns the name of its first output."""
        outputs = [output] if isinstance(output, str) else list(output)
        self._nodes.append(helper.make_node(operation, list(inputs), outputs, name=outputs[-1], **attributes))
        return next(name for name in outputs if name)

    def write(self, path: Path, outputs: Mapping[str, Sequence[str | int]]) -> None:
        """Store the graph, whose inputs are those of every bundle; `outputs` are float32 of these shapes."""
        given = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, "feltwire", given, made, self._weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="feltwire",
            ir_version=IR_VERSION,
        )
        path.write_bytes(model.SerializeToString(deterministic=True))

    def lengths(self) -> str:
        """int32[rows]: the tokens of each row."""
        axis = self.weight("tokens_axis", np.array([1], np.int64))
        counted = self.add("ReduceSum", ["attention_mask", axis], "lengths_int64", keepdims=0)
        return self.add("Cast", [counted], "lengths", to=TensorProto.INT32)

    def recurrent(
        self, operation: str, name: str, given: str, weights: tuple[Floats, Floats, Floats], **attributes: Any
    ) -> tuple[str, str]:
        """A layer over float[tokens, rows, width]; see ONNX's `GRU` and `LSTM` for the form of the weights.

        Returns float[tokens, rows, directions * units] and, of the last token, float[directions, rows, units].
        """
        directions, _, units = weights[1].shape
        inputs = [given, *(self.weight(f"{name}.{part}", array) for part, array in zip("wrb", weights, strict=True))]
        self.add(
            operation,
            [*inputs, "lengths"],
            [f"{name}.each", f"{name}.last"],
            hidden_size=units,
            direction="bidirectional" if directions == 2 else "forward",
            **attributes,
        )
        shape = self.weight(f"{name}.shape", np.array([0, 0, directions * units], np.int64))
        moved = self.add("Transpose", [f"{name}.each"], f"{name}.moved", perm=[0, 2, 1, 3])
        return self.add("Reshape", [moved, shape], name), f"{name}.last"


def weights_of(folder: Path) -> dict[str, Floats]:
    """{name: array} of the constants in a bundle's graph."""
    model = onnx.load(str(folder / GRAPH), load_external_data=False)
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
