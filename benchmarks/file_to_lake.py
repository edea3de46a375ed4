"""From a file into the lake, whole command: `python -m benchmarks file_to_lake`.

The peer is a plain loop of VADER in one process over the same texts, in the same run.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from benchmarks._commands import feltwire, watch
from benchmarks._results import draw_bars, draw_lines
from benchmarks._texts import write_posts


def measure(*, posts: int = 1_000_000) -> dict[str, Any]:
    """Rates in posts/s for `posts` posts of the simulator."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "posts.jsonl"
        write_posts(source, posts)
        found: dict[str, Any] = {"posts": posts, "peer_vader_loop": _vader_loop(source, min(posts, 200_000))}
        memory = {}
        for name, model in (("lexicon:vader", "lexicon:vader"), ("no model", "none:")):
            lake = Path(folder) / name.replace(":", "-").replace(" ", "-")
            arguments = ["run", "--source", f"file:{source}", "--lake", str(lake), "--model", model, "--until-idle"]
            watched = watch(feltwire(*arguments, "--port", "0"))
            found[name] = {
                "posts_per_s": round(posts / watched.seconds),
                "seconds": round(watched.seconds, 1),
                "peak_memory_mb": round(watched.peak_mb),
                "ratio_to_peer": round(posts / watched.seconds / found["peer_vader_loop"]["posts_per_s"], 3),
            }
            memory[name] = list(zip(*watched.samples_mb, strict=True))
        bars = {
            "plain VADER loop, one process": found["peer_vader_loop"]["posts_per_s"],
            "file to lake, lexicon:vader": found["lexicon:vader"]["posts_per_s"],
            "file to lake, no model": found["no model"]["posts_per_s"],
        }
        draw_bars("file_to_lake", f"From a file into the lake, {posts:,} posts, whole command", "posts/s", bars)
        draw_lines("file_to_lake_memory", [("Memory of all processes", "MB", memory)], xlabel="seconds")
    return found


def _vader_loop(source: Path, posts: int) -> dict[str, Any]:
    """The peer: VADER over the raw texts, nothing else."""
    with source.open() as lines:
        texts = [json.loads(line)["text"] for _, line in zip(range(posts), lines, strict=False)]
    analyzer = SentimentIntensityAnalyzer()
    began = time.perf_counter()
    for text in texts:
        analyzer.polarity_scores(text)
    seconds = time.perf_counter() - began
    return {"posts_per_s": round(posts / seconds), "posts": posts, "seconds": round(seconds, 1)}
