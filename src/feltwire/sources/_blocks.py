"""The simulator's records, a block at a time. Block k depends on the world and on k alone, never on a clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.sources import _phrases, _story
from feltwire.sources._people import People, people

BLOCK_ROWS: Final = 1_000
SOURCE: Final = "simulator"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_AIRLINE_SHARE: Final = 0.28  # of all posts on a calm day …
_AIRLINE_RUSH: Final = 0.37  # … and so much more when it is worst
_REPLY, _QUOTE, _REPOST, _EDIT, _WITHDRAWAL, _DUPLICATE, _LATE, _BROKEN, _PLAIN = range(9)
_TALK: Final = (0.12, 0.04, 0.10)  # replies, quotes, reposts
_MESS: Final = (0.20, 0.15, 0.20, 0.25, 0.20)  # of the mess: edits, withdrawals, duplicates, late, broken
_HOUR_US: Final = 3_600_000_000
_REFUSED: Final = (
    ("JSON is cut off", '{"id": "sim-7731", "text": "my bag is st'),
    ("not UTF-8", '{"text": "\\xff\\xfe gate B12 \\xc3"}'),
    ("no text", '{"id": "sim-90210", "author": "quietotter77", "lang": "en"}'),
    ("JSON nested too deeply", '{"text":' + "[" * 2_000),
    ("a JSON array, where an object is expected", '["posted", "from", "a", "toaster"]'),
    ("a text longer than 65536 characters", '{"text": "' + "lost " * 4_000),
)


@dataclass(frozen=True, slots=True)
class World:
    """What the records depend on. `start_us` is the time of the first one, in microseconds since 1970."""

    seed: int
    rate: float
    start_us: int
    story_s: float
    mess: float


@dataclass(frozen=True, slots=True)
class _What:
    """What each row is about. `pool` is the one of sentences that it is taken from."""

    lang: Ints
    mood: Ints
    subject: Ints
    pool: Ints
    by_airline: npt.NDArray[np.bool_]


def block(world: World, number: int) -> pa.RecordBatch:
    """The records number * BLOCK_ROWS and following: one batch of `schema.RECORD`."""
    rng = np.random.default_rng([world.seed, number])
    dice = rng.random((14, BLOCK_ROWS))
    rows = np.arange(BLOCK_ROWS)
    kinds, target = _kinds(dice[5], dice[6], world.mess)
    answers = np.isin(kinds, (_REPLY, _QUOTE))
    dice[:2] = np.where(answers, dice[:2, target], dice[:2])  # in the subject and the language of what they answer
    elapsed_s = (number * BLOCK_ROWS + rows) / world.rate
    phase = (elapsed_s / world.story_s) % 1.0
    what = _what(phase, dice)
    crowd = people()
    author = np.where(what.by_airline, 0, _who(crowd, what.lang, dice[7]))
    created_us = world.start_us + np.round(elapsed_s * 1e6).astype(np.int64)
    created_us = _delayed(created_us, kinds, dice[8], rng)
    likes, reposts, replies = _attention(crowd.followers[author], rng)
    texts = _texts(what, dice)
    gone = np.isin(kinds, (_WITHDRAWAL, _BROKEN))
    copied = np.where(np.isin(kinds, (_EDIT, _DUPLICATE)), target, rows)  # the row that a row repeats
    voiced = np.where(kinds == _REPOST, target, copied)  # the row whose words it has

    def left(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values[copied], kind, mask=gone)

    chosen = left(author, pa.int64())
    columns = {name: values.take(chosen) for name, values in crowd.columns.items()}
    columns["lang"] = _LANGS.take(left(what.lang, pa.int64()))
    columns["created_at"] = left(created_us, schema.TIME)
    columns["likes"], columns["reposts"], columns["replies"] = (left(n, pa.int64()) for n in (likes, reposts, replies))
    columns["text"] = _voiced(texts, pa.array(voiced, mask=gone), kinds, author[target], dice[9])
    columns.update(_ids(world.seed, number * BLOCK_ROWS, kinds, target, copied))
    columns["url"] = _joined(
        "https://simulator.example/posts/", left(number * BLOCK_ROWS + rows, pa.int64()).cast("string")
    )
    faults = pa.array((dice[9] * len(_REFUSED)).astype(np.int64), mask=kinds != _BROKEN)
    columns["refusal"], columns["payload"] = _REASONS.take(faults), _PAYLOADS.take(faults)
    return _complete(columns)


def _ids(seed: int, first: int, kinds: Ints, target: Ints, copied: Ints) -> dict[str, pa.Array]:
    """Who each row is, and what it is about."""
    numbers = pa.array(np.arange(first, first + BLOCK_ROWS)).cast(pa.string())
    own = _joined(f"{SOURCE}:{seed}-", numbers)
    kind = kinds[copied]  # a repeat is what it repeats
    about = target[copied]

    def aims(code: int) -> pa.Array:
        return own.take(pa.array(about, mask=kind != code))

    replies = aims(_REPLY)
    revisions = np.where(kinds == _EDIT, 1, np.where(kinds == _WITHDRAWAL, schema.LAST_REVISION, 0))
    return {
        "kind": _KINDS.take(pa.array(_KIND_OF[kinds])),
        "id": own.take(pa.array(np.where(kinds == _WITHDRAWAL, target, copied))),
        "revision": pa.array(revisions),
        "reply_to_id": replies,
        "conversation_id": replies,
        "quote_of_id": aims(_QUOTE),
        "repost_of_id": aims(_REPOST),
    }


def _voiced(texts: pa.Array, voiced: pa.Array, kinds: Ints, answered: Ints, dice: Floats) -> pa.Array:
    """The texts with whom a reply answers before them, and what an edit adds behind."""
    handles = _handles().take(pa.array(np.where(kinds == _REPLY, answered + 1, 0)))
    spoken = _joined(handles, texts)
    edits = _edits()
    endings = edits.take(pa.array(np.where(kinds == _EDIT, 1 + (dice * (len(edits) - 1)).astype(np.int64), 0)))
    return _joined(spoken.take(voiced), endings)


def _what(phase: Floats, dice: Floats) -> _What:
    """What each row is about, from the story's state and the dice."""
    bad = _story.severity(phase)
    airline_share = _AIRLINE_SHARE + _AIRLINE_RUSH * bad
    is_airline = dice[0] < airline_share
    rest = np.clip((dice[0] - airline_share) / (1 - airline_share), 0, 0.999_999)
    subject = np.where(is_airline, 0, 1 + (rest * (len(_story.SUBJECTS) - 1)).astype(np.int64))
    lang = np.searchsorted(np.cumsum(_story.LANGUAGE_SHARES), dice[1] * 0.999_999, side="right")
    low = np.where(is_airline, 0.14 + 0.70 * bad, 0.24)
    high = np.where(is_airline, 0.48 - 0.45 * bad, 0.44)
    mood = np.where(dice[2] < low, 0, np.where(dice[2] < 1 - high, 1, 2))
    pools = _pools()
    pool = pools.by_mood[lang, subject, mood]
    english = is_airline & (lang == 0)
    progress = np.clip((phase - _story.INCIDENT) / (_story.CALM - _story.INCIDENT), 0, 1)
    category = (dice[3][:, None] > _story.complaint_shares(progress)).sum(axis=1)
    pool = np.where(english & (mood == 0), pools.complaints[np.minimum(category, len(pools.complaints) - 1)], pool)
    pool = np.where(english & (mood == 1) & (dice[4] < bad), pools.news, pool)
    sorry = (phase >= _story.APOLOGY) & (phase < 1) & (bad < 1)
    pool = np.where(english & sorry & (mood == 2) & (dice[4] < 0.6), pools.apology, pool)
    speaks = english & sorry & (dice[3] < 0.01)
    return _What(lang, np.where(speaks, 1, mood), subject, np.where(speaks, pools.statement, pool), speaks)


