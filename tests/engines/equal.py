"""Two lakes over one log, table by table: what both engines have to agree on."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from feltwire import schema, windows
from feltwire.lake import Lake, open_lake

_ORDER = {"posts": "posts_all", "dead_letters": "dead_letters", "withdrawn": "withdrawn"}
_SUMMED = {"windows": schema.WINDOWS, "terms": schema.TERMS, "ledger": schema.LEDGER}


def assert_equal(one: str, other: str, *, within: float = 1e-6) -> dict[str, int]:
    """Fail unless the lakes' tables have the same columns, rows and numbers; probabilities may differ by `within`,
    and what follows from them (labels, counts of labels) where that is more than rounding. Rows a table."""
    lakes = open_lake(one), open_lake(other)
    found = {}
    for table, name in _ORDER.items():
        first, second = (_rows(lake, f"select * from {name} order by log_partition, log_offset") for lake in lakes)
        found[table] = _assert_same(table, first, second, within)
    for table, columns in _SUMMED.items():
        first, second = (_sums(lake, table, columns) for lake in lakes)
        if within > 1e-5 and table != "ledger":
            _assert_near(table, first, second, columns, within)
        else:
            _assert_same(table, first, second, within)
        found[table] = first.num_rows
    assert lakes[0].positions() == lakes[1].positions()
    return found


def _rows(lake: Lake, query: str) -> pa.Table:
    return lake.sql(query).combine_chunks()


def _sums(lake: Lake, table: str, columns: pa.Schema) -> pa.Table:
    merged = windows.merge(_rows(lake, f"select * from {table}").to_batches(), columns)
    keys = [(name, "ascending") for name in windows.keys_of(columns)]
    return pa.Table.from_batches([merged]).sort_by(keys)


def _assert_same(table: str, first: pa.Table, second: pa.Table, within: float) -> int:
    assert first.schema.equals(second.schema), table
    assert first.num_rows == second.num_rows, table
    loose = within > 1e-5
    for name in first.column_names:
        a, b = first[name], second[name]
        if pa.types.is_floating(a.type):
            assert a.is_null().equals(b.is_null()), (table, name)
            difference = np.abs(a.fill_null(0).to_numpy() - b.fill_null(0).to_numpy())
            assert not len(difference) or difference.max() <= within, (table, name, difference.max())
        elif loose and name in schema.SCORES.names:
            different = sum(x != y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True))
            assert different <= first.num_rows * 0.01, (table, name, different)
        else:
            assert a.equals(b), (table, name, _first_difference(a.to_pylist(), b.to_pylist()))
    return int(first.num_rows)


def _assert_near(table: str, first: pa.Table, second: pa.Table, columns: pa.Schema, within: float) -> None:
    """Posts of one minute and track add up what each may differ by; a label turns over where two are as probable."""
    assert first.num_rows == second.num_rows, table
    for key in windows.keys_of(columns):
        assert first[key].equals(second[key]), (table, key)
    n = first["n"].to_numpy()
    assert (n == second["n"].to_numpy()).all()
    for name in windows.sums_of(columns):
        difference = np.abs(first[name].to_numpy() - second[name].to_numpy())
        allowed = n * within if name in schema.P_SUMS else np.maximum(2, n * 0.01)
        assert (difference <= allowed).all(), (table, name)


def _first_difference(a: Iterable[object], b: Iterable[object]) -> object:
    return next(((number, x, y) for number, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)
