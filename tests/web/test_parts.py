"""The page's small parts: what they say to those who do not see them, and that what people write stays text."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from feltwire import registry
from feltwire.web.dashboard import bars, parts
from feltwire.web.dashboard.live import encode
from feltwire.web.dashboard.parts import Ranked

HOSTILE = '<img src=x onerror="alert(1)">'


def sent(component: Any) -> Any:
    """An element as the browser gets it: [tag, attributes, children]."""
    return json.loads(encode(component))


def below(node: Any) -> Iterator[Any]:
    """An element and all in it."""
    yield node
    if isinstance(node, list):
        for child in node[2]:
            yield from below(child)


def test_an_icon_is_only_for_show() -> None:
    for one in (parts.icon("check"), parts.sign("negative"), parts.sparkline([1, 2])):
        assert sent(one)[1]["aria-hidden"] == "true"
    assert sent(parts.sign("mixed"))[1]["class"] == "si s-mix"
    assert sent(parts.sign("unheard of"))[1]["class"] == "si s-neu"


def test_buttons_say_what_they_do_and_toggles_whether_they_are_on() -> None:
    tag, attributes, children = sent(parts.button("Share", do="share", some_thing="1", label="Share: copy the link"))
    assert (tag, children) == ("button", ["Share"])
    assert attributes | {"class": "btn"} == attributes
    assert (attributes["data-do"], attributes["data-some-thing"]) == ("share", "1")
    assert attributes["aria-label"] == "Share: copy the link"
    group = sent(parts.segments("Time range", "range", [("1 h", "1h"), ("6 h", "6h")], "6h"))
    assert group[1]["role"] == "group"
    assert [one[1]["aria-pressed"] for one in group[2]] == ["false", "true"]
    assert [one[1]["data-value"] for one in group[2]] == ["1h", "6h"]


@pytest.mark.parametrize(("before", "said", "marks"), [(21.0, "60.0 %, 21.0 % before", 2), (None, "60.0 %", 1)])
def test_a_gauge_is_a_meter(before: float | None, said: str, marks: int) -> None:
    _, attributes, children = sent(parts.gauge("negative", 60.0, before))
    assert (attributes["role"], attributes["aria-valuetext"], len(children)) == ("meter", said, marks)


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [-2.0, 5.0, 1.0], list(range(500))])
def test_a_sparkline_takes_any_values(values: list[float]) -> None:
    tag, _, children = sent(parts.sparkline(values))
    assert tag == "span"
    assert len(children) == (2 if values else 0)
    if values:
        assert children[0][1]["style"]["clipPath"].count("calc(") == 2 * min(len(values), 40)
        assert "nan" not in children[0][1]["style"]["clipPath"]


def test_a_ranked_row_is_a_filter_that_can_be_taken_back() -> None:
    rows = [
        Ranked(name=HOSTILE, shown=HOSTILE, value="12", kind="word", term=HOSTILE, share=7.0, said="12 posts"),
        Ranked(name="b", shown="b", value="1", note="×2", kind="word", term="b", share=-1.0),
    ]
    first, second = (item[2][0] for item in sent(parts.ranked(rows, [("word", "b")]))[2])
    assert first[1]["data-filter"] == f"word:{HOSTILE}"
    assert first[1]["aria-label"] == f"{HOSTILE}, 12 posts"
    assert (first[1]["aria-pressed"], second[1]["aria-pressed"]) == ("false", "true")
    assert (first[1]["style"]["--w"], second[1]["style"]["--w"]) == ("100.0%", "0.0%")
    assert {node[0] for node in below(first) if isinstance(node, list)} == {"button", "span"}


def test_a_table_has_heads_for_rows_and_columns() -> None:
    box = sent(parts.table(["Window", "Posts"], [["12:00", "3"], []], caption="Posts by window"))
    assert (box[1]["role"], box[1]["aria-label"], box[1]["tabindex"]) == ("region", "Posts by window", 0)
    scopes = [node[1]["scope"] for node in below(box) if isinstance(node, list) and node[0] == "th"]
    assert scopes == ["col", "col", "row"]
    assert "–" in list(below(box))


def test_a_panel_that_failed_says_what_and_how_to_go_on() -> None:
    shown = sent(parts.trouble("Posts could not be read", HOSTILE, "Nothing is lost.", region="feed"))
    nodes = list(below(shown))
    assert f"{HOSTILE} Nothing is lost." in nodes
    again = next(node for node in nodes if isinstance(node, list) and node[1].get("data-do") == "again")
    assert again[1]["data-region"] == "feed"
    assert not [node for node in nodes if isinstance(node, list) and node[0] == "img"]


def test_sources_can_be_chosen_where_there_are_several() -> None:
    alone = sent(bars.where(["simulator"]))
    assert [node[1].get("data-source") for node in alone[2]] == [None] * 3, "nothing else would be left"
    assert [node[1].get("data-do") for node in alone[2]] == [None, "setup", "setup"]
    several = sent(bars.where(["bluesky", "simulator:2", "file"]))
    assert [node[1].get("data-source") for node in several[2]] == ["bluesky", "simulator", None, None]
    assert [node[1].get("aria-pressed") for node in several[2]] == ["true", "true", None, None]


def test_what_is_to_be_written_for_a_source_are_settings() -> None:
    for name, (_, lines) in bars._NEEDS.items():
        (source,) = tomllib.loads(lines)["sources"]
        assert source.pop("uri").startswith(f"{name}:")
        registry.validate(registry.load("sources", name).Options, source, where=name)


@pytest.mark.parametrize(
    "url",
    [
        None, "", "javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "//evil.example", "https://", "ftp://a/b",
        "http://[", "https://a/\nb", "java\tscript:alert(1)", "https://a/" + "b" * 2_000,
    ],
)  # fmt: skip
def test_no_link_but_to_the_web(url: str | None) -> None:
    assert parts.safe_href(url) is None


def test_links_to_the_web_stay_what_they_are() -> None:
    for url in ("https://x.com/a/status/1", "http://example.org?q=<b>"):
        assert parts.safe_href(url) == url
