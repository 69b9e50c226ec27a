"""Forecasts over MQTT: `PREFIX/FORECAST/ENTITY` retains the newest, for those who subscribe later too.

Subscribers may speak 3.1.1, as events are structured. We speak 5, in which a broker says what it refuses, and forgets a
retained forecast when its last step is over.
"""

import selectors
import ssl
import time
from typing import Any

from paho.mqtt.client import Client, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from serve.engine.issued import Issued
from serve.sinks.address import Address
from serve.sinks.messages import STRUCTURED, messages, route
from serve.sinks.sink import STALL_S, Sink, SinkError, trust

#: Messages on their way at once; the broker may want fewer.
_WINDOW = 200


class MqttSink(Sink):
    """One retained message for each entity, with QoS 1."""

    def write(self, issued: Issued) -> None:
        spec = issued.forecast.spec
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = STRUCTURED
        properties.MessageExpiryInterval = spec.horizon_steps * spec.step_s
        session = _Session(self.address)
        try:
            session.connect()
            for message in messages(issued, self.address.levels):
                topic = route("/", self.address.path, issued.name, message.entity_id)
                session.publish(topic, message.structured, properties)
            session.wait(0)
        finally:
            session.close()


class _Session:
    """A connection for one cycle, driven by the thread that writes it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connected, self._refused = False, ""
        self._under_way, self._most = 0, 1
        self._window = 1  # the first goes alone: a broker that hangs up on us has then told why
        self._heard = time.monotonic()
        self._client = client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect_timeout = STALL_S
        client.max_inflight_messages_set(_WINDOW)
        client.on_connect, client.on_publish = self._on_connect, self._on_publish
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if (context := trust(address)) is not None:
            client.tls_set_context(context)

    def connect(self) -> None:
        """Connect, and wait to be let in."""
        self._client.connect(self._address.host, self._address.port)
        while not self._connected:
            self._turn()

    def publish(self, topic: str, payload: bytes, properties: Properties) -> None:
        """Send a message, as soon as few enough are on their way."""
        self.wait(self._window - 1)
        self._under_way += 1
        self._client.publish(topic, payload, qos=1, retain=True, properties=properties)

    def wait(self, most: int) -> None:
        """Go on until no more messages than `most` are not acknowledged.

        Raises:
            SinkError: the broker refuses, is gone, or says nothing.
        """
        while self._under_way > most:
            self._turn()

    def close(self) -> None:
        self._client.disconnect()
        if (left := self._client.socket()) is not None:
            left.close()

    def _turn(self) -> None:
        """Let the client read and write what it can."""
        client, sock = self._client, self._client.socket()
        if sock is None:
            raise SinkError("the broker ended the connection.")
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
        with selectors.DefaultSelector() as selector:
            selector.register(sock, events)
            read = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            selector.select(0 if read else STALL_S / 10)
        for code in (client.loop_read(), client.loop_write(), client.loop_misc()):
            if code not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
                raise SinkError(self._refused or f"the broker is gone: {error_string(code)}")
        if self._refused:
            raise SinkError(self._refused)
        if time.monotonic() - self._heard > STALL_S:
            raise SinkError(f"the broker has acknowledged nothing for {STALL_S:g} s.")

    def _on_connect(self, _0: Client, _1: Any, _2: Any, reason: ReasonCode, properties: Properties | None) -> None:
        self._connected = not reason.is_failure
        self._hear(reason)
        self._most = min(getattr(properties, "ReceiveMaximum", _WINDOW), _WINDOW)

    def _on_publish(self, _1: Client, _2: Any, _3: int, reason: ReasonCode, _4: Properties) -> None:
        self._under_way -= 1
        self._window = self._most
        self._hear(reason)

    def _hear(self, reason: ReasonCode) -> None:
        self._heard = time.monotonic()
        if reason.is_failure:
            self._refused = f"the broker refuses: {reason}."
