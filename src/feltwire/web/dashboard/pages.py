"""Which regions a view has, and what each is made of: the way from an address to the parts of a page."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta, tzinfo
from typing import Any, Final

from feltwire.lake import added_tracks
from feltwire.lake.reader import Snapshot
from feltwire.mood import read
from feltwire.web.dashboard import bars, chart, data, explanation, feed, figures, words
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.live import Region, encode
from feltwire.web.dashboard.now import summary
from feltwire.web.dashboard.parts import trouble
from feltwire.web.dashboard.use import lists
from feltwire.web.dashboard.view import View

Build = Callable[[Context, View, tzinfo], list[Region]]
EXTRA: Final[dict[str, Build]] = {}
"""{page: its regions} of pages beside the overview; their modules add themselves here and to `bars.PAGES`."""


def frame(view: View) -> dict[str, str]:
    """What the address alone decides."""
    return fill(tabs=bars.tabs(view), phonenav=bars.phone_nav(view))


def regions_of(context: Context, view: View, zone: tzinfo) -> list[Region]:
    """What a page with this address shows."""
    if view.page in EXTRA:
        return [*EXTRA[view.page](context, view, zone), _bars(context, view, zone)]
    first = [_board(context, view, zone), _bars(context, view, zone), _feed(context, view, zone)]
    return [*first, explanation.region(context, view, zone), _use(context, view, zone)]


def fill(**ids: Any) -> dict[str, str]:
    """Parts of a message: components as the children of the elements with these ids."""
    found = {}
    for name, children in ids.items():
        nodes = children if isinstance(children, list | tuple) else [children]
        found[f"children:{name}"] = encode([node for node in nodes if node is not None])
    return found


def failed(id_: str, title: str, region: str, safe: str) -> Callable[[Exception], dict[str, str]]:
    """What stands in a region that could not be read: in it alone."""

    def show(error: Exception) -> dict[str, str]:
        cause = " ".join(str(error).split())[:300] or type(error).__name__
        return fill(**{id_: trouble(title, cause.rstrip(".") + ".", safe, region=region)})

    return show


CHOICES_S: Final = 15.0
"""Tracks, sources and languages that are new stand in the menus after so long."""
_SAFE: Final = "Counting continues; nothing is lost."


def _bars(context: Context, view: View, zone: tzinfo) -> Region:
    def compute() -> dict[str, str]:
        now = context.now()
        choices = context.keep("choices", CHOICES_S, lambda: _choices(context))
        parts = fill(phonetrack=bars.track_menu(view, choices, "tracksphone"))
        parts["first"] = encode(not choices.tracks)
        if not choices.tracks:
            parts |= fill(where=bars.where(context.state.sources))
        if view.page == "overview":
            parts |= fill(scope=bars.scope(view, choices, now, zone))
        parts["posts"] = encode(int(read.has_posts(context.snapshot())))
        return parts

    def show(error: Exception) -> dict[str, str]:
        return {"first": "false"}

    key = (view, str(zone))
    return Region(name="bars", key=key, slow=True, compute=compute, failed=show)


def _choices(context: Context) -> data.Choices:
    configured = [track.name for track in context.tracks()]
    added = [track.name for track in added_tracks.read(context.lake().location)]
    return data.read_choices(context.snapshot(), [*configured, *added], context.now())


def _board(context: Context, view: View, zone: tzinfo) -> Region:
    def compute() -> dict[str, str]:
        board = data.read_board(context.snapshot(), view, context.now(), zone)
        span = (board.mood.start, board.mood.end)
        figure = figures.over_time(
            board.rows,
            zone=zone,
            span=span,
            every_s=board.mood.every_s,
            mode=view.mode,
            band=board.band,
            others=board.others,
            flags=board.flags,
            unfinished=board.unfinished,
            expected=board.expected,
            chosen=view.at,
        )
        averages = {label: float(getattr(board.totals, f"avg_{label}")) for label in words.LABELS}
        parts = fill(
            now=summary(board, zone),
            charthead=chart.chart_head(board),
            overlay=chart.overlay(board, tuple(figure["layout"]["yaxis"]["range"])),
            flags=chart.flags(board),
            charttable=chart.chart_table(board, zone) if view.table else [],
            averages=chart.averages(board),
            ringtext=chart.ring_text(board),
            why=chart.why(board),
        )
        parts["figure:plot"] = encode(figure)
        parts["figure:ring"] = encode(figures.donut(averages))
        every = [*board.rows, *([board.unfinished] if board.unfinished else [])]
        parts["counts"] = encode([[int(row.start.timestamp()), row.n] for row in every])
        parts["axis"] = encode([span[0].timestamp(), span[1].timestamp()])
        parts["table"] = encode(view.table)
        return parts

    show = failed("now", "The numbers could not be read", "board", _SAFE)
    return Region(
        name="board", key=(_without_lists(view), view.table, str(zone)), slow=False, compute=compute, failed=show
    )


def _without_lists(view: View) -> tuple[Any, ...]:
    """What the numbers depend on: not what the lists show."""
    return (view.tracks, view.range, view.since, view.until, view.window, view.sources, view.langs, view.filters,
            view.text, view.mode, view.at)  # fmt: skip


def _use(context: Context, view: View, zone: tzinfo) -> Region:
    def compute() -> dict[str, str]:
        found = data.read_use(context.snapshot(), view, context.now())
        return fill(use=lists(found, view))

    key = (_without_lists(view)[:-2], view.emoji, view.terms)
    return Region(
        name="use", key=key, slow=True, compute=compute, failed=failed("use", "Terms could not be read", "use", _SAFE)
    )


def _feed(context: Context, view: View, zone: tzinfo) -> Region:
    def compute() -> dict[str, str]:
        now = context.now()
        lake = context.snapshot()
        rows = _last_rows(lake, view)
        found = data.read_feed(lake, view, now, rows)
        if not found.posts:
            return fill(feednote=[], feed=feed.nothing(view, *_emptied(lake, view, context)))
        return fill(feednote=feed.note(found, view), feed=feed.articles(found, zone))

    def _last_rows(lake: Snapshot, view: View) -> list[data.Row]:
        """The windows that tell the pace of the posts."""
        now = context.now()
        mood = view.mood(now)
        recent = mood.between(max(mood.start, min(now, mood.end) - timedelta(minutes=4)), mood.end)
        rows = data.rows_of(read.series(lake, replace(recent, every_s=60)))
        return [row for row in rows if row.start + timedelta(minutes=1) <= now.astimezone(UTC)][-3:]

    key = (_without_lists(view)[:-2], view.every_post, str(zone))
    return Region(
        name="feed",
        key=key,
        slow=False,
        compute=compute,
        failed=failed("feed", "Posts could not be read", "feed", _SAFE),
    )


def _emptied(lake: Snapshot, view: View, context: Context) -> tuple[list[tuple[str, str, int]], int]:
    """([(key, name, posts without it)], posts without any of them): which filter leaves nothing."""
    now = context.now()

    def posts(**without: Any) -> int:
        return read.count_posts(lake, replace(view, **without).mood(now))

    found: list[tuple[str, str, int]] = []
    if view.text:
        found.append(("q", "the search", posts(text="")))
    if view.filters:
        found.append(("f", "the filters", posts(filters=())))
    if view.langs:
        found.append(("lang", "the languages", posts(langs=())))
    if view.sources:
        found.append(("source", "the sources", posts(sources=())))
    return found, posts(text="", filters=(), langs=(), sources=())
