"""Proof: two servers that drop, fall silent, repeat, reorder, lie and refuse; a reader that is killed and started
again from its last stored cursor. Every post arrives, or lies in a gap that was told."""

import os
import random
import threading
import time
from itertools import pairwise

import pytest
from tests.sources.jetstream_server import Faults, JetstreamServer, make_dictionary, post, post_id

from feltwire import schema
from feltwire.interfaces import Cursor
from feltwire.sources.bluesky import BlueskySource, Options, create

POSTS = 3_000
SEEDS = range(40 if os.environ.get("FELTWIRE_PROVE") else 2)


def misbehave(server: JetstreamServer, chance: random.Random, stop: threading.Event) -> None:
    """Change the server's faults again and again; every fault ends."""
    faults = server.faults
    while not stop.wait(chance.uniform(0.1, 0.4)):
        faults.drop_after_s = chance.choice([None, 0.1, 0.3])
        faults.drop_after = chance.choice([None, None, 1, 50, 500])
        faults.silent_after = chance.choice([None, None, None, 0, 200])
        faults.silent_connections = chance.choice([0, 0, 0, 1])
        faults.reorder = chance.choice([1, 5, 40])
        faults.repeat = chance.choice([0.0, 0.2])
        faults.garbage = chance.choice([0.0, 0.05])
        faults.refuse = chance.choice([None, None, None, 503, 429])
        faults.error = chance.choice([None, "ConsumerTooSlow", "InternalError"])
    server.faults = Faults()


@pytest.mark.prove
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_without_being_told(seed: int) -> None:
    chance = random.Random(seed)
    stop = threading.Event()
    first_wires = chance.choice([("v1",), ("v1", "v2")])
    zstd = make_dictionary() if chance.random() < 0.5 else None
    start = time.time_ns() // 1_000 - 5_000_000
    with (
        JetstreamServer(wires=first_wires, zstd=zstd, faults=Faults(seed=seed)) as first,
        JetstreamServer(skew_us=chance.randrange(-200_000, 200_000), first_seq=10**6) as second,
    ):
        servers = (first, second)

        def publish() -> None:
            for i in range(0, POSTS, 5):
                for server in servers:
                    server.publish(*(post(start + k * 1000, k) for k in range(i, i + 5)))
                time.sleep(0.004)

        threads = [threading.Thread(target=misbehave, args=(server, chance, stop)) for server in servers]
        threads.append(threading.Thread(target=publish))
        for thread in threads:
            thread.start()
        forgetful = threading.Timer(1.5, lambda: setattr(first, "floor", POSTS // 4))
        forgetful.start()
        threading.Timer(5.0, stop.set).start()
        try:
            seen, gaps = read_with_kills(servers, start, chance)
        finally:
            stop.set()
            for thread in [*threads, forgetful]:
                thread.join()
    missing = [k for k in range(POSTS) if post_id(k) not in seen]
    margin_us = 300_000  # the servers' clocks differ
    told = [(from_us - margin_us, to_us + margin_us) for from_us, to_us in gaps]
    hidden = [k for k in missing if not any(low <= start + k * 1000 <= high for low, high in told)]
    assert not hidden, f"{len(hidden)} posts are missing, {hidden[:10]} …, gaps {gaps}"


def read_with_kills(
    servers: tuple[JetstreamServer, ...], start: int, chance: random.Random
) -> tuple[set[str], list[tuple[int, int]]]:
    """(the ids that were stored, the gaps that were told), with a new reader every now and then."""
    seen: set[str] = set()
    gaps: list[tuple[int, int]] = []
    cursor: Cursor = {"time_us": start, "host": "elsewhere", "wire": "v1", "silence_s": 1}
    end = time.monotonic() + 60
    last_id = post_id(POSTS - 1)
    while last_id not in seen:
        source = make(servers)
        stream = source.read(cursor)
        killed_at = time.monotonic() + chance.uniform(0.5, 3.0)
        times: list[int] = []
        for batch, place in stream:
            if chance.random() < 0.02:
                break  # killed before this batch was stored: it comes again
            seen.update(record["id"] for record in batch.to_pylist() if record["kind"] in {schema.POST, schema.EDIT})
            cursor = place or cursor
            times.append(cursor["time_us"])
            if last_id in seen or time.monotonic() > killed_at:
                break
            assert time.monotonic() < end, f"no progress: {cursor}"
        stream.close()  # type: ignore[attr-defined]
        assert all(earlier <= later for earlier, later in pairwise(times))
        gaps += [(gap.from_us, gap.to_us) for gap in source.gaps]
    return seen, gaps


def make(servers: tuple[JetstreamServer, ...]) -> BlueskySource:
    return create(",".join(server.url for server in servers), Options(silence_s=0.3, rewind_s=1.0))
