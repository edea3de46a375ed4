"""The page before the first answer: the frame, and shapes where the regions will be."""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from dash import dcc, html
from dash.development.base_component import Component

from feltwire.web.dashboard import bars
from feltwire.web.dashboard.parts import button, icon, sign
from feltwire.web.dashboard.words import LABELS, label_name

KEYS = (
    ("P", "pause or go on"),
    ("/", "search the posts"),
    ("J  K", "next and last post"),
    ("[  ]", "spike before and after"),
    ("Enter", "open"),
    ("Esc", "close"),
    ("G then O C H", "Overview, Compare, Health"),
)


def page() -> Component:
    """Everything that stays while the page is open; `page.js` fills the regions by their ids."""
    return html.Div(
        [
            html.A("To the content", href="#main", className="skip"),
            bars.top(),
            html.Section(id="scope", className="scope", **{"aria-label": "What is shown"}),
            html.Div(id="banner"),
            html.Main(
                [
                    html.Div(overview(), id="overview", className="view"),
                    html.Div(id="other", className="view other"),
                    first(),
                ],
                id="main",
                tabIndex=-1,
            ),
            html.Nav(id="phonenav", className="phonenav", **{"aria-label": "Pages"}),
            html.Div(id="aside", className="aside"),
            _help(),
            _method(),
            _wrong(),
            new_track(),
            html.Div(id="toast", className="toast", role="status"),
        ],
        id="app",
        className="app loading",
    )


def first() -> Component:
    """What is asked where nothing is listened to yet."""
    return html.Div(
        html.Section(
            [
                html.H1("What do you want to listen to?", className="f28"),
                html.P(
                    "Name a subject and the words that belong to it. Posts appear here as they are written, with what "
                    "people feel and why it moves.",
                    className="f16 i2",
                ),
                html.Div(
                    [
                        bars.field("firstname", "Subject", placeholder="Northwind Air"),
                        bars.field(
                            "firstquery",
                            "Words, hashtags or accounts",
                            placeholder='"northwind air" OR #northwind OR @northwindair',
                            hint="A post belongs to the subject if it holds any of what stands beside OR.",
                        ),
                        html.Div("Where", className="b5"),
                        html.Div(id="where"),
                        html.Div(id="firstmatch", className="note soft", role="status"),
                        html.P("", id="firsterror", className="error f12", role="alert"),
                        html.Div(
                            [
                                button("Start listening", kind="btn p", do="firstgo"),
                                button("Look around with simulated posts", do="simulated"),
                                button("Show every post", kind="btn q", do="seeall"),
                            ],
                            className="row g2 wrap",
                        ),
                        html.Div(id="firsttoml"),
                    ],
                    className="panel",
                ),
                html.P(
                    [
                        "Nothing leaves this machine. The same track can be written in ",
                        html.B("feltwire.toml", className="b5 ink"),
                        ".",
                    ],
                    className="f12 i2",
                ),
            ],
            className="firstbox",
            **{"aria-label": "First steps"},
        ),
        id="first",
    )


def overview() -> list[Component]:
    """The overview's regions, with shapes in them."""
    return [
        html.H1("Overview", className="vh", id="title"),
        html.Section(id="now", className="panel now", **{"aria-label": "Now"}),
        html.Section(
            [
                html.Div(id="charthead", className="ph"),
                html.Div(
                    [
                        html.Div(
                            [
                                html.Div(
                                    id="plot",
                                    className="plotly-host",
                                    role="img",
                                    **{"aria-label": "Mood and posts over time; the table button shows the numbers"},
                                ),
                                html.Div(id="overlay", className="overlay"),
                                html.Div(
                                    id="flags",
                                    className="flags",
                                    role="group",
                                    **{"aria-label": "Spikes and turning points"},
                                ),
                                html.Div(id="charttable", className="charttable", hidden=True),
                            ],
                            className="plot",
                            id="plotbox",
                        ),
                        html.Div(
                            [
                                html.H3("Average score"),
                                html.Div("mean probability, 0 to 1", className="f12 i3"),
                                html.Div(
                                    [
                                        html.Div(
                                            id="ring",
                                            role="img",
                                            **{"aria-label": "Average scores as a ring; the numbers stand below"},
                                        ),
                                        html.Div(id="ringtext", className="ringtext"),
                                    ],
                                    className="ringbox",
                                ),
                                html.Div(id="averages"),
                            ],
                            className="avg",
                        ),
                    ],
                    className="body",
                ),
                html.Div(id="why"),
            ],
            id="chart",
            className="panel chart",
            **{"aria-label": "Over time"},
        ),
        html.Section(id="use", className="panel use", **{"aria-label": "What people use"}),
        _feed(),
    ]


