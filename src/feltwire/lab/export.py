"""From a trained network to the files of a bundle: one ONNX graph, its weights stored in eight bits."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from feltwire.lab.notes import without_notes
from feltwire.lab.quantise import Feed, quantise, to_int8
from feltwire.lab.recipe import HeadSpec
from feltwire.models._bundle import GRAPH, TOKENIZER

_OPSET: Final = 18
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
_SMALLEST: Final = 4_096  # elements; smaller tensors stay as they are


def write_graph(
    model: Any,
    heads: Mapping[str, HeadSpec],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    max_tokens: int,
    inputs: Sequence[str] = _INPUTS,
    feeds: Sequence[Feed] = (),
) -> None:
    """Write `model.onnx` and `tokenizer.json`: the heads that are no helpers, for any number of rows and tokens.

    With `feeds`, inputs of single texts, the large products are in eight bits (see `quantise`).
    """
    names = [name for name, head in heads.items() if not head.helper]
    model.eval()
    ids = torch.randint(5, 50, (2, 9))
    example = (ids, torch.ones_like(ids), torch.zeros_like(ids))[: len(inputs)]
    rows, tokens = torch.export.Dim("rows", min=1, max=4096), torch.export.Dim("tokens", min=1, max=max_tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own parts
        program = torch.onnx.export(
            _Chosen(model, names),
            example,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=names,
            dynamic_shapes=(({0: rows, 1: tokens},) * len(inputs),),  # one entry for `*inputs`
            opset_version=_OPSET,
        )
    graph = program.model_proto
    if feeds:
        quantise(graph, feeds)
    graph = compress(graph)
    onnx.checker.check_model(graph)
    (folder / GRAPH).write_bytes(without_notes(graph))
    tokenizer.save(str(folder / TOKENIZER))


class _Chosen(torch.nn.Module):
    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        logits = self.model(*inputs)
        return tuple(logits[name] for name in self.names)


def compress(model: Any) -> Any:
    """The graph with its large matrices in int8, each column (of embeddings: each row) with a scale of its own.

    Only the storage has eight bits: a runtime computes with `int8 * scale` in its own precision, so no score
    depends on what else is in a batch, as it would with activations that are quantised as they come.
    """
    constants = {one.name: one for one in model.graph.initializer}
    nodes: list[Any] = []
    stored: list[Any] = []
    done: dict[str, str] = {}
    for node in model.graph.node:
        weight = _weight(node, constants)
        if weight is None:
            nodes.append(node)
        elif node.op_type == "Gather":
            nodes += _gather(node, numpy_helper.to_array(constants[weight]), stored, done)
        else:
            if weight not in done:
                nodes += _unpacked(weight, numpy_helper.to_array(constants[weight]), _axis(node), stored)
                done[weight] = f"{weight}.float"
            node.input[list(node.input).index(weight)] = done[weight]
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *stored])
    return model


def _weight(node: Any, constants: Mapping[str, Any]) -> str | None:
    """The large matrix that a node reads, if it reads one."""
    at = {"MatMul": 1, "Gemm": 1, "Gather": 0}.get(node.op_type)
    if at is None or node.input[at] not in constants:
        return None
    given = constants[node.input[at]]
    large = given.data_type == TensorProto.FLOAT and len(given.dims) == 2 and np.prod(given.dims) >= _SMALLEST
    return str(node.input[at]) if large else None


def _axis(node: Any) -> int:
    """The axis of the matrix that stands for outputs."""
    turned = any(one.name == "transB" and one.i for one in node.attribute)
    return 0 if turned else 1


def _unpacked(name: str, weights: Any, axis: int, stored: list[Any]) -> list[Any]:
    packed, scale = to_int8(weights, axis)
    stored += [numpy_helper.from_array(packed, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
    return [
        helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [f"{name}.float"]),
    ]


def _gather(node: Any, weights: Any, stored: list[Any], done: dict[str, str]) -> list[Any]:
    """Rows are looked up in eight bits, and only they are unpacked."""
    name, rows = node.input[0], node.input[1]
    if name not in done:
        packed, scale = to_int8(weights, 0)
        stored += [numpy_helper.from_array(packed, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
        done[name] = name
    out = node.output[0]
    return [
        helper.make_node("Gather", [f"{name}.int8", rows], [f"{out}.int8"], axis=0),
        helper.make_node("Gather", [f"{name}.scale", rows], [f"{out}.scale"], axis=0),
        helper.make_node("Cast", [f"{out}.int8"], [f"{out}.cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{out}.cast", f"{out}.scale"], [out]),
    ]
