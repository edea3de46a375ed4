"""One file an engine: `run(plan, *, stop) -> Report`."""
