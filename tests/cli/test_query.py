"""Questions to a lake."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.cli.making import POSTS, feltwire, invoke, invoke_json

from feltwire.errors import ConfigError


def test_windows_as_json_hold_every_column(lake: Path) -> None:
    rows = invoke_json("windows", "--every", "1h", "--json", "--lake", str(lake))
    total = next(row for row in rows if row["track"] == "*")
    assert total["n"] == len(POSTS)
    assert total["window"] == "2026-11-20T12:00:00Z"
    assert total["net"] == pytest.approx(total["share_positive"] - total["share_negative"])


def test_windows_in_time_and_by_track(lake: Path) -> None:
    at = (
        "--since",
        "2026-11-20T12:01",
        "--until",
        "2026-11-20T12:02",
        "--every",
        "1min",
        "--json",
        "--lake",
        str(lake),
    )
    (row,) = invoke_json("windows", "--track", "airline", *at)
    assert (row["n"], row["n_negative"]) == (1, 1)
    assert invoke_json("windows", "--since", "1h", "--json", "--lake", str(lake)) == []


def test_windows_for_people_fit_eighty_columns(lake: Path) -> None:
    text = invoke("windows", "--every", "1h", "--lake", str(lake))
    assert "airline" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_windows_as_csv(lake: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(feltwire(
        "windows", "--every", "1h", "--format", "csv", "--lake", str(lake), cwd=lake.parent
    ).stdout)))  # fmt: skip
    assert {row["track"]: row["n"] for row in rows} == {"*": "5", "airline": "2", "rest": "3"}


def test_terms(lake: Path) -> None:
    rows = invoke_json("terms", "--kind", "hashtag", "--json", "--lake", str(lake))
    assert rows == [{"kind": "hashtag", "term": "larkwing", "n": 2, "n_negative": 1, "n_positive": 1}]
    assert "larkwing" in invoke("terms", "--lake", str(lake))


def test_sql_and_its_forms(lake: Path) -> None:
    query = "select hashtags from posts order by log_offset limit 1"
    assert invoke_json("sql", query, "--json", "--lake", str(lake)) == [{"hashtags": ["larkwing"]}]
    rows = invoke_json("sql", "select count(*) n from posts", "--json", "--lake", str(lake))
    assert rows == [{"n": 5}]
    assert invoke_json("sql", "select count(*) n from posts", "--as-of", "1d", "--json", "--lake", str(lake)) == [
        {"n": 0}
    ]


def test_csv_of_a_column_that_was_read_as_it_is(lake: Path) -> None:
    done = feltwire("sql", "select id, text from posts order by 1", "--format", "csv", "--lake", str(lake), cwd=lake)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["text"] for row in rows] == [text for _, text, _ in POSTS]


def test_rows_wider_than_the_terminal_are_shown_upright(lake: Path) -> None:
    lines = invoke("sql", "select * from posts order by log_offset limit 2", "--lake", str(lake)).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[1] for line in lines if line.startswith("id ")] == ["file:a", "file:b"]
    assert any(line.startswith("p_negative ") for line in lines)


def test_what_somebody_posted_does_not_steer_the_terminal(lake: Path) -> None:
    for command in (["sql", "select text from posts"], ["tail", "--once", "--at"], ["tail", "--once", "--log", "--at"]):
        arguments = [*command, str(lake)] if command[-1] == "--at" else [*command, "--lake", str(lake)]
        text = invoke(*arguments)
        assert "\x1b[31m" not in text
        assert "script" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", "drop table posts"], "only statements that read"),
        (["sql", "select nothing from posts"], "SQL: "),
        (["windows", "--since", "soon"], "--since 'soon': expected a time"),
        (["windows", "--every", "often"], "often"),
        (["terms", "--kind", "words"], "unknown kind of term"),
        (["sql", "select * from nowhere"], "there is no table 'nowhere': known are"),
        (["sql", "select * from posts join tweets using (id)"], "no table 'tweets': known are"),
        (["export", "--format", "xls"], "expected one of csv, jsonl, parquet"),
        (["correct", "posts:no", "sentiment", "negative"], "has no post"),
        (["correct", "file:a", "sentiment", "happy"], "expected one of negative, neutral, positive, mixed"),
        (["export", "--out", "x.xlsx"], "unknown ending '.xlsx'; expected one of"),
        (["withdraw", "no-source"], "is no post's id"),
    ],
)
def test_bad_use_is_told(lake: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        invoke(*arguments, "--lake", str(lake))


def test_an_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = feltwire("windows", "--lake", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("feltwire: there is no lake at 'nowhere'")
    assert done.stderr.count("\n") == 1
    assert feltwire("windows", "--nonsense", cwd=tmp_path).returncode == 2


def test_a_lake_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "posts.csv").touch()
    for path in ("posts.csv", "posts.csv/lake"):
        with pytest.raises(ConfigError, match=rf"a lake cannot lie at .*{path}': .*posts.csv is no folder"):
            invoke("windows", "--lake", str(tmp_path / path))
    done = feltwire("run", "--source", "simulator:", "--lake", "posts.csv", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "posts.csv is no folder; name another" in done.stderr


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "feltwire", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True)
    assert done.stdout.startswith("feltwire ")


def test_a_file_that_may_not_be_is_told_in_one_line(tmp_path: Path) -> None:
    done = feltwire("run", "--source", "simulator:", "--lake", "a" * 300, "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if not line.startswith("The page: ")]
    assert len(told) == 1
    assert "File name too long" in told[0]


def test_export_in_every_form(lake: Path, tmp_path: Path) -> None:
    lines = invoke("export", "--lake", str(lake)).splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert texts == [text for _, text, _ in POSTS]
    invoke("export", "--out", str(tmp_path / "x.parquet"), "--lake", str(lake))
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["text"].to_pylist() == texts
    invoke("export", "--format", "csv", "--track", "airline", "--out", str(tmp_path / "x.csv"), "--lake", str(lake))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text(encoding="utf-8"))))
    assert [row["text"] for row in rows] == texts[:2]
    assert json.loads(rows[0]["hashtags"]) == ["larkwing"]
    assert not list(tmp_path.glob(".*"))


def test_a_reader_that_leaves_is_no_error(lake: Path) -> None:
    import subprocess
    import sys

    command = f"{sys.executable} -m feltwire.cli export --lake {lake} | head -c 10 > /dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_tail_shows_what_is_there(lake: Path) -> None:
    text = invoke("tail", "--once", "--at", str(lake), "--track", "rest", "-n", "2")
    assert [line.split()[1] for line in text.splitlines()] == ["+", "-"]
    kinds = [
        json.loads(line)["kind"] for line in invoke("tail", "--log", "--once", "--json", "--at", str(lake)).splitlines()
    ]
    assert kinds == ["post"] * 5 + ["refusal"]


def test_status_and_doctor(lake: Path) -> None:
    status = invoke_json("status", "--json", "--lake", str(lake))
    assert status["lag"] == 0
    (ledger,) = status["ledger"]
    assert (ledger["received"], ledger["kept"], ledger["dead"]) == (6, 5, 1)
    assert status["tables"]["posts"]["rows"] == 5
    assert "received" in invoke("status", "--lake", str(lake))
    findings = invoke_json("doctor", "--json", "--lake", str(lake))
    assert findings
    assert all(finding["ok"] for finding in findings)
    assert "FAIL" not in invoke("doctor", "--lake", str(lake))
