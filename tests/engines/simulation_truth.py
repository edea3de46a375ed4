"""What the lake has to hold, worked out in plain Python from the log and the posts alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from tests.engines.simulation_records import WORDS

from feltwire import schema
from feltwire.interfaces import LogReader
from feltwire.lake import Lake

Row = dict[str, Any]
Place = tuple[int, int]
"""Log partition and offset."""

LATE: Final = timedelta(minutes=5)
FOLDED: Final = timedelta(hours=48)


def check(condition: bool, what: str) -> None:
    """An assertion that says what is wrong, and that no flag of Python's takes away."""
    if not condition:
        raise AssertionError(what)


def same(found: Any, expected: Any, what: str) -> None:
    """The two are equal; of mappings and sets the message shows the difference alone."""
    if found == expected:
        return
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        keys = [key for key in {*found, *expected} if found.get(key) != expected.get(key)]
        details = [(key, found.get(key), expected.get(key)) for key in sorted(keys, key=repr)[:5]]
        raise AssertionError(f"{what}: {len(keys)} differ: (key, found, expected) {details}")
    if isinstance(found, set) and isinstance(expected, set):
        more, less = sorted(found - expected, key=repr), sorted(expected - found, key=repr)
        raise AssertionError(f"{what}: {len(more)} too many {more[:8]}, {len(less)} lacking {less[:8]}")
    raise AssertionError(f"{what}: found {found}, expected {expected}")


def place(row: Mapping[str, Any]) -> Place:
    """Where in the log a row comes from."""
    return int(row["log_partition"]), int(row["log_offset"])


def logged(log: LogReader) -> list[Row]:
    """Everything that the log holds."""
    return [row for p, end in log.ends().items() for row in log.read(p, 0, end + 1).to_pylist()]


def withdrawals(records: Iterable[Row]) -> list[Row]:
    """What `withdrawn` has to hold for some records."""
    found = []
    for row in records:
        if row["kind"] not in (schema.EDIT, schema.WITHDRAWAL):
            continue
        revision = schema.LAST_REVISION if row["revision"] is None else row["revision"]
        found.append(
            {
                "id": row["id"],
                "source": row["source"],
                "author_id": row["author_id"] if row["id"] is None else None,
                "revision": revision - 1 if row["kind"] == schema.EDIT else revision,
                "at": row["ingested_at"],
                "log_partition": row["log_partition"],
                "log_offset": row["log_offset"],
            }
        )
    return found


def hidden(posts: Iterable[Row], withdrawn: Iterable[Row]) -> set[Place]:
    """The places of the posts that are withdrawn."""
    by_id: dict[tuple[int, str], list[Row]] = defaultdict(list)
    by_author: dict[tuple[int, str, str], list[Row]] = defaultdict(list)
    for row in withdrawn:
        if row["id"] is not None:
            by_id[row["log_partition"], row["id"]].append(row)
        else:
            by_author[row["log_partition"], row["source"], row["author_id"]].append(row)
    gone = set()
    for post in posts:
        partition, offset = place(post)
        mine = [w for w in by_id[partition, post["id"]] if w["revision"] >= post["revision"]]
        mine += by_author[partition, post["source"], post["author_id"]]
        if any(w["log_offset"] > offset for w in mine):
            gone.add((partition, offset))
    return gone


def letters_taken_back(dead: Iterable[Row], withdrawn: Iterable[Row]) -> set[Place]:
    """The places of the dead letters whose post was withdrawn, or edited, by its id."""
    last: dict[Any, int] = {}
    for row in withdrawn:
        key = (row["log_partition"], row["id"])
        last[key] = max(last.get(key, 0), row["log_offset"])
    found = (row for row in dead if row["id"] is not None)
    return {place(row) for row in found if last.get((row["log_partition"], row["id"]), 0) > row["log_offset"]}


