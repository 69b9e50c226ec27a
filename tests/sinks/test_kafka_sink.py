"""Forecasts through Kafka, with the brokers that librdkafka has for tests: whole, in order by entity, and let in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from brokers import certificate
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from issuing import expected, ids, issue, later, rows_of
from kafka_gate import Gate
from loopback import free_port, wait_until
from outlets import Desk, outlet

from serve.sinks import kafka
from serve.sinks.address import parse_address
from serve.sinks.kinds import open_sink
from serve.sinks.messages import messages
from serve.sinks.outlet import WAITING
from serve.sinks.sink import Sink, SinkError

TOPIC = "fleetcast.day-ahead"
SECRET = "correct horse"  # noqa: S105


@dataclass
class Cluster:
    """A few brokers, which live as long as the producer that they were made for."""

    owner: Producer
    port: int

    @classmethod
    def made(cls, brokers: int = 3) -> "Cluster":
        owner = Producer({"test.mock.num.brokers": brokers, "log_level": 0})
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


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("gate"))


def gated(gate: Gate, user: str = "", options: str = "") -> Sink:
    scheme = "kafka+tls" if gate.context else "kafka"
    url = f"{scheme}://{user and f'{user}@'}localhost:{gate.port}/fleetcast{options}"
    return open_sink(parse_address(url, {"FLEETCAST_KAFKA_PASSWORD": SECRET}))


@pytest.mark.parametrize("user", ["", "me"])
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_who_is_let_in_and_trusts_what_he_is_shown_writes_all(
    is_encrypted: bool, user: str, shown: tuple[Path, Path]
) -> None:
    cluster, issued = Cluster.made(1), issue()
    with Gate(cluster.port, shown if is_encrypted else None, ("me", SECRET) if user else None) as gate:
        gated(gate, user, f"?ca={shown[0]}" if is_encrypted else "").write(issued)
        assert gate.passed > 0
    assert sorted(headers(one)["ce_id"] for one in cluster.consumed()) == sorted(ids(issued))


@pytest.mark.parametrize("user", [("me", "wrong horse"), ("you", SECRET)])
def test_who_is_not_let_in_is_told_so_and_no_password_is_shown(
    user: tuple[str, str], shown: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "STALL_S", 2.0)
    cluster = Cluster.made(1)
    with Gate(cluster.port, shown, user) as gate:
        with pytest.raises(SinkError, match=r"^Kafka: .*authentication error: who is this\?$") as caught:
            gated(gate, "me", f"?ca={shown[0]}").write(issue())
        assert SECRET not in str(caught.value)
        assert gate.passed == 0


def test_a_broker_that_is_not_trusted_is_told_of_once_and_holds_nobody_up(
    shown: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "STALL_S", 2.0)
    cluster, first = Cluster.made(1), issue()
    with Gate(cluster.port, shown) as gate:
        sink, desk = gated(gate), Desk()
        with outlet(sink, desk) as out:
            for step in range(2 * WAITING):
                out.put(later(first, step))
            assert desk.count(out, "cycles_dropped_total") == WAITING
            wait_until(lambda: desk.count(out, "failures_total") > 1, "it was tried again", 15)
        assert gate.passed == 0
    (told,) = desk.told
    assert "certificate verify failed" in told
    assert "ssl.ca.location" in told


def test_talking_plainly_to_who_encrypts_is_given_up(shown: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "STALL_S", 0.5)
    with Gate(Cluster.made(1).port, shown) as gate:
        address = parse_address(f"kafka://localhost:{gate.port}/fleetcast", {})
        with pytest.raises(SinkError, match=r"^Kafka: .*transport failure"):
            open_sink(address).write(issue())


def test_a_password_goes_encrypted_or_hashed() -> None:
    for scheme, protocol in (("kafka", "SASL_PLAINTEXT"), ("kafka+tls", "SASL_SSL")):
        address = parse_address(f"{scheme}://me@broker/f", {"FLEETCAST_KAFKA_PASSWORD": "secret"})
        settings = kafka._settings(address)
        assert settings["security.protocol"] == protocol
        assert settings["sasl.mechanism"] == "SCRAM-SHA-512"
        Producer(settings)  # which refuses what it does not know
