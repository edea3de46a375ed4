"""Which log partition a shard's records belong to: shards come and go, partitions stay.

Shards cover the space of 128-bit hash keys. Splitting and merging closes shards and opens others over the same
space. A partition goes on through it: the first child of its shard carries it on, and the second child of a split
begins a new partition. After a merge one shard carries two partitions: the lower one is its home, to which all its
records belong but those that we have addressed to the other. So every partition can be written to for ever, and an
edit or a withdrawal reaches the partition where its post stands, however often the stream was resharded since.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from feltwire.logs._kinesis_state import Document

KEYS = 2**128


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as the stream lists it."""

    id: str
    low: int  # the first hash key
    high: int  # the last one
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """Shards and partitions, as they stand in the state's document `stream`."""

    shards: Mapping[str, Shard]
    homes: Mapping[str, int]  # {shard: the partition that its records belong to}
    lines: tuple[tuple[str, ...], ...]  # by partition: the shards that carry it, one after the other

    def carrier(self, partition: int) -> Shard:
        """The shard that carries a partition on, as far as is known."""
        return self.shards[self.lines[partition][-1]]

    def home(self, hash_key: int) -> int:
        """The partition that a new record with this hash key belongs to."""
        for partition, line in enumerate(self.lines):
            shard = self.shards[line[-1]]
            if self.homes[shard.id] == partition and shard.low <= hash_key <= shard.high:
                return partition
        return 0  # a listing that has a hole in it: the stream is being resharded

    def addressed(self, partition: int, shard: str) -> int:
        """The partition of a record in a shard that names one: that one, if the shard carries it, else the home."""
        if 0 <= partition < len(self.lines) and shard in self.lines[partition]:
            return partition
        return self.homes[shard]

    def holders(self, hash_key: int) -> list[int]:
        """Every partition where a record with this hash key may stand."""
        return [
            partition
            for partition, line in enumerate(self.lines)
            if any(
                self.homes[name] == partition and self.shards[name].low <= hash_key <= self.shards[name].high
                for name in line
            )
        ]

    def first_parents(self, partition: int) -> list[tuple[int, int]]:
        """(partition, place in its line) of the parents of a partition's first shard, which are read before it."""
        parents = self.shards[self.lines[partition][0]].parents
        known = [name for name in parents if name in self.homes]
        return [(self.homes[name], self.lines[self.homes[name]].index(name)) for name in known]


def hash_key(key: str) -> int:
    """The hash key that Kinesis gives a partition key."""
    return int.from_bytes(md5(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest(), "big")


def listed(shards: Iterable[Mapping[str, Any]]) -> list[Shard]:
    """The answer of ListShards; ids grow with time, so parents come before their children."""
    found = [
        Shard(
            id=str(one["ShardId"]),
            low=int(one["HashKeyRange"]["StartingHashKey"]),
            high=int(one["HashKeyRange"]["EndingHashKey"]),
            parents=tuple(str(one[name]) for name in ("ParentShardId", "AdjacentParentShardId") if one.get(name)),
        )
        for one in shards
    ]
    return sorted(found, key=lambda shard: shard.id)


def extend(document: Document, shards: Iterable[Shard]) -> Document | None:
    """The document with the shards that it did not know; None where it knew them all.

    Nothing that it says of the others changes, so it does not matter who adds a shard, and when.
    """
    known, lines = document["shards"], document["lines"]
    new = [shard for shard in shards if shard.id not in known]
    for shard in new:
        parents = [name for name in shard.parents if name in known]
        carried = [line for line in lines if line[-1] in parents]
        home = min((known[name]["home"] for name in parents), default=-1)
        if carried:
            for line in carried:
                line.append(shard.id)
        if home < 0 or not carried or shard.id not in lines[home]:
            home = len(lines)
            lines.append([shard.id])
        known[shard.id] = {
            "low": str(shard.low),
            "high": str(shard.high),
            "parents": list(shard.parents),
            "home": home,
        }
    return document if new else None


def topology(document: Document) -> Topology:
    """What the document says."""
    return Topology(
        shards={
            name: Shard(name, int(one["low"]), int(one["high"]), tuple(one["parents"]))
            for name, one in document["shards"].items()
        },
        homes={name: int(one["home"]) for name, one in document["shards"].items()},
        lines=tuple(tuple(line) for line in document["lines"]),
    )
