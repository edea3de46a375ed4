"""`GET /api/v1/status`."""

import platform
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter

from feltwire import __version__
from feltwire.errors import FeltwireError
from feltwire.followers._rows import rows
from feltwire.interfaces import Position
from feltwire.lake import Lake
from feltwire.schema import LEDGER_COUNTS
from feltwire.web.api._documents import Status
from feltwire.web.api._params import problems
from feltwire.web.context import Context, Here, State

router = APIRouter(tags=["status"])


@router.get("/status", response_model=Status, responses=problems(409), operation_id="status")
def status(here: Here) -> dict[str, Any]:
    """How everything is: lag, the ledger and whether it balances, throughput, followers, the model, sizes."""
    lake = here.lake()
    positions = lake.positions()
    tables = lake.sizes()
    trouble = here.state.trouble()
    behind = _lag(here.state, positions["posts"])
    return {
        "pipeline": here.state.pipeline,
        "ok": trouble is None,
        "trouble": trouble,
        "lag": behind,
        "engine": _engine(here.state),
        "ledger": ledger(lake),
        "sources": list(here.state.sources),
        "dead_letters": dead_letters(lake),
        "followers": _followers(here.state, positions["posts"]),
        "model": {"uri": here.state.model.partition("?")[0], "name": _model_name(here, lake)},
        "positions": {table: {str(p): offset for p, offset in reached.items()} for table, reached in positions.items()},
        "tables": tables,
        "bytes": sum(size["bytes"] for size in tables.values()),
        "versions": {
            "feltwire": __version__,
            "python": platform.python_version(),
            "deltalake": version("deltalake"),
            "pyarrow": version("pyarrow"),
        },
    }


def ledger(lake: Lake) -> dict[str, Any]:
    """The account of every source, their sum, and whether it balances."""
    sources = lake.ledger().to_pylist()
    total = {name: sum(int(row[name]) for row in sources) for name in LEDGER_COUNTS}
    difference = total["received"] - sum(total[name] for name in ("kept", "duplicate", "filtered", "dead"))
    return {"sources": sources, "total": total, "difference": difference, "balances": difference == 0}


def dead_letters(lake: Lake, limit: int = 50) -> list[dict[str, Any]]:
    """How many for each source and reason, most first."""
    found = lake.sql(
        "select source, coalesce(reason, 'unknown') reason, count(*) n, max(received_at) last from dead_letters "
        f"group by 1, 2 order by n desc, 1, 2 limit {limit}"
    )
    return rows(found.combine_chunks().to_batches()[0]) if found.num_rows else []


def _lag(state: State, reached: Position) -> int | None:
    now = state.progress() if state.progress is not None else None
    if now is not None:
        return now.lag
    if state.log is None:
        return None
    try:
        return _behind(state.log().ends(), reached)
    except FeltwireError:
        return None


def _behind(end: Position, reached: Position) -> int:
    return sum(max(0, offset - reached.get(partition, 0)) for partition, offset in end.items())


def _engine(state: State) -> dict[str, Any] | None:
    now = state.progress() if state.progress is not None else None
    if now is None:
        return None
    names = ("received", "duplicates", "processed", "kept", "posts_per_s", "batch_s", "waiting")
    return {name: getattr(now, name) for name in names}


def _followers(state: State, end: Position) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "position": {str(p): offset for p, offset in one.position.items()},
            "lag": _behind(end, dict(one.position)),
            "alive": one.alive,
            "posts": one.posts,
            "error": one.error,
        }
        for one in state.followers()
    ]


def _model_name(here: Context, lake: Lake) -> str | None:
    """The name of the model that scored the newest posts, or that answers here."""
    return lake.model() or here.batcher.model_name()
