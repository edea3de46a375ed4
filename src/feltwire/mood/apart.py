"""What sets the posts of one span of time apart from those of another: terms by evidence, and mood without each.

It compares how many posts have a term, by the log-odds ratio with an informative Dirichlet prior and its z-score:
Monroe, Colaresi & Quinn, "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying the Content of
Political Conflict", Political Analysis 16 (4), 2008, equations 15, 16, 18, 20 to 22, where each post counts once a
term. What differs need not be why: nothing here speaks of causes. The formulas stand in docs/mood.md.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import windows
from feltwire.lake.reader import one_batch
from feltwire.mood.shares import net, signed
from feltwire.mood.words import words

KINDS: Final = ("category", "word", "hashtag", "entity", "domain", "emoji_used")
"""The kinds of terms that may set posts apart; what the model alone says (emotion, predicted emoji) is none."""
EVIDENCE: Final = 3.0
"""The least z-score."""
MIN_POSTS: Final = 20
"""Posts that must have a term."""
PRIOR_POSTS: Final = 100.0
"""How many posts the prior weighs: the strength by which rare terms are drawn to no difference."""
TYPICAL: Final = 5
_CHANGING: Final = re.compile(r"https?://\S+|[@#]\S+|\d+")
_NOT_DIFFERENT_POINTS: Final = 5.0

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term that the posts of now use more (z > 0) or less than those of before."""

    kind: str
    term: str
    n: int
    """Posts that have it, now."""
    n_before: int
    share: float
    """Percent of all posts now, and before."""
    share_before: float
    z: float
    mood: float | None
    """Net mood of the posts that have it, now."""
    mood_without: float | None
    """Net mood of all other posts, now; None where no scored post is left."""

    @property
    def times(self) -> float | None:
        """How many times its share before; None: it is new."""
        return self.share / self.share_before if self.n_before else None


@dataclass(frozen=True, kw_only=True)
class Trait:
    """How the posts are spread over sources or languages: the most frequent value, and whether the spread differs."""

    kind: str
    value: str
    share: float
    share_before: float
    differs: bool


@dataclass(frozen=True, kw_only=True)
class Apart:
    """What sets the posts from `start` to `end` apart from those from `before_start` to `start`."""

    start: datetime
    end: datetime
    before_start: datetime
    before_end: datetime
    n: int
    n_before: int
    mood: float | None
    mood_before: float | None
    times: float | None
    """Posts a minute, as a multiple of before."""
    terms: tuple[Term, ...]
    """By evidence; those with z >= EVIDENCE that at least MIN_POSTS posts have."""
    driver: Term | None
    """Of the terms, the one without which the mood would be nearest to what it was."""
    traits: tuple[Trait, ...]
    newest: Term | None
    """The term that `first` is the first post of: the one with most evidence that was not there before, else driver."""
    first: dict[str, Any] | None
    typical: tuple[dict[str, Any], ...]
    """Rows of posts that have most of the terms, by different authors with different words."""
    sampled: bool
    """Whether posts were chosen at random, there being too many to read."""

    @property
    def headline(self) -> str:
        """The first sentence: the driver's share, before and now."""
        if self.driver is None:
            return "No word, hashtag, name or category sets these posts apart."
        one = self.driver
        before, now = _percent(one.share_before), _percent(one.share)
        return f"{_posts_with(one)} went from {before} to {now} of all posts."

    @property
    def rest(self) -> str:
        """The sentences behind it: mood before and now, mood without the driver, posts against the usual."""
        said = []
        if self.mood is not None and self.mood_before is not None:
            points = self.mood - self.mood_before
            verb = "rose" if points >= 0.5 else "fell"
            moved = f"Mood {verb} from {signed(self.mood_before)} to {signed(self.mood)}"
            if round(self.mood) == round(self.mood_before):
                moved = f"Mood is {signed(self.mood)}, as before"
            without = self.driver.mood_without if self.driver else None
            said.append(moved + (f"; without those posts it would be {signed(without)}" if without is not None else ""))
        much = f", {self.times:.1f}× the usual" if self.times is not None else ""
        said.append(f"{self.n:,} posts in {_long(self.end - self.start)}{much}")
        return ". ".join(said) + "."


def set_apart(
    now: pa.Table,
    before: pa.Table,
    *,
    span: tuple[datetime, datetime],
    before_span: tuple[datetime, datetime],
    counts: tuple[int, int] | None = None,
    first_from: datetime | None = None,
) -> Apart:
    """Compare the posts of a span with those of the time before.

    Both tables have the columns of `read.LISTED`. `counts`: how many posts there are of each, where the tables are
    samples. `first_from`: how far back the first post of a term is looked for (default: the span's start).
    """
    found = contrast(now, before)
    n, n_before = counts or (now.num_rows, before.num_rows)
    minutes, minutes_before = (_minutes(*one) for one in (span, before_span))
    rate_before = n_before / minutes_before if minutes_before else 0.0
    mood, mood_before = _mood(now), _mood(before)
    driver = _driver(found, mood, mood_before)
    newest = next((one for one in found if not one.n_before), driver)
    return Apart(
        start=span[0],
        end=span[1],
        before_start=before_span[0],
        before_end=before_span[1],
        n=n,
        n_before=n_before,
        mood=mood,
        mood_before=mood_before,
        times=n / minutes / rate_before if rate_before and minutes else None,
        terms=tuple(found),
        driver=driver,
        traits=tuple(
            _trait(kind, column, now, before) for kind, column in (("source", "source"), ("language", "lang"))
        ),
        newest=newest,
        first=_first(newest, before, now, first_from or span[0]) if newest else None,
        typical=_typical(now, found),
        sampled=(n, n_before) != (now.num_rows, before.num_rows),
    )


