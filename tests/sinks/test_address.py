"""Where a sink writes: what a URL means, what it may not, and that no password is shown."""

import pytest
from prometheus_client import CollectorRegistry

from forecast.contracts.errors import ConfigError
from serve.sinks.address import Address, parse_address
from serve.sinks.kinds import outlets

SECRET = "correct horse"  # noqa: S105
SECRETS = {"FLEETCAST_MQTT_PASSWORD": SECRET}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("parquet:var/forecasts", Address("parquet", "var/forecasts")),
        ("parquet:/srv/a%20b?days=30&level=rack", Address("parquet", "/srv/a b", levels=("rack",), days=30)),
        ("mqtt://broker/fleetcast", Address("mqtt", "fleetcast", "broker", 1883)),
        ("nats://[::1]:5000/a/b?level=rack,site", Address("nats", "a/b", "::1", 5000, levels=("rack", "site"))),
        (
            "kafka+tls://broker/f?level=row&level=hall",
            Address("kafka", "f", "broker", 9093, True, levels=("row", "hall")),
        ),
        ("mqtt://me@broker/f", Address("mqtt", "f", "broker", 1883, user="me", password=SECRET)),
    ],
)
def test_a_url_names_a_place(url: str, address: Address) -> None:
    assert parse_address(url, SECRETS) == address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://broker/f", "no such kind of sink; there are parquet, mqtt"),
        ("parquet:", "needs a folder"),
        ("parquet://host/f", "needs a folder on this machine"),
        ("parquet:f?days=0", "days=0 is no whole number"),
        ("parquet:f?days=2.5", "days=2.5 is no whole number"),
        ("parquet:f?ca=x", "knows no option ca"),
        ("mqtt://broker", "needs a host and a prefix, as in mqtt://HOST/fleetcast"),
        ("mqtt:///f", "needs a host and a prefix"),
        ("mqtt://broker:70000/f", "the port is none"),
        ("mqtt://broker/f?level=shelf", "no level shelf; there are gpu"),
        ("mqtt://broker/f?qos=2", "knows no option qos"),
        ("mqtt://broker/f?ca=file.pem", "knows no option ca"),
        ("nats://me@broker/f", "user me needs a password in FLEETCAST_NATS_PASSWORD"),
        (f"mqtt://me:{SECRET}@broker/f", "put it into FLEETCAST_MQTT_PASSWORD"),
    ],
)
def test_what_means_nothing_is_refused_in_a_line(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        parse_address(url, SECRETS)
    assert SECRET not in str(caught.value)


def test_no_password_is_shown() -> None:
    address = parse_address("mqtt://me@broker/f", SECRETS)
    assert address.password == SECRET
    assert SECRET not in repr(address) + str(address)


def test_the_same_place_is_given_once() -> None:
    with pytest.raises(ConfigError, match="parquet:f is given twice"):
        outlets(["parquet:f", "parquet:f?days=3"], CollectorRegistry(), lambda where, told: None)
