"""`comprehend:`: the sentiment of AWS Comprehend, four scores a text, by boto3 (the extra `aws`).

`BatchDetectSentiment` with 25 texts a call, or `DetectSentiment` where `batch` is 1:
docs.aws.amazon.com/comprehend/latest/APIReference.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ReadTimeoutError,
)
from pydantic import Field, field_validator

from feltwire.columns import TRUNCATED
from feltwire.errors import ConfigError
from feltwire.interfaces import Predictions
from feltwire.models._answers import About, predictions, to_p
from feltwire.models._limits import LimitOptions, Limits
from feltwire.models._remote import AGAIN, AwayError, Caller, Refusal, RefusingError, Row
from feltwire.schema import SENTIMENTS
from feltwire.text import profiles

LANGUAGES: Final = ("ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "pt", "zh", "zh-TW")
MAX_BYTES: Final = 5_000  # of a text in UTF-8; what is longer is cut
UNIT_CHARS: Final = 100  # a unit of what is billed …
MIN_UNITS: Final = 3  # … of which a text costs so many at least
_SCORES: Final = tuple(label.capitalize() for label in SENTIMENTS)
_BLANK: Final = {"sentiment": [0.0, 1.0, 0.0, 0.0]}  # the service refuses a text without words: it is neutral

# Error codes that are about a text. All others are about who asks, or pass by themselves.
_OF_TEXT: Final = frozenset(
    {"InvalidRequestException", "TextSizeLimitExceededException", "ValidationException", "SerializationException"}
)


class Options(LimitOptions):
    """Which service is called, and how much at a time. Credentials come from where boto3 takes them."""

    region: str = Field(default="", description="the AWS region; without: as boto3 finds it")
    endpoint: str = Field(default="", description="another address of the service: a VPC endpoint, a test server")
    language: Literal["ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "pt", "zh", "zh-TW"] = Field(
        default="en", description="the language that all texts are said to be in"
    )
    batch: int = Field(default=25, ge=1, le=25, description="texts in a call")
    cost_per_1000: float = Field(
        default=0.1, ge=0, description="what 1,000 units of 100 characters cost, 3 units a text at least"
    )
    timeout: float = Field(default=10.0, gt=0, le=600, description="seconds that a call may take")
    patience: float = Field(default=5.0, gt=0, le=3600, description="seconds until an engine is told that it waits")
    profile: str = Field(default="plain", description="the cleaning profile that texts go through before")

    @field_validator("profile")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in profiles():
            raise ValueError(f"unknown cleaning profile; known are {', '.join(profiles())}")
        return value


class ComprehendModel:
    """Implements `interfaces.Model`: one head, `sentiment`, with `mixed` as its fourth label."""

    name: str = "comprehend@2017-11-27"
    heads: Mapping[str, tuple[str, ...]] = {"sentiment": SENTIMENTS}

    def __init__(self, client: Any, options: Options) -> None:
        self.profile = options.profile
        self.languages: frozenset[str] | None = frozenset({options.language.partition("-")[0]})
        self._client = client
        self._options = options
        self._about = About(self.name, self.languages, self.heads)
        self._threads = ThreadPoolExecutor(options.concurrency, thread_name_prefix="comprehend")
        self._caller = Caller(
            self._call,
            Limits(str(client.meta.endpoint_url), options),
            who="AWS Comprehend",
            batch=options.batch,
            concurrency=options.concurrency,
            patience_s=options.patience,
            price=self._price,
        )

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Raises ModelAwayError while the service does not answer, RefusedError for texts that it refuses."""
        cut = [_cut(text) for text in texts]
        answered = iter(self._caller.answer([text for text in cut if text.strip()]))
        rows: list[Row | Refusal] = [
            _with_cut(next(answered), text, whole) if text.strip() else _BLANK
            for text, whole in zip(cut, texts, strict=True)
        ]
        return predictions(self._about, rows)

    def close(self) -> None:
        """End its threads and its connections."""
        self._caller.close()
        self._threads.shutdown()
        self._client.close()

    def _price(self, texts: Sequence[str]) -> float:
        units = sum(max(MIN_UNITS, -(-len(text) // UNIT_CHARS)) for text in texts)
        return units * self._options.cost_per_1000 / 1000

    async def _call(self, texts: Sequence[str]) -> list[Row | Refusal]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, list(texts))

    def _ask(self, texts: list[str]) -> list[Row | Refusal]:
        """One call, in a thread. Raises AwayError or RefusingError."""
        language = self._options.language
        try:
            if self._options.batch == 1:
                return [_row(self._client.detect_sentiment(Text=texts[0], LanguageCode=language))]
            answer = self._client.batch_detect_sentiment(TextList=texts, LanguageCode=language)
        except ClientError as error:
            raise _told(error) from error
        except (EndpointConnectionError, ConnectTimeoutError, NoCredentialsError) as error:
            raise AwayError(f"cannot be called: {type(error).__name__}", sent=False) from error
        except BotoCoreError as error:
            fault = isinstance(error, ReadTimeoutError)
            raise AwayError(f"the call broke: {type(error).__name__}", fault=fault) from error
        rows: dict[int, Row | Refusal] = {one["Index"]: _row(one) for one in answer.get("ResultList", ())}
        rows |= {one["Index"]: _item_error(str(one.get("ErrorCode"))) for one in answer.get("ErrorList", ())}
        return [rows.get(i, AGAIN) for i in range(len(texts))]


def create(rest: str, options: Options) -> ComprehendModel:
    """`comprehend:?region=REGION`; nothing is called yet. Raises ConfigError."""
    if rest:
        raise ConfigError(f"model 'comprehend:{rest}': comprehend: takes only options: comprehend:?region=eu-west-1")
    config = Config(
        # Once: the calls are counted, and repeated, by `Caller`.
        retries={"total_max_attempts": 1},
        connect_timeout=options.timeout,
        read_timeout=options.timeout,
        max_pool_connections=options.concurrency,
    )
    try:
        client = boto3.client(
            "comprehend", region_name=options.region or None, endpoint_url=options.endpoint or None, config=config
        )
    except NoRegionError as error:
        raise ConfigError("model 'comprehend:': no region: comprehend:?region=eu-west-1, or AWS_REGION") from error
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"model 'comprehend:': {error}") from error
    return ComprehendModel(client, options)


def _cut(text: str) -> str:
    """The text, as much of it as the service takes."""
    data = text.encode("utf-8", "replace")
    return data[:MAX_BYTES].decode("utf-8", "ignore") if len(data) > MAX_BYTES else text


def _with_cut(row: Row | Refusal, text: str, whole: str) -> Row | Refusal:
    return {**row, TRUNCATED: True} if text != whole and not isinstance(row, Refusal) else row


def _row(given: Mapping[str, Any]) -> Row | Refusal:
    if "SentimentScore" not in given:  # it was cut off: to botocore an answer without anything
        return AGAIN
    scores = given["SentimentScore"]
    return {"sentiment": [to_p(scores.get(name)) for name in _SCORES]}


def _item_error(code: str) -> Refusal:
    """What is said of one text of a call: the service's own trouble passes, the text's does not."""
    return AGAIN if code.upper().startswith("INTERNAL") else Refusal(f"refused it: {code}")


def _told(error: ClientError) -> Exception:
    """What the service's error means."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    about = error.response.get("ResponseMetadata", {})
    status = int(about.get("HTTPStatusCode", 0))
    throttled = status == 429 or "Throttl" in code or code == "TooManyRequestsException"
    if throttled or status >= 500:
        after = str(about.get("HTTPHeaders", {}).get("retry-after", ""))
        fault = not throttled and status != 503
        return AwayError(code or f"HTTP {status}", retry_after_s=float(after) if after.isdigit() else None, fault=fault)
    return RefusingError(code or f"HTTP {status}", of_text=code in _OF_TEXT)
