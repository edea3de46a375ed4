"""Health: the ledger as a sum with its difference, how far behind everything is, and what went wrong."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from dash import html
from dash.development.base_component import Component
from deltalake.exceptions import DeltaError

from feltwire import __version__
from feltwire.errors import LakeError
from feltwire.lake.reader import Snapshot
from feltwire.web.dashboard import bars, pages, throughput, vitals, words
from feltwire.web.dashboard.attributes import given
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.live import Region, encode
from feltwire.web.dashboard.parts import button, icon, segments
from feltwire.web.dashboard.view import View
from feltwire.web.dashboard.vitals import History, Vitals
from feltwire.web.dashboard.words import ago, clock, count, duration, pace, seconds, size_words

_TABLES: Final = ("ledger", "dead_letters", "windows", "posts")
MAX_SHOWN: Final = 400  # characters of a dead letter


def register(context: Context) -> Callable[[], None]:
    """Add the page to the tabs and to the pages, and begin to note lag and events. Returns what ends that."""
    history = History(context)
    history.start()
    bars.PAGES["health"] = ("Health", "health")
    pages.EXTRA["health"] = lambda of, view, zone: build(of, view, zone, history)
    return history.stop


def build(context: Context, view: View, zone: tzinfo, history: History) -> list[Region]:
    """The regions of the page."""

    def compute() -> dict[str, str]:
        lake = context.lake()
        span = view.extra_value("ledger") if view.extra_value("ledger") in vitals.SPANS else ""
        try:
            snapshot = Snapshot(lake.location, lake.owner, _TABLES)
            found = vitals.read_vitals(snapshot, context, datetime.now(UTC), span, view.extra_value("dead"))
        except (DeltaError, OSError) as error:
            raise LakeError(f"the lake cannot be read: {error}") from error
        parts = pages.fill(scope=scope(context, found, history), other=layout(found, history, view, zone))
        parts["figure:lagplot"] = encode(throughput.figure(found, history, zone))
        return parts

    show = pages.failed("other", "Health could not be read", "health", "What was received stays in the log.")
    return [Region(name="health", key=(view, str(zone)), slow=True, compute=compute, failed=show)]


def scope(context: Context, found: Vitals, history: History) -> list[Component]:
    """The second bar: which pipeline, its version, and the report."""
    state = context.state
    engine = "no engine in this process" if state.progress is None else "engine in this process"
    said = [f"feltwire {__version__}", f"page up {duration(found.now - history.began)}", engine]
    return [
        html.Span([icon("health"), html.Span(f"Pipeline {state.pipeline}", className="el")], className="sel b6 plain"),
        html.Span(" · ".join(said), className="i2 el"),
        html.Span(className="sp"),
        html.A(
            [icon("save"), html.Span("Report", className="word")],
            href="/api/v1/status",
            download="feltwire-status.json",
            className="btn q",
        ),
    ]


def layout(found: Vitals, history: History, view: View, zone: tzinfo) -> Component:
    """The whole page."""
    return html.Div(
        [
            html.H1("Health", className="vh"),
            _ledger(found, view, zone),
            _strip(found, history, zone),
            html.Section(
                [throughput.throughput(found, history, zone), _dead(found, view, zone)],
                className="panel left",
                **given({"aria-label": "Throughput, lag and dead letters"}),
            ),
            html.Section(
                [_sources(found), _followers(found), _happened(history, zone), _tables(found)],
                className="panel pad right",
                **given({"aria-label": "Sources, followers and the lake"}),
            ),
        ],
        className="health",
    )


def _state(good: bool, text: str, mark: str = "redo") -> Component:
    """A state is icon and word."""
    return html.Span([icon("check" if good else mark), html.Span(text)], className="row g2 nw")


def _ledger(found: Vitals, view: View, zone: tzinfo) -> Component:
    good = not found.difference and not found.wrong
    title = "Every post is accounted for" if good else "The account does not balance"
    notes = ["compared with the tables just now"]
    if found.since is not None:
        notes.append(f"since {_day(found.since, zone)} {clock(found.since, zone)}")
    if found.removed:
        notes.append(f"{count(found.removed)} kept and withdrawn since")
    parts: list[Component] = []
    for sign_, name in (("", "received"), ("=", "kept"), ("+", "duplicate"), ("+", "filtered"), ("+", "dead")):
        if sign_:
            parts.append(html.Span(sign_, className="op"))
        parts.append(
            html.Div(
                [
                    html.Div(name.capitalize(), className="i2"),
                    html.Div(count(found.counts[name]), className="f28 b6 num"),
                ]
            )
        )
    shown = view.extra_value("ledger") if view.extra_value("ledger") in vitals.SPANS else ""
    return html.Section(
        [
            html.Div(
                [
                    icon("check" if good else "warn"),
                    html.H2(title, className="f16"),
                    html.Span(found.wrong or " · ".join(notes), className="f12 i3 el"),
                    html.Span(className="sp"),
                    segments(
                        "Since when", "ledger", [(text, key) for key, text in vitals.SPANS.items()], shown, "seg s"
                    ),
                ],
                className="row g2",
            ),
            html.Div(
                [
                    html.Div(
                        parts,
                        className="sum",
                        role="group",
                        **given({"aria-label": "received = kept + duplicate + filtered + dead"}),
                    ),
                    html.Div(
                        [html.Div("Difference", className="i2"), html.Div(count(found.difference), className="f28 b6")],
                        className="diff",
                    ),
                ],
                className="sumrow",
            ),
        ],
        className="panel pad ledger",
        **given({"aria-label": "Ledger"}),
    )


def _strip(found: Vitals, history: History, zone: tzinfo) -> Component:
    last = history.lags[-1][1] if history.lags else None
    top = vitals.worst(history.lags)
    if last is not None:
        lag: tuple[Any, str] = (
            _unit(f"{last:.1f}", "s"),
            f"worst {top[1]:.1f} s at {clock(top[0], zone)}" if top else "",
        )
    else:
        many = "–" if found.lag is None else count(found.lag)
        lag = (_unit(many, "records"), "behind the log" if found.lag is not None else "no engine runs here")
    pace = vitals.mean_ms()
    scoring = (
        (_unit(f"{pace[0]:.1f}", "ms a post"), f"in batches of {count(pace[1])}, stored with it")
        if pace
        else ("–", "nothing scored by this process")
    )
    size, unit = size_words(found.size)
    merged = f"compacted {ago(found.merged, found.now)}" if found.merged else f"in {len(found.tables)} tables"
    since = f"on since {_day(found.model_since, zone)}" if found.model_since else "nothing scored yet"
    boxes = [
        ("Lag", *lag),
        ("Scoring", *scoring),
        ("Late posts", count(found.counts["late"]), "added to their own minute"),
        (
            "Unscored",
            count(found.counts["unscored"]),
            f"in {found.unscored_langs} language{'s' * (found.unscored_langs != 1)}, never guessed",
        ),
        ("Lake", _unit(size, unit), f"{count(found.files)} files, {merged}"),
        ("Model", found.model or "none", since),
    ]
    return html.Section(
        [
            html.Div(
                [
                    html.H2(name, className="i2 b4"),
                    html.Div(value, className="f20 b6 el"),
                    html.Div(note, className="f12 i3 el"),
                ]
            )
            for name, value, note in boxes
        ],
        className="panel strip6",
        **given({"aria-label": "Now"}),
    )


def _unit(value: str, unit: str) -> list[Any]:
    return [value, html.Span(f" {unit}", className="f16 b5 i2")]


def _day(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    return f"{local.day} {local:%B}"


def _dead(found: Vitals, view: View, zone: tzinfo) -> Component:
    chosen = view.extra_value("dead")
    parts: list[Component] = [html.H2("Dead letters", className="f16")]
    if not found.reasons:
        parts.append(html.P("None: everything could be read and scored.", className="i2"))
        return html.Div(parts, className="pad dead")
    rows = []
    for one in found.reasons:
        day = one.last.astimezone(zone).date() == found.now.astimezone(zone).date()
        last = clock(one.last, zone) if day else f"{one.last.astimezone(zone).day} {one.last.astimezone(zone):%b}"
        on = one.reason == chosen
        see = button(
            "Hide" if on else "See",
            kind="ul f12",
            label=f"{'Hide' if on else 'See'}: {one.reason}",
            set="dead",
            value="" if on else one.reason[:200],
        )
        rows.append([one.reason, words.source_name(one.source), count(one.n), last, see])
    parts.append(_grid(["Reason", "Source", "Count", "Last", ""], rows, "Dead letters by reason", "dlt"))
    if chosen and found.letters:
        items = [
            html.Li(
                [
                    html.Time(clock(at, zone, seconds=True, day=True), className="f12 i3"),
                    html.Pre(payload[:MAX_SHOWN] + (" …" if len(payload) > MAX_SHOWN else ""), dir="auto", tabIndex=0),
                ]
            )
            for at, payload in found.letters
        ]
        parts.append(html.Ul(items, className="letters", **given({"aria-label": f"The newest of: {chosen}"})))
    return html.Div(parts, className="pad dead")


def _grid(columns: list[str], rows: list[list[Any]], caption: str, kind: str) -> Component:
    head = html.Tr([html.Th(name, scope="col") if name else html.Td() for name in columns])
    body = [
        html.Tr([html.Th(row[0], scope="row", className="el"), *(html.Td(cell) for cell in row[1:])]) for row in rows
    ]
    return html.Div(
        html.Table(
            [html.Caption(caption, className="vh"), html.Thead(head), html.Tbody(body)], className=f"grid {kind}"
        ),
        className="gridbox",
    )


def _sources(found: Vitals) -> Component:
    rows = []
    for one in found.sources:
        silent = one.silent(found.now)
        state = _state(
            not silent,
            "Delivering" if not silent else f"Silent for {duration(found.now - one.last)}" if one.last else "Silent",
            "pause",
        )
        rows.append(
            [words.source_name(one.name), state, pace(one.per_minute), ago(one.last, found.now), count(one.gaps)]
        )
    nothing = html.P("Nothing has been received yet.", className="i2")
    body = (
        _grid(["Source", "State", "Posts a minute", "Last post", "Gaps"], rows, "Sources", "src") if rows else nothing
    )
    return html.Div([html.H2("Sources", className="f16"), body])


def _followers(found: Vitals) -> Component:
    rows = []
    for one in found.followers:
        if one.state.error:
            state = _state(False, "Trying again", "warn")
        elif not one.state.alive:
            state = _state(False, "Ended", "off")
        else:
            state = _state(one.behind < 1_000, "Following" if one.behind < 1_000 else "Catching up")
        reached = sum(one.state.position.values())
        rows.append([one.state.name, state, count(reached), count(one.behind), seconds(one.lag_s)])
    body: Component = html.P(
        "None is configured. A follower brings posts to a database, a file or a webhook.", className="i2"
    )
    if rows:
        body = _grid(["Follower", "State", "Position", "Records behind", "Lag"], rows, "Followers", "fol")
    return html.Div([html.H2("Followers", className="f16"), body])


def _tables(found: Vitals) -> Component:
    rows = [
        [
            one.name.replace("_", " ").capitalize(),
            count(one.rows),
            count(one.files),
            " ".join(size_words(one.size)),
            ago(one.merged, found.now) if one.merged else "–",
        ]
        for one in found.tables
    ]
    body = _grid(["Table", "Rows", "Files", "Size", "Compacted"], rows, "Tables of the lake", "lak")
    return html.Div([html.H2("Lake", className="f16"), body])


def _happened(history: History, zone: tzinfo) -> Component:
    items = [
        html.Li(
            [
                html.Time(clock(one.at, zone), className="f12 i3"),
                html.I(className="ev on" if one.open else "ev"),
                html.Span([one.text, html.Span(" (it lasts)" if one.open else "", className="vh")]),
            ]
        )
        for one in list(history.events)[-8:][::-1]
    ]
    said = html.Li(
        [
            html.Time(clock(history.began, zone), className="f12 i3"),
            html.I(className="ev"),
            html.Span("This page began to watch"),
        ]
    )
    return html.Div([html.H2("What happened", className="f16"), html.Ul([*items, said], className="happened")])
