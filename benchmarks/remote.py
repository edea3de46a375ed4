"""A remote model that answers in 200 ms: `python -m benchmarks remote`.

The server is on the same machine, and its texts' scores are made up: what is measured is the calling.
"""

import time
from typing import Any

from tests.models.far_side import FarSide, as_feltwire

from benchmarks._results import draw_bars
from feltwire.errors import ModelBusyError
from feltwire.interfaces import Model
from feltwire.loading import load

DELAY_S = 0.2
WAYS = {
    "the defaults: batch=32, concurrency=8": "",
    "batch=64": "batch=64",
    "one text a request, concurrency=256": "batch=1&concurrency=256",
    "one text a request, concurrency=320": "batch=1&concurrency=320",
}


def measure(*, seconds: float = 8.0) -> dict[str, Any]:
    """{way: posts a second, and milliseconds of processor time of both sides a request}."""
    found: dict[str, Any] = {"delay_ms": round(DELAY_S * 1000)}
    for way, options in WAYS.items():
        far = FarSide(as_feltwire, delay_s=DELAY_S)
        try:
            model = load(f"{far.url}?{options}" if options else far.url)
            model.predict([f"warm {i}" for i in range(512)])
            before, cpu, began, posts = len(far.documents), time.process_time(), time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                texts = [f"good {posts + i}" for i in range(5_000)]
                posts += _answered(model, texts)
            took, requests = time.perf_counter() - began, len(far.documents) - before
            cpu_ms = (time.process_time() - cpu) / requests * 1000
            found[way] = {"posts_per_s": round(posts / took), "cpu_ms_a_request": round(cpu_ms, 3)}
            getattr(model, "close", lambda: None)()
        finally:
            far.close()
    bars = {way: found[way]["posts_per_s"] for way in WAYS}
    draw_bars("remote", "A remote model that answers in 200 ms", "posts/s", bars)
    return found


def _answered(model: Model, texts: list[str]) -> int:
    """Ask until all is answered, as the engine does; the number of answers."""
    while True:
        try:
            return len(model.predict(texts)["sentiment"])
        except ModelBusyError:
            continue
