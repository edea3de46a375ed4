"""Feltwire: what people feel, as it happens.

The flow is in the folder names: `sources` feed a `logs` log, an engine of `engines` runs the `stages` of a
`pipeline` over it into the `lake`, and `followers` carry the result on.
"""

__version__ = "0.1.0"
