"""One suite over all source plugins: what `interfaces.Source` promises, whoever keeps it.

Each plugin has an entry in FARS: its far side on this machine. A new one without an entry fails here.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from pydantic import BaseModel
from tests.sources.jetstream_server import JetstreamServer, post
from tests.sources.reading import Reading, Row, reading
from tests.sources.test_tcp import served
from tests.sources.x_server import TOKEN, XServer, make_post

from feltwire import registry, schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor, Source

NUMBER = 40
DOCS = Path(__file__).parents[2] / "docs"


@dataclass
class Far:
    """The far side of a source: where it is, and NUMBER posts that it gives.

    `send` delivers them, where somebody has to; the source is being read meanwhile. `quiet` are options with which
    it soon has nothing to give, and does not end.
    """

    uri: str
    options: dict[str, Any]
    send: Callable[[Source], None] | None = None
    cursor: Cursor | None = None
    quiet: dict[str, Any] = field(default_factory=dict)


class MakesFar(Protocol):
    def __call__(self, folder: Path) -> AbstractContextManager[Far]: ...


@contextmanager
def file(folder: Path) -> Iterator[Far]:
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps({"text": f"post {i}"}) + "\n" for i in range(NUMBER)))
    yield Far(f"file:{path}", {}, quiet={"mode": "follow"})


@contextmanager
def simulator(folder: Path) -> Iterator[Far]:
    options = {"rate": 200, "seed": 3, "start": "2026-03-01T12:00:00Z", "count": NUMBER}
    yield Far("simulator:", options, quiet={"rate": 0.001})


@contextmanager
def tcp(folder: Path) -> Iterator[Far]:
    lines = [f"post {i}\n".encode() for i in range(NUMBER)]
    with served([b"".join(lines), 60.0]) as server:
        yield Far(f"tcp://127.0.0.1:{server.port}", {})


@contextmanager
def push(folder: Path) -> Iterator[Far]:
    def send(source: Any) -> None:
        end_s = time.monotonic() + 10
        while source.address is None and time.monotonic() < end_s:
            time.sleep(0.01)
        address = source.address or ("127.0.0.1", 0)
        with suppress(httpx.HTTPError):  # the source may be closed meanwhile
            for first in range(0, NUMBER, 10):
                rows = [{"text": f"post {i}"} for i in range(first, first + 10)]
                httpx.post("http://{}:{}/".format(*address), json=rows, timeout=20)

    yield Far("push:127.0.0.1:0", {}, send=send)


@contextmanager
def bluesky(folder: Path) -> Iterator[Far]:
    begin_us = time.time_ns() // 1_000 - 10_000_000
    with JetstreamServer() as server:
        server.publish(*(post(begin_us + i, i) for i in range(1, NUMBER + 1)))
        yield Far(f"bluesky:{server.url}", {}, cursor={"time_us": begin_us, "wire": "v1"})


@contextmanager
def x(folder: Path) -> Iterator[Far]:
    begin = datetime.now(UTC) - timedelta(seconds=20)
    with XServer() as server, pytest.MonkeyPatch.context() as patched:
        patched.setenv("FELTWIRE_X_TOKEN", TOKEN)
        server.publish(*(make_post(i, begin + timedelta(milliseconds=i)) for i in range(1, NUMBER + 1)))
        options = {"base_url": server.url, "query": "cats", "params": {"backfill_minutes": "5"}, "cost_per_1000": 0}
        yield Far("x:stream", options, cursor={"until": begin.isoformat()})


FARS: dict[str, MakesFar] = {
    "bluesky": bluesky,
    "file": file,
    "push": push,
    "simulator": simulator,
    "tcp": tcp,
    "x": x,
}

PLACELESS = frozenset({"push", "tcp"})
"""Their far sides cannot be asked again for what they gave before."""

every_source = pytest.mark.parametrize("name", registry.names("sources"))


@contextmanager
def far_of(name: str, folder: Path) -> Iterator[Far]:
    assert name in FARS, f"a new source {name!r} needs an entry in FARS"
    with FARS[name](folder) as far:
        yield far


def make(far: Far) -> Source:
    source: Source = registry.create("sources", far.uri, far.options)
    return source


@contextmanager
def being_read(far: Far, cursor: Cursor | None = None) -> Iterator[Reading]:
    """The source's iterator, with the far side sending."""
    source = make(far)
    sender = threading.Thread(target=far.send or (lambda _: None), args=(source,), daemon=True)
    with reading(source, cursor or far.cursor) as batches:
        sender.start()
        yield batches
    sender.join(20)


