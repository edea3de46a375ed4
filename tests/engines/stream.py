"""Posts for the proofs, and a model of what has to become of them that shares nothing with the product."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feltwire.sources import simulator

_OPENERS = ("I love", "I hate", "Who needs", "Thank you for", "So tired of", "Nobody expected", "Great:", "Oh no,")
_THINGS = ("this airline", "my lost bag", "the new café", "gate B12", "Monday", "the crew 😊", "the delay 😡", "東京")
_ENDS = ("", "!", "!!", " #travel", " #airline #delay", " https://news.example/a/1", " ❤️", " ...", " &amp; more")
_LANGS = ("en", "en", "en", "de", "ja", None)
_BROKEN = ('{"text": "cut o', "[1, 2, 3]", '{"id": "nothing-said"}', "\udcff\udcfe no UTF-8", '"only a string"')
_FAR = timedelta(hours=1)

Row = dict[str, Any]
PostKey = tuple[str, int]


@dataclass
class Truth:
    """What must stand in the lake after these records, in this order, out of a log of one partition."""

    texts: dict[PostKey, str] = field(default_factory=dict)
    by_id: dict[str, list[PostKey]] = field(default_factory=dict)
    by_author: dict[str | None, list[PostKey]] = field(default_factory=dict)
    hidden: set[PostKey] = field(default_factory=set)
    ledger: dict[str, Counter[str]] = field(default_factory=dict)
    _seen: set[tuple[str, str | None, int]] = field(default_factory=set)

    def add(self, rows: Iterable[Row]) -> None:
        """Take records in, in the order of the log."""
        for row in rows:
            account = self.ledger.setdefault(row["source"], Counter())
            identity = (row["kind"], row["id"], row["revision"])
            if row["id"] is not None and identity in self._seen:
                account.update(received=1, duplicate=1)
            elif row["kind"] == "withdrawal":
                account["withdrawn"] += 1
                self._withdraw(row)
            elif row["kind"] == "refusal":
                account.update(received=1, dead=1)
            else:
                self._keep(row, account)
            self._seen.add(identity)

    @property
    def visible(self) -> dict[PostKey, str]:
        """{(id, revision): text} of the posts that readers see."""
        return {key: text for key, text in self.texts.items() if key not in self.hidden}

    def _keep(self, row: Row, account: Counter[str]) -> None:
        if row["kind"] == "edit":
            account["edited"] += 1
            self.hidden |= {key for key in self.by_id.get(row["id"], []) if key[1] < row["revision"]}
        account.update(received=1, kept=1)
        account["redated" if _is_redated(row) else "late"] += 1
        key = (row["id"], row["revision"])
        self.texts[key] = row["text"]
        self.by_id.setdefault(row["id"], []).append(key)
        self.by_author.setdefault(row["author_id"], []).append(key)

    def _withdraw(self, row: Row) -> None:
        if row["id"] is None:
            written = self.by_author.get(row["author_id"], [])
            self.hidden |= {key for key in written if key[0].startswith(f"{row['source']}:")}
        else:
            self.hidden |= {key for key in self.by_id.get(row["id"], []) if key[1] <= row["revision"]}


def _is_redated(row: Row) -> bool:
    """All that is made here is from the last day or so, or far from it."""
    created, now = row["created_at"], datetime.now(UTC)
    return created is None or created > now + _FAR or (row["live"] and created < now - timedelta(days=2))


class Story:
    """Lines of JSON for a `file:` source, seeded: posts, edits, withdrawals, repeats, refusals and odd dates."""

    def __init__(self, seed: int, *, mess: float = 0.3, name: str = "p") -> None:
        self._random = random.Random(seed)
        self._name = name  # what its ids begin with
        self.mess = mess  # share of lines that are not plain posts
        self._posts: list[Row] = []
        self._count = 0
        self.accounts = 0  # withdrawals of whole accounts
        self._began = datetime.now(UTC) - timedelta(hours=2)
        self.truth = Truth()

    def lines(self, count: int) -> list[str]:
        """The next `count` lines; the truth has taken them in."""
        return [self._line() for _ in range(count)]

    def write(self, path: Path, count: int) -> Path:
        """Write the next `count` lines into a file, which appears at once."""
        text = "".join(f"{line}\n" for line in self.lines(count))
        part = path.with_name(f".{path.name}")
        part.write_bytes(text.encode("utf-8", "surrogateescape"))
        return part.rename(path)

    def _line(self) -> str:
        dice = self._random.random() / self.mess if self.mess else 1.0
        if dice < 0.15:
            return self._broken()
        row = self._post()
        if dice < 1.0 and self._posts:
            older = self._random.choice(self._posts)
            if dice < 0.4:
                row = older  # a repeat
            elif dice < 0.65:
                row = {**row, "kind": "edit", "id": older["id"], "revision": 1 + self._count}
            elif dice < 0.8:
                row = {"kind": "withdrawal", "id": older["id"]}
            elif dice < 0.83:
                row = {"kind": "withdrawal", "author_id": older["author_id"]}
                self.accounts += 1
            else:
                row["created_at"] = self._random.choice([None, "2099-01-01T00:00:00Z"])
        if row.get("kind") != "withdrawal":
            self._posts.append(row)
        self._take(row)
        return json.dumps(row, ensure_ascii=False)

    def _post(self) -> Row:
        self._count += 1
        words = (self._random.choice(words) for words in (_OPENERS, _THINGS, _ENDS))
        opener, thing, end = words
        created = self._began + timedelta(seconds=self._random.random() * 3600)
        author = f"author-{int(self._random.random() ** 2 * 40)}"
        return {
            "id": f"{self._name}{self._count}",
            "text": f"{opener} {thing}{end} {self._count}",
            "lang": self._random.choice(_LANGS),
            "author_id": author,
            "author_handle": author,
            "created_at": created.isoformat(),
        }

    def _broken(self) -> str:
        """Each such line is a refusal of its own: what has no id gets one from its place."""
        self._count += 1
        row: Row = {"kind": "refusal", "id": f"refused {self._count}", "source": "file"}
        self.truth.add([{"author_id": None, "revision": 0, **row}])
        return self._random.choice(_BROKEN)

    def _take(self, row: Row) -> None:
        created = row.get("created_at")
        kind = row.get("kind", "post")
        full = {
            "kind": kind,
            "id": f"file:{row['id']}" if "id" in row else None,
            "revision": row.get("revision", 2**63 - 1 if kind == "withdrawal" else 0),
            "author_id": row.get("author_id"),
            "source": "file",
            "live": False,
            "text": row.get("text"),
            "created_at": datetime.fromisoformat(created) if created else None,
        }
        self.truth.add([full])


def simulated(truth: Truth, options: dict[str, Any]) -> None:
    """Have the truth take in what a simulator with these options (`start` and `count` among them) gives."""
    asked = simulator.Options.model_validate(options)
    count = asked.count or 0
    for block in simulator.generate(asked, -(-count // 1000)):
        rows = block.slice(0, count).to_pylist()
        truth.add(rows)
        count -= len(rows)


def file_source(path: Path, *options: str, key: str = "file") -> dict[str, Any]:
    """A source of a job's plan that reads a file or folder."""
    query = "&".join(options)
    return {"key": key, "uri": f"file:{path}" + (f"?{query}" if query else "")}


def simulator_source(options: dict[str, Any], key: str = "simulator") -> dict[str, Any]:
    """A source of a job's plan that simulates."""
    return {"key": key, "uri": "simulator:", "options": options}


def ids(keys: Iterable[PostKey], limit: int = 5) -> Sequence[PostKey]:
    """The first few, for a message."""
    return sorted(keys)[:limit]
