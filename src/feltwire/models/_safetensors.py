"""Files of tensors in the format safetensors, as far as linear models need it; nothing in such a file is executed.

Format (https://github.com/huggingface/safetensors): eight bytes with the length of the header (little-endian), the
header (a JSON object {name: {dtype, shape, data_offsets}}), then the tensors' bytes, without gaps, row by row.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from feltwire.errors import ModelError

Tensors: TypeAlias = dict[str, npt.NDArray[Any]]

MAX_HEADER: Final = 1_000_000  # bytes: a linear model has a handful of tensors
DTYPES: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}
_METADATA: Final = "__metadata__"


def read_tensors(path: Path) -> Tensors:
    """The tensors of a file, each checked against its header. Raises ModelError in one line."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(MAX_HEADER, len(content) - 8):
        raise _wrong(path, f"its header would be {length} bytes long, the file has {len(content)}")
    try:
        header: Any = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise _wrong(path, "its header is no object")
    header.pop(_METADATA, None)
    data = memoryview(content)[8 + length :]
    found: Tensors = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        dtype, shape, start, stop = _entry(path, name, entry)
        size = dtype.itemsize
        for edge in shape:
            size *= edge
        if start != end or stop - start != size or stop > len(data):
            raise _wrong(
                path, f"tensor {name!r} of shape {shape} lies at bytes {start} to {stop} of {len(data)}, after {end}"
            )
        found[name] = np.frombuffer(data[start:stop], dtype).reshape(shape)
        end = stop
    if end != len(data):
        raise _wrong(path, f"{len(data) - end} bytes at its end belong to no tensor")
    return found


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write tensors of DTYPES (others are cast to them); the same tensors give the same bytes."""
    header: dict[str, dict[str, Any]] = {}
    parts: list[bytes] = []
    end = 0
    for name, tensor in sorted(tensors.items()):
        dtype = DTYPES["I64"] if tensor.dtype.kind in "iu" else DTYPES["F32"]
        part = np.ascontiguousarray(tensor, dtype).tobytes()
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(part)],
        }
        end += len(part)
        parts.append(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of eight
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def _begin(entry: Any) -> tuple[int, int]:
    """Where a tensor lies; what has no place comes first, and is refused then."""
    match entry:
        case {"data_offsets": [int(start), int(stop)]}:
            return start, stop
    return -1, -1


def _entry(path: Path, name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            if dtype not in DTYPES:
                raise _wrong(path, f"tensor {name!r} has the type {dtype!r}; allowed are {', '.join(DTYPES)}")
            if len(shape) <= 2 and all(type(edge) is int and 0 <= edge < 2**40 for edge in shape):
                return DTYPES[dtype], tuple(shape), start, stop
    raise _wrong(path, f"tensor {name!r}: expected a dtype, a shape of at most two edges, and data_offsets")


def _wrong(path: Path, what: str) -> ModelError:
    return ModelError(f"bundle {path.parent}: {path.name} is no file of tensors: {what}")
