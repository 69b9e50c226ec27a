"""Forecasts through real brokers: whole, once, and through whatever happens to a broker meanwhile."""

import asyncio
import importlib
import logging
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import nats
import orjson
import pytest
from brokers import Broker, certificate, mosquitto, nats_server
from issuing import expected, ids, issue, later, rows_of
from loopback import wait_until
from nats.js.errors import NotFoundError
from outlets import Desk, outlet
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from serve.engine.issued import Issued
from serve.sinks.address import parse_address
from serve.sinks.kinds import open_sink
from serve.sinks.messages import Message, messages
from serve.sinks.outlet import WAITING
from serve.sinks.sink import Sink, SinkError

ODD = ["a/b", "a.b", "$x #+*>", "größe 1"]
SECRET = "correct horse"  # noqa: S105


class World(ABC):
    """A kind of broker, and a consumer who asks what it holds."""

    kind: str
    broker: Broker

    @abstractmethod
    def made(self, folder: Path) -> AbstractContextManager[Broker]:
        """A broker that lets everybody in."""

    @abstractmethod
    def events(self) -> list[dict[str, Any]]:
        """What somebody is given who comes now."""

    @property
    def url(self) -> str:
        return f"{self.kind}://127.0.0.1:{self.broker.port}/fleetcast"

    def sink(self, options: str = "") -> Sink:
        return open_sink(parse_address(self.url + options, {}))

    def holds(self, issued: Issued) -> bool:
        return sorted(event["id"] for event in self.events()) == sorted(ids(issued))


class Mqtt(World):
    kind = "mqtt"

    def made(self, folder: Path) -> AbstractContextManager[Broker]:
        return mosquitto(folder)

    def events(self) -> list[dict[str, Any]]:
        """What is retained, as a client of 3.1.1 gets it; a last message tells that it is all."""
        found: list[dict[str, Any]] = []
        end = threading.Event()

        def take(client: Client, _: object, message: MQTTMessage) -> None:
            if message.topic == "end":
                end.set()
            else:
                assert message.retain
                found.append({"topic": message.topic} | orjson.loads(message.payload))

        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = take
        client.on_connect = lambda *_: client.subscribe([("fleetcast/#", 1), ("end", 1)])
        client.on_subscribe = lambda *_: client.publish("end", b"", 1)
        client.connect("127.0.0.1", self.broker.port)
        client.loop_start()
        assert end.wait(10)
        client.disconnect()
        client.loop_stop()
        return found


class Nats(World):
    kind = "nats"

    def made(self, folder: Path) -> AbstractContextManager[Broker]:
        return nats_server(folder)

    def events(self) -> list[dict[str, Any]]:
        return asyncio.run(self._events())

    async def _events(self) -> list[dict[str, Any]]:
        connection = await nats.connect(f"nats://127.0.0.1:{self.broker.port}", allow_reconnect=False)
        try:
            stream = connection.jetstream()
            waiting = (await stream.stream_info("FLEETCAST")).state.messages
            taken = await stream.subscribe("fleetcast.>", ordered_consumer=True)
            told = [await taken.next_msg(10) for _ in range(waiting)]
        except NotFoundError:
            return []
        finally:
            await connection.close()
        for one in told:
            assert one.headers is not None
            assert one.headers["Nats-Msg-Id"] == orjson.loads(one.data)["id"]
        return [{"topic": one.subject} | orjson.loads(one.data) for one in told]


