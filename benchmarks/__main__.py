"""`python -m benchmarks [NAME …] [--quick]`: run benchmarks and write their results; without a name, all."""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _results

# Name: the options of a quick run, which shows that it works and whose figures are not kept.
BENCHMARKS: dict[str, dict[str, Any]] = {
    "startup": {"times": 3},
    "file_to_lake": {"posts": 50_000},
    "latency": {"runs": (("local", "lexicon:vader", 100),), "seconds": 10.0, "warm_up_s": 5.0},
    "commits": {"commits": 500, "every": 50},
    "api": {"seconds": 8.0, "singles": 200},
    "page": {"times": 1, "idle_s": 5.0},
    "subscribers": {"seconds": 8.0, "warm_up_s": 3.0, "posts": 3},
    "models": {"share": 0.02},
    "remote": {"seconds": 1.0},
    "kafka": {"total": 20_000, "records": 20_000},
    "cores": {"models": {"lexicon:vader": 40_000}},
    "commit_size": {"commits": 3, "sizes": (20,), "writers": (1, 2)},
    "spark": {"models": {"lexicon:vader": 20_000}},
}


def main() -> None:
    """Run what is asked for; figures go to standard output and, unless quick, to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="which; all when none is given")
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not kept")
    arguments = parser.parse_args()
    if arguments.quick:
        _results.FOLDER = Path(tempfile.mkdtemp(prefix="feltwire-bench-"))
    _results.FOLDER.mkdir(exist_ok=True)
    for name in arguments.names or BENCHMARKS:
        options = BENCHMARKS[name] if arguments.quick else {}
        figures = importlib.import_module(f"benchmarks.{name}").measure(**options)
        if not arguments.quick:
            _results.save(name, figures, command=f"python -m benchmarks {name}")
        shown = {key: value for key, value in figures.items() if key != "marks"}
        sys.stdout.write(json.dumps({name: shown}, indent=2) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
