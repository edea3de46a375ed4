"""A Kinesis server over HTTP: moto's, made to do what the service documents where moto does otherwise.

Sequence numbers do not fit an int64. A shard that was split or merged keeps its records, takes no new ones, and ends:
its last answer has no further iterator. What may be refused for a while is set by `Faults`.
"""

import itertools
import logging
import os
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from hashlib import md5
from typing import Any
from uuid import uuid4

import boto3
from moto.core.exceptions import JsonRESTError
from moto.kinesis import models
from moto.kinesis.models import Record, Shard, Stream
from moto.kinesis.utils import compose_shard_iterator, decompose_shard_iterator
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
FIRST_SEQUENCE = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898

_sequence = itertools.count(FIRST_SEQUENCE, 7)
_lock = threading.RLock()


@dataclass
class Faults:
    """What the server refuses; each is called with what came and says whether to refuse it."""

    reads: Callable[[str], bool] = field(default=lambda shard: False)
    puts: Callable[[int], bool] = field(default=lambda place: False)  # the how manieth record of a call
    lost_answers: Callable[[], bool] = field(default=lambda: False)  # stored, and the caller hears of an error


FAULTS = Faults()


@cache
def endpoint() -> str:
    """The server's address. It lives as long as the process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "someone")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "secret")
    _amend()
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    return f"http://{host}:{port}"


def client() -> Any:
    """boto3's client of the server."""
    return boto3.client("kinesis", endpoint_url=endpoint(), region_name=REGION)


def make_stream(shards: int, *, hours: int = 24) -> str:
    """A new stream; `hours` is its retention."""
    name, kinesis = f"posts-{uuid4().hex[:12]}", client()
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    if hours != 24:
        kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=hours)
    return name


def open_shards(stream: str) -> list[dict[str, Any]]:
    """The shards that take records, by their hash keys."""
    shards = client().list_shards(StreamName=stream)["Shards"]
    parents = {one.get(name) for one in shards for name in ("ParentShardId", "AdjacentParentShardId")}
    found = [one for one in shards if one["ShardId"] not in parents]
    return sorted(found, key=lambda one: int(one["HashKeyRange"]["StartingHashKey"]))


def split(stream: str, place: int = 0) -> None:
    """Split an open shard in the middle."""
    shard = open_shards(stream)[place]
    low, high = (int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
    client().split_shard(
        StreamName=stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((low + high) // 2 + 1)
    )


def merge(stream: str, place: int = 0) -> None:
    """Merge an open shard with the one behind it."""
    shards = open_shards(stream)
    first, second = shards[place]["ShardId"], shards[place + 1]["ShardId"]
    client().merge_shards(StreamName=stream, ShardToMerge=first, AdjacentShardToMerge=second)


def expire(stream: str, shard: str, n: int) -> None:
    """Have the oldest records of a shard expire."""
    with _lock:
        records = _backend().describe_stream(None, stream).shards[shard].records
        for key in list(records)[:n]:
            del records[key]


def forget(stream: str, shard: str) -> None:
    """Have a closed shard expire as a whole."""
    with _lock:
        del _backend().describe_stream(None, stream).shards[shard]


def _backend() -> Any:
    return models.kinesis_backends["123456789012"][REGION]


class _ThrottledError(JsonRESTError):
    def __init__(self) -> None:
        super().__init__("ProvisionedThroughputExceededException", "Rate exceeded for shard")


def _amend() -> None:
    backend: Any = models.KinesisBackend
    put = backend.put_records

    def put_records(self: Any, stream_arn: Any, stream_name: Any, records: list[Any]) -> dict[str, Any]:
        refused = {i for i in range(len(records)) if FAULTS.puts(i)}
        with _lock:
            taken = [record for i, record in enumerate(records) if i not in refused]
            answer: dict[str, Any] = put(self, stream_arn, stream_name, taken)
        if FAULTS.lost_answers():
            raise JsonRESTError("InternalFailure", "the answer is lost")
        for i in sorted(refused):
            code = "ProvisionedThroughputExceededException"
            answer["Records"].insert(i, {"ErrorCode": code, "ErrorMessage": "Rate exceeded for shard"})
        answer["FailedRecordCount"] = len(refused)
        return answer

    amended: list[tuple[Any, str, Any]] = [
        (Shard, "put_record", _put_record),
        (Shard, "get_records", _get_records_of_shard),
        (Stream, "get_shard_for_key", _shard_for_key),
        (Stream, "split_shard", _split),
        (Stream, "merge_shards", _merge),
        (backend, "get_records", _get_records),
        (backend, "put_records", put_records),
        (backend, "_send_stream_metrics", lambda *_, **__: None),
    ]
    for owner, name, function in amended:
        setattr(owner, name, function)


def _put_record(self: Any, partition_key: str, data: str, explicit_hash_key: str) -> str:
    with _lock:
        number = next(_sequence)
        self.records[number] = Record(partition_key, data, number, explicit_hash_key)
        return str(number)


def _get_records_of_shard(self: Any, last_sequence_id: str, limit: int | None) -> tuple[list[Any], int, int]:
    with _lock:
        numbers = list(self.records)
        start = bisect_right(numbers, int(last_sequence_id))
        chosen = [self.records[number] for number in numbers[start : start + (limit or 10_000)]]
        more = start + len(chosen) < len(numbers)
        return chosen, chosen[-1].sequence_number if chosen else int(last_sequence_id), 1000 if more else 0


def _get_records(self: Any, stream_arn: str | None, shard_iterator: str, limit: int | None) -> tuple[Any, Any, int]:
    stream_name, shard_id, last = decompose_shard_iterator(shard_iterator)
    if FAULTS.reads(shard_id):
        raise _ThrottledError
    with _lock:
        shard = self.describe_stream(stream_arn=stream_arn, stream_name=stream_name).get_shard(shard_id)
        records, reached, behind = shard.get_records(last, limit)
        ended = not shard.is_open and not behind
    return None if ended else compose_shard_iterator(stream_name, shard, reached), records, behind


def _shard_for_key(self: Any, partition_key: str, explicit_hash_key: str) -> Any:
    key = int(explicit_hash_key or int(md5(partition_key.encode()).hexdigest(), 16))
    return next(one for one in self.shards.values() if one.is_open and one.starting_hash <= key <= one.ending_hash)


def _next_id(stream: Any) -> int:
    return 1 + max(int(name.rpartition("-")[2]) for name in stream.shards)


def _split(self: Any, shard_to_split: str, new_starting_hash_key: str) -> None:
    with _lock:
        parent, middle = self.shards[shard_to_split], int(new_starting_hash_key)
        parent.is_open = False
        for low, high in ((parent.starting_hash, middle - 1), (middle, parent.ending_hash)):
            child = Shard(_next_id(self), low, high, parent=parent.shard_id)
            self.shards[child.shard_id] = child


def _merge(self: Any, shard_to_merge: str, adjacent_shard_to_merge: str) -> None:
    with _lock:
        parents = [self.shards[shard_to_merge], self.shards[adjacent_shard_to_merge]]
        for parent in parents:
            parent.is_open = False
        low, high = min(one.starting_hash for one in parents), max(one.ending_hash for one in parents)
        child = Shard(_next_id(self), low, high, parent=shard_to_merge, adjacent_parent=adjacent_shard_to_merge)
        self.shards[child.shard_id] = child