def contrast(
    now: pa.Table, before: pa.Table, kinds: Sequence[str] = KINDS, *, both: bool = False, least: int = MIN_POSTS
) -> list[Term]:
    """The terms of posts that differ, most evidence first: more frequent now, or with `both` also less.

    Of a term that stands there as several kinds (the word and the hashtag) the one with most evidence is taken.
    """
    if not now.num_rows or not before.num_rows:
        return []
    counted = _counted(now, before, kinds)
    y, x = (counted[name].to_numpy().astype(np.float64) for name in ("now", "before"))
    z = log_odds_z(y, x, now.num_rows, before.num_rows)
    scored, balance = _sums(now)
    many = np.maximum(y, x) if both else y
    evident = (np.abs(z) if both else z) >= EVIDENCE
    picked = np.flatnonzero(evident & (many >= least))
    picked = picked[np.lexsort((counted["term"].take(picked).to_numpy(zero_copy_only=False), -np.abs(z[picked])))]
    found: dict[str, Term] = {}
    for place, row in zip(picked, counted.take(picked).to_pylist(), strict=True):
        own = scored - row["scored"]
        term = Term(
            kind=row["kind"],
            term=row["term"],
            n=row["now"],
            n_before=row["before"],
            share=100.0 * row["now"] / now.num_rows,
            share_before=100.0 * row["before"] / before.num_rows,
            z=float(z[place]),
            mood=net(row["balance"], 0, row["scored"]),
            mood_without=net(balance - row["balance"], 0, own),
        )
        found.setdefault(term.term.casefold(), term)
    return list(found.values())


def log_odds_z(y: Floats, x: Floats, n: int, m: int) -> Floats:
    """z-scores of the log-odds ratios of terms that `y` of `n` posts have against `x` of `m`.

    With the prior a = PRIOR_POSTS (y + x) / (n + m) for each term and A = PRIOR_POSTS in all:
    d = log((y + a) / (n + A - y - a)) - log((x + a) / (m + A - x - a)), its variance 1 / (y + a) + 1 / (x + a).
    """
    a = np.maximum(PRIOR_POSTS * (y + x) / (n + m), 1e-9)
    rest, rest_before = (np.maximum(size + PRIOR_POSTS - had - a, 1e-9) for size, had in ((n, y), (m, x)))
    ratio = np.log((y + a) / rest) - np.log((x + a) / rest_before)
    z: Floats = ratio / np.sqrt(1 / (y + a) + 1 / (x + a))
    return z


def terms_of(posts: pa.Table, kinds: Iterable[str] = KINDS) -> pa.Table:
    """(row, kind, term) of every different term of every post, words among them where `kinds` has `word`."""
    wanted = set(kinds)
    owned = windows.post_terms(one_batch([posts], posts.schema))
    owned = owned.filter(pc.is_in(owned["kind"], pa.array(sorted(wanted), pa.string())))
    if "word" not in wanted:
        return owned
    rows, each = words(posts["text"])
    found = pa.table({"row": rows, "kind": pa.repeat("word", len(rows)).cast(pa.string()), "term": each})
    return pa.concat_tables([owned.cast(found.schema), found])


def _counted(now: pa.Table, before: pa.Table, kinds: Sequence[str]) -> pa.Table:
    """kind, term, posts now and before, and of now how many are scored and positive less negative."""
    parts = []
    for posts, current in ((now, True), (before, False)):
        owned = terms_of(posts, kinds)
        scored, balance = (values.take(owned["row"].to_numpy()) for values in _columns(posts))
        parts.append(
            pa.table(
                {
                    "kind": owned["kind"],
                    "term": owned["term"],
                    "now": np.full(owned.num_rows, int(current)),
                    "before": np.full(owned.num_rows, int(not current)),
                    "scored": scored * current,
                    "balance": balance * current,
                }
            )
        )
    names = ("now", "before", "scored", "balance")
    sums = (
        pa.concat_tables(parts).group_by(["kind", "term"], use_threads=False).aggregate([(one, "sum") for one in names])
    )
    return sums.rename_columns(["kind", "term", *names])