def _who(crowd: People, lang: Ints, dice: Floats) -> Ints:
    """Authors of the language, the few busy ones far more often."""
    starts = np.array([crowd.starts[name] for name in _phrases.LANGUAGES])
    counts = np.array([crowd.counts[name] for name in _phrases.LANGUAGES])
    author: Ints = starts[lang] + (counts[lang] * dice**2.5).astype(np.int64)
    return author


def _kinds(dice: Floats, aim: Floats, mess: float) -> tuple[Ints, Ints]:
    """(what becomes of each row, the earlier row of this block that it is about, else itself)."""
    rows = np.arange(BLOCK_ROWS)
    bounds = np.cumsum([*_TALK, *(mess * share for share in _MESS)])
    kinds = np.searchsorted(bounds, dice, side="right")
    plain = np.where(kinds == _PLAIN, rows, -1)
    nearest = np.maximum.accumulate(plain)
    target = nearest[(aim * rows).astype(np.int64)]
    needs = kinds < _LATE
    kinds[needs & (target < 0)] = _PLAIN
    changes = np.flatnonzero(np.isin(kinds, (_EDIT, _WITHDRAWAL)))
    once = changes[np.unique(target[changes], return_index=True)[1]]
    kinds[np.setdiff1d(changes, once)] = _PLAIN  # a post is changed once at most
    return kinds, np.where(kinds < _LATE, target, rows)


