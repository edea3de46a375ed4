"""Dealing a topic's partitions out among the workers of a pipeline: a consumer group, used for that alone.

Nothing is read or committed through the group. A worker that joins gets partitions of the others, one that leaves or
dies gives its own up. Should two believe for a moment that they have the same one, the lake refuses the slower.
"""

import logging
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from feltwire.logs._kafka_client import errors, told

logger = logging.getLogger(__name__)

_LONGEST_STEP_S: Final = 300  # a worker that does not ask for so long has lost its partitions

_PASSING: Final = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._MAX_POLL_EXCEEDED}
)


class Share:
    """One worker's part. Used by one thread, which asks again and again, and between two of its commits."""

    def __init__(self, config: dict[str, Any], *, topic: str, group: str, session_s: float) -> None:
        """Join the group. After `session_s` without a sign of life a worker's partitions go to others."""
        self._mine: frozenset[int] | None = None
        self._consumer = Consumer(
            {
                **config,
                "group.id": group,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(session_s * 1000),
                "heartbeat.interval.ms": max(100, int(session_s * 1000) // 4),
                "max.poll.interval.ms": max(_LONGEST_STEP_S, int(session_s)) * 1000,
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
            },
            logger=logger,
        )
        self._consumer.subscribe([topic], on_assign=self._gain, on_revoke=self._lose, on_lost=self._lose)

    def partitions(self) -> frozenset[int] | None:
        """The partitions that are this worker's now; None before the first deal.

        A partition that was in the last answer and is not in this one may be another worker's from now on. Raises
        LogError, or ConfigError where the account may not join the group; brokers that are away are waited for.
        """
        with errors("the group of the workers"):
            message = self._consumer.poll(0)  # calls `_gain` and `_lose`
        trouble = message.error() if message is not None else None
        if trouble is not None and trouble.code() not in _PASSING:
            raise told("the group of the workers", trouble)
        return self._mine

    def close(self) -> None:
        """Leave the group, so that the others take over at once."""
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            logger.info("the group was not left in order: %s", error)

    def _gain(self, consumer: Consumer, gained: list[TopicPartition]) -> None:
        places = [TopicPartition(place.topic, place.partition, OFFSET_END) for place in gained]
        consumer.incremental_assign(places)
        consumer.pause(places)  # what stands in them is read by others
        self._mine = (self._mine or frozenset()) | {place.partition for place in gained}
        logger.info("partitions gained: %s; now %s", sorted(p.partition for p in gained), sorted(self._mine))

    def _lose(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        consumer.incremental_unassign(lost)
        self._mine = (self._mine or frozenset()) - {place.partition for place in lost}
        logger.info("partitions given up: %s; now %s", sorted(p.partition for p in lost), sorted(self._mine))
