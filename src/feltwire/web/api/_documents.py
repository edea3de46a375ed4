"""The shapes of requests and answers, for checking and for the OpenAPI document. Times are ISO 8601 in UTC."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from feltwire.schema import POSTS


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half a surrogate pair") from error
    return text


Text = Annotated[str, AfterValidator(_whole)]
Line = Annotated[
    str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$"), AfterValidator(_whole)
]
"""One line of text."""


class _Given(BaseModel):
    """What a client sends: nothing that is not known, and every value of its own type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    at: str
    message: str


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = None


class ScoreRequest(_Given):
    """Texts to score; none asks what the model is."""

    texts: list[str] = Field(max_length=100_000, description="At most as many as `serve.max_texts` allows.")


class Member(BaseModel):
    """One of several models that a model is made of."""

    name: str
    heads: list[str]


class ScoreAnswer(BaseModel):
    """What a model is, and what it says of each text; see docs/remote.md."""

    model: str
    languages: list[str] | None
    heads: dict[str, list[str]]
    spans: list[str]
    neutral_band: list[float] | None = None
    floors: dict[str, float] | None = None
    members: list[Member] | None = None
    scores: list[dict[str, Any]]


class Entity(BaseModel):
    """A name in a post."""

    text: str | None
    label: str | None
    start: int | None
    end: int | None
    p: float | None


class Emoji(BaseModel):
    """An emoji that the model gives."""

    emoji: str | None
    p: float | None


HIDDEN_COLUMNS = frozenset({"raw", "day"})
SHOWN_COLUMNS = tuple(name for name in POSTS.names if name not in HIDDEN_COLUMNS)
"""The columns of a post that are given out."""


class Post(BaseModel):
    """A post with its scores; the columns are those of the table `posts` (docs/lake.md), without `raw` and `day`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra=lambda schema: schema.update(required=list(SHOWN_COLUMNS))
    )

    id: str
    revision: int | None = None
    log_partition: int
    log_offset: int
    event_time: str
    source: str | None = None
    author_id: str | None = None
    author_handle: str | None = None
    author_name: str | None = None
    author_verified: bool | None = None
    author_location: str | None = None
    text: str | None = None
    lang: str | None = None
    created_at: str | None = None
    ingested_at: str | None = None
    conversation_id: str | None = None
    reply_to_id: str | None = None
    quote_of_id: str | None = None
    repost_of_id: str | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    url: str | None = None
    hashtags: list[str] | None = None
    mentions: list[str] | None = None
    links: list[str] | None = None
    emoji_used: list[str] | None = None
    tracks: list[str] | None = None
    redated: bool | None = None
    scored: bool | None = None
    truncated: bool | None = None
    sentiment: str | None = None
    p_negative: float | None = None
    p_neutral: float | None = None
    p_positive: float | None = None
    p_mixed: float | None = None
    confidence: float | None = None
    emoji: list[Emoji] | None = None
    emotion: str | None = None
    p_emotion: float | None = None
    irony: str | None = None
    p_irony: float | None = None
    offensive: str | None = None
    p_offensive: float | None = None
    hate: str | None = None
    p_hate: float | None = None
    complaint: bool | None = None
    p_complaint: float | None = None
    category: str | None = None
    reason: str | None = None
    urgency: str | None = None
    topic: str | None = None
    entities: list[Entity] | None = None
    model: str | None = None


class Posts(BaseModel):
    """A page of posts, newest first. `next` is the cursor of the page behind it; null: there is none."""

    posts: list[Post]
    next: str | None


class Window(BaseModel):
    """The mood of one track in one window. Shares are of the scored posts; `net` is positive less negative."""

    model_config = ConfigDict(extra="forbid")

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


class Windows(BaseModel):
    """Windows, oldest first. `cut`: there are earlier ones that the limit left out."""

    every: str
    windows: list[Window]
    cut: bool


class TermRow(BaseModel):
    """What people use, how often, and in what mood; `net` is (n_positive - n_negative) / n."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    term: str
    n: int
    n_negative: int
    n_positive: int
    net: float


