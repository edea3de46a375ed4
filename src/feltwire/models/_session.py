"""The two runtimes of a bundle's graph: ONNX Runtime everywhere, and OpenVINO for who asks for it.

OpenVINO computes in bfloat16 where the CPU does (AVX-512 BF16, AMX). Its probabilities may then depend on the rows
beside them by more than the 0.005 that is promised, so that it is not chosen unasked.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime

from feltwire.errors import MissingExtraError, ModelError

Floats: TypeAlias = npt.NDArray[np.float32]
Feed: TypeAlias = Mapping[str, npt.NDArray[np.int64]]

RuntimeName: TypeAlias = Literal["onnxruntime", "openvino"]
_BF16: Final = "BF16"


class Session(Protocol):
    """A graph that is ready to run."""

    runtime: str
    """What runs it, for people: `onnxruntime float32`."""
    inputs: list[str]
    outputs: list[str]

    def run(self, outputs: Sequence[str], feed: Feed) -> list[Floats]:
        """The named outputs, in that order."""
        ...


def open_session(graph: Path, *, threads: int, runtime: RuntimeName = "onnxruntime") -> Session:
    """The graph on the chosen runtime.

    Raises ModelError in one line when the graph cannot be loaded, MissingExtraError where OpenVINO was asked for
    and is not installed.
    """
    if runtime == "openvino" and importlib.util.find_spec("openvino") is None:
        raise MissingExtraError("runtime 'openvino' needs the library 'openvino': pip install 'feltwire[openvino]'")
    try:
        return _OpenVino(graph, threads) if runtime == "openvino" else _OnnxRuntime(graph, threads)
    except Exception as error:
        raise ModelError(f"{graph.parent}: {graph.name} cannot be loaded: {line(error)}") from error


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def line(error: Exception) -> str:
    """An error in one line of bounded length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


class _OnnxRuntime:
    def __init__(self, graph: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads sleep: the cores are shared with the rest of the pipeline.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.runtime = f"onnxruntime {onnxruntime.__version__}, float32"
        self.inputs: list[str] = [given.name for given in self._session.get_inputs()]
        self.outputs: list[str] = [given.name for given in self._session.get_outputs()]

    def run(self, outputs: Sequence[str], feed: Feed) -> list[Floats]:
        answer: list[Floats] = self._session.run(list(outputs), dict(feed))
        return answer


class _OpenVino:
    def __init__(self, graph: Path, threads: int) -> None:
        import openvino

        bf16 = _BF16 in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._model = _core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_CPU_PINNING": False,  # several processes share the cores
            },
        )
        self._request = self._model.create_infer_request()
        self.runtime = f"openvino {openvino.__version__.partition('-')[0]}, {'bfloat16' if bf16 else 'float32'}"
        self.inputs: list[str] = [given.get_any_name() for given in self._model.inputs]
        self.outputs: list[str] = [given.get_any_name() for given in self._model.outputs]

    def run(self, outputs: Sequence[str], feed: Feed) -> list[Floats]:
        # `infer` shares no memory with its answer: the next call may overwrite what this one gave.
        answer = self._request.infer(dict(feed), share_inputs=False, share_outputs=False)
        return [answer[name] for name in outputs]
