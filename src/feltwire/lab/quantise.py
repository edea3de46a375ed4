"""Eight-bit products with ranges that stand: the large matrices of a graph, calibrated on real texts.

A runtime multiplies bytes up to twice as fast as floats. Ranges taken from each batch as it comes would let a row's
score depend on its neighbours, so they are found once, here, and are constants of the graph. A few features of a
transformer's states are far larger than the rest, and one range for all leaves few steps to those. They are evened out
first, and what is taken from the states goes into the weights (SmoothQuant: Xiao et al., ICML 2023), for every product
by as much as lets it err least.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
Feed = Mapping[str, npt.NDArray[np.int64]]

_LEAST: Final = 128  # rows and columns of a matrix: a product with a smaller one takes little time
_SHARES: Final = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the unevenness that the weights take over
_JUDGED: Final = 1_024  # tokens by which these are chosen
_STEPS: Final = 255
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class _Range:
    """How the states before a product become bytes: round(state / even / step) + zero, between 0 and 255."""

    even: Floats  # [width]
    step: float
    zero: int

    def rounded(self, states: Floats) -> Floats:
        """What the bytes of `states`, float[tokens, width], stand for."""
        steps = np.clip(np.rint(states / self.even / self.step) + self.zero, 0, _STEPS)
        rounded: Floats = ((steps - self.zero) * self.step).astype(np.float32)
        return rounded


def quantise(graph: ModelProto, feeds: Sequence[Feed]) -> int:
    """Put quantisers around the large products of `graph`, in place, and say around how many.

    `feeds` are inputs of the graph, one text each and without padding: a few hundred of the kind that will come.
    """
    constants = {one.name: one for one in graph.graph.initializer}
    products: dict[str, list[Any]] = {}  # {the states: the products that read them}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and _is_large(constants.get(node.input[1])):
            products.setdefault(node.input[0], []).append(node)
    before: dict[int, list[Any]] = {}  # {id of a product: the nodes that go before it}
    added: list[Any] = []
    for name, states in _states(graph, list(products), feeds):
        readers = products[name]
        weights = [numpy_helper.to_array(constants[node.input[1]]).astype(np.float32) for node in readers]
        found = _range(states, weights)
        before[id(readers[0])] = _quantised(name, found, added)
        for node, weight in zip(readers, weights, strict=True):
            stored = f"{node.output[0]}.weights"  # two products may read one matrix, and even it out differently
            before.setdefault(id(node), []).append(_unpacked(stored, weight * found.even[:, None], added))
            node.input[0], node.input[1] = f"{name}.rounded", f"{stored}.rounded"
    nodes = [one for node in graph.graph.node for one in (*before.get(id(node), ()), node)]
    used = {name for node in nodes for name in node.input}
    kept = [one for one in graph.graph.initializer if one.name in used]
    del graph.graph.node[:], graph.graph.initializer[:], graph.graph.value_info[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend([*kept, *added])
    return sum(len(readers) for readers in products.values())


def _is_large(given: Any) -> bool:
    return given is not None and len(given.dims) == 2 and min(given.dims) >= _LEAST


def _states(graph: ModelProto, names: Sequence[str], feeds: Sequence[Feed]) -> Iterator[tuple[str, Floats]]:
    """What the tensors `names`, float[1, tokens, width], hold on the feeds: each as float[all tokens, width]."""
    probe = ModelProto()
    probe.CopyFrom(graph)
    there = {output.name for output in probe.graph.output}
    new = [name for name in names if name not in there]
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in new)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = [session.run(list(names), dict(feed)) for feed in feeds]
    for i, name in enumerate(names):
        yield name, np.concatenate([answer[i].reshape(-1, answer[i].shape[-1]) for answer in answers])


def _range(states: Floats, weights: Sequence[Floats]) -> _Range:
    """The range with which the products of some of the states err least."""
    judged = states[:: max(1, len(states) // _JUDGED)]
    right = [judged @ weight for weight in weights]

    def error(found: _Range) -> float:
        rounded = found.rounded(judged)
        wrong = (rounded @ np.multiply(*to_int8(weight * found.even[:, None], 1)) for weight in weights)
        return sum(float(np.square(a - b).sum()) for a, b in zip(wrong, right, strict=True))

    return min((_even_range(states, weights, share) for share in _SHARES), key=error)


def _even_range(states: Floats, weights: Sequence[Floats], share: float) -> _Range:
    """The range of the states after `share` of their unevenness went into the weights."""
    of_states = np.abs(states).max(axis=0) + _TINY
    of_weights = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0) + _TINY
    even = of_states**share / of_weights ** (1 - share) if share else np.ones_like(of_states)
    even = (even / np.exp(np.log(even).mean())).astype(np.float32)
    low, high = min(0.0, float((states / even).min())), max(0.0, float((states / even).max()))
    step = max((high - low) / _STEPS, _TINY)
    return _Range(even, step, round(-low / step))


def to_int8(weights: Floats, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """(int8, float32 scales along `axis`): the nearest multiples, 127 steps to each side."""
    most = np.abs(weights).max(axis=1 - axis, keepdims=True)
    scale = np.where(most > 0, most / 127, 1).astype(np.float32)
    return np.rint(weights / scale).astype(np.int8), scale


def _quantised(name: str, found: _Range, added: list[Any]) -> list[Any]:
    """The nodes from `name` to `name.rounded`."""
    added += [
        numpy_helper.from_array((1 / found.even).astype(np.float32), f"{name}.even"),
        numpy_helper.from_array(np.array(found.step, np.float32), f"{name}.step"),
        numpy_helper.from_array(np.array(found.zero, np.uint8), f"{name}.zero"),
    ]
    numbers = [f"{name}.step", f"{name}.zero"]
    return [
        helper.make_node("Mul", [name, f"{name}.even"], [f"{name}.evened"]),
        helper.make_node("QuantizeLinear", [f"{name}.evened", *numbers], [f"{name}.bytes"]),
        helper.make_node("DequantizeLinear", [f"{name}.bytes", *numbers], [f"{name}.rounded"]),
    ]


def _unpacked(name: str, weight: Floats, added: list[Any]) -> Any:
    """The node that makes `name.rounded`."""
    packed, scale = to_int8(weight, 1)
    added += [
        numpy_helper.from_array(packed, f"{name}.bytes"),
        numpy_helper.from_array(scale[0], f"{name}.step"),
        numpy_helper.from_array(np.zeros(packed.shape[1], np.int8), f"{name}.zero"),
    ]
    numbers = [f"{name}.bytes", f"{name}.step", f"{name}.zero"]
    return helper.make_node("DequantizeLinear", numbers, [f"{name}.rounded"], axis=1)
