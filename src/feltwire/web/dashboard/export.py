"""The numbers and posts of a view as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from feltwire.errors import FeltwireError
from feltwire.mood import read
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.view import View, parse

MAX_POSTS: Final = 10_000
_POSTS: Final = (
    "id", "event_time", "source", "author_handle", "lang", "text", "sentiment", "confidence", "p_negative", "p_mixed",
    "p_neutral", "p_positive", "emotion", "category", "irony", "offensive", "url", "model",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def add_export(app: FastAPI, context: Context) -> None:
    """Answer `/_page/windows.csv` and `/_page/posts.csv`; the query is the page's own."""

    @app.get("/_page/{what}.csv")
    def export(what: str, request: Request) -> Response:
        if what not in ("windows", "posts"):
            return PlainTextResponse("expected windows.csv or posts.csv\n", status_code=404)
        view = parse(request.url.query)
        try:
            text = "".join(_windows(context, view) if what == "windows" else _posts(context, view))
        except FeltwireError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)
        headers = {"Content-Disposition": f'attachment; filename="feltwire-{what}.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def _windows(context: Context, view: View) -> Iterator[str]:
    table = read.series(context.lake(), view.mood(context.now()))
    yield csv_line(table.column_names)
    for row in table.to_pylist():
        yield csv_line(list(row.values()))


def _posts(context: Context, view: View) -> Iterator[str]:
    """The newest posts of the view, at most `MAX_POSTS`."""
    table = read.posts(context.lake(), view.mood(context.now()), MAX_POSTS).select(list(_POSTS))
    yield csv_line(list(_POSTS))
    for row in table.to_pylist():
        yield csv_line(list(row.values()))


def csv_line(values: Sequence[Any]) -> str:
    """One line; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    out = io.StringIO()
    csv.writer(out).writerow([_cell(value) for value in values])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA) else value
    return value.isoformat() if hasattr(value, "isoformat") else value
