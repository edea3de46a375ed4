"""Labelled data: every form and every name of a column, splits, tasks, corrections, and what is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.texts import invented

from feltwire.errors import ConfigError
from feltwire.lab import data, tasks
from feltwire.lab.data import Reading
from feltwire.lab.interfaces import Dataset

ROWS: list[dict[str, Any]] = [
    {"body": 'so "good", you\nknow', "mood": "pos", "n": 4, "ok": True},
    {"body": "bad é😂", "mood": "neg", "n": 0, "ok": False},
    {"body": None, "mood": "neg", "n": 0, "ok": False},
    {"body": "  ", "mood": "neg", "n": 0, "ok": False},
    {"body": "nothing said", "mood": None, "n": 4, "ok": True},
    {"body": "meh", "mood": "other", "n": 2, "ok": True},
]


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"rows.{request.param}"
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif request.param == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    else:
        lines = ["mood,n,body,ok"]
        for row in ROWS:
            body = str(row["body"] or "").replace('"', '""')
            lines.append(f'{row["mood"] or ""},{row["n"]},"{body}",{str(row["ok"]).lower()}')
        path.write_text("\ufeff" + "\n".join(lines))
    return path


def pairs(given: Dataset) -> list[tuple[str, str]]:
    return [(text, given.names[label]) for text, label in zip(given.texts, given.labels, strict=True)]


def test_any_form_and_any_names(file: Path) -> None:
    found = data.read(file, Reading("body", "mood", rename={"pos": "positive", "neg": "negative", "other": ""}))
    assert pairs(found.data) == [('so "good", you\nknow', "positive"), ("bad é😂", "negative")]
    assert found.data.names == ("negative", "positive")
    assert (found.no_label, found.no_text) == (2, 2)
    assert found.data.name == "rows"
    assert len(found.data.sha256) == 64


def test_numbers_are_labels_too_and_rows_are_chosen(file: Path) -> None:
    assert data.read(file, Reading("body", "n")).data.names == ("0", "2", "4")
    assert pairs(data.read(file, Reading("body", "mood", where={"ok": "true", "n": "4"})).data) == [
        ('so "good", you\nknow', "pos")
    ]


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (Reading("text", "mood"), "has no column 'text': it has "),
        (Reading("body", "label"), "has no column 'label'"),
        (Reading("body", "mood", where={"nope": "1"}), "has no column 'nope'"),
        (Reading("body", "mood", where={"n": "7"}), "no row has both a text and a label"),
        (Reading("body", "mood", rename={"postive": "positive"}), "no row has the label 'postive': it has "),
    ],
)
def test_what_is_not_there_is_told_in_one_line(file: Path, reading: Reading, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        data.read(file, reading)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", "", "has no column 'text': it has none"),
        ("x.csv", "text,label\na,b,c", "row 1 has 3 fields, the head has 2"),
        ("x.jsonl", "{", "line 1 is no JSON"),
        ("x.jsonl", '{"text": "a"}\n[1]', "line 2: expected an object"),
        ("x.parquet", "PAR1", "cannot be read as parquet"),
        ("x.xlsx", "", "unknown ending '.xlsx'"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: str, expected: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=expected):
        data.read(tmp_path / name)
    with pytest.raises(ConfigError, match="no such file"):
        data.read(tmp_path / "absent.csv")


def test_classes_have_their_order() -> None:
    assert data.ordered({"positive", "negative"}) == ("negative", "positive")
    assert data.ordered({"mixed", "positive", "neutral", "negative"}) == ("negative", "neutral", "positive", "mixed")
    assert data.ordered({"joy", "anger"}) == ("anger", "joy")


def test_labels_are_renumbered_by_name() -> None:
    given = data.make("x", ["1", "2", "3"], ["b", "a", "c"])
    other = data.renumbered(given, ("c", "b", "more", "a"))
    assert pairs(other) == pairs(given)
    with pytest.raises(ConfigError, match="label 'c', which is none of a, b"):
        data.renumbered(given, ("a", "b"))
    kept = data.renumbered(given.rows(np.array([0, 1])), ("a", "b"))
    assert pairs(kept) == [("1", "b"), ("2", "a")]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), min_size=2, max_size=60), st.data())
def test_a_split_is_stratified_seeded_and_keeps_texts_apart(rows: list[tuple[str, str]], more: st.DataObject) -> None:
    given = data.make("x", [text for text, _ in rows], [label for _, label in rows])
    share, seed = more.draw(st.floats(0.05, 0.9)), more.draw(st.integers(0, 9))
    try:
        train, validation = data.split(given, share, seed)
    except ConfigError:
        return
    assert sorted(pairs(train) + pairs(validation)) == sorted(pairs(given))
    assert not set(train.texts) & set(validation.texts)
    assert pairs(data.split(given, share, seed)[1]) == pairs(validation)


def test_every_class_is_in_both_parts() -> None:
    given = data.make("x", [str(i) for i in range(103)], ["a"] * 100 + ["b"] * 2 + ["c"])
    train, validation = data.split(given, 0.1, 1)
    assert data.counts(validation) == {"a": 10, "b": 1, "c": 0}
    assert data.counts(train) == {"a": 90, "b": 1, "c": 1}
    assert pairs(data.split(given, 0.1, 2)[1]) != pairs(validation)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ConfigError, match="a share between 0 and 1"):
        data.split(invented(), share, 1)


def test_too_little_to_split() -> None:
    with pytest.raises(ConfigError, match="too few rows"):
        data.split(data.make("x", ["one"], ["a"]), 0.1, 1)


def test_corrections_change_and_add() -> None:
    given = data.make("x", ["one", "two", "one"], ["negative", "positive", "negative"])
    fixed, theirs, left_out = data.corrected(given, ["one", "three", "four"], ["positive", "negative", "mixed"])
    assert pairs(fixed) == [("one", "positive"), ("two", "positive"), ("one", "positive"), ("three", "negative")]
    assert sorted(pairs(theirs)) == [("one", "positive"), ("three", "negative")]
    assert left_out == 1
    same, none, _ = data.corrected(given, [], [])
    assert pairs(same) == pairs(given)
    assert len(none) == 0


def test_content_has_a_hash() -> None:
    assert invented().sha256 == invented().sha256 != invented(seed=2).sha256


def fill(folder: Path, name: str, rows: list[dict[str, str]], part: str = "train") -> None:
    (folder / name).mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{part}.parquet")


def test_tasks(tmp_path: Path) -> None:
    moods = ("negative", "positive")
    fill(
        tmp_path,
        "sentiment140",
        [{"text": f"t{i}", "label": moods[i % 2], "sample": "random" if i % 3 else "head"} for i in range(60)]
        + [{"text": "", "label": "positive", "sample": "random"}],
    )
    fill(tmp_path, "tweeteval_sentiment", [{"text": f"t{i}", "label": mood} for i, mood in enumerate(moods)])
    fill(tmp_path, "tweeteval_sentiment", [{"text": "t0", "label": "neutral"}], "validation")
    fill(tmp_path, "airline_sentiment", [{"text": f"t{i}", "label": moods[i % 2]} for i in range(40)])
    topics = ("Phone and Online Booking", "Extra Charges")
    fill(tmp_path, "airline_topics", [{"text": f"t{i}", "label": topics[i % 2]} for i in range(40)])
    one = tasks.load(tmp_path, "sentiment140")
    held = sum(data.place_of(text) < 0.3 for text in (f"t{i}" for i in range(60) if i % 3))
    assert len(one.validation) == held > 0  # of the 40 that are random
    assert len(one.train) == 60 - held
    assert all(int(text[1:]) % 3 for text in one.validation.texts)
    two = tasks.load(tmp_path, "tweeteval_sentiment")
    assert two.train.names == two.validation.names == ("negative", "neutral", "positive")
    assert two.train.texts == ("t1",)  # what validation has is no longer trained on
    three = tasks.load(tmp_path, "airline_topics")
    assert three.train.names == ("Extra Charges", "Online Booking")
    assert three.head == "category"
    assert all(data.place_of(text) < 0.1 for text in tasks.load(tmp_path, "airline_sentiment").validation.texts)
    for name in tasks.names():
        again, before = tasks.load(tmp_path, name), tasks.load(tmp_path, name)
        assert pairs(again.validation) == pairs(before.validation)
        assert not set(again.train.texts) & set(again.validation.texts)
    with pytest.raises(ConfigError, match="unknown task 'x': known are sentiment140"):
        tasks.load(tmp_path, "x")
    with pytest.raises(ConfigError, match="no such file"):
        tasks.load(tmp_path / "empty", "airline_sentiment")


def test_tasks_of_the_labelled_data(test_data: Path) -> None:
    task = tasks.load(test_data, "airline_topics")
    assert len(task.train.names) == 8
    assert "Online Booking" in task.train.names
    assert Counter(task.train.labels.tolist()).keys() == set(range(8))