def _delayed(created_us: Ints, kinds: Ints, dice: Floats, rng: np.random.Generator) -> Ints:
    """Late posts are hours old; of a hundred of them one says 1971, and one tomorrow."""
    late = kinds == _LATE
    hours = np.minimum(rng.lognormal(1.0, 1.0, BLOCK_ROWS), 20.0)
    created_us = np.where(late, created_us - (hours * _HOUR_US).astype(np.int64), created_us)
    created_us = np.where(late & (dice < 0.01), 36_000_000_000_000, created_us)
    return np.where(late & (dice > 0.99), created_us + 30 * _HOUR_US + 20 * _HOUR_US, created_us)


def _texts(what: _What, dice: Floats) -> pa.Array:
    """Opener (English), sentence, emoji, hashtags, link."""
    tables, written = _fragments(), _story.sentences()
    sentence = written.starts[what.pool] + (written.sizes[what.pool] * dice[10]).astype(np.int64)
    parts = []
    for fragments, chosen, roll, share in (
        (tables.openers, what.mood, dice[11], np.where(what.lang == 0, 0.12, 1e-9)),
        (tables.emoji, what.mood, dice[12], np.full(BLOCK_ROWS, 0.30)),
        (tables.hashtags, what.subject, dice[13], np.full(BLOCK_ROWS, 0.28)),
        (tables.links, what.subject, dice[3], np.full(BLOCK_ROWS, 0.08)),
    ):
        sizes = fragments.sizes[chosen]
        pick = fragments.starts[chosen] + 1 + np.minimum((roll / share * sizes).astype(np.int64), sizes - 1)
        parts.append(fragments.texts.take(pa.array(np.where(roll < share, pick, 0))))
    opener, emoji, hashtags, link = parts
    return _joined(opener, written.texts.take(pa.array(sentence)), emoji, hashtags, link)