def _columns(posts: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of every post whether it is scored (1 or 0), and +1 for a positive, -1 for a negative one."""
    scored = pc.cast(pc.fill_null(posts["scored"], False), pa.int64()).to_numpy()
    positive, negative = (
        pc.cast(pc.fill_null(pc.equal(posts["sentiment"], label), False), pa.int64()).to_numpy()
        for label in ("positive", "negative")
    )
    return scored, positive - negative


def _sums(posts: pa.Table) -> tuple[int, int]:
    scored, balance = _columns(posts)
    return int(scored.sum()), int(balance.sum())


def _mood(posts: pa.Table) -> float | None:
    scored, balance = _sums(posts)
    return net(balance, 0, scored)


def _driver(found: list[Term], mood: float | None, before: float | None) -> Term | None:
    if not found or mood is None or before is None or abs(mood - before) < 1.0:
        return found[0] if found else None

    def pull(term: Term) -> float:
        """By how much the mood moves with the term, in the direction in which it moved."""
        moved = 0.0 if term.mood_without is None else mood - term.mood_without
        return moved if mood > before else -moved

    best = max(found, key=pull)
    return best if pull(best) > 0 else found[0]


def _trait(kind: str, column: str, now: pa.Table, before: pa.Table) -> Trait:
    """The most frequent value of now; the spread differs if any value's share differs with evidence, by some points."""
    tables = [pc.fill_null(one[column], "und") for one in (now, before)]
    counts = [{row["values"]: row["counts"] for row in pc.value_counts(one).to_pylist()} for one in tables]
    if not counts[0]:
        return Trait(kind=kind, value="–", share=0.0, share_before=0.0, differs=False)
    names = sorted(set(counts[0]) | set(counts[1]))
    sizes = [max(1, one.num_rows) for one in (now, before)]
    y, x = (np.array([count.get(name, 0) for name in names], np.float64) for count in counts)
    z = log_odds_z(y, x, *sizes)
    points = 100.0 * np.abs(y / sizes[0] - x / sizes[1])
    differs = bool(np.any((np.abs(z) >= EVIDENCE) & (points >= _NOT_DIFFERENT_POINTS)))
    top = int(np.argmax(np.where(differs, points * (np.abs(z) >= EVIDENCE), y)))
    return Trait(
        kind=kind,
        value=names[top],
        share=float(100.0 * y[top] / sizes[0]),
        share_before=float(100.0 * x[top] / sizes[1]),
        differs=differs,
    )


def _first(term: Term, before: pa.Table, now: pa.Table, since: datetime) -> dict[str, Any] | None:
    """The oldest post from `since` on that has the term."""
    near = before.filter(pc.greater_equal(before["event_time"], pa.scalar(since, before["event_time"].type)))
    posts = pa.concat_tables([near, now]).sort_by([("event_time", "ascending"), ("id", "ascending")])
    owned = terms_of(posts, (term.kind,))
    rows = owned.filter(pc.and_(pc.equal(owned["term"], term.term), pc.equal(owned["kind"], term.kind)))["row"]
    if not len(rows):
        return None
    row: dict[str, Any] = posts.slice(pc.min(rows).as_py(), 1).to_pylist()[0]
    return row


def _typical(now: pa.Table, found: list[Term]) -> tuple[dict[str, Any], ...]:
    """Posts with the most evidence in their terms, each by another author and with another text."""
    if not found:
        return ()
    weights = {(one.kind, one.term): one.z for one in found[:20]}
    owned = terms_of(now, {one.kind for one in found})
    points = np.zeros(now.num_rows)
    for row, kind, term in zip(*(owned[name].to_pylist() for name in ("row", "kind", "term")), strict=True):
        points[row] += weights.get((kind, term), 0.0)
    order = np.lexsort((now["id"].to_numpy(zero_copy_only=False), -points))
    picked: list[dict[str, Any]] = []
    seen: set[object] = set()
    for place in order[:200]:
        if len(picked) == TYPICAL or points[place] <= 0:
            break
        row = now.slice(int(place), 1).to_pylist()[0]
        marks = {("text", _gist(row["text"])), ("author", row["author_id"] or row["id"])}
        if not seen & marks:
            seen |= marks
            picked.append(row)
    return tuple(picked)


def _gist(text: str | None) -> str:
    """A text by its first words, without handles, tags, links and numbers: what slightly changed copies share."""
    return " ".join(_CHANGING.sub(" ", (text or "").casefold()).split()[:5])


def _minutes(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() / 60.0


def _percent(share: float) -> str:
    return f"{share:.0f}%" if share >= 0.95 or not share else f"{share:.1f}%"


def _posts_with(term: Term) -> str:
    match term.kind:
        case "category":
            return f"Complaints of the category “{term.term}”"
        case "hashtag":
            return f"Posts with #{term.term}"
        case "entity":
            return f"Posts that name {term.term}"
        case "domain":
            return f"Posts that link to {term.term}"
        case "word":
            return f"Posts with the word “{term.term}”"
    return f"Posts with {term.term}"


def _long(length: timedelta) -> str:
    minutes = round(length.total_seconds() / 60)
    for unit, name in ((1_440, "day"), (60, "hour")):
        if minutes >= unit and minutes % unit == 0:
            return f"{minutes // unit} {name}{'s' * (minutes != unit)}"
    return f"{minutes} minute{'s' * (minutes != 1)}"
