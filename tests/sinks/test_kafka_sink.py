"""Forecasts through Kafka, with the brokers that librdkafka has for tests: whole, and in order by entity."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from issuing import issue, later
from loopback import free_port, wait_until
from outlets import Desk, outlet
from test_messages import expected, ids, rows_of

from serve.sinks import kafka
from serve.sinks.address import parse_address
from serve.sinks.kinds import open_sink
from serve.sinks.messages import messages
from serve.sinks.sink import Sink, SinkError

TOPIC = "fleetcast.day-ahead"


@dataclass
class Cluster:
    """Three brokers, which live as long as the producer that they were made for."""

    owner: Producer
    port: int

    @classmethod
    def made(cls) -> "Cluster":
        owner = Producer({"test.mock.num.brokers": 3, "log_level": 0})
        return cls(owner, next(iter(owner.list_topics(timeout=10).brokers.values())).port)

    def sink(self) -> Sink:
        return open_sink(parse_address(f"kafka://127.0.0.1:{self.port}/fleetcast", {}))

    def consumed(self) -> list[Message]:
        """Everything, as a new consumer reads it."""
        settings = {"bootstrap.servers": f"127.0.0.1:{self.port}", "group.id": "g", "enable.partition.eof": True}
        consumer = Consumer(settings)
        partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING) for partition in partitions])
        found, ended = [], 0
        while ended < len(partitions):
            message = consumer.poll(10)
            assert message is not None
            if (error := message.error()) is None:
                found.append(message)
                continue
            assert error.code() == KafkaError._PARTITION_EOF
            ended += 1
        consumer.close()
        return found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster.made()
    yield made
    made.owner.flush(0)


def headers(message: Message) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers() or []}


def test_each_entity_has_a_message_with_its_key_and_what_is_said_of_it(cluster: Cluster) -> None:
    issued = issue(["a/b", "größe 1"])
    cluster.sink().write(issued)
    found = cluster.consumed()
    assert rows_of([one.value() or b"" for one in found]).select(expected(issued).columns).equals(expected(issued))
    told = {message.entity_id: message.attributes for message in messages(issued)}
    for one in found:
        said = headers(one)
        assert said.pop("content-type") == "application/json"
        attributes = dict(told[(one.key() or b"").decode()])
        del attributes["datacontenttype"]
        assert said == {f"ce_{name}": value for name, value in attributes.items()}


def test_a_cycle_written_twice_has_the_same_ids_and_cycles_stay_in_order(cluster: Cluster) -> None:
    sink, first = cluster.sink(), issue([f"server-{at}" for at in range(40)])
    second = later(first, 1)
    for issued in (first, first, second):
        sink.write(issued)
    found = cluster.consumed()
    assert len(found) == 3 * len(first.rung)
    assert {headers(one)["ce_id"] for one in found} == {*ids(first), *ids(second)}
    partitions: dict[bytes, set[int]] = {}
    newest: dict[bytes, str] = {}
    for one in sorted(found, key=lambda one: one.offset() or 0):
        key = one.key() or b""
        partitions.setdefault(key, set()).add(one.partition() or 0)
        newest[key] = headers(one)["ce_id"]
    assert all(len(places) == 1 for places in partitions.values())
    assert sorted(newest.values()) == sorted(ids(second))


def test_a_fleet_that_is_larger_than_the_window(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_WINDOW", 100)
    issued = issue([f"server-{at}" for at in range(1000)])
    cluster.sink().write(issued)
    assert sorted(headers(one)["ce_id"] for one in cluster.consumed()) == sorted(ids(issued))


def test_brokers_that_are_away_are_told_of_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "STALL_S", 0.3)
    sink = open_sink(parse_address(f"kafka://127.0.0.1:{free_port()}/fleetcast", {}))
    desk = Desk()
    with outlet(sink, desk) as out:
        out.put(issue())
        wait_until(lambda: desk.count(out, "failures_total") > 1, "it was tried again", 15)
        assert "Kafka: " in str(desk.problems[f"sink {sink.address}"])


def test_brokers_that_go_away_in_the_middle_fail_the_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "STALL_S", 1.0)
    monkeypatch.setattr(kafka, "_WINDOW", 100)
    clusters = [Cluster.made()]
    sink = clusters[0].sink()

    def interrupted(*asked: object) -> Iterator[object]:
        for at, message in enumerate(messages(*asked)):  # type: ignore[arg-type]
            if at == 300:
                clusters.clear()
            yield message

    monkeypatch.setattr(kafka, "messages", interrupted)
    with pytest.raises(SinkError):
        sink.write(issue([f"server-{at}" for at in range(1000)]))


def test_a_password_goes_encrypted_or_hashed() -> None:
    for scheme, protocol in (("kafka", "SASL_PLAINTEXT"), ("kafka+tls", "SASL_SSL")):
        address = parse_address(f"{scheme}://me@broker/f", {"FLEETCAST_KAFKA_PASSWORD": "secret"})
        settings = kafka._settings(address)
        assert settings["security.protocol"] == protocol
        assert settings["sasl.mechanism"] == "SCRAM-SHA-512"
        Producer(settings)  # which refuses what it does not know
