"""`console:`: what a line looks like, and what a hostile one cannot do."""

import contextlib
import io
import os
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.followers.feeds import batch, post, withdrawal

from feltwire import registry, schema
from feltwire.errors import FatalError
from feltwire.followers.console import MAX_CHARS, ConsoleFollower, Options, Terminal, clean, line

NOTHING = schema.empty(schema.WITHDRAWN)


def shown(rows: list[dict[str, Any]], told: list[dict[str, Any]] | None = None, **console: Any) -> str:
    out = io.StringIO()
    follower = ConsoleFollower(Terminal(file=out, highlight=False, **console), Options(since_s=1e12))
    follower.apply(batch(rows), batch(told or [], schema.WITHDRAWN), {0: 1000})
    return out.getvalue()


def test_a_line_says_its_label_by_sign_and_word() -> None:
    rows = [post(0, offset, complaint=offset == 0) for offset in range(4)]
    rows.append(post(0, 4, sentiment=None, event_time=None, author_handle=None, author_name="Ann"))
    assert shown(rows) == (
        "12:00:00 - negative ! simulator @delta.fan my flight 0-0 is late\n"
        "12:00:01 = neutral    simulator @delta.fan my flight 0-1 is late\n"
        "12:00:02 + positive   simulator @delta.fan my flight 0-2 is late\n"
        "12:00:03 ~ mixed      simulator @delta.fan my flight 0-3 is late\n"
        "--:--:-- ? unscored   simulator @Ann my flight 0-4 is late\n"
    )


def test_withdrawals_are_shown_after_their_posts() -> None:
    told = [withdrawal(0, 1, id="simulator:0-0"), withdrawal(0, 2, id="x", revision=1), withdrawal(0, 3, author_id="a")]
    assert shown([post(0, 0), post(0, 9)], told).splitlines()[1:4] == [
        "12:00:01 x withdrawn  simulator:0-0",
        "12:00:02 x withdrawn  x up to revision 1",
        "12:00:03 x withdrawn  all posts of simulator author a",
    ]


def test_markup_and_control_characters_are_only_text() -> None:
    text = "[red]x[/red] \x1b[31m\x1b]0;title\x07 a\r\nb\u202e\u2066\u2028c [link=https://x]y[/link] :smile:"
    out = shown([post(0, 0, text=text, author_handle="\x1b[2J[b]")])
    assert "[red]x[/red] [31m]0;title a b c [link=https://x]y[/link] :smile:" in out
    assert "@[2J[b] " in out
    assert "\x1b" not in out
    assert out.count("\n") == 1


@given(st.text())
def test_whatever_comes_one_clean_line_goes(text: str) -> None:
    plain = clean(text)
    assert len(plain) <= MAX_CHARS
    assert plain.split() == plain.strip().split(" ") or not plain
    assert all(unicodedata.category(char)[0] != "C" or char in "\u200c\u200d" for char in plain)


def test_a_terminal_gets_one_line_a_post_and_a_pipe_gets_all() -> None:
    rows = [post(0, 0, text="long " * 90)]
    assert shown(rows, width=60).count("long") == 90
    narrow = shown(rows, width=60, force_terminal=True, color_system=None)
    assert narrow.count("\n") == 1
    assert narrow.rstrip().endswith("…")


def test_colours_go_with_the_signs() -> None:
    out = shown([post(0, 0)], force_terminal=True, color_system="standard", width=200)
    assert "\x1b[31m- negative" in out


def test_an_old_terminal_gets_question_marks() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    follower = ConsoleFollower(Terminal(file=file), Options(since_s=1e12))
    follower.apply(batch([post(0, 0, text="late 😡")]), NOTHING, {0: 1})
    file.flush()
    assert raw.getvalue().endswith(b"late ?\n")


def test_at_a_first_start_only_what_is_new_is_shown() -> None:
    out = io.StringIO()
    follower = registry.create("followers", "console:?since_s=60")
    follower.console.file = out
    assert follower.position() is None
    now = datetime.now(UTC)
    rows = [post(0, 0, at=now - timedelta(seconds=90)), post(0, 1, at=now)]
    told = [withdrawal(0, 2, id="old", at=now - timedelta(days=1)), withdrawal(0, 3, id="new", at=now)]
    follower.apply(batch(rows), batch(told, schema.WITHDRAWN), {0: 4})
    assert "0-1" in out.getvalue()
    assert "withdrawn  new" in out.getvalue()
    assert "0-0" not in out.getvalue()
    assert "old" not in out.getvalue()
    assert follower.position() == {0: 4}


def test_with_a_state_it_goes_on_where_it_was(tmp_path: Path) -> None:
    out = io.StringIO()
    uri = f"console:?since_s=60&state={tmp_path}/console.state"
    for offset in range(2):
        follower = registry.create("followers", uri)
        follower.console.file = out
        follower.position()
        at = datetime.now(UTC) if offset == 0 else datetime.now(UTC) - timedelta(days=3)  # it was away
        follower.apply(batch([post(0, offset, at=at)]), NOTHING, {0: offset + 1})
        assert follower.position() == {0: offset + 1}
        follower.close()
    assert "0-1" in out.getvalue()


def test_a_closed_pipe_ends_it() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = open(writing, "w")  # noqa: SIM115  (closing it fails, too)
    follower = ConsoleFollower(Terminal(file=file), Options(since_s=1e12))
    with pytest.raises(FatalError, match="nobody reads"):
        follower.apply(batch([post(0, 0)]), NOTHING, {0: 1})
    with contextlib.suppress(BrokenPipeError):
        file.close()


def test_an_empty_line_is_a_line() -> None:
    row = dict.fromkeys(["event_time", "sentiment", "complaint", "source", "author_handle", "author_name", "text"])
    assert "unscored" in line(row).plain
