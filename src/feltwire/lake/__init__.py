"""The lake: Delta tables whose own transaction log is the checkpoint.

`lake.py` is the door. Behind it: `storage` (files), `tables` (making and checking), `append` (rows with positions),
`reader` and `rollup` (questions), `rewrite` and `withdraw` (taking files and rows away), `maintain` (when).
"""

from feltwire.lake.lake import CORRECTABLE, Lake, create_lake, open_lake
from feltwire.lake.storage import Location
from feltwire.lake.tables import Owner

__all__ = ["CORRECTABLE", "Lake", "Location", "Owner", "create_lake", "open_lake"]
