"""`feltwire score`: any file in, the same rows out, with scores."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.making import feltwire, invoke

from feltwire.cli import tables
from feltwire.errors import ConfigError

NEW = ["scored", "truncated", "sentiment", "p_negative", "p_neutral", "p_positive", "p_mixed", "confidence", "model"]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_texts_for_people_and_for_programs() -> None:
    text = invoke("score", "I love it", "I hate it", "")
    assert [line.split()[-4 if "+" in line else -1] for line in text.splitlines()] == [
        "positive",
        "negative",
        "unscored",
    ]
    first, second = (json.loads(line) for line in invoke("score", "I love it", "I hate it", "--json").splitlines())
    assert list(first) == ["text", *NEW]
    assert (first["sentiment"], second["sentiment"]) == ("positive", "negative")
    assert sum(first[f"p_{label}"] for label in ("negative", "neutral", "positive", "mixed")) == pytest.approx(1)


def test_probabilities_name_every_label() -> None:
    row = json.loads(invoke("score", "fine", "--json", "--probabilities"))
    assert set(row["probabilities"]["sentiment"]) == {"negative", "neutral", "positive"}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("written", ["csv", "jsonl", "parquet"])
def test_rows_keep_their_order_and_their_other_columns(tmp_path: Path, ending: str, written: str) -> None:
    given = [{"n": str(n), "body": "good" if n % 3 else "bad", "note": 'ä,\n"x"'} for n in range(5_000)]
    source, out = tmp_path / f"in.{ending}", tmp_path / f"out.{written}"
    if ending == "csv":
        with source.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["n", "body", "note"])
            writer.writeheader()
            writer.writerows(given)
    elif ending == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(given), source)
    invoke("score", "--file", str(source), "--column", "body", "--out", str(out))
    if written == "csv":
        rows = rows_of(out.read_text(encoding="utf-8"))
    elif written == "jsonl":
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pq.read_table(out).to_pylist()
    assert [row["n"] for row in rows] == [row["n"] for row in given]
    assert list(rows[0]) == ["n", "body", "note", *NEW]
    assert all(row["note"] == 'ä,\n"x"' for row in rows)
    assert [row["sentiment"] for row in rows[:4]] == ["negative", "positive", "positive", "negative"]


def test_the_standard_input(tmp_path: Path) -> None:
    done = feltwire("score", "-", cwd=tmp_path, stdin="I love it\n\nI hate it")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["text"], row["sentiment"]) for row in rows] == [
        ("I love it", "positive"),
        ("", None),
        ("I hate it", "negative"),
    ]
    done = feltwire("score", "-", cwd=tmp_path, stdin='{"text": "I love it", "deep": {"a": [1]}}\n')
    assert json.loads(done.stdout)["deep"] == {"a": [1]}


def test_bytes_that_are_no_text_are_scored_nevertheless(tmp_path: Path) -> None:
    done = feltwire("score", "-", cwd=tmp_path, stdin=b"good \xff\xfe day\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sentiment"] == "positive"


def test_a_language_that_the_model_does_not_speak_goes_unscored(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text,lang\nI love it,en\nIch liebe es,de\n", encoding="utf-8")
    rows = rows_of(feltwire("score", "--file", "in.csv", "--lang-column", "lang", cwd=tmp_path).stdout)
    assert [row["scored"] for row in rows] == ["true", "false"]


def test_columns_of_an_earlier_score_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text,sentiment,x\nI love it,negative,1\n", encoding="utf-8")
    (row,) = rows_of(feltwire("score", "--file", "in.csv", cwd=tmp_path).stdout)
    assert (row["sentiment"], row["x"]) == ("positive", "1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,body\n1,x\n", "has no column 'text': it has id, body; name it by --column"),
        ("a.csv", "text,text\n1,x\n", "two columns are named 'text'"),
        ("a.csv", "text\n1,x\n", "line 2 has 2 fields, the head has 1"),
        ("a.jsonl", '{"text": "x"}\n{"text"\n', "line 2 is no JSON"),
        ("a.jsonl", "[1]\n", "line 1: expected an object, came list"),
        ("a.csv", "", "empty; expected a CSV whose first line names the columns"),
        ("a.parquet", "PAR1", "no Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        invoke("score", "--file", str(tmp_path / name), "--out", str(tmp_path / "out.jsonl"))
    assert not (tmp_path / "out.jsonl").exists()


def test_json_that_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": ' + "[" * 50_000 + "]" * 50_000 + "}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1 is nested too deeply"):
        invoke("score", "--file", str(tmp_path / "in.jsonl"))


def test_a_csv_of_a_head_alone_becomes_one_with_a_longer_head(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n", encoding="utf-8")
    invoke("score", "--file", str(tmp_path / "in.csv"), "--out", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == ",".join(["id", "text", *NEW]) + "\n"


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both texts and a file"):
        invoke("score", "x", "--file", "y")
    with pytest.raises(ConfigError, match="cannot be read"):
        invoke("score", "--file", str(tmp_path / "no.csv"))
    with pytest.raises(ConfigError, match="neither a folder nor one of"):
        invoke("score", "x", "--model", "nonsense")
    with pytest.raises(ConfigError, match=r"unknown ending '\.xlsx'"):
        invoke("score", "x", "--out", str(tmp_path / "x.xlsx"))
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "x"}\n' * tables.CHUNK_ROWS + '{"text": "x", "late": 1}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="'late' comes only in later rows"):
        invoke("score", "--file", str(path), "--out", str(tmp_path / "x.csv"))
