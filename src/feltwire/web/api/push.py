"""`POST /api/v1/push`: posts for the push source of this process."""

import asyncio
import re
import uuid
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool

from feltwire.sources._inbox import Declined, Inbox, listening, parse_body
from feltwire.web.api._documents import Pushed
from feltwire.web.api._params import Word, problems
from feltwire.web.problems import Problem

router = APIRouter(tags=["push"])

ANSWER_S: Final = 30.0
LARGE: Final = 100_000  # bytes
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


@router.post("/push", response_model=Pushed, responses=problems(409), operation_id="push", openapi_extra=_BODY)
async def push(
    request: Request,
    source: Annotated[Word | None, Query(description="Which push source, where this process reads several.")] = None,
    idempotency_key: Annotated[str | None, Header(max_length=200, description="Makes a repeat harmless.")] = None,
) -> dict[str, Any]:
    """Posts, answered once they are durable. They go the way of the `push:` source that this process reads."""
    inbox = _inbox(source)
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise Problem(400, "Idempotency-Key: expected 1 to 200 letters, digits or signs of ASCII")
    try:
        body = await request.body()
        kind, key = request.headers.get("content-type", ""), idempotency_key or uuid.uuid4().hex
        large = len(body) > LARGE  # reading it would hold up everybody else
        posted = await run_in_threadpool(parse_body, body, kind, key) if large else parse_body(body, kind, key)
        posted.answer = asyncio.get_running_loop().create_future()
        inbox.put(posted)
        refused = await asyncio.wait_for(posted.answer, ANSWER_S)
    except Declined as declined:
        raise Problem(declined.status, declined.detail, retry_after_s=declined.retry_after_s) from declined
    except TimeoutError as error:
        raise Problem(
            503, "not stored in time: send again with the same Idempotency-Key or ids", retry_after_s=5
        ) from error
    listed = [{"index": index, "reason": reason} for index, reason in sorted(refused.items())]
    return {"received": len(posted.objects), "refused": listed}


def _inbox(source: str | None) -> Inbox:
    """The inbox to fill. Raises Problem where it is not clear which, or there is none."""
    known = listening()
    if not known:
        raise Problem(409, "this process reads no push source: start it with --source push:")
    if source is None and len(known) > 1:
        raise Problem(422, f"query.source: this process reads several push sources: {', '.join(sorted(known))}")
    name = next(iter(known)) if source is None else source
    if name not in known:
        raise Problem(422, f"query.source: unknown push source; known are {', '.join(sorted(known))}")
    return known[name]
