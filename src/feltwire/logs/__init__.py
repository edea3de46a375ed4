"""One file a log. A URI `kind:rest` opens `logs/<kind>.py`, with `Options` and `create(rest, options) -> Log`."""