def window_sums(posts: Iterable[Row]) -> dict[Any, tuple[Any, ...]]:
    """{minute, track, source, lang: the sums of `schema.WINDOWS`}."""
    sums: dict[Any, list[Any]] = {}
    for post in posts:
        for track in ("*", *post["tracks"]):
            key = (_minute(post["event_time"]), track, post["source"], post["lang"])
            row: list[Any] = [1, int(bool(post["scored"]))]
            row += [int(post["sentiment"] == label) for label in schema.SENTIMENTS]
            row += [post[f"p_{label}"] or 0.0 for label in schema.SENTIMENTS]
            sums[key] = [a + b for a, b in zip(sums.get(key, [0] * len(row)), row, strict=True)]
    return {key: tuple(row) for key, row in sums.items()}


def term_sums(posts: Iterable[Row]) -> dict[Any, tuple[int, ...]]:
    """{minute, track, source, lang, kind, term: n, n_negative, n_positive}."""
    sums: dict[Any, list[int]] = {}
    for post in posts:
        row = [1, int(post["sentiment"] == "negative"), int(post["sentiment"] == "positive")]
        for track in ("*", *post["tracks"]):
            for kind, term in _terms(post):
                key = (_minute(post["event_time"]), track, post["source"], post["lang"], kind, term)
                sums[key] = [a + b for a, b in zip(sums.get(key, [0, 0, 0]), row, strict=True)]
    return {key: tuple(row) for key, row in sums.items()}


def by_hour(terms: Mapping[Any, tuple[int, ...]]) -> dict[Any, tuple[int, ...]]:
    """Term sums by hour and kind: what stays exact when old minutes become hours and rare terms one."""
    sums: dict[Any, list[int]] = {}
    for (minute, track, source, lang, kind, _), row in terms.items():
        key = (minute.replace(minute=0), track, source, lang, kind)
        sums[key] = [a + b for a, b in zip(sums.get(key, [0, 0, 0]), row, strict=True)]
    return {key: tuple(row) for key, row in sums.items() if any(row)}


def account(records: Iterable[Row], kept: Mapping[Place, Row], dead: set[Place]) -> dict[Any, tuple[int, ...]]:
    """{minute, source, partition: the counts of `schema.LEDGER`}."""
    sums: dict[Any, Counter[str]] = defaultdict(Counter)
    for row in records:
        counts = sums[_minute(row["ingested_at"]), row["source"], row["log_partition"]]
        if row["kind"] == schema.WITHDRAWAL:
            counts["withdrawn"] += 1
            continue
        post = kept.get(place(row))
        outcome = "kept" if post else "dead" if place(row) in dead else "filtered"
        counts["received"] += 1
        counts["duplicate" if row["kind"] == schema.DUPLICATE else outcome] += 1
        counts["edited"] += row["kind"] == schema.EDIT
        if post:
            counts["unscored"] += not post["scored"]
            counts["late"] += post["ingested_at"] - post["event_time"] > LATE
            counts["redated"] += bool(post["redated"])
    return {key: tuple(counts[name] for name in schema.LEDGER_COUNTS) for key, counts in sums.items()}


def sums_in(lake: Lake, table: str, keys: Iterable[str], sums: Iterable[str]) -> dict[Any, tuple[Any, ...]]:
    """A table of sums, added up by its keys; what adds up to nothing is left out."""
    keys, sums = list(keys), list(sums)
    found: dict[Any, list[Any]] = {}
    for row in lake.sql(f"select * from {table}").to_pylist():
        key = tuple(row[name] for name in keys)
        values = [row[name] for name in sums]
        found[key] = [a + b for a, b in zip(found.get(key, [0] * len(sums)), values, strict=True)]
    return {key: tuple(values) for key, values in found.items() if any(values)}


