"""ONNX graphs of recurrent networks, written node by node.

Exporters of loops make graphs of one length. These read rows of any length, no row depends on the padding beside it,
and the same weights give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
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
        self._weights.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
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
        """int64[rows]: the tokens of each row."""
        axis = self.weight("tokens_axis", np.array([1], np.int64))
        return self.add("ReduceSum", ["attention_mask", axis], "lengths", keepdims=0)

    def turned(self, given: str, output: str) -> str:
        """float[tokens, rows, width] with each row's own tokens in the opposite order; its padding stays behind."""
        return self.add("ReverseSequence", [given, "lengths"], output, time_axis=0, batch_axis=1)

    def recurrent(
        self, operation: str, name: str, given: str, weights: tuple[Floats, Floats, Floats], **attributes: Any
    ) -> str:
        """A layer over float[tokens, rows, width]: float[tokens, rows, directions * units].

        See ONNX's `GRU` and `LSTM` for the form of the weights. What stands behind a row's end means nothing. The
        second direction is written as one that reads forward a row that was turned round: of the two runtimes, one
        does not know how long each row is.
        """
        directions, _, units = weights[1].shape
        found = []
        for number in range(directions):
            part = f"{name}.{number}"
            read = given if number == 0 else self.turned(given, f"{part}.given")
            inputs = [self.weight(f"{part}.{kind}", array[number : number + 1]) for kind, array in self._kinds(weights)]
            self.add(operation, [read, *inputs], f"{part}.all", hidden_size=units, **attributes)
            each = self.add("Squeeze", [f"{part}.all", self.of_one()], f"{part}.each")
            found.append(each if number == 0 else self.turned(each, f"{part}.back"))
        return self.add("Concat", found, name, axis=2)

    def last(self, given: str, output: str) -> str:
        """float[rows, width]: what float[tokens, rows, width] has at the end of each row."""
        first = self.weight("first_token", np.array(0, np.int64))
        return self.add("Gather", [self.turned(given, f"{output}.turned"), first], output, axis=0)

    def of_one(self) -> str:
        """The axis of the directions."""
        if not any(one.name == "direction_axis" for one in self._weights):
            self.weight("direction_axis", np.array([1], np.int64))
        return "direction_axis"

    @staticmethod
    def _kinds(weights: tuple[Floats, Floats, Floats]) -> Iterator[tuple[str, Floats]]:
        return zip("wrb", weights, strict=True)


def weights_of(folder: Path) -> dict[str, Floats]:
    """{name: array} of the constants in a bundle's graph."""
    model = onnx.load(str(folder / GRAPH), load_external_data=False)
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
