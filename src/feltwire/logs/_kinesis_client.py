"""Calls to Kinesis, with its errors as Feltwire's own. What throttles is waited for a little, then told."""

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError

from feltwire.errors import ConfigError, FatalError, LogError

THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "ThrottlingException",
        "KMSThrottlingException",
        "RequestLimitExceeded",
    }
)
_WRONG: Final = frozenset(
    {
        "AccessDeniedException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSNotFoundException",
    }
)
_PASSING: Final = frozenset(
    {"ResourceInUseException", "InternalFailure", "RequestTimeout", "ExpiredTokenException", "RequestExpired"}
)
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 2.0
_OPEN_S: Final = 60.0  # for which a stream may be in the making when the log is opened


class ThrottledError(LogError):
    """More was asked of a shard, or of the account, than it gives now."""


class ExpiredError(Exception):
    """A shard iterator was older than five minutes."""


class NoStreamError(ConfigError):
    """There is no stream of this name."""


class Client:
    """One stream. Threads may call at the same time. Raises ConfigError, LogError and ThrottledError."""

    def __init__(self, stream: str, *, region: str, endpoint_url: str, timeout_s: float) -> None:
        """`stream` is a name or an ARN; region, endpoint and credentials are otherwise found as boto3 does."""
        self.stream = stream
        self._where = {"StreamARN" if stream.startswith("arn:") else "StreamName": stream}
        config = Config(
            connect_timeout=min(3.0, timeout_s),
            read_timeout=timeout_s,
            max_pool_connections=32,
            # One try: what failed is repeated by whoever knows what may have been stored.
            retries={"total_max_attempts": 1},
        )
        try:
            self._client: Any = boto3.client(
                "kinesis", region_name=region or None, endpoint_url=endpoint_url or None, config=config
            )
        except NoRegionError as error:
            raise ConfigError(
                f"log 'kinesis': no region for the stream {stream}: set `region`, or AWS_DEFAULT_REGION"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"log 'kinesis': {error}") from error

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def describe(self) -> Mapping[str, Any]:
        """StreamDescriptionSummary. Raises NoStreamError where there is none."""
        found: Mapping[str, Any] = self._call("describe_stream_summary", "StreamDescriptionSummary", **self._where)[
            "StreamDescriptionSummary"
        ]
        return found

    def awaited(self, *, create: int) -> Mapping[str, Any]:
        """As `describe`, once the stream is there: made with so many shards where it is not, unless `create` is 0.

        Raises NoStreamError where it is not there and is not to be made, LogError where it does not get ready.
        """
        backoff, made = Backoff(_OPEN_S), False
        while True:
            try:
                found = self.describe()
                if found["StreamStatus"] in ("ACTIVE", "UPDATING"):
                    return found
                why = f"it is {found['StreamStatus']}"
            except NoStreamError:
                if not create:
                    raise
                why = "it is being made"
                if not made:
                    self._call("create_stream", None, StreamName=self.stream, ShardCount=create)
                    made = True
                    continue
            except ThrottledError as error:
                why = str(error)
            if not backoff.wait():
                raise LogError(f"the stream {self.stream} is not ready: {why}")

    def shards(self) -> list[Mapping[str, Any]]:
        """Every shard that the stream still lists, closed ones too."""
        found: list[Mapping[str, Any]] = []
        more: dict[str, Any] = dict(self._where)
        while True:
            answer = self._call("list_shards", "Shards", **more)
            found += answer["Shards"]
            if not answer.get("NextToken"):
                return found
            more = {"NextToken": answer["NextToken"]}

    def iterator(self, shard: str, kind: str, **place: Any) -> str:
        """A shard iterator; `kind` and `place` as GetShardIterator names them."""
        given = {"ShardId": shard, "ShardIteratorType": kind, **self._where, **place}
        return str(self._call("get_shard_iterator", "ShardIterator", **given)["ShardIterator"])

    def records(self, iterator: str, limit: int) -> Mapping[str, Any]:
        """The answer of GetRecords. Raises ExpiredError for an old iterator."""
        found: Mapping[str, Any] = self._call("get_records", "Records", ShardIterator=iterator, Limit=limit)
        return found

    def put(self, entries: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
        """The `Records` of PutRecords, one an entry; some may have failed."""
        found: list[Mapping[str, Any]] = self._call("put_records", "Records", Records=entries, **self._where)["Records"]
        return found

    def _call(self, name: str, member: str | None, **given: Any) -> Any:
        """The answer, which has that member. One that was cut off in its head is an empty one to botocore."""
        with self._reaching():
            answer = getattr(self._client, name)(**given)
        if member is not None and member not in answer:
            raise LogError(f"the stream {self.stream} cannot be reached now: its answer to {name} has no {member}")
        return answer

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._told(error) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ConfigError(
                f"log 'kinesis': no credentials for the stream {self.stream}: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role"
            ) from error
        except BotoCoreError as error:
            said = " ".join(str(error).split())
            raise LogError(f"the stream {self.stream} cannot be reached now: {said}") from error

    def _told(self, error: ClientError) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "ExpiredIteratorException":
            return ExpiredError()
        if code in THROTTLED:
            return ThrottledError(f"the stream {self.stream} gives no more now: {code}")
        if code == "ResourceNotFoundException":
            return NoStreamError(
                f"log 'kinesis': there is no stream {self.stream} here: make it, or have it made by `create`"
            )
        if code in _WRONG:
            return ConfigError(f"log 'kinesis': {code} for the stream {self.stream}: check region, keys and policy")
        said = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
        if 400 <= status < 500 and code not in _PASSING:
            return FatalError(f"the stream {self.stream} refuses a call: {code}: {said}")
        return LogError(f"the stream {self.stream} cannot be used now: {code or status}: {said}")


class Backoff:
    """Waits that double, with dice, until `give_up_s` have passed in all."""

    def __init__(self, give_up_s: float) -> None:
        self._left_s = give_up_s
        self._wait_s = FIRST_WAIT_S
        self._event = threading.Event()

    def wait(self) -> bool:
        """Wait once; False, without waiting, when the time is over."""
        if self._left_s <= 0:
            return False
        wait_s = min(self._left_s, self._wait_s * random.uniform(0.5, 1.0))
        self._left_s -= wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self._event.wait(wait_s)
        return True
