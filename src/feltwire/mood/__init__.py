"""The mood of a view: what is asked (`view`), how it is read (`read`), and what it says.

`shares` rounds, `moments` finds spikes and turning points, `apart` tells what sets a span of time apart. All but
`read` are pure functions over Arrow tables and NumPy arrays. The methods and their sources: docs/mood.md.
"""

from feltwire.mood.view import View, auto_every_s

__all__ = ["View", "auto_every_s"]
