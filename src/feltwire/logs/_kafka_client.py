"""The cluster of a Kafka log: how it is reached, its topics, and where their partitions begin and end."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]
from pydantic import Field, SecretStr

from feltwire import configfile
from feltwire.errors import ConfigError, FatalError, LogError
from feltwire.interfaces import Position
from feltwire.logs._options import Options as CommonOptions

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0  # for which an answer of the cluster is waited for
_VISIBLE_S: Final = 5.0  # for which a committed transaction is waited for until readers see it
_LOOK_S: Final = 5.0  # between two looks whether the topic is still the same, and how many partitions it has
_FRESH_S: Final = 0.05  # an end that is no older is not asked for again

_URL_SAFE: Final = str.maketrans("+/", "-_")  # as Kafka's own tools write a UUID

_CHANGE: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


class Options(CommonOptions):
    """Options of the log `kafka`."""

    partitions: int = Field(1, ge=1, le=1024, description="Partitions of the topic, where it is made here.")
    create: bool = Field(True, description="Whether topics that are not there are made.")
    retention_h: float = Field(168, ge=0, description="Hours for which a topic that is made here keeps its records.")
    replication: int | None = Field(None, ge=1, description="Copies of a topic made here. Unset: as the broker says.")
    compression: Literal["zstd", "lz4", "snappy", "gzip", "none"] = Field("zstd", description="Of what is sent.")
    decoder: Literal["post", "text", "connect-twitter"] | None = Field(
        None, description="How to read a topic that others fill. Unset: the topic is Feltwire's own."
    )
    source: str | None = Field(None, description="With `decoder`: the network that the posts are of.")
    transactional_id: str = Field("feltwire", description="The first part of the producers' transactional ids.")
    group: str = Field("feltwire", description="The first part of the workers' group ids.")
    session_s: float = Field(
        10, ge=1, le=300, description="Seconds without a sign of life until a worker's partitions go to others."
    )
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="How the brokers are spoken to."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", description="With SASL.")
    username: str | None = Field(None, description="With SASL: who asks.")
    password: SecretStr | None = Field(None, description="With SASL. Write ${NAME}, and keep it out of the file.")
    password_file: Path | None = Field(None, description="A file that holds it (mode 600).")
    ssl_ca: Path | None = Field(None, description="With SSL: the certificates to trust. Unset: the system's.")
    ssl_certificate: Path | None = Field(None, description="With SSL: our own certificate, where brokers ask for one.")
    ssl_key: Path | None = Field(None, description="With SSL: our certificate's key.")
    ssl_key_password: SecretStr | None = Field(None, description="With SSL: what the key is locked with.")


def client_config(brokers: str, options: Options) -> dict[str, Any]:
    """What every client of the cluster is configured with. Raises ConfigError for settings that contradict."""
    sasl = options.security_protocol.startswith("sasl")
    if sasl and not (options.username and (options.password or options.password_file)):
        raise ConfigError(
            f"log 'kafka': security_protocol = {options.security_protocol!r} needs username, and password or "
            "password_file"
        )
    if options.password and options.password_file:
        raise ConfigError("log 'kafka': password and password_file exclude each other")
    password = options.password.get_secret_value() if options.password else None
    if options.password_file:
        password = configfile.read_secret(options.password_file, "log.password_file").strip()
    key_password = options.ssl_key_password.get_secret_value() if options.ssl_key_password else None
    chosen = {
        "bootstrap.servers": brokers,
        "client.id": "feltwire",
        "security.protocol": options.security_protocol,
        "sasl.mechanism": options.sasl_mechanism if sasl else None,
        "sasl.username": options.username if sasl else None,
        "sasl.password": password if sasl else None,
        "ssl.ca.location": options.ssl_ca and str(options.ssl_ca),
        "ssl.certificate.location": options.ssl_certificate and str(options.ssl_certificate),
        "ssl.key.location": options.ssl_key and str(options.ssl_key),
        "ssl.key.password": key_password,
        "log.connection.close": False,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.refresh.interval.ms": 10_000,
    }
    return {name: value for name, value in chosen.items() if value is not None}


class Cluster:
    """The brokers, by one administrative client. Threads may use it at the same time."""

    def __init__(self, brokers: str, options: Options) -> None:
        self.brokers = brokers
        self.config = client_config(brokers, options)
        with errors(f"the brokers {brokers}"):
            self._admin = AdminClient(self.config, logger=logger)

    def identity(self, topic: str) -> tuple[str, int] | None:
        """(UUID, number of partitions) of a topic; None when there is none. Raises LogError."""
        with errors(f"the topic {topic} at {self.brokers}"):
            known = self._admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].error
            if known is not None and known.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            future = self._admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)[topic]
            found = future.result(TIMEOUT_S + 5)
        if not str(found.topic_id).strip("A"):  # all zero
            raise ConfigError(f"the brokers {self.brokers} give topics no UUID: Kafka 2.8 or later is needed")
        return str(found.topic_id).translate(_URL_SAFE), len(found.partitions)

    def create(self, topic: str, *, partitions: int, replication: int | None, config: Mapping[str, str]) -> None:
        """Make a topic unless it is there; returns once it can be used. Raises LogError."""
        with errors(f"the topic {topic} at {self.brokers}"):
            new = NewTopic(topic, partitions, replication or -1, config=dict(config))
            try:
                self._admin.create_topics([new], operation_timeout=TIMEOUT_S)[topic].result(TIMEOUT_S + 5)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            self._admin = AdminClient(self.config, logger=logger)  # the old one remembers that there was no such topic
        self.wait_for(topic, partitions)

    def wait_for(self, topic: str, partitions: int) -> None:
        """Return once a topic that may be new can be used: brokers hear of it in their own time. Raises LogError."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                self.offsets(topic, range(partitions))
                return
            except LogError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def offsets(self, topic: str, partitions: "range | list[int]", *, oldest: bool = False) -> Position:
        """{partition: where the committed records end}, or with `oldest` where they begin. Raises LogError."""
        spec: Any = OffsetSpec.earliest() if oldest else OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(topic, partition): spec for partition in partitions}
        with errors(f"the topic {topic} at {self.brokers}"):
            asked = self._admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
            )
            return {place.partition: future.result(TIMEOUT_S + 5).offset for place, future in asked.items()}


