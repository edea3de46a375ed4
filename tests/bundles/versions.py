"""Versions of the tiny bundle: other names, numbers, temperatures and heads over the same graph."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

TINY = Path(__file__).parent / "tiny"


def tiny(folder: Path, version: str = "2", change: Callable[[dict[str, Any]], Any] | None = None) -> Path:
    """A copy of the tiny bundle as another version, its manifest changed in place by `change`."""
    shutil.copytree(TINY, folder)
    path = folder / "model.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["version"] = version
    if change:
        change(manifest)
    path.write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
    return folder