def check_all(
    lake: Lake, log: LogReader, kept: Mapping[Place, Row], dead: Mapping[Place, Row], now: datetime, *, tracked: bool
) -> dict[str, int]:
    """Everything that a drained lake must hold; returns some counts.

    `kept` and `dead` are all posts and dead letters that were ever committed.
    """
    records = logged(log)
    _check_positions(lake, log)
    taken_back = withdrawals(records)
    stored = lake.sql("select * from withdrawn").to_pylist()
    same(Counter(map(repr, map(_sorted, stored))), Counter(map(repr, map(_sorted, taken_back))), "withdrawn")

    letters = lake.sql("select * from dead_letters").to_pylist()
    check(len({place(row) for row in letters}) == len(letters), f"dead letters twice: {_doubled(letters)}")
    same({place(row) for row in letters}, set(dead) - letters_taken_back(dead.values(), taken_back), "dead letters")
    posts = lake.sql("select * from posts_all").to_pylist()
    check(len({place(row) for row in posts}) == len(posts), f"posts twice: {_doubled(posts)}")
    _check_fates(records, kept, set(dead), tracked=tracked)
    gone = hidden(kept.values(), taken_back)
    same({place(row) for row in posts}, set(kept) - gone, "posts")
    visible = {place(row) for row in lake.sql("select * from posts").to_pylist()}
    same(visible, set(kept) - gone, "visible posts")
    for row in posts:
        same(row, kept[place(row)], f"the post at {place(row)}")
    check_sums(lake, posts, now)
    ledger = sums_in(lake, "ledger", ("minute", "source", "log_partition"), schema.LEDGER_COUNTS)
    same(ledger, account(records, kept, set(dead)), "ledger")
    for values in ledger.values():
        counts = dict(zip(schema.LEDGER_COUNTS, values, strict=True))
        parts = sum(counts[name] for name in ("kept", "duplicate", "filtered", "dead"))
        check(counts["received"] == parts, f"the ledger does not balance: {counts}")
    return {"records": len(records), "posts": len(posts), "removed": len(gone), "dead": len(dead)}


def check_sums(lake: Lake, posts: list[Row], now: datetime) -> None:
    """`windows` and `terms` are those of the posts, to the last bit."""
    windows = sums_in(lake, "windows", schema.WINDOW_KEYS, (*schema.SUMS, *schema.P_SUMS))
    same(windows, window_sums(posts), "windows")
    found = sums_in(lake, "terms", schema.TERM_KEYS, ("n", "n_negative", "n_positive"))
    expected = term_sums(posts)
    same(by_hour(found), by_hour(expected), "terms by hour")
    young = now - FOLDED
    same(_since(found, young), _since(expected, young), "terms")


def _check_positions(lake: Lake, log: LogReader) -> None:
    ends = {partition: end for partition, end in log.ends().items() if end}
    for table, position in lake.positions().items():
        same({p: offset for p, offset in position.items() if offset}, ends, f"positions of {table}")


def _check_fates(records: list[Row], kept: Mapping[Place, Row], dead: set[Place], *, tracked: bool) -> None:
    """Every record is exactly one of kept, dead, filtered, a repeat, or a withdrawal."""
    for row in records:
        where, kind, text = place(row), row["kind"], row["text"] or ""
        is_post = kind in (schema.POST, schema.EDIT)
        wanted = is_post and row["text"] is not None and (not tracked or any(word in text for word in WORDS))
        must_die = kind == schema.REFUSAL or (is_post and row["text"] is None)
        fates = (where in kept, where in dead)
        if wanted:
            check(sum(fates) == 1, f"{kind} {where} is kept and dead: {fates}")
        else:
            check(fates == (False, must_die), f"{kind} {where}: kept and dead are {fates}")
        if where in kept:
            same((kept[where]["id"], kept[where]["revision"]), (row["id"], row["revision"]), f"the id at {where}")


def _terms(post: Row) -> set[tuple[str, str]]:
    found = {("hashtag", tag) for tag in post["hashtags"] or ()}
    found |= {("entity", entity["text"]) for entity in post["entities"] or ()}
    found |= {("domain", (urlsplit(link).hostname or "").removeprefix("www.")) for link in post["links"] or ()}
    found |= {("emoji_used", emoji) for emoji in post["emoji_used"] or ()}
    found |= {("emoji", emoji["emoji"]) for emoji in post["emoji"] or ()}
    found |= {(name, post[name]) for name in ("category", "emotion") if post[name]}
    return found


def _since(terms: Mapping[Any, tuple[int, ...]], start: datetime) -> dict[Any, tuple[int, ...]]:
    return {key: row for key, row in terms.items() if key[0] >= start}


def _minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)


def _sorted(row: Row) -> list[tuple[str, Any]]:
    return sorted(row.items())


def _doubled(rows: Iterable[Row]) -> list[Any]:
    return [where for where, n in Counter(map(place, rows)).items() if n > 1][:8]
