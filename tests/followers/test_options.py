"""What destinations share: filters, fields, paths; and what is said of a wrong one."""

from pathlib import Path

import pytest
from tests.followers.feeds import batch, post

from feltwire import registry, schema
from feltwire.errors import ConfigError
from feltwire.followers._options import DEFAULT_FIELDS, Filter, select

ROWS = [
    post(0, 0, tracks=["a", "b"], sentiment="negative", complaint=True),
    post(0, 1, tracks=["b"], sentiment="positive", complaint=False),
    post(0, 2, tracks=None, sentiment=None, complaint=None),
    post(0, 3, tracks=[], sentiment="negative", complaint=False),
    post(0, 4, tracks=["a"], sentiment="mixed", complaint=None),
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"track": "a"}, [0, 4]),
        ({"track": "a,b"}, [0, 1, 4]),
        ({"track": ["b"]}, [0, 1]),
        ({"track": "*"}, [0, 1, 2, 3, 4]),
        ({"track": "none such"}, []),
        ({"sentiment": "negative"}, [0, 3]),
        ({"complaint": "true"}, [0]),
        ({"complaint": "false"}, [1, 3]),
        ({"track": "a", "sentiment": "mixed"}, [4]),
    ],
)
def test_a_filter_takes_what_it_says(options: dict[str, str], expected: list[int]) -> None:
    kept = select(batch(ROWS), Filter.model_validate(options))
    assert kept.column("log_offset").to_pylist() == expected
    assert kept.schema == schema.POSTS


def test_the_filter_of_a_slice_is_the_slice_of_the_filter() -> None:
    kept = select(batch(ROWS).slice(1, 4), Filter(track=("a",)))
    assert kept.column("log_offset").to_pylist() == [4]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("jsonl:", "no path given"),
        ("csv:", "no path given"),
        ("parquet:", "no path given"),
        ("jsonl:x?fields=id,nope", "unknown field 'nope'; known are id, revision"),
        ("jsonl:x?fields=id,id", "named twice"),
        ("jsonl:x?rotate=hourly", "never, day, or a size like 64MB"),
        ("jsonl:x?rotate=0MB", "never, day, or a size"),
        ("csv:x?sentiment=angry", "'negative', 'neutral'"),
        ("csv:x?colour=red", "unknown option 'colour'; known are track, sentiment, complaint, fields"),
        ("console:here", "expected console: or console:stderr"),
        ("webhook:", "expected webhook:https://HOST/PATH"),
        ("webhook:ftp://example.org/", "expected webhook:https://HOST/PATH"),
        ("webhook:https://example.org/", "`state` is missing"),
        ("carrier-pigeon:", "unknown follower 'carrier-pigeon'"),
    ],
)
def test_a_wrong_option_is_one_line(uri: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        registry.create("followers", uri)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("uri", "columns"), [("jsonl:{}", DEFAULT_FIELDS), ("jsonl:{}?fields=*", schema.POSTS.names)])
def test_raw_is_left_out_unless_asked_for(uri: str, columns: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    follower = registry.create("followers", uri.format(path))
    follower.apply(batch([post(0, 0)]), schema.empty(schema.WITHDRAWN), {0: 1})
    follower.close()
    assert ("raw" in columns) == ('"raw"' in path.read_text())
