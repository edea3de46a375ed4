"""`POST /api/v1/score`."""

from fastapi import APIRouter, Response

from feltwire.errors import ConfigError, ModelAwayError, ModelError
from feltwire.web.api._documents import ScoreAnswer, ScoreRequest
from feltwire.web.api._params import problems
from feltwire.web.batcher import FullError
from feltwire.web.context import Here
from feltwire.web.problems import Problem

router = APIRouter(tags=["score"])


@router.post("/score", response_model=ScoreAnswer, responses=problems(409), operation_id="score")
async def score(here: Here, given: ScoreRequest) -> Response:
    """What the pipeline's model says of texts: the numbers that the stream gives. No texts: what the model is."""
    if len(given.texts) > here.state.max_texts:
        raise Problem(413, f"{len(given.texts)} texts came; at most {here.state.max_texts} are taken in a request")
    try:
        answer = await here.batcher.score(given.texts)
    except FullError as error:
        raise Problem(429, str(error), retry_after_s=1) from error
    except ModelAwayError as error:
        raise Problem(503, str(error), retry_after_s=2) from error
    except ConfigError as error:
        raise Problem(409, str(error)) from error
    except ModelError as error:
        raise Problem(503, str(error), retry_after_s=10) from error
    return Response(answer, media_type="application/json")
