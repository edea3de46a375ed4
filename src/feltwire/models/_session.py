"""The two runtimes of a bundle's graph: ONNX Runtime everywhere, and OpenVINO where the CPU computes in bfloat16.

A graph may have quantisers around its large products. A CPU with instructions for sums of byte products multiplies
bytes there, and computes the rest in float32, which then costs no more than bfloat16; on any other CPU the same steps
are computed in float32, more slowly, and with the same scores.

In bfloat16 (AVX-512 BF16, AMX) a sum's rounding follows from the shape of the whole pass: 0.0054 was seen between a
row alone and the same row among others. So OpenVINO's passes have shapes that follow from a row's own length alone
(`Grid`), and a row's probabilities are then the same to the last bit, whatever stands beside it.
"""

import importlib.util
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime

from feltwire.errors import MissingExtraError, ModelError

Floats: TypeAlias = npt.NDArray[np.float32]
Feed: TypeAlias = Mapping[str, npt.NDArray[np.int64]]

RuntimeName: TypeAlias = Literal["auto", "onnxruntime", "openvino"]
_BF16: Final = "BF16"
_CPU: Final = Path("/proc/cpuinfo")
_BYTE_SUMS: Final = {"avx512_vnni", "avx_vnni", "asimddp"}  # without these, sums of bytes may overflow, or be slow
_QUANTISER: Final = b"QuantizeLinear"


class Grid(NamedTuple):
    """The shapes of a runtime's passes: always so many rows, and tokens to the next multiple of `step`."""

    rows: int
    step: int


class Session(Protocol):
    """A graph that is ready to run."""

    runtime: str
    """What runs it, for people: `onnxruntime float32`."""
    grid: Grid | None
    """The shapes that a pass must have; None: any."""
    inputs: list[str]
    outputs: list[str]

    def run(self, outputs: Sequence[str], feed: Feed) -> list[Floats]:
        """The named outputs, in that order."""
        ...


def open_session(graph: Path, *, threads: int, runtime: RuntimeName = "onnxruntime", bf16: bool = False) -> Session:
    """The graph on the chosen runtime; `auto` is OpenVINO for a `bf16` graph on a CPU that computes so.

    Raises ModelError in one line when the graph cannot be loaded, MissingExtraError where OpenVINO was asked for
    and is not installed.
    """
    if runtime == "openvino" and importlib.util.find_spec("openvino") is None:
        raise MissingExtraError("runtime 'openvino' needs the library 'openvino': pip install 'feltwire[openvino]'")
    try:
        chosen = runtime == "openvino" or (runtime == "auto" and bf16 and _has_bf16())
        int8 = multiplies_bytes() and _QUANTISER in graph.read_bytes()
        return (_OpenVino if chosen else OnnxRuntime)(graph, threads, int8=int8)
    except Exception as error:
        raise ModelError(f"{graph.parent}: {graph.name} cannot be loaded: {line(error)}") from error


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


@cache
def _has_bf16() -> bool:
    """Whether OpenVINO is installed and this CPU computes in bfloat16."""
    if importlib.util.find_spec("openvino") is None:
        return False
    return _BF16 in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def multiplies_bytes() -> bool:
    """Whether this CPU has instructions for sums of byte products that cannot overflow."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    try:
        return not _BYTE_SUMS.isdisjoint(_CPU.read_text().split())
    except OSError:
        return False


def line(error: Exception) -> str:
    """An error in one line of bounded length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


class OnnxRuntime:
    """See `Session`; with `int8`, products that have quantisers are of bytes, else of what those bytes stand for."""

    grid: Grid | None = None

    def __init__(self, graph: Path, threads: int, *, int8: bool) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads sleep: the cores are shared with the rest of the pipeline.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_quant_qdq", "0" if int8 else "1")
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.runtime = f"onnxruntime {onnxruntime.__version__}, {'int8 and ' if int8 else ''}float32"
        self.inputs: list[str] = [given.name for given in self._session.get_inputs()]
        self.outputs: list[str] = [given.name for given in self._session.get_outputs()]

    def run(self, outputs: Sequence[str], feed: Feed) -> list[Floats]:
        answer: list[Floats] = self._session.run(list(outputs), dict(feed))
        return answer


class _OpenVino:
    grid: Grid | None = Grid(rows=16, step=4)

    def __init__(self, graph: Path, threads: int, *, int8: bool) -> None:
        import openvino

        bf16 = _has_bf16() and not int8
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
        kinds = f"{'int8 and ' if int8 else ''}{'bfloat16' if bf16 else 'float32'}"
        self.runtime = f"openvino {openvino.__version__.partition('-')[0]}, {kinds}"
        self.inputs: list[str] = [given.get_any_name() for given in self._model.inputs]
        self.outputs: list[str] = [given.get_any_name() for given in self._model.outputs]

    def run(self, outputs: Sequence[str], feed: Feed) -> list[Floats]:
        # `infer` shares no memory with its answer: the next call may overwrite what this one gave.
        answer = self._request.infer(dict(feed), share_inputs=False, share_outputs=False)
        return [answer[name] for name in outputs]