def _attention(followers: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """(likes, reposts, replies): mostly none, seldom many, more for those whom more people follow."""
    reach = np.log10(followers + 1.0) - 3.0
    likes = np.exp(rng.normal(reach, 1.3)).astype(np.int64)
    shares = rng.random((2, BLOCK_ROWS))
    return likes, (likes * shares[0] * 0.3).astype(np.int64), (likes * shares[1] * 0.2).astype(np.int64)


def _complete(columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    fixed = {"source": pa.scalar(SOURCE), "live": pa.scalar(True)}
    arrays = []
    for field in schema.RECORD:
        if field.name in columns:
            arrays.append(columns[field.name])
        elif field.name in fixed:
            arrays.append(pa.repeat(fixed[field.name], BLOCK_ROWS))
        else:
            arrays.append(pa.nulls(BLOCK_ROWS, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.RECORD)


@dataclass(frozen=True, slots=True)
class _Table:
    """Fragments of several kinds in one array; number 0 is nothing, a kind's are starts[kind] + 1 to + sizes[kind]."""

    texts: pa.Array
    starts: Ints
    sizes: Ints


@dataclass(frozen=True, slots=True)
class _Fragments:
    openers: _Table
    emoji: _Table
    hashtags: _Table
    links: _Table


@dataclass(frozen=True, slots=True)
class _Pools:
    by_mood: Ints  # [language, subject, mood]
    complaints: Ints
    news: int
    apology: int
    statement: int


def _table(kinds: list[tuple[str, ...]]) -> _Table:
    sizes = np.array([len(fragments) for fragments in kinds], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return _Table(pa.array(["", *(text for kind in kinds for text in kind)]), starts, sizes)


@lru_cache(maxsize=1)
def _fragments() -> _Fragments:
    sections = _phrases.words("en").sections
    links = [tuple(f" https://{name}.example/p/{n:x}" for n in range(101, 4_101, 37)) for name in _story.SUBJECTS]
    return _Fragments(
        _table([tuple(f"{text} " for text in sections[f"opener {mood}"]) for mood in _story.MOODS]),
        _table([tuple(f" {text}" for text in sections[f"emoji {mood}"]) for mood in _story.MOODS]),
        _table([tuple(f" {text}" for text in sections[f"hashtags {name}"]) for name in _story.SUBJECTS]),
        _table(links),
    )


@lru_cache(maxsize=1)
def _pools() -> _Pools:
    pools = _story.sentences().pools
    by_mood = np.zeros((len(_phrases.LANGUAGES), len(_story.SUBJECTS), len(_story.MOODS)), dtype=np.int64)
    for a, lang in enumerate(_phrases.LANGUAGES):
        for b, subject in enumerate(_story.SUBJECTS):
            for c, mood in enumerate(_story.MOODS):
                known = (lang, subject, mood) if lang == "en" or subject == "airline" else (lang, "other", mood)
                by_mood[a, b, c] = pools.get(known, 0)
    complaints = np.array([pools["en", "airline", category] for category in _story.COMPLAINT_SHARES])
    rest = (pools["en", "airline", name] for name in ("news", "apology", "statement"))
    return _Pools(by_mood, complaints, *rest)


@lru_cache(maxsize=1)
def _handles() -> pa.Array:
    """Nothing, and then for each author the @handle that a reply to them begins with."""
    return pa.array(["", *(f"@{handle} " for handle in people().columns["author_handle"].to_pylist())])


@lru_cache(maxsize=1)
def _edits() -> pa.Array:
    """Nothing, and then what an edit adds to a text."""
    return pa.array(["", *(f" {text}" for text in _phrases.words("en").sections["edit"])])


def _joined(*parts: pa.Array | str) -> pa.Array:
    """Texts put together row by row; null where a part is."""
    return pc.binary_join_element_wise(*parts, "")


_KINDS: Final = pa.array([schema.POST, schema.EDIT, schema.WITHDRAWAL, schema.REFUSAL])
_KIND_OF: Final = np.array([0, 0, 0, 1, 2, 0, 0, 3, 0])  # by what becomes of a row
_LANGS: Final = pa.array(list(_phrases.LANGUAGES))
_REASONS: Final = pa.array([reason for reason, _ in _REFUSED])
_PAYLOADS: Final = pa.array([payload for _, payload in _REFUSED])
