"""A past of X on loopback, a command that backfills it, and the check of what has become of it."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from tests.sources.x_server import TOKEN, Failure, Json, XServer, make_post, matches, time_of

from feltwire import doctor
from feltwire.backfill.slices import Slice, cut
from feltwire.lake import open_lake
from feltwire.logs.sqlite import Options, SqliteLog

WORDS = ("I love these cats", "cats are awful", "cats again", "what lovely cats", "I hate wet cats")


def _tell_unless_gone(request: Any, client_address: Any) -> None:
    """Print what a server's thread raised, but not that a killed command's connection has broken off."""
    if not isinstance(sys.exc_info()[1], OSError):
        traceback.print_exc()


def days_ago(days: int) -> datetime:
    """A midnight, UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)


class Past(XServer):
    """X with so many posts of the past, a rate limit, and originals that come along from before the period.

    Every tenth post is of dogs, which nobody asks for; every seventh of the others is a repost of a post that is older
    than all, and which a search brings along.
    """

    def __init__(self, seed: int, start: datetime, minutes: int, per_minute: float) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.period = (start, start + timedelta(minutes=minutes))
        self.requests_a_window: int | None = None
        self.window_s = 1.0
        self._window: tuple[int, int] = (0, 0)
        self._lock = threading.Lock()
        self.limited_answers = 0
        self.originals: dict[str, Json] = {}
        total = round(minutes * per_minute)
        span_ms = minutes * 60_000
        moments = sorted(self.dice.sample(range(span_ms), total))
        self.posts = [self._post(n, start + timedelta(milliseconds=ms)) for n, ms in enumerate(moments)]
        self._times = [time_of(post) for post in self.posts]
        self._http.handle_error = _tell_unless_gone  # type: ignore[method-assign]

    def _post(self, number: int, at: datetime) -> Json:
        if number % 10 == 9:
            return make_post(number, at, "only dogs here")
        if number % 7 == 0:
            original = make_post(number, at - timedelta(days=30), "old cats of long ago")
            self.originals[original["id"]] = original
            refs = {"referenced_tweets": [{"type": "retweeted", "id": original["id"]}]}
            return make_post(number, at, "RT @user_0: old cats of long", **refs)
        return make_post(number, at, f"{self.dice.choice(WORDS)} {number}")

    def limited(self, path: str) -> Failure | None:
        if self.requests_a_window is None or "/search/" not in path:
            return None
        with self._lock:
            now = int(time.time() / self.window_s)
            number, used = self._window
            self._window = (now, used + 1 if now == number else 1)
            if self._window[1] <= self.requests_a_window:
                return None
            self.limited_answers += 1
            reset = int((now + 1) * self.window_s) + 1
        headers = {"x-rate-limit-reset": str(reset), "x-rate-limit-remaining": "0"}
        return Failure(429, {"title": "Too Many Requests"}, headers)

    def between(self, start: datetime, end: datetime, query: str) -> list[Json]:
        first, last = bisect_left(self._times, start), bisect_left(self._times, end)
        return [one for one in self.posts[first:last] if matches(query, one["text"])]

    def count(self, params: dict[str, str]) -> tuple[int, Json]:
        start, end = (datetime.fromisoformat(params[name]) for name in ("start_time", "end_time"))
        return 200, {"meta": {"total_tweet_count": len(self.between(start, end, params["query"]))}}

    def search(self, params: dict[str, str]) -> tuple[int, Json]:
        start, end = (datetime.fromisoformat(params[name]) for name in ("start_time", "end_time"))
        found = self.between(start, end, params["query"])[::-1]
        first = int(params.get("next_token", "page-0").removeprefix("page-"))
        page = found[first : first + int(params["max_results"])]
        self.delivered += len(page)
        meta: Json = {"result_count": len(page)}
        if first + len(page) < len(found):
            meta["next_token"] = f"page-{first + len(page)}"
        referred = [ref["id"] for one in page for ref in one.get("referenced_tweets", ())]
        along = {**self.includes, "tweets": [self.originals[one] for one in referred]}
        return 200, {**({"data": page, "includes": along} if page else {}), "meta": meta}

    def expected(self) -> dict[str, str]:
        """{id: text} of what a backfill of `cats` brings into the lake."""
        found = {}
        for one in self.between(*self.period, "cats"):
            refs = one.get("referenced_tweets")
            original = self.originals[refs[0]["id"]] if refs else None
            by = f"user_{int(original['author_id']) - 100}" if original else ""
            found[f"x:{one['id']}"] = f"RT @{by}: {original['text']}" if original else one["text"]
        return found

    def searched(self, since: int = 0) -> list[str]:
        """The `start_time` of every search from a request on."""
        return [params["start_time"] for path, params in self.requests[since:] if "/search/" in path]