@pytest.fixture(params=[Mqtt, Nats], ids=["mqtt", "nats"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world: World = request.param()
    with world.made(tmp_path) as broker:
        world.broker = broker
        broker.start()
        yield world


def data_of(events: list[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(event["data"]) for event in events]


def test_each_entity_has_a_message_of_its_own(world: World) -> None:
    issued = issue(ODD)
    world.sink().write(issued)
    events = world.events()
    assert rows_of(data_of(events)).select(expected(issued).columns).equals(expected(issued))
    assert len({event["topic"] for event in events}) == len(issued.topology.entities)


def test_the_same_cycle_twice_is_there_once_and_the_newest_counts(world: World) -> None:
    sink, issued = world.sink(), issue()
    sink.write(issued)
    before = world.events()
    sink.write(issued)
    assert world.events() == before
    newer = later(issued, 1)
    sink.write(newer)
    assert world.holds(newer)


def test_only_some_levels_and_whole_fleets(world: World) -> None:
    issued = issue([f"server-{at}" for at in range(1500)])
    world.sink("?level=rack").write(issued)
    assert [event["subject"] for event in world.events()] == ["rack-1"]
    world.sink().write(issued)
    assert world.holds(issued)


def test_a_broker_that_comes_late_gets_the_newest(world: World) -> None:
    world.broker.stop()
    desk, first = Desk(), issue()
    with outlet(world.sink(), desk) as out:
        out.put(first)
        wait_until(lambda: desk.count(out, "failures_total") > 1, "it was tried again", 15)
        assert "Errno 111" in str(desk.problems[f"sink {world.url}"])
        out.put(later(first, 1))
        world.broker.start()
        wait_until(lambda: desk.count(out, "cycles_written_total") == 2, "both are written", 15)
        assert desk.problems == {f"sink {world.url}": None}
    assert world.holds(later(first, 1))


def test_an_outage_costs_the_oldest_cycles_which_are_counted_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serve.sinks")
    world.broker.stop()
    desk, first = Desk(), issue()
    cycles = [later(first, step) for step in range(2 * WAITING)]
    with outlet(world.sink(), desk) as out:
        for cycle in cycles:
            out.put(cycle)
        wait_until(lambda: desk.count(out, "failures_total") > 1, "it was tried again", 15)
        assert desk.count(out, "cycles_dropped_total") == WAITING
        world.broker.start()
        wait_until(lambda: desk.count(out, "cycles_written_total") == WAITING, "the newest are written", 15)
    assert world.holds(cycles[-1])
    assert len(desk.told) == 1
    assert [record.message for record in caplog.records] == ["cycles are dropped, the oldest first", "written again"]
    assert caplog.records[-1].__dict__["dropped"] == WAITING


def test_a_broker_restarted_in_the_middle_of_a_cycle_has_it_whole_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarted = threading.Event()

    def interrupted(issued: Issued, levels: tuple[str, ...]) -> Iterator[Message]:
        for at, message in enumerate(messages(issued, levels)):
            if at == 700 and not restarted.is_set():
                restarted.set()
                world.broker.stop()
                world.broker.start()
            yield message

    monkeypatch.setattr(importlib.import_module(f"serve.sinks.{world.kind}"), "messages", interrupted)
    desk, issued = Desk(), issue([f"server-{at}" for at in range(1200)])
    with outlet(world.sink(), desk) as out:
        out.put(issued)
        wait_until(lambda: desk.count(out, "cycles_written_total") == 1, "it is written", 15)
    assert desk.count(out, "failures_total") >= 1
    assert world.holds(issued)


def test_a_broker_that_hangs_is_given_up_and_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(f"serve.sinks.{world.kind}"), "STALL_S", 1.0)
    desk, issued = Desk(), issue()
    with outlet(world.sink(), desk) as out:
        world.broker.freeze()
        out.put(issued)
        wait_until(lambda: desk.count(out, "failures_total") >= 1, "it is given up", 15)
        world.broker.thaw()
        wait_until(lambda: desk.count(out, "cycles_written_total") == 1, "it is written", 15)
    assert world.holds(issued)


def test_a_subscriber_who_never_reads_holds_nobody_up(tmp_path: Path) -> None:
    world = Mqtt()
    connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02me"
    subscribe = b"\x82\x10\x00\x01\x00\x0bfleetcast/#\x01"
    with world.made(tmp_path) as world.broker:
        world.broker.start()
        with socket.create_connection(("127.0.0.1", world.broker.port)) as deaf:
            deaf.sendall(connect + subscribe)
            assert deaf.recv(4, socket.MSG_WAITALL) == b"\x20\x02\x00\x00"
            issued = issue([f"server-{at}" for at in range(1500)])
            world.sink().write(issued)
            assert world.holds(issued)


def test_who_may_not_is_told_so_and_no_password_is_shown(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic read fleetcast/#\n")
    with mosquitto(tmp_path, f"allow_anonymous true\nacl_file {rules}") as broker:
        broker.start()
        with pytest.raises(SinkError, match="the broker refuses: Not authorized"):
            open_sink(parse_address(f"mqtt://127.0.0.1:{broker.port}/fleetcast", {})).write(issue())
    with nats_server(tmp_path, "--user", "me", "--pass", SECRET) as broker:
        broker.start()
        for password, told in ((SECRET, None), ("wrong horse", "Authorization Violation")):
            address = parse_address(f"nats://me@127.0.0.1:{broker.port}/f", {"FLEETCAST_NATS_PASSWORD": password})
            if told is None:
                open_sink(address).write(issue())
                continue
            with pytest.raises(SinkError, match=told) as caught:
                open_sink(address).write(issue())
            assert password not in str(caught.value)


@pytest.mark.parametrize("kind", ["mqtt", "nats"])
def test_an_encrypted_connection_is_had_with_whom_one_trusts_only(kind: str, tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    tls = f"allow_anonymous true\ncertfile {made}\nkeyfile {key}"
    arguments = ("--tls", "--tlscert", str(made), "--tlskey", str(key))
    with mosquitto(tmp_path, tls) if kind == "mqtt" else nats_server(tmp_path, *arguments) as broker:
        broker.start()
        url = f"{kind}+tls://localhost:{broker.port}/fleetcast"
        open_sink(parse_address(f"{url}?ca={made}", {})).write(issue())
        with pytest.raises((SinkError, OSError), match="certificate"):
            open_sink(parse_address(url, {})).write(issue())
