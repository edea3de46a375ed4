"""The whole `score` command with every model that ships: `python -m benchmarks models`.

The peer is a plain loop of VADER in one process over the same texts, in the same run. `--quick` is a tenth of it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._commands import feltwire, watch
from benchmarks._results import draw_bars
from benchmarks._texts import write_posts
from benchmarks.file_to_lake import _vader_loop

# (name, model, posts): starting weighs more in 20,000 posts of base than in 60,000.
RUNS = (
    ("bundled:base", "bundled:base", 60_000),
    ("bundled:base, 20,000 posts", "bundled:base", 20_000),
    ("bundled:base, ONNX Runtime", "bundled:base?runtime=onnxruntime", 60_000),
    ("auto:", "auto:", 60_000),
    ("bundled:fast", "bundled:fast", 400_000),
    ("lexicon:vader", "lexicon:vader", 400_000),
)
MOST = max(posts for _, _, posts in RUNS)


def measure(*, share: float = 1.0) -> dict[str, Any]:
    """Rates in posts/s of all cores, all heads, files written; and of a file into the lake with `bundled:fast`."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "posts.jsonl"
        write_posts(source, round(MOST * share))
        peer = _vader_loop(source, round(100_000 * share))
        found: dict[str, Any] = {"peer_vader_loop": peer}
        for name, model, posts in RUNS:
            part = _first(source, round(posts * share), Path(folder) / "part.jsonl")
            out = Path(folder) / "scored.jsonl"
            watched = watch(feltwire("score", "--file", str(part), "--model", model, "--out", str(out)))
            found[f"score, {name}"] = _figures(round(posts * share), watched.seconds, watched.peak_mb, peer)
        arguments = ("--source", f"file:{source}", "--lake", str(Path(folder) / "lake"), "--model", "bundled:fast")
        watched = watch(feltwire("run", *arguments, "--until-idle", "--port", "0"))
        posts = round(MOST * share)
        found["file to lake, bundled:fast"] = _figures(posts, watched.seconds, watched.peak_mb, peer)
        found["auto_to_base"] = _ratio(found, "score, auto:", "score, bundled:base")
        found["fast_to_base"] = _ratio(found, "score, bundled:fast", "score, bundled:base")
        bars = {"plain VADER loop, one process": peer["posts_per_s"]}
        bars |= {name: given["posts_per_s"] for name, given in found.items() if name.startswith(("score", "file"))}
        draw_bars("models", "Models, whole command on all cores", "posts/s", bars)
    return found


def _figures(posts: int, seconds: float, peak_mb: float, peer: dict[str, Any]) -> dict[str, Any]:
    return {
        "posts": posts,
        "posts_per_s": round(posts / seconds),
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak_mb),
        "ratio_to_peer": round(posts / seconds / peer["posts_per_s"], 4),
    }


def _ratio(found: dict[str, Any], one: str, other: str) -> float:
    return round(found[one]["posts_per_s"] / found[other]["posts_per_s"], 2)


def _first(source: Path, posts: int, to: Path) -> Path:
    with source.open() as lines, to.open("w") as file:
        for _, line in zip(range(posts), lines, strict=False):
            file.write(json.dumps({"text": json.loads(line)["text"]}, ensure_ascii=False) + "\n")
    return to
