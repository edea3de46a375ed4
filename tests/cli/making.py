"""A small lake, made by the command line itself, and ways to run commands."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from feltwire.cli import app

POSTS = (
    ("a", "I love the lovely new lounge #larkwing", "en"),
    ("b", "Lost my bag, terrible, I hate this #larkwing", "en"),
    ("c", "The train leaves at noon", "en"),
    ("d", "Great coffee, wonderful people 😊", "en"),
    ("e", "Awful, awful day. <script>alert(1)</script> \x1b[31m", "en"),
)


def write_posts(folder: Path) -> Path:
    """The posts as a file of JSON lines, one of which is broken."""
    path = folder / "posts.jsonl"
    lines = [
        json.dumps({"id": key, "text": text, "lang": lang, "created_at": f"2026-11-20T12:0{n}:00Z"})
        for n, (key, text, lang) in enumerate(POSTS)
    ]
    path.write_text("\n".join([*lines, "{broken"]) + "\n", encoding="utf-8")
    return path


def environment(**more: str) -> dict[str, str]:
    """This environment without settings of Feltwire's, but for a model that is quick to load, and without colours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FELTWIRE_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "80", "FELTWIRE_MODEL__URI": "lexicon:vader", **more}


def feltwire(
    *arguments: str,
    cwd: Path,
    stdin: str | bytes | None = None,
    timeout_s: float = 60,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-m", "feltwire.cli", *arguments],
        cwd=cwd, input=given, stdin=None if given is not None else subprocess.DEVNULL,
        capture_output=True, timeout=timeout_s, env=dict(env or environment()), check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def invoke(*arguments: str) -> str:
    """Run a command in this process and return its standard output; raises what the command raises."""
    result = CliRunner().invoke(app, list(arguments), env={"NO_COLOR": "1", "COLUMNS": "80"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def invoke_json(*arguments: str) -> Any:
    """Run a command in this process and return its JSON."""
    return json.loads(invoke(*arguments))
