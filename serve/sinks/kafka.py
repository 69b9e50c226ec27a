"""Forecasts over Kafka: a topic `PREFIX.FORECAST` for each forecast, an entity's messages in one partition, in order.

Events are binary (CloudEvents, Kafka binding): attributes are headers that begin with `ce_`.
"""

import re
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Sent

from serve.engine.issued import Issued
from serve.sinks.address import Address
from serve.sinks.messages import Message, messages
from serve.sinks.sink import STALL_S, Sink, SinkError

#: Messages on their way at once.
_WINDOW = 2000

#: Who is not let in, or does not trust what he is shown, is not helped by trying for longer.
_SHUT_OUT = (KafkaError._SSL, KafkaError._AUTHENTICATION)

#: What librdkafka says of an attempt, which is another one each time.
_WHEN = re.compile(r" \(after \d+ms in state \w+\)$")

#: Of what librdkafka would tell stderr by itself: what is critical. The rest comes as exceptions.
_CRITICAL = 2


class KafkaSink(Sink):
    """One message for each entity, keyed by it, acknowledged by all replicas, not doubled by retries."""

    def write(self, issued: Issued) -> None:
        batch = _Batch(self.address)
        topic = f"{self.address.path.replace('/', '.')}.{issued.name}"
        try:
            batch.connect()
            for message in messages(issued, self.address.levels):
                batch.send(topic, message)
            batch.wait()
        except KafkaException as error:
            raise SinkError(f"Kafka: {error.args[0].str()}") from error
        finally:
            batch.close()


class _Batch:
    """What is under way in one cycle."""

    def __init__(self, address: Address) -> None:
        self._producer = Producer({**_settings(address), "error_cb": self._hear_of})
        self._refused: KafkaError | None = None
        self._heard = time.monotonic()

    def connect(self) -> None:
        """Find the brokers.

        Raises:
            SinkError: there is none, or none that lets us in.
        """
        while True:
            try:
                self._producer.list_topics(timeout=STALL_S / 10)
            except KafkaException:
                self._producer.poll(0)
                if time.monotonic() - self._heard > STALL_S:
                    raise
                self._check()
            else:
                return

    def send(self, topic: str, message: Message) -> None:
        headers = _headers(message)
        while True:
            try:
                self._producer.produce(topic, message.data, message.entity_id, headers=headers, on_delivery=self._hear)
            except BufferError:
                self._producer.poll(STALL_S / 10)
                self._check()
            else:
                self._producer.poll(0)
                return

    def wait(self) -> None:
        """Wait until each message is stored.

        Raises:
            SinkError: one is not.
        """
        while self._producer.flush(STALL_S / 10):
            self._check()
        self._check()

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(STALL_S / 10)

    def _hear_of(self, error: KafkaError) -> None:
        """Take a refusal to let us in for an answer; what else is wrong with a connection may pass."""
        if error.code() in _SHUT_OUT:
            self._refused = self._refused or error

    def _hear(self, error: KafkaError | None, _: Sent) -> None:
        self._heard = time.monotonic()
        self._refused = self._refused or error

    def _check(self) -> None:
        if self._refused is not None:
            raise SinkError(f"Kafka: {_WHEN.sub('', self._refused.str())}")
        if time.monotonic() - self._heard > STALL_S:
            raise SinkError(f"the brokers have acknowledged nothing for {STALL_S:g} s.")


def _headers(message: Message) -> list[tuple[str, str | bytes | None]]:
    attributes = dict(message.attributes)
    content = attributes.pop("datacontenttype")
    return [("content-type", content), *((f"ce_{name}", value) for name, value in attributes.items())]


def _settings(address: Address) -> dict[str, Any]:
    host = f"[{address.host}]" if ":" in address.host else address.host
    settings = {
        "bootstrap.servers": f"{host}:{address.port}",
        "enable.idempotence": True,
        "compression.type": "zstd",
        "linger.ms": 20,
        "message.timeout.ms": int(STALL_S * 1000),
        "queue.buffering.max.messages": _WINDOW,
        "log_level": _CRITICAL,
    }
    if address.tls or address.user is not None:
        protocol = ("SASL_" if address.user is not None else "") + ("SSL" if address.tls else "PLAINTEXT")
        settings["security.protocol"] = protocol
    if address.ca is not None:
        settings["ssl.ca.location"] = str(address.ca)
    if address.user is not None:
        settings |= {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": address.user,
            "sasl.password": address.password,
        }
    return settings