@dataclass
class Commands:
    """`feltwire backfill` of a past, in a folder."""

    folder: Path
    past: Past
    every: str = "15min"
    environment: dict[str, str] = field(default_factory=dict)

    def arguments(self, *more: str) -> list[str]:
        start, end = self.past.period
        return [
            sys.executable, "-m", "feltwire.cli", "backfill", "--track", "cats", "--source",
            f"x:search?base_url={self.past.url}", "--start", f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "--end", f"{end - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}", "--slice", self.every, *more,
        ]  # fmt: skip

    def env(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FELTWIRE_")}
        return {
            **kept, "FELTWIRE_MODEL__URI": "lexicon:vader", "FELTWIRE_X_TOKEN": TOKEN, "NO_COLOR": "1",
            "XDG_DATA_HOME": str(self.folder / "data"), **self.environment,
        }  # fmt: skip

    def run(self, *more: str, timeout_s: float = 600.0) -> "subprocess.CompletedProcess[str]":
        """To its end."""
        return subprocess.run(
            self.arguments(*more), cwd=self.folder, env=self.env(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def finish(self, *more: str) -> dict[str, Any]:
        """Its report."""
        done = self.run("--yes", "--json", *more)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def start(self, *more: str) -> "Running":
        with (self.folder / "stderr").open("ab") as told:
            return Running(
                subprocess.Popen(
                    self.arguments("--yes", *more), cwd=self.folder, env=self.env(), stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=told, start_new_session=True,
                )
            )  # fmt: skip

    def slices(self) -> list[Slice]:
        return cut(*self.past.period, self.every)

    def staged(self) -> set[str]:
        """The `start_time` of every slice that is staged."""
        names = {path.name.partition("-")[0] for path in (self.folder / "staging").glob("*.json")}
        return {f"{one.start:%Y-%m-%dT%H:%M:%SZ}" for one in self.slices() if f"{one.start:%Y%m%dT%H%M%SZ}" in names}

    def scored(self) -> int:
        return len(list((self.folder / "sentiments").glob("*.json")))

    def check(self, expected: dict[str, str] | None = None) -> None:
        """Every post is in the lake once, as it was written, and the lake is whole."""
        lake = open_lake(str(self.folder / "feltwire-data" / "lake"))
        rows = lake.sql("select id, text from posts_all")
        counts = Counter(rows["id"].to_pylist())
        assert [key for key, n in counts.items() if n > 1] == []
        found = dict(zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True))
        wanted = self.past.expected() if expected is None else expected
        assert len(found) == len(wanted)
        assert found == wanted
        with SqliteLog(self.folder / "feltwire-data" / "lake-log.sqlite", Options()) as log:
            assert [finding for finding in doctor.examine(lake, log) if not finding.ok] == []

    def scores(self) -> dict[str, dict[str, Any]]:
        """{id: the scores} of all files of scores."""
        found: dict[str, dict[str, Any]] = {}
        for path in (self.folder / "sentiments").glob("*.json"):
            for post in json.loads(path.read_text())["posts"]:
                assert post["id"] not in found
                found[post["id"]] = post
        return found


class Running:
    """A command that runs, in a session of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL to it and its helpers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30.0)


def z_times(slices: Sequence[Slice]) -> set[str]:
    """The start of each, as X is asked for it."""
    return {f"{one.start:%Y-%m-%dT%H:%M:%SZ}" for one in slices}
