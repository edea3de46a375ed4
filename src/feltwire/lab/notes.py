"""What an exporter notes in a graph about the machine and the code: nobody's business, and bulky."""

from typing import Any


def without_notes(model: Any) -> bytes:
    """The ONNX model's bytes without paths, stack traces and names of tools. The same model gives the same bytes."""
    model.producer_name, model.producer_version, model.doc_string = "feltwire", "", ""
    del model.metadata_props[:]
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for value in (*graph.value_info, *getattr(graph, "initializer", ()), *graph.input, *graph.output):
            if not isinstance(value, str):  # a function's inputs and outputs are names alone
                value.doc_string = ""
                del value.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    content: bytes = model.SerializeToString(deterministic=True)
    return content