class Terms(BaseModel):
    """The most used first, kind by kind. `counted`: words were counted in so many posts, the newest of the span."""

    terms: list[TermRow]
    counted: int | None


class ExplainRequest(_Given):
    """A text, or the id of a stored post: which words moved its score."""

    text: Text | None = Field(default=None, max_length=10_000)
    post_id: Line | None = None
    head: Line = "sentiment"
    label: Line | None = Field(default=None, description="Which probability; without it the largest.")
    method: Literal["auto", "exact", "sampled", "attention"] = "auto"
    samples: int | None = Field(default=None, ge=4, le=200, multiple_of=2)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class ExplainedWord(BaseModel):
    """A part of the text, and by how much it moved the probability."""

    text: str
    start: int | None
    end: int | None
    value: float
    error: float | None


class Explained(BaseModel):
    """Which words moved one probability; see docs/explain.md."""

    text: str
    model: str
    head: str
    label: str
    p: float
    p_without: float
    method: str
    words: list[ExplainedWord]
    evaluations: int
    seed: int | None
    unexplained: float


class TrackDocument(BaseModel):
    """A track. `configured`: it stands in the settings; otherwise it was added while running."""

    name: str
    query: str
    configured: bool


class Tracks(BaseModel):
    """What is listened for; none: every post is kept."""

    tracks: list[TrackDocument]


class NewTrack(_Given):
    """A track to add."""

    name: Line = Field(max_length=100)
    query: Text = Field(min_length=1, max_length=4_096)


class NewCorrection(_Given):
    """A person's label for a post."""

    post_id: Line
    field: Literal["sentiment", "emotion", "irony", "offensive", "hate", "complaint", "category", "reason"]
    value: Line = Field(max_length=100)
    by: Line = Field(default="api", max_length=100, description="Who says so.")


class Correction(BaseModel):
    """A correction as it is stored."""

    post_id: str
    field: str
    value: str
    by: str
    at: str


class Corrections(BaseModel):
    """Corrections, newest first. `next` is the cursor of the page behind it."""

    corrections: list[Correction]
    next: str | None


class Refused(BaseModel):
    """One post of a request that is kept as a dead letter."""

    index: int
    reason: str


class Pushed(BaseModel):
    """What became of posts that were sent: all are in the log."""

    received: int
    refused: list[Refused]


class Versions(BaseModel):
    """What runs."""

    feltwire: str
    python: str
    deltalake: str
    pyarrow: str


class Engine(BaseModel):
    """The engine of this process."""

    received: int
    duplicates: int
    processed: int
    kept: int
    posts_per_s: float
    batch_s: float
    waiting: str


class LedgerSums(BaseModel):
    """received = kept + duplicate + filtered + dead; `difference` is what is missing to that."""

    sources: list[dict[str, int | str]]
    total: dict[str, int]
    difference: int
    balances: bool


class FollowerDocument(BaseModel):
    """A follower of this process."""

    name: str
    position: dict[str, int]
    lag: int
    alive: bool
    posts: int
    error: str | None


class DeadLetters(BaseModel):
    """So many for one reason, and when the last came."""

    source: str | None
    reason: str
    n: int
    last: str


class ModelDocument(BaseModel):
    """What scores: its URI, and its name and version once it has been loaded or has scored a post."""

    uri: str
    name: str | None


class TableSize(BaseModel):
    """The current version of a table."""

    rows: int
    files: int
    bytes: int
    version: int


class Status(BaseModel):
    """How everything is."""

    pipeline: str
    ok: bool
    trouble: str | None
    lag: int | None
    engine: Engine | None
    ledger: LedgerSums
    sources: list[str]
    dead_letters: list[DeadLetters]
    followers: list[FollowerDocument]
    model: ModelDocument
    positions: dict[str, dict[str, int]]
    tables: dict[str, TableSize]
    bytes: int
    versions: Versions
