"""`import feltwire` costs next to nothing: it brings in none of the libraries that work is done with."""

import json
import subprocess
import sys

import pytest

HEAVY = frozenset(
    {"boto3", "deltalake", "fastapi", "numpy", "onnxruntime", "pandas", "pyarrow", "pydantic", "rich", "tokenizers"}
)


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("statement", ["import feltwire", "from feltwire import __version__"])
def test_the_package_is_light(statement: str) -> None:
    loaded = modules_after(statement)
    assert "feltwire" in loaded
    assert not loaded & HEAVY


def test_the_check_sees_a_heavy_import() -> None:
    assert "pyarrow" in modules_after("import pyarrow")
