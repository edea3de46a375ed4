"""The parts of the Kinesis log that need no stream: aggregates, envelopes, shards, and the index."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.logs import _kpl
from feltwire.logs._decoders import decoder
from feltwire.logs._kinesis_index import MAX_ANCHORS, MAX_WRITERS, Anchor, Index, noted, to_index
from feltwire.logs._kinesis_records import Raw, decode, envelope, opened, seal
from feltwire.logs._kinesis_shards import KEYS, Shard, extend, hash_key, topology
from feltwire.logs._kinesis_state import Document
from feltwire.schema import POST, REFUSAL, records

AT = datetime(2026, 3, 1, tzinfo=UTC)


def raw(data: bytes, sequence: str = "495") -> Raw:
    return Raw("shardId-000000000000", sequence, data, "key", AT)


# Aggregates


def varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, *varint(len(value))]) + value


def sealed(message: bytes) -> bytes:
    return _kpl.MAGIC + message + md5(message).digest()


def test_the_formats_own_example() -> None:
    """One record `data` with the key `partition_key`, as a port of the producer library prints it."""
    known = bytes([243, 137, 154, 194, 10, 13]) + b"partition_key" + bytes([26, 8, 8, 0, 26, 4]) + b"data"
    known += bytes([208, 54, 153, 218, 90, 34, 47, 163, 33, 8, 173, 27, 217, 85, 161, 78])
    assert _kpl.user_records(known) == [_kpl.UserRecord("partition_key", b"data")]


@given(st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=300)), max_size=6))
def test_any_user_records_come_back(given_: list[tuple[str, bytes]]) -> None:
    keys = sorted({key for key, _ in given_})
    message = b"".join(field(1, key.encode()) for key in keys) + field(2, b"12345")
    for key, data in given_:
        index = b"\x08" + bytes(varint(keys.index(key)))
        tag = field(4, field(1, b"name"))
        message += field(3, index + b"\x10\x00" + field(3, data) + tag)
    assert _kpl.user_records(sealed(message)) == [_kpl.UserRecord(key, data) for key, data in given_]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_kpl.MAGIC, "too short"),
        (sealed(b"")[:-1] + b"x", "checksum"),
        (sealed(field(3, b"\x08\x00" + field(3, b"data"))), "not in the table"),
        (sealed(field(1, b"key") + field(3, b"\x08\x00")), "lacks its data"),
        (sealed(b"\x1a\x7f1"), "cut off"),
        (sealed(b"\x80"), "cut off"),
        (sealed(b"\xff" * 11), "ten bytes"),
        (sealed(b"\x0b"), "wire type 3"),
    ],
)
def test_what_only_begins_as_an_aggregate(data: bytes, said: str) -> None:
    with pytest.raises(_kpl.NoAggregateError, match=said):
        _kpl.user_records(data)
    (batch,) = decode([raw(data)], decoder("post", source="s"), "s")
    assert batch["kind"].to_pylist() == [REFUSAL]


@given(st.binary(max_size=200))
def test_any_bytes_are_some_records_and_always_as_many(data: bytes) -> None:
    """Offsets are counted by it: whatever stands there, it is at least one record, and the same each time."""
    for payload in (data, sealed(data), b"[" + data, _kpl.MAGIC + data):
        sizes = {decode([raw(payload)], decoder("post", source="s"), "s")[0].num_rows for _ in range(2)}
        assert len(sizes) == 1
        assert sizes.pop() >= 1


# Envelopes


def test_an_envelope_comes_back() -> None:
    batch = records([{"kind": POST, "id": "x:1", "text": "hi \0 𝔘", "ingested_at": AT, "hashtags": ["a", None]}])
    head = envelope(seal(batch, writer=b"w" * 16, number=2**40, partition=3))
    assert head is not None
    assert (head.writer, head.number, head.partition) == ((b"w" * 16).hex(), 2**40, 3)
    assert opened(head, raw(b""), "s").equals(batch)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_broken_envelope_is_one_refusal_or_has_lost_nothing(place: int, byte: int) -> None:
    sealed = records([{"kind": POST, "text": "hi", "ingested_at": AT}])
    data = bytearray(seal(sealed, writer=b"w" * 16, number=1, partition=0))
    place = 33 + place % (len(data) - 33)
    unlike = data[place] != byte
    data[place] = byte
    head = envelope(bytes(data))
    assert head is not None
    batch = opened(head, raw(bytes(data)), "s")
    assert batch.num_rows == 1
    assert batch["kind"][0].as_py() == REFUSAL if unlike and not batch.equals(sealed) else batch.equals(sealed)
    assert not batch["ingested_at"].null_count


def test_an_older_envelope_lacks_a_column() -> None:
    batch = records([{"kind": POST, "text": "hi", "ingested_at": AT}]).drop_columns(["quote_of_id"])
    head = envelope(seal(batch, writer=b"w" * 16, number=1, partition=0))
    assert head is not None
    assert opened(head, raw(b""), "s").to_pylist()[0]["text"] == "hi"


# Shards


def shard(number: int, low: int, high: int, *parents: int) -> Shard:
    name = "shardId-{:012}".format
    return Shard(name(number), low, high, tuple(name(parent) for parent in parents))


def resharded(steps: list[tuple[bool, int]]) -> list[Shard]:
    """All shards of a stream that began with two and was split (True) and merged at these places."""
    half = KEYS // 2
    every = [shard(0, 0, half - 1), shard(1, half, KEYS - 1)]
    alive = list(every)
    for split, place in steps:
        n = len(every)
        if split or len(alive) < 2:
            old = alive.pop(place % len(alive))
            middle = (old.low + old.high) // 2
            new = [Shard(shard(n, 0, 0).id, old.low, middle, (old.id,))]
            new.append(Shard(shard(n + 1, 0, 0).id, middle + 1, old.high, (old.id,)))
        else:
            at = place % (len(alive) - 1)
            first, second = alive.pop(at), alive.pop(at)
            new = [Shard(shard(n, 0, 0).id, first.low, second.high, (first.id, second.id))]
        every += new
        alive = sorted([*alive, *new], key=lambda one: one.low)
    return every


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=8)
KEY = st.integers(0, KEYS - 1)


@given(STEPS, st.lists(st.integers(1, 20), max_size=4), st.lists(KEY, min_size=1, max_size=5))
def test_partitions_outlive_their_shards(steps: list[tuple[bool, int]], looks: list[int], keys: list[int]) -> None:
    """However often one looks meanwhile, the partitions are the same, and where a key once was it can be reached."""
    every = resharded(steps)
    document: Document = {"shards": {}, "lines": []}
    homes: dict[int, set[int]] = {key: set() for key in keys}
    known = [2, *sorted(min(look, len(every)) for look in looks), len(every)]
    for upto in known:
        document = extend(document, every[:upto]) or document
        now = topology(document)
        for key in keys:
            alive = [one for one in every[:upto] if not any(one.id in other.parents for other in every[:upto])]
            if any(one.low <= key <= one.high for one in alive):  # not in the middle of a split
                home = now.home(key)
                assert now.carrier(home).low <= key <= now.carrier(home).high
                homes[key].add(home)
    at_once = extend({"shards": {}, "lines": []}, every)
    assert document == at_once
    now = topology(document)
    for key in keys:
        assert homes[key] <= set(now.holders(key))
    parents = {parent for one in every for parent in one.parents}
    assert all(now.carrier(partition).id not in parents for partition in range(len(now.lines)))


def test_the_key_is_hashed_as_kinesis_does() -> None:
    assert hash_key("a") == 0x0CC175B9C0F1B6A831C399E269772661


def test_a_second_child_is_read_after_its_parent() -> None:
    document = extend({"shards": {}, "lines": []}, resharded([(True, 0)]))
    assert document is not None
    now = topology(document)
    assert [len(line) for line in now.lines] == [2, 1, 1]
    assert now.first_parents(2) == [(0, 0)]
    assert now.first_parents(0) == []


# The index


def index(*counts: int) -> Index:
    """What somebody has noted who has read Kinesis records of so many records, one an hour."""
    anchors, offset = [], 0
    for i, count in enumerate(counts):
        anchors.append(Anchor(offset, 0, str(10**55 + i), i * 3600, max(0, i - 1) * 3600, i * 100, {}))
        offset += count
    last = len(counts) - 1
    return Index(
        0, offset, 0, str(10**55 + last) if counts else None, last * 3600, len(counts) * 100, 0, {}, tuple(anchors)
    )


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_readers_agree_whoever_noted_more(counts: list[int], first: int, second: int) -> None:
    one, other, both = index(*counts[:first]), index(*counts[:second]), index(*counts[: max(first, second)])
    assert one.merged(other) == other.merged(one) == both
    assert not one.contradicts(other)
    assert to_index(both.to_json()) == both


def test_who_began_elsewhere_contradicts() -> None:
    one = index(3, 4)
    moved = Index(anchors=(Anchor(0, 0, "7", 0, 0, 0, {}),), end=3, sequence="7")
    assert one.contradicts(moved)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(0, 100), st.integers(0, 20))
def test_trimming_takes_whole_kinesis_records(counts: list[int], limit: int, hour: int) -> None:
    whole = index(*counts)
    first = whole.passed(limit, hour * 3600)
    assert first <= limit
    rest = whole.trimmed(first)
    assert first in {anchor.offset for anchor in whole.anchors} | {whole.end}
    if first < whole.end:
        anchor = rest.before(first)
        assert anchor is not None
        assert anchor.offset == first
        assert rest.passed(limit, hour * 3600) == first


def test_anchors_are_few_and_the_first_one_stays() -> None:
    whole = index(*[1] * 2000)
    for _ in range(20):
        whole = whole.trimmed(5)
    assert len(whole.anchors) <= MAX_ANCHORS
    assert whole.anchors[0].offset == 5
    assert whole.before(1000) is not None


def test_writers_that_are_silent_are_forgotten() -> None:
    writers: dict[str, int] = {}
    for number in range(20):
        writers = noted(writers, f"w{number % 12}", number)
    assert len(writers) == MAX_WRITERS
    assert writers["w7"] == 19
