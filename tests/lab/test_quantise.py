"""Eight-bit products: as right as eight bits can be where a few features are large, and the same beside any row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from feltwire.lab.quantise import quantise  # noqa: E402
from feltwire.models._session import OnnxRuntime, multiplies_bytes, open_session  # noqa: E402

WIDTH, OUT = 192, 160
PRODUCTS = ("first", "second", "third")
LARGE = [3, 77, 150]  # features that are sixty times as large as the others, as in trained encoders


def weights(seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 0.1, (WIDTH, OUT)).astype(np.float32)


def small_graph() -> Any:
    """Token numbers, each with states of its own, two large products that read them, and a small one."""
    chance = np.random.default_rng(0)
    states = chance.normal(0, 1, (50, WIDTH)).astype(np.float32)
    states[:, LARGE] *= 60
    constants = {"states": states, "a": weights(1), "b": weights(2), "c": weights(3)[:OUT, :8]}
    nodes = [
        helper.make_node("Gather", ["states", "input_ids"], ["seen"], axis=0),
        helper.make_node("MatMul", ["seen", "a"], ["first"]),
        helper.make_node("MatMul", ["seen", "b"], ["second"]),
        helper.make_node("MatMul", ["second", "c"], ["third"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "tokens", None]) for name in PRODUCTS]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "tokens"])
    graph = helper.make_graph(
        nodes, "small", [ids], outputs, [numpy_helper.from_array(one, name) for name, one in constants.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def feeds() -> list[dict[str, Any]]:
    chance = np.random.default_rng(4)
    return [{"input_ids": chance.integers(0, 50, (1, length))} for length in (3, 9, 17, 30)]


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """The graph, and the graph with quantisers."""
    graph = small_graph()
    onnx.save(graph, tmp_path / "plain.onnx")
    assert quantise(graph, feeds()) == 2  # the small product stays as it is
    onnx.checker.check_model(graph)
    onnx.save(graph, tmp_path / "bytes.onnx")
    return tmp_path / "plain.onnx", tmp_path / "bytes.onnx"


def test_large_products_are_of_bytes_and_nearly_as_right(paths: tuple[Path, Path]) -> None:
    plain, quantised = (open_session(path, threads=1) for path in paths)
    feed = {"input_ids": np.arange(50).reshape(2, 25)}
    for one, two in zip(plain.run(plain.outputs, feed), quantised.run(plain.outputs, feed), strict=True):
        assert np.abs(one - two).max() > 0
        assert np.linalg.norm(one - two) < 0.015 * np.linalg.norm(one)
    kinds = {one.name: one.data_type for one in onnx.load(paths[1]).graph.initializer}
    assert kinds["first.weights.bytes"] == kinds["second.weights.bytes"] == TensorProto.INT8
    assert not {"a", "b"} & set(kinds)


def test_one_range_for_large_and_small_features_would_be_worse(
    paths: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feltwire.lab.quantise._SHARES", (0.0,))
    uneven = small_graph()
    quantise(uneven, feeds())
    onnx.save(uneven, tmp_path / "uneven.onnx")
    feed = {"input_ids": np.arange(50).reshape(2, 25)}
    plain, quantised, worse = (
        open_session(path, threads=1).run(["first"], feed)[0] for path in (*paths, tmp_path / "uneven.onnx")
    )
    assert np.abs(plain - worse).mean() > 1.5 * np.abs(plain - quantised).mean()


def test_two_products_may_read_one_matrix(tmp_path: Path) -> None:
    graph = small_graph()
    graph.graph.node[2].input[0], graph.graph.node[2].input[1] = "other", "a"
    other = numpy_helper.from_array(np.ones(WIDTH, np.float32) * 3, "three")
    graph.graph.initializer.append(other)
    graph.graph.node.insert(2, helper.make_node("Mul", ["seen", "three"], ["other"]))
    onnx.save(graph, tmp_path / "plain.onnx")
    assert quantise(graph, feeds()) == 2
    onnx.save(graph, tmp_path / "bytes.onnx")
    feed = {"input_ids": np.arange(50).reshape(2, 25)}
    one, two = (
        open_session(tmp_path / f"{name}.onnx", threads=1).run(["second"], feed)[0] for name in ("plain", "bytes")
    )
    assert np.linalg.norm(one - two) < 0.015 * np.linalg.norm(one)


@pytest.mark.parametrize("int8", [True, False])
def test_a_row_is_the_same_beside_any_other(paths: tuple[Path, Path], int8: bool) -> None:
    session = OnnxRuntime(paths[1], 1, int8=int8)
    ids = np.arange(50).reshape(5, 10)
    together = session.run(["third"], {"input_ids": ids})[0]
    for i in range(5):
        assert np.abs(session.run(["third"], {"input_ids": ids[i : i + 1]})[0][0] - together[i]).max() < 1e-5


def test_with_and_without_instructions_for_bytes_the_numbers_are_the_same(paths: tuple[Path, Path]) -> None:
    if not multiplies_bytes():
        pytest.skip("this CPU has no instructions for sums of byte products")
    feed = {"input_ids": np.arange(50).reshape(2, 25)}
    bytes_, floats = (OnnxRuntime(paths[1], 1, int8=int8) for int8 in (True, False))
    assert "int8" in bytes_.runtime
    assert "int8" not in floats.runtime
    assert "int8" in open_session(paths[1], threads=1).runtime  # the graph itself says that it has quantisers
    assert "int8" not in open_session(paths[0], threads=1).runtime
    for one, two in zip(bytes_.run(bytes_.outputs, feed), floats.run(bytes_.outputs, feed), strict=True):
        assert np.abs(one - two).max() < 1e-3 * np.abs(two).max()


@pytest.mark.parametrize(
    ("flags", "expected"), [("flags : sse avx512_vnni", True), ("Features : fp asimddp", True), ("flags : avx2", False)]
)
def test_instructions_for_bytes_are_read_from_what_the_cpu_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags} abc\n")
    monkeypatch.setattr("feltwire.models._session._CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    multiplies_bytes.cache_clear()
    try:
        assert multiplies_bytes() is expected
    finally:
        multiplies_bytes.cache_clear()