def _feed() -> Component:
    search = html.Div(
        [
            icon("search"),
            dcc.Input(
                id="search",
                type="search",
                placeholder="Search text",
                debounce=False,
                autoComplete="off",
                className="bare",
            ),
            html.Kbd("/", **{"aria-hidden": "true"}),
        ],
        className="inp searchbox",
    )
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Posts", className="f16"),
                    html.Span(className="sp"),
                    html.Label("Search the posts", htmlFor="search", className="vh"),
                    search,
                ],
                className="ph feedhead",
            ),
            html.Div(id="feednote", className="note"),
            html.Button(id="held", className="held", type="button", hidden=True, **{"data-do": "release"}),
            html.Div(id="feed", className="list", role="group", **{"aria-label": "Posts", "aria-busy": "true"}),
        ],
        id="posts",
        className="panel feed",
        **{"aria-label": "Posts"},
    )


def dialog(id_: str, title: str, body: list[Component], kind: str = "") -> Component:
    """A dialog that `page.js` opens; Escape closes it and the focus returns to where it was."""
    return html.Dialog(
        [
            html.Div(
                [
                    html.H2(title, className="f16", id=f"{id_}-title"),
                    html.Span(className="sp"),
                    button(icon("x"), kind="btn q i", do="close", label="Close"),
                ],
                className="row",
            ),
            *body,
        ],
        id=id_,
        className=f"dialog {kind}".strip(),
        **{"aria-labelledby": f"{id_}-title"},
    )


def _help() -> Component:
    rows = [html.Div([html.Dt([html.Kbd(key) for key in keys.split("  ")]), html.Dd(what)]) for keys, what in KEYS]
    switch = button([html.Span(className="knob"), "Keys of one letter"], kind="switch", do="keys")
    return dialog(
        "help",
        "Keys",
        [
            html.Dl(rows, className="keys"),
            switch,
            html.P("Sentiments: ", className="f12 i2 signs"),
            html.P([html.Span([sign(label), label_name(label)]) for label in LABELS], className="legend f12"),
        ],
    )


def _method() -> Component:
    text = (
        "A window is a spike when its net mood, or its number of posts, lies more than 4 robust standard deviations "
        "from the median of the 60 windows before: 4 × 1.4826 × the median absolute deviation. It needs at least 30 "
        "posts. Windows that stand out in a row are one spike.",
        "A turning point is where the mood, smoothed over five windows, turns for five windows or more.",
        "The usual range holds the middle 80% of the 60 windows before what is shown.",
        "A flag says that a moment stands out from what came before. It does not say why.",
    )
    return dialog("method", "How spikes are found", [html.P(part) for part in text])


def _wrong() -> Component:
    choices = [button([sign(label), label_name(label)], kind="item", do="correct", value=label) for label in LABELS]
    return dialog(
        "wrong",
        "What is it?",
        [
            html.P("Your label is stored beside the post and can train the next model.", className="f12 i2"),
            html.Div(choices, className="choices"),
        ],
        "small",
    )


def new_track() -> Component:
    """The form for a new track."""
    return dialog(
        "newtrack",
        "A new track",
        [
            bars.field("trackname", "Subject", placeholder="Northwind Air"),
            bars.field(
                "trackquery",
                "Words, hashtags or accounts",
                placeholder="northwind OR #northwind OR @northwindair",
                hint='A query: words, "exact words", #tag, @account, OR, -not.',
            ),
            html.Div(id="trackmatch", className="note soft", role="status"),
            html.P("", id="trackerror", className="error f12"),
            html.Div(
                [button("Start listening", kind="btn p", do="addtrack"), button("Cancel", kind="btn", do="close")],
                className="row g2",
            ),
        ],
    )
