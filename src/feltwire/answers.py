"""What the API answers with, as `feltwire.client` gives it: dictionaries with typed keys.

The server's own shapes, in `web/api/_documents.py`, are checked against these by a test.
"""

from typing import Any, TypedDict


class Scored(TypedDict):
    """What a model is, and what it says of each text: docs/remote.md has the entries of `scores`."""

    model: str
    languages: list[str] | None
    heads: dict[str, list[str]]
    spans: list[str]
    scores: list[dict[str, Any]]


class Entity(TypedDict):
    """A name in a post."""

    text: str | None
    label: str | None
    start: int | None
    end: int | None
    p: float | None


class Emoji(TypedDict):
    """An emoji that the model gives."""

    emoji: str | None
    p: float | None


class Post(TypedDict):
    """A post with its scores; times are ISO 8601 in UTC."""

    id: str
    revision: int | None
    log_partition: int
    log_offset: int
    event_time: str
    source: str | None
    author_id: str | None
    author_handle: str | None
    author_name: str | None
    author_verified: bool | None
    author_location: str | None
    text: str | None
    lang: str | None
    created_at: str | None
    ingested_at: str | None
    conversation_id: str | None
    reply_to_id: str | None
    quote_of_id: str | None
    repost_of_id: str | None
    likes: int | None
    reposts: int | None
    replies: int | None
    url: str | None
    hashtags: list[str] | None
    mentions: list[str] | None
    links: list[str] | None
    emoji_used: list[str] | None
    tracks: list[str] | None
    redated: bool | None
    scored: bool | None
    truncated: bool | None
    sentiment: str | None
    p_negative: float | None
    p_neutral: float | None
    p_positive: float | None
    p_mixed: float | None
    confidence: float | None
    emoji: list[Emoji] | None
    emotion: str | None
    p_emotion: float | None
    irony: str | None
    p_irony: float | None
    offensive: str | None
    p_offensive: float | None
    hate: str | None
    p_hate: float | None
    complaint: bool | None
    p_complaint: float | None
    category: str | None
    reason: str | None
    urgency: str | None
    topic: str | None
    entities: list[Entity] | None
    model: str | None


class Window(TypedDict):
    """The mood of one track in one window; shares are of the scored posts, `net` is positive less negative."""

    window: str
    track: str
    n: int
    n_scored: int
    n_negative: int
    n_neutral: int
    n_positive: int
    n_mixed: int
    share_negative: float
    share_neutral: float
    share_positive: float
    share_mixed: float
    avg_negative: float
    avg_neutral: float
    avg_positive: float
    avg_mixed: float
    net: float


class Term(TypedDict):
    """What people use; `net` is (n_positive - n_negative) / n."""

    kind: str
    term: str
    n: int
    n_negative: int
    n_positive: int
    net: float


class Word(TypedDict):
    """A part of a text, and by how much it moved the probability."""

    text: str
    start: int | None
    end: int | None
    value: float
    error: float | None


class Explanation(TypedDict):
    """Which words moved one probability."""

    text: str
    model: str
    head: str
    label: str
    p: float
    p_without: float
    method: str
    words: list[Word]
    evaluations: int
    seed: int | None
    unexplained: float


class TrackInfo(TypedDict):
    """A track; `configured`: it stands in the settings."""

    name: str
    query: str
    configured: bool


class Correction(TypedDict):
    """A person's label for a post."""

    post_id: str
    field: str
    value: str
    by: str
    at: str


class Refused(TypedDict):
    """One of the posts that were pushed, and why it is kept as a dead letter."""

    index: int
    reason: str


class Pushed(TypedDict):
    """What became of posts that were pushed."""

    received: int
    refused: list[Refused]


class Event(TypedDict):
    """Something that arrived: `event` is `post`, `withdrawn` or `window`, `id` where a stream goes on behind it."""

    event: str
    id: str
    data: dict[str, Any]
