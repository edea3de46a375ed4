"""`POST /api/v1/explain`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from fastapi import APIRouter, Response

from feltwire.errors import ConfigError, FeltwireError, RetryableError
from feltwire.explain import Explanation
from feltwire.explain import explain as explained
from feltwire.lake.reader import literal
from feltwire.web.api._documents import Explained, ExplainRequest
from feltwire.web.api._params import problems
from feltwire.web.context import Context, Here
from feltwire.web.problems import Problem

router = APIRouter(tags=["explain"])

_AT_ONCE: Final = threading.BoundedSemaphore(2)
_HERE: Final = threading.BoundedSemaphore(8)  # those that wait hold threads, which other requests need too
_WAIT_S: Final = 10.0


@router.post("/explain", response_model=Explained, responses=problems(404, 409), operation_id="explain")
def explain(here: Here, given: ExplainRequest) -> Response:
    """Which words moved a score, and by how much: each is left out, and the post scored again."""
    if (given.text is None) == (given.post_id is None):
        raise Problem(422, "body: expected either `text` or `post_id`")
    text = given.text if given.text is not None else _text_of(here, str(given.post_id))
    with _place(_HERE, 0.0), _place(_AT_ONCE, _WAIT_S):
        found = _explained(here, text, given)
    return Response(msgspec.json.encode(found.to_dict()), media_type="application/json")


@contextmanager
def _place(places: threading.BoundedSemaphore, wait_s: float) -> Iterator[None]:
    """One of the places. Raises Problem where none becomes free in time."""
    if not places.acquire(timeout=wait_s):
        raise Problem(503, "other explanations are under way", retry_after_s=5)
    try:
        yield
    finally:
        places.release()


def _explained(here: Context, text: str, given: ExplainRequest) -> Explanation:
    try:
        return explained(
            text, here.state.model, head=given.head, label=given.label, method=given.method, samples=given.samples,
            seed=given.seed,
        )  # fmt: skip
    except (ConfigError, RetryableError):
        raise
    except FeltwireError as error:
        raise Problem(503, str(error), retry_after_s=10) from error


def _text_of(here: Context, post_id: str) -> str:
    found = here.lake().sql(
        f"select text from posts where id = {literal(post_id)} and text is not null order by revision desc limit 1"
    )
    if not found.num_rows:
        raise Problem(404, "the lake has no post of this id")
    return str(found["text"][0].as_py())[:10_000]
