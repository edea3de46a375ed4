"""The source `file:`: formats, bad rows, resuming, following, replaying."""

import csv
import gzip
import io
import json
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.sources.reading import Row, reading, rows_of, texts, until

from feltwire import registry, schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor, Source
from feltwire.sources import _lines, _textfile

POSTS = [
    {"id": "1", "text": "plain", "user": "amy", "date": "2026-03-01T12:00:00Z", "lang": "en"},
    {"id": "2", "text": 'with "quotes", commas,\nand a line break', "user": "bob", "date": "2026-03-01", "lang": "de"},
    {"id": "3", "text": "emoji 😍 und Umlaut ü", "user": "", "date": "", "lang": ""},
]
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """In the format that the name's ending says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=25)
        return
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    content = as_csv(rows, "\t" if ending == ".tsv" else ",") if ending in (".csv", ".tsv") else jsonl(rows)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def make(uri: str, **options: Any) -> Source:
    source: Source = registry.create("sources", uri, options)
    return source


@pytest.mark.parametrize("name", ["p.jsonl", "p.ndjson", "p.csv", "p.tsv", "p.parquet", "p.jsonl.gz", "p.csv.gz"])
def test_every_format_gives_the_same_posts(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, POSTS)
    rows = rows_of(f"file:{tmp_path / name}")
    assert [(row["id"], row["text"], row["author_handle"], row["lang"]) for row in rows] == [
        ("file:1", "plain", "amy", "en"),
        ("file:2", POSTS[1]["text"], "bob", "de"),
        ("file:3", "emoji 😍 und Umlaut ü", None, None),
    ]
    assert [row["created_at"] for row in rows] == [
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
        None,
    ]
    assert {row["kind"] for row in rows} == {"post"}


def test_a_text_file_has_a_post_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"one\r\n\n  \ntwo, {three}\n\xff\nlast, without an end")
    rows = rows_of(f"file:{tmp_path / 'p.txt'}")
    assert texts(rows) == ["one", "two, {three}", None, "last, without an end"]
    assert (rows[2]["refusal"], rows[2]["payload"]) == ("not UTF-8", "\\xff")
    assert len({row["id"] for row in rows}) == 4


def test_bad_json_lines_are_one_refusal_each(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    lines = [
        (BOM + '{"text": "good", "id": 1}').encode(),
        b'{"text": "cut o',
        b'{"text": "\xff"}',
        b"[1, 2]",
        b'{"nothing": 1}',
        b'{"text": ' + b"[" * 100_000,
        b'{"text": "' + b"x" * 1_000_000 + b'"}',
        b'{"text": "' + b"x" * 70_000 + b'"}',
        b'{"text": "\\ud800 half"}',
        b"",
        b'{"text": "good again"}',
    ]
    path.write_bytes(b"\n".join(lines))
    rows = rows_of(f"file:{path}")
    assert [row["refusal"] for row in rows] == [
        None,
        "Input data was truncated",
        "not UTF-8",
        "a JSON array, where an object is expected",
        "no text",
        "JSON nested too deeply",
        "a line of 1000000 bytes or more",
        "a text longer than 65536 characters",
        "JSON is malformed: unexpected end of escaped utf-16 surrogate pair (byte 16)",
        None,
    ]
    assert texts(rows)[0] == "good"
    assert texts(rows)[-1] == "good again"
    assert all(len(row["payload"] or "") <= schema.MAX_PAYLOAD_CHARS for row in rows)


def test_a_line_of_many_megabytes_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with path.open("wb") as handle:
        handle.write(b'{"text": "before"}\n')
        for _ in range(5):
            handle.write(b"y" * 1_000_000)
        handle.write(b'\n{"text": "after"}\n')
    rows = rows_of(f"file:{path}")
    assert texts(rows) == ["before", None, "after"]
    assert rows[1]["refusal"] == _lines.TOO_LONG
    with path.open("rb") as handle:
        lines = _lines.Lines(handle)
        while lines.fill():
            assert sum(map(len, lines.lines)) + len(lines._partial) < 3_000_000


def test_bad_csv_rows_are_one_refusal_each(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(
        b"id,text,user\n"
        b"1,good,amy\n"
        b"2,too,many,columns\n"
        b"3,few\n"
        b'4,"never closed,amy\n'
        b'5,"closed" then more,amy\n'
        b'6,"fine, ""really""\nfine",bob\n'
        b"7,\xff\xfe,bob\n"
        b"8,,bob\n"
        b"\n"
        b"9,last,bob"
    )
    rows = rows_of(f"file:{path}")
    assert [(row["id"], row["text"]) for row in rows if row["kind"] == "post"] == [
        ("file:1", "good"),
        ("file:6", 'fine, "really"\nfine'),
        ("file:9", "last"),
    ]
    assert [(row["refusal"], row["payload"]) for row in rows if row["kind"] == "refusal"] == [
        ("4 columns, where the file has 3", "2,too,many,columns"),
        ("2 columns, where the file has 3", "3,few"),
        ("broken CSV: ',' expected after '\"'", '4,"never closed,amy'),
        ("broken CSV: ',' expected after '\"'", '5,"closed" then more,amy'),
        ("not UTF-8", "7,\\xff\\xfe,bob"),
        ("no text", "8,,bob"),
    ]


@pytest.mark.parametrize("rows_behind", [3, 1_500])
def test_a_quote_that_never_ends_costs_one_row(tmp_path: Path, rows_behind: int) -> None:
    path = tmp_path / "p.csv"
    path.write_text('id,text\n0,"open\n' + "".join(f"{i},row {i}\n" for i in range(1, rows_behind + 1)))
    rows = rows_of(f"file:{path}")
    assert [row["refusal"] for row in rows if row["kind"] == "refusal"] == ["a quoted CSV field that does not end"]
    assert len(rows) == rows_behind + 1


def test_hostile_quotes_take_linear_time() -> None:
    lines = [b'x","abc'] * 30_000
    begun_s = time.perf_counter()
    parsed = _lines.parse_csv(lines)
    assert time.perf_counter() - begun_s < 5.0
    assert parsed.consumed == len(lines)
    assert len(parsed.faults) >= 1


def test_columns_by_hand_and_by_number(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text('"0","1467","Mon Apr 06 22:19:45 PDT 2009","amy","so sad"\n"4","1468","","bob","so glad"\n')
    rows = rows_of(f"file:{path}", columns="id=2,created_at=3,author_handle=4,text=5")
    assert [(row["id"], row["author_handle"], row["text"]) for row in rows] == [
        ("file:1467", "amy", "so sad"),
        ("file:1468", "bob", "so glad"),
    ]
    assert rows[0]["created_at"] == datetime(2009, 4, 7, 5, 19, 45, tzinfo=UTC)
    named = tmp_path / "n.csv"
    named.write_text("what;who\nhello;amy\n")
    assert texts(rows_of(f"file:{named}?delimiter=;&columns=text=what,author_handle=who")) == ["hello"]


def test_parquet_of_odd_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", None, "c"], pa.string()).dictionary_encode(),
            "id": pa.array([2**63 - 1, 2, None]),
            "created_at": pa.array([0, 10**6, None], pa.timestamp("us")),
            "user": pa.array([{"screen_name": "amy", "deep": [1]}, None, {"screen_name": "bob", "deep": []}]),
            "hashtags": pa.array([["x"], None, []], pa.large_list(pa.large_string())),
            "embedding": pa.array([[0.5], [], None]),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    first, second, third = rows_of(f"file:{tmp_path / 'p.parquet'}")
    assert (first["id"], first["author_handle"], first["hashtags"]) == (f"file:{2**63 - 1}", "amy", ["x"])
    assert (second["refusal"], second["payload"]) == ("no text", '{"id":"2"}')
    assert (third["text"], third["author_handle"]) == ("c", "bob")


def test_parquet_with_bad_utf8_and_damaged_files(tmp_path: Path) -> None:
    bad = pa.array([b"ok", b"\xff\xfe", None], pa.binary())
    text = pa.StringArray.from_buffers(3, bad.buffers()[1], bad.buffers()[2], bad.buffers()[0])
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 this is no parquet PAR1")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(jsonl(POSTS * 4_000))[:-200])
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    (tmp_path / "e.jsonl").write_bytes(b'{"text": "the end"}')
    rows = rows_of(f"file:{tmp_path}")
    assert [row["refusal"] for row in rows if row["kind"] == "refusal"] == [
        "not UTF-8",
        "no text",
        "no readable Parquet: ArrowInvalid",
        *[row["refusal"] for row in rows if (row["refusal"] or "").startswith("a file that cannot be read on")],
        "no column that is known as a post's text",
    ]
    assert rows[1]["payload"] == '{"text":"\\\\xff\\\\xfe"}'
    assert (rows[0]["text"], rows[-1]["text"]) == ("ok", "the end")
    assert sum(row["id"] == "file:1" for row in rows) > 3_000


def test_a_folder_and_a_pattern_mean_files_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv", "c.txt", ".hidden.jsonl", "readme.md"):
        write(tmp_path / name, [{"text": f"in {name}"}])
    (tmp_path / "c.txt").write_text("in c.txt\n")
    (tmp_path / "sub").mkdir()
    assert texts(rows_of(f"file:{tmp_path}")) == ["in a.csv", "in b.jsonl", "in c.txt"]
    assert texts(rows_of(f"file:{tmp_path}/[ab].*")) == ["in a.csv", "in b.jsonl"]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:", "needs a path"),
        ("file:{dir}/none.jsonl", "no file at"),
        ("file:{dir}/odd.xyz", "cannot tell the format of 'odd.xyz'"),
        ("file:{dir}/notext.csv", "say columns=text=NAME"),
        ("file:{dir}/array.json", "is one JSON array"),
        ("file:{dir}/notext.csv?mode=follow", "say columns=text=NAME"),
        ("file:{dir}/p.parquet?mode=follow", "is packed"),
        ("file:{dir}/p.jsonl?rate=5", "needs mode = replay"),
        ("file:{dir}/p.jsonl?speed=0", "speed"),
        ("file:{dir}/p.jsonl?mode=backwards", "mode"),
        ("file:{dir}/p.jsonl?source=My Source", "source"),
        ("file:{dir}/p.jsonl?columns=words=x", "unknown column 'words'"),
        ("file:{dir}/p.jsonl?colour=x", "unknown option 'colour'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, uri: str, says: str) -> None:
    write(tmp_path / "p.jsonl", POSTS)
    write(tmp_path / "p.parquet", POSTS)
    write(tmp_path / "odd.xyz", POSTS)
    write(tmp_path / "notext.csv", [{"a": 1, "b": 2}])
    (tmp_path / "array.json").write_text(json.dumps(POSTS, indent=2))
    with pytest.raises(ConfigError, match=says) as caught:
        rows_of(uri.format(dir=tmp_path))
    assert "\n" not in str(caught.value)


def numbered(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f'post {i}\n"{i}"', "lang": "en"} for i in range(start, start + count)]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.parquet", "p.csv.gz"])
def test_resuming_behind_any_batch_is_exact(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_textfile, "MAX_ROWS", 17)
    monkeypatch.setattr("feltwire.sources._parquet._BATCH_ROWS", 17)
    write(tmp_path / name, numbered(100))
    write(tmp_path / f"q{name[1:]}", numbered(30, 100))
    batches = list(make(f"file:{tmp_path}").read(None))
    whole = [row for batch, _ in batches for row in batch.to_pylist()]
    assert len(whole) == 130
    assert len({row["id"] for row in whole}) == 130
    assert len(batches) > 6
    done = 0
    for batch, cursor in batches:
        done += batch.num_rows
        again = rows_of(f"file:{tmp_path}", json.loads(json.dumps(cursor)))
        assert again == whole[done:]


def test_replaying_in_slices_resumes_behind_any_row(tmp_path: Path) -> None:
    write(tmp_path / "p.csv", numbered(60))
    source = make(f"file:{tmp_path / 'p.csv'}?mode=replay&rate=400")
    whole: list[Row] = []
    steps: list[tuple[int, Cursor]] = []
    begun_s = time.monotonic()
    for batch, cursor in source.read(None):
        whole += batch.to_pylist()
        steps.append((len(whole), cursor))
    assert 0.1 < time.monotonic() - begun_s < 2.0
    assert len(steps) > 3
    for done, cursor in steps:
        assert rows_of(f"file:{tmp_path / 'p.csv'}", cursor) == whole[done:]


def test_a_file_that_grew_is_read_on_and_another_one_of_its_name_anew(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write(path, numbered(5))
    *_, (_, cursor) = make(f"file:{path}").read(None)
    assert rows_of(f"file:{path}", cursor) == []
    with path.open("ab") as handle:
        handle.write(jsonl(numbered(2, 5)))
    assert texts(rows_of(f"file:{path}", cursor)) == texts_of(5, 6)
    before = {row["id"] for row in rows_of(f"file:{path}")}
    write(path, numbered(50, 50))
    again = rows_of(f"file:{path}", cursor)
    assert len(again) == 50
    assert not before & {row["id"] for row in again}


def texts_of(*numbers: int) -> list[str]:
    return [f'post {i}\n"{i}"' for i in numbers]


def test_replay_keeps_the_pace_of_created_at(tmp_path: Path) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    times = [start, start + timedelta(seconds=10), start + timedelta(seconds=5), None, start + timedelta(seconds=20)]
    rows = [{"text": str(i), "created_at": moment and moment.isoformat()} for i, moment in enumerate(times)]
    write(tmp_path / "p.jsonl", rows)
    came: dict[str, float] = {}
    begun_s = time.monotonic()
    for batch, _ in make(f"file:{tmp_path / 'p.jsonl'}?mode=replay&speed=50").read(None):
        came |= {row["text"]: time.monotonic() - begun_s for row in batch.to_pylist()}
    assert list(came) == ["0", "1", "2", "3", "4"]
    assert came["0"] < 0.15
    assert came["1"] >= 0.2
    assert came["3"] - came["1"] < 0.1
    assert came["4"] >= 0.4


def test_a_long_wait_in_a_replay_has_heartbeats(tmp_path: Path) -> None:
    rows = [{"text": "a", "date": "2026-03-01"}, {"text": "b", "date": "2026-03-09"}]
    write(tmp_path / "p.jsonl", rows)
    with reading(make(f"file:{tmp_path / 'p.jsonl'}?mode=replay")) as batches:
        first, _ = next(batches)
        begun_s = time.monotonic()
        second, cursor = next(batches)
        assert time.monotonic() - begun_s < 1.5
    assert (first.num_rows, second.num_rows) == (1, 0)
    assert cursor["line"] == 1


def count(number: int) -> Any:
    return lambda rows: len(rows) >= number


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_following_a_file_that_grows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = as_csv(numbered(6)) if name == "p.csv" else jsonl(numbered(6))
    with reading(make(f"file:{path}?mode=follow")) as batches:
        assert next(batches)[0].num_rows == 0  # waits for the file
        rows: list[Row] = []
        for at in range(0, len(whole), 61):  # in pieces that end in the middle of lines and of quoted fields
            with path.open("ab") as handle:
                handle.write(whole[at : at + 61])
            batch, cursor = next(batches)
            rows += batch.to_pylist()
        rows += until(batches, count(6 - len(rows)))[0] if len(rows) < 6 else []
    assert texts(rows) == texts_of(*range(6))
    assert {row["id"] for row in rows} == {row["id"] for row in rows_of(f"file:{path}")}
    assert list(cursor) == ["files"]


def test_following_through_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    path.write_bytes(jsonl(numbered(2)))
    with reading(make(f"file:{path}?mode=follow")) as batches:
        rows, _ = until(batches, count(2))
        with path.open("ab") as writer:  # as a daemon that keeps its file open through the rotation
            path.rename(tmp_path / "app.jsonl.1")
            path.write_bytes(jsonl(numbered(2, 10)))
            writer.write(jsonl(numbered(1, 2)))
        more, _ = until(batches, count(3))
        rows += more
        path.write_bytes(jsonl(numbered(1, 20)))
        rows += until(batches, count(1))[0]
    assert texts(rows) == texts_of(0, 1, 2, 10, 11, 20)
    assert len({row["id"] for row in rows}) == 6


def test_a_rotation_while_away_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    path.write_bytes(jsonl(numbered(20)))
    with reading(make(f"file:{path}?mode=follow")) as batches:
        _, cursor = until(batches, count(20))
    with path.open("ab") as handle:
        handle.write(jsonl(numbered(1, 20)))
    path.rename(tmp_path / "app.jsonl.1")
    path.write_bytes(jsonl(numbered(2, 21)))
    with reading(make(f"file:{path}?mode=follow"), json.loads(json.dumps(cursor))) as batches:
        rows, _ = until(batches, count(3))
    assert texts(rows) == texts_of(20, 21, 22)


def test_following_on_from_a_finite_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, numbered(3))
    *_, (_, cursor) = make(f"file:{path}").read(None)
    with path.open("ab") as handle:
        handle.write(jsonl(numbered(2, 3)))
    with reading(make(f"file:{path}?mode=follow"), cursor) as batches:
        rows, _ = until(batches, count(2))
    assert texts(rows) == texts_of(3, 4)
    write(tmp_path / "b.jsonl", numbered(1))
    *_, (_, cursor) = make(f"file:{tmp_path}").read(None)
    with (
        pytest.raises(ConfigError, match="cannot go on"),
        reading(make(f"file:{tmp_path}?mode=follow"), cursor) as batches,
    ):
        next(batches)


def test_following_a_folder_in_which_files_appear(tmp_path: Path) -> None:
    source = make(f"file:{tmp_path}?mode=follow")
    write(tmp_path / "b.jsonl", [{"text": "b 0"}])
    with reading(source) as batches:
        rows, _ = until(batches, count(1))
        write(tmp_path / "a.jsonl", [{"text": "a 0"}])
        rows += until(batches, count(1))[0]
        with (tmp_path / "b.jsonl").open("ab") as handle:
            handle.write(jsonl([{"text": "b 1"}]))
        more, cursor = until(batches, count(1))
    assert texts(rows + more) == ["b 0", "a 0", "b 1"]
    with (tmp_path / "a.jsonl").open("ab") as handle:
        handle.write(jsonl([{"text": "a 1"}]))
    with reading(source, json.loads(json.dumps(cursor))) as batches:
        assert texts(until(batches, count(1))[0]) == ["a 1"]


def test_no_file_is_left_open(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", POSTS)
    before = len(os.listdir("/proc/self/fd"))
    for uri in ("", "?mode=follow", "?mode=replay"):
        with reading(make(f"file:{tmp_path / 'p.jsonl'}{uri}")) as batches:
            next(batches)
    assert len(os.listdir("/proc/self/fd")) == before


BYTES = st.lists(
    st.binary(max_size=12)
    | st.sampled_from([b'"', b'""', b",", b"\r", b"\n", b'"\n', b"\xff", b"\0", b"{", b'{"text":"x"}', b'",', b',"a']),
    max_size=30,
).map(b"".join)


@pytest.mark.prove
@given(BYTES)
def test_any_bytes_as_csv_give_rows_that_cover_every_line_once(content: bytes) -> None:
    lines = content.split(b"\n")
    parsed = _lines.parse_csv(lines)
    assert parsed.consumed == len(lines)
    covered = [line for start, stop in zip(parsed.starts, parsed.stops, strict=True) for line in range(start, stop)]
    assert covered == sorted(set(covered))
    for left in set(range(len(lines))) - set(covered):
        assert lines[left].strip(b"\r") == b""


@given(BYTES, st.integers(1, 9))
def test_csv_in_pieces_is_csv_in_one(content: bytes, size: int) -> None:
    lines = content.split(b"\n")
    whole = _lines.parse_csv(lines)
    found: list[tuple[list[str], int]] = []
    begin, end = 0, size
    while begin < len(lines):
        part = _lines.parse_csv(lines[begin:end], final=end >= len(lines))
        found += [(row, begin + start) for row, start in zip(part.rows, part.starts, strict=True)]
        begin += part.consumed
        end += size
    assert found == list(zip(whole.rows, whole.starts, strict=True))


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@example("p.csv", b"\r")
@given(st.sampled_from(["p.csv", "p.jsonl", "p.txt", "p.parquet", "p.csv.gz"]), BYTES)
def test_no_file_whatever_is_in_it_raises(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(b"id,text,text\n" + content if name == "p.csv" else content)
        rows = rows_of(f"file:{path}")
    for row in rows:
        assert (row["kind"] == "refusal") == (row["refusal"] is not None)
        assert row["id"].startswith("file:")