def all_of(batches: Reading, number: int = NUMBER) -> list[tuple[list[Row], Cursor]]:
    """(rows, cursor) of each batch with rows, until there are `number` rows or the end."""
    found: list[tuple[list[Row], Cursor]] = []
    end_s = time.monotonic() + 20
    for batch, cursor in batches:
        assert batch.schema.equals(schema.RECORD)
        batch.validate(full=True)
        if batch.num_rows:
            found.append((batch.to_pylist(), cursor))
        if sum(len(rows) for rows, _ in found) >= number:
            break
        assert time.monotonic() < end_s
    return found


@every_source
def test_options_are_few_and_each_is_described(name: str) -> None:
    options = registry.load("sources", name).Options
    assert issubclass(options, BaseModel)
    assert options.model_config.get("extra") == "forbid"
    assert len(options.model_fields) <= 9
    for option, info in options.model_fields.items():
        assert info.description, f"{name}: the option {option} has no description"


def ids_of(batches: Reading, wanted: set[str | None]) -> set[str | None]:
    """The ids that are read until all wanted ones are among them, or to the end."""
    found: set[str | None] = set()
    end_s = time.monotonic() + 20
    while not wanted <= found and time.monotonic() < end_s and (got := next(batches, None)) is not None:
        found.update(got[0].column("id").to_pylist())
    return found


@every_source
def test_options_are_documented(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for option in registry.load("sources", name).Options.model_fields:
        assert re.search(rf"`{option}\b", text), f"docs/{name}.md does not mention the option {option}"


@every_source
def test_an_unknown_option_is_a_config_error(name: str, tmp_path: Path) -> None:
    with far_of(name, tmp_path) as far, pytest.raises(ConfigError, match="unknown option 'colour'"):
        registry.create("sources", far.uri, {**far.options, "colour": "blue"})


@every_source
def test_making_a_source_touches_nothing(name: str, tmp_path: Path) -> None:
    threads = threading.active_count()
    with far_of(name, tmp_path) as far:
        before = threading.active_count()
        source = make(far)
        assert threading.active_count() == before
        assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", source.name)
    assert threading.active_count() <= threads


@every_source
def test_batches_are_records_with_a_json_cursor(name: str, tmp_path: Path) -> None:
    with far_of(name, tmp_path) as far, being_read(far) as batches:
        found = all_of(batches)
    rows = [row for part, _ in found for row in part]
    assert len(rows) >= NUMBER
    for row in rows:
        assert row["source"] == make(far).name
        assert row["kind"] in (schema.POST, schema.EDIT, schema.WITHDRAWAL, schema.REFUSAL)
        assert row["ingested_at"] is None
        assert row["revision"] is not None
        assert row["id"] is None or row["id"].startswith(f"{row['source']}:")
        assert (row["kind"] in (schema.POST, schema.EDIT)) == (row["text"] is not None)
        assert (row["kind"] == schema.REFUSAL) == (row["refusal"] is not None) == (row["payload"] is not None)
    for _, cursor in found:
        assert json.loads(json.dumps(cursor)) == cursor


@pytest.mark.parametrize("name", sorted({*registry.names("sources")} - PLACELESS))
def test_resuming_loses_nothing_and_changes_no_id(name: str, tmp_path: Path) -> None:
    with far_of(name, tmp_path) as far:
        with being_read(far) as batches:
            found = all_of(batches)
        whole = [row for part, _ in found for row in part]
        before = 0
        for part, cursor in found[: len(found) // 2 + 1]:
            before += len(part)
            left = {row["id"] for row in whole[before:]}
            with being_read(far, json.loads(json.dumps(cursor))) as batches:
                again = ids_of(batches, left)
            assert left <= again
            assert again <= {row["id"] for row in whole}


@every_source
def test_a_heartbeat_comes_every_second(name: str, tmp_path: Path) -> None:
    with far_of(name, tmp_path) as far:
        far.options |= far.quiet
        with being_read(far) as batches:
            for _ in range(NUMBER):
                begun_s = time.monotonic()
                batch, _ = next(batches)
                assert time.monotonic() - begun_s < 1.5
                if not batch.num_rows:
                    break
            else:
                raise AssertionError("no heartbeat came")


@every_source
def test_close_is_quick_and_leaves_no_thread(name: str, tmp_path: Path) -> None:
    before = threading.active_count()
    with far_of(name, tmp_path) as far, being_read(far) as batches:
        next(batches)
        begun_s = time.monotonic()
        batches.close()
        assert time.monotonic() - begun_s < 3.0
    while threading.active_count() > before and time.monotonic() - begun_s < 10.0:
        time.sleep(0.02)  # the far side's threads end too
    assert threading.active_count() <= before


@every_source
def test_a_cursor_of_another_kind_does_no_harm(name: str, tmp_path: Path) -> None:
    with far_of(name, tmp_path) as far, being_read(far, {"from": "another version", "n": [1, {"x": None}]}) as batches:
        batch, _ = next(batches)
        assert batch.schema.equals(schema.RECORD)
