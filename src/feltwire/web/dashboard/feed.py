"""The posts: a live feed, newest first. Every word that somebody wrote is a child of an element, never markup."""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from datetime import tzinfo
from typing import Any, Final

from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard import words
from feltwire.web.dashboard.data import Feed, Post
from feltwire.web.dashboard.parts import button, icon, safe_href, sign
from feltwire.web.dashboard.view import View
from feltwire.web.dashboard.words import LABELS, count, label_name

MAX_SHOWN: Final = 1_500  # characters of a post that the feed shows


def note(feed: Feed, view: View) -> list[Component]:
    """What the list is: all posts, or which part of them; and the way to the other."""
    if not feed.posts:
        return []
    rate = f"{count(feed.per_minute)} a minute" if feed.per_minute >= 1 else "under 1 a minute"
    if view.custom:
        return [html.Span(f"The last {count(len(feed.posts))} of this range")]
    if feed.one_in <= 1:
        text = html.Span([html.B("Every post", className="b6"), f", {rate}"])
        way = [button("Sample", kind="b5 ul", do="set", key="posts", value="")] if view.every_post else []
        return [text, html.Span(className="sp"), *way]
    one_in = f"1 in {count(max(2, feed.one_in))}"
    return [
        html.Span(["Sampled: ", html.B(one_in, className="b6"), f" of {rate}, chosen at random"], className="el"),
        html.Span(className="sp"),
        button("Show all", kind="b5 ul", do="set", key="posts", value="all"),
    ]


def articles(feed: Feed, zone: tzinfo) -> list[Component]:
    """The posts, newest first."""
    total = len(feed.posts)
    return [article(post, zone, place, total) for place, post in enumerate(feed.posts, 1)]


def article(post: Post, zone: tzinfo, place: int = 1, total: int = 1) -> Component:
    """One post: label, confidence, what it complains of, time, text, author, and what can be done with it."""
    label = post["sentiment"] or ""
    author = _author(post)
    return html.Article(
        [
            html.Div(_head(post, zone), className="row f12 g1 phead"),
            html.Div(_text(post), className="tx", lang=post["lang"], dir="auto"),
            html.Div(
                [
                    html.Span(author, className="i2 el who", dir="auto"),
                    html.Span("·", className="i3"),
                    html.Span(words.source_name(post["source"] or "unknown"), className="i3 nw"),
                    html.Span(className="sp"),
                    html.Span(_actions(post), className="acts"),
                ],
                className="row f12 g1 pfoot",
            ),
        ],
        className="post",
        tabIndex=0,
        key=post["id"],
        **{
            "data-id": post["id"],
            "data-label": label,
            "aria-label": f"{label_name(label) or 'Unscored'} post by {author}",
            "aria-posinset": str(place),
            "aria-setsize": str(total),
        },
    )


def _head(post: Post, zone: tzinfo) -> list[Any]:
    label = post["sentiment"]
    clock = html.Time(
        words.clock(post["event_time"], zone, seconds=True),
        dateTime=post["event_time"].isoformat(),
        title=post["event_time"].astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
        className="i3",
    )
    if not post["scored"] or label not in LABELS:
        return [html.Span("Not scored", className="b5 i2"), html.Span(className="sp"), clock]
    more = [label_name(post["category"])] if post["category"] and post["category"] != "unknown" else []
    more += ["Irony"] if post["irony"] == "irony" else []
    more += ["Offensive"] if post["offensive"] == "offensive" else []
    parts: list[Any] = [
        sign(label),
        html.Span(label_name(label), className=f"b5 {label[:3] if label != 'mixed' else 'mix'}-t"),
        html.Span(f"{round(100 * (post['confidence'] or 0))}%", className="i3"),
    ]
    if more:
        parts += [html.Span("·", className="i3"), html.Span(" · ".join(more), className="i2 el")]
    return [*parts, html.Span(className="sp"), clock]


def _text(post: Post) -> str:
    text = (post["text"] or "").strip()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN].rstrip() + " …"


def _author(post: Post) -> str:
    if post["author_handle"]:
        return "@" + str(post["author_handle"]).removeprefix("@")
    return str(post["author_name"] or post["author_id"] or "unknown author")


def _actions(post: Post) -> list[Component]:
    actions = []
    if post["scored"]:
        actions.append(button("Why", kind="act", do="why", label="Why this label"))
    actions.append(button("Wrong?", kind="act", do="wrong", label="This label is wrong"))
    href = safe_href(post["url"])
    if href:
        actions.append(html.A("Open", href=href, target="_blank", rel="noopener noreferrer nofollow", className="act"))
    return actions


def nothing(view: View, counts: list[tuple[str, str, int]], total: int) -> Component:
    """No post: which filter empties the range, and buttons that widen it."""
    said = f"{count(total)} post{'s are' if total != 1 else ' is'} in this range"
    said += "".join(f"; {count(n)} without {name}" for _, name, n in counts) + "."
    ways = [
        button(f"Without {name}" if key != "q" else "Clear the search", do="drop", key=key) for key, name, _ in counts
    ]
    if not view.custom and view.range in ("15m", "1h", "6h"):
        wider = {"15m": ("1h", "Last hour"), "1h": ("6h", "Last 6 hours"), "6h": ("24h", "Last 24 hours")}[view.range]
        ways.append(button(wider[1], do="set", key="range", value=wider[0]))
    return html.Div(
        [
            html.H3([icon("info"), "No post matches" + (f" “{view.text}”" if view.text else "")]),
            html.P(said),
            html.Div(ways, className="row g2 wrap"),
        ],
        className="state",
    )