class Topic:
    """A topic as it was found: its identity, and the ends of its partitions, not asked for more often than needed."""

    def __init__(self, cluster: Cluster, name: str, identity: str, partitions: int) -> None:
        self.cluster = cluster
        self.name = name
        self.identity = identity
        self.partitions = partitions
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._ends: tuple[float, Position] = (float("-inf"), {})
        self._begins: tuple[float, Position] = (float("-inf"), {})
        self._written: Position = {}  # {partition: offset behind what this process has committed}

    def __str__(self) -> str:
        return f"the topic {self.name} at {self.cluster.brokers}"

    def wrote(self, ends: Position) -> None:
        """Note what this process has committed: from now on the ends are behind it."""
        with self._lock:
            for partition, end in ends.items():
                self._written[partition] = max(end, self._written.get(partition, 0))
            self._ends = (float("-inf"), {})

    def ends(self, *, own: bool = True) -> Position:
        """{partition: offset of the next record}; the commits of this process are in it, unless `own` is false:
        then it is what readers see at this moment, and nothing is waited for."""
        if not own:
            return self.cluster.offsets(self.name, range(self.partitions))
        with self._lock:
            self._look()
            if time.monotonic() - self._ends[0] > _FRESH_S:
                self._ends = (time.monotonic(), self._seen())
            return dict(self._ends[1])

    def begins(self) -> Position:
        """{partition: offset of the oldest record that is kept}."""
        with self._lock:
            self._look()
            if time.monotonic() - self._begins[0] > 1.0:
                found = self.cluster.offsets(self.name, range(self.partitions), oldest=True)
                self._begins = (time.monotonic(), found)
            return dict(self._begins[1])

    def look(self) -> int:
        """The number of partitions, asked again now and then. Raises FatalError when it is another topic now."""
        with self._lock:
            self._look()
            return self.partitions

    def _seen(self) -> Position:
        """A transaction is committed before the last of its partitions shows it, some milliseconds later."""
        deadline = time.monotonic() + _VISIBLE_S
        while True:
            found = self.cluster.offsets(self.name, range(self.partitions))
            if all(found.get(partition, 0) >= end for partition, end in self._written.items()):
                self._written.clear()
                return found
            if time.monotonic() > deadline:  # another process's transaction is open before ours
                return found
            time.sleep(0.002)

    def _look(self) -> None:
        """Raise FatalError when the topic was removed or made anew; notice further partitions."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        found = self.cluster.identity(self.name)
        self._looked_at = time.monotonic()
        if found is None or found[0] != self.identity:
            raise FatalError(f"{self} was removed or replaced while it was in use: start again")
        if found[1] > self.partitions:
            logger.info("%s has %d partitions now", self, found[1])
            self.partitions = found[1]


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Kafka's errors as ours: LogError, or ConfigError where a person has to change something."""
    try:
        yield
    except KafkaException as error:
        raise told(what, error.args[0]) from error
    except (TimeoutError, ValueError) as error:
        raise LogError(f"{what} cannot be reached now: {str(error) or 'no answer'}") from error


def told(what: str, error: KafkaError) -> Exception:
    """An error of Kafka's as one of ours."""
    if error.code() in _CHANGE:
        return ConfigError(f"{what}: {error.str()}: check username, password and what they allow")
    return LogError(f"{what} cannot be used now: {error.str()}")
