"""Which posts are asked for: as a predicate over the lake, and as a mask over a batch that has just arrived."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Depends, Query

from feltwire import tracks
from feltwire.errors import ConfigError
from feltwire.lake.reader import literal
from feltwire.mood import View, predicate
from feltwire.schema import ALL_TRACKS
from feltwire.web.api._params import From, Langs, Sources, To, Track, Word, span

Mask = npt.NDArray[np.bool_]

_EARLIEST: Final = datetime(1678, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2261, 1, 1, tzinfo=UTC)
_EVERY_S: Final = 86_400 * 36_500  # no windows are asked for


@dataclass(frozen=True)
class Filter:
    """What posts have to be; everything has to hold. Equal filters give equal answers."""

    track: str | None
    sources: tuple[str, ...]
    langs: tuple[str, ...]
    terms: tuple[tuple[str, str], ...]
    """(kind, term) pairs, of `mood.view.FILTER_KINDS`."""
    query: str | None
    since: datetime | None = None
    until: datetime | None = None

    def sql(self) -> str:
        """As a predicate over `posts`."""
        view = View(
            start=self.since or _EARLIEST,
            end=self.until or _LATEST,
            every_s=_EVERY_S,
            tracks=() if self.track is None else (self.track,),
            sources=self.sources,
            langs=self.langs,
            filters=dict(self.terms),
            query=self.query or "",
        )
        exact = f" and event_time >= {literal(self.since)}" if self.since else ""
        exact += f" and event_time < {literal(self.until)}" if self.until else ""
        return f"({predicate.of_posts(view)}){exact}"

    def mask(self, posts: pa.RecordBatch) -> Mask:
        """bool[rows] of a batch of `schema.POSTS`."""
        found: Mask = np.ones(posts.num_rows, np.bool_)
        for one in self._masks(posts):
            found &= one
        return found

    def _masks(self, posts: pa.RecordBatch) -> Iterator[Mask]:
        if self.track not in (None, ALL_TRACKS):
            yield _listed(posts["tracks"], str(self.track))
        if self.sources:
            yield _mask(pc.is_in(posts["source"], pa.array(self.sources, pa.string())))
        if self.langs:
            yield _mask(pc.is_in(pc.fill_null(posts["lang"], "und"), pa.array(self.langs, pa.string())))
        for kind, term in self.terms:
            yield _has(posts, kind, term)
        if self.query:
            named = [tracks.Track("q", query) for query in _queries(self.query)]
            for track in named:
                yield _mask(pc.greater(pc.list_value_length(tracks.match(posts, [track])), 0))


def _queries(query: str) -> list[str]:
    """The query, or, where it cannot be read, its words: each has to be there."""
    try:
        tracks.parse(query)
    except ConfigError:
        words = [word for word in query.replace('"', " ").replace("\\", " ").split() if any(map(str.isalnum, word))]
        return [f'"{word}"' for word in words[:50]]
    return [query]


def _mask(array: pa.BooleanArray) -> Mask:
    mask: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask


def _has(posts: pa.RecordBatch, kind: str, term: str) -> Mask:
    match kind:
        case "hashtag":
            return _listed(posts["hashtags"], term)
        case "emoji_used":
            return _listed(posts["emoji_used"], term)
        case "emoji":
            return _listed(posts["emoji"], term, "emoji")
        case "entity":
            return _listed(posts["entities"], term, "text")
        case "complaint":
            return _mask(pc.equal(pc.fill_null(posts["complaint"], False), term == "true"))
    return _mask(pc.equal(posts[kind], term))


def _listed(column: pa.ListArray, wanted: str, field: str | None = None) -> Mask:
    found: Mask = np.zeros(len(column), np.bool_)
    elements = pc.list_flatten(column)
    if field is not None:
        elements = pc.struct_field(elements, field)
    hits = _mask(pc.equal(elements, wanted))
    found[pc.list_parent_indices(column).to_numpy()[hits]] = True
    return found


_Label = Annotated[Word | None, Query()]


async def label_filter(  # noqa: PLR0917 - the parameters of a query
    track: Track = None,
    source: Sources = None,
    lang: Langs = None,
    sentiment: Annotated[Literal["negative", "neutral", "positive", "mixed"] | None, Query()] = None,
    emotion: _Label = None,
    irony: _Label = None,
    offensive: _Label = None,
    hate: _Label = None,
    complaint: Annotated[Literal["true", "false"] | None, Query(description="Only (no) complaints.")] = None,
    category: _Label = None,
    hashtag: Annotated[Word | None, Query(description="Without #, in lower case.")] = None,
    entity: _Label = None,
    emoji: Annotated[Word | None, Query(description="Among the five that the model gives.")] = None,
    emoji_used: Annotated[Word | None, Query(description="Written in the post.")] = None,
    q: Annotated[
        str | None,
        Query(max_length=1_000, pattern=r"^[^\x00]*$", description="A search in the query language (docs/tracks.md)."),
    ] = None,
) -> Filter:
    """The filters that posts and the stream have in common."""
    terms = {
        "sentiment": sentiment, "emotion": emotion, "irony": irony, "offensive": offensive, "hate": hate,
        "complaint": complaint, "category": category, "hashtag": hashtag, "entity": entity, "emoji": emoji,
        "emoji_used": emoji_used,
    }  # fmt: skip
    chosen = tuple((kind, str(term)) for kind, term in terms.items() if term is not None)
    return Filter(track, tuple(source or ()), tuple(lang or ()), chosen, q.strip() if q else None)


Labels = Annotated[Filter, Depends(label_filter)]


async def timed(
    labels: Labels,
    since: From = None,
    until: To = None,
    domain: Annotated[Word | None, Query(description="That link to this domain.")] = None,
    word: Annotated[
        Word | None, Query(description="That have this word, as the kind `word` of terms counts it.")
    ] = None,
) -> Filter:
    """The filters of stored posts."""
    start, end = span(since, until)
    more = tuple((kind, term) for kind, term in (("domain", domain), ("word", word)) if term is not None)
    return Filter(labels.track, labels.sources, labels.langs, (*labels.terms, *more), labels.query, start, end)


Filters = Annotated[Filter, Depends(timed)]
