"""Where a sink writes, from one URL; what is secret comes from the environment and is never shown."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from forecast.contracts.errors import ConfigError
from forecast.contracts.signals import LEVELS

#: Kinds of sinks that are reached over the network, with the port that their brokers listen on unless told otherwise.
_PORTS = {"mqtt": 1883, "mqtt+tls": 8883, "nats": 4222, "nats+tls": 4222, "kafka": 9092, "kafka+tls": 9093}

_KINDS = ("parquet", *_PORTS)


@dataclass(frozen=True)
class Address:
    """Where forecasts go.

    Attributes:
        kind: "parquet", "mqtt", "nats" or "kafka".
        path: the folder of files; the prefix of topics and subjects.
        host, port: of the broker; empty and 0 for files.
        tls, ca: whether the connection is encrypted, and the file of certificates to trust instead of the system's.
        user, password: shown to the broker; None shows nothing.
        levels: only entities of these are written; empty for all.
        days: files of forecasts made longer ago are removed; None keeps them.
    """

    kind: str
    path: str
    host: str = ""
    port: int = 0
    tls: bool = False
    ca: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    levels: tuple[str, ...] = ()
    days: int | None = None

    def __str__(self) -> str:
        at = f"//{self.host}:{self.port}/" if self.host else ""
        levels = f"?level={','.join(self.levels)}" if self.levels else ""
        return f"{self.kind}:{at}{self.path}{levels}"


def parse_address(url: str, secrets: Mapping[str, str] = os.environ) -> Address:
    """An address from `parquet:FOLDER` or `KIND://[USER@]HOST[:PORT]/PREFIX`, with options after a `?`.

    A user's password is taken from `secrets`, under `FLEETCAST_<KIND>_PASSWORD`.

    Raises:
        ConfigError: saying what is wrong, without quoting a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in _KINDS:
        raise ConfigError(f"--sink {parts.scheme or url}: no such kind of sink; there are {', '.join(_KINDS)}.")
    options = _options(parts)
    levels = _levels(parts, options.pop("level", ""))
    if parts.scheme == "parquet":
        path = unquote(parts.path)
        if parts.netloc or not path:
            raise ConfigError("--sink parquet: needs a folder on this machine, as in parquet:var/forecasts.")
        days = _days(options.pop("days", None))
        _refuse(parts, options)
        return Address("parquet", path, levels=levels, days=days)
    kind, _, tls = parts.scheme.partition("+")
    ca = options.pop("ca", None)
    _refuse(parts, options if tls else {**options, **({"ca": ca} if ca else {})})
    prefix = unquote(parts.path).strip("/")
    if not parts.hostname or not prefix:
        raise ConfigError(f"--sink {parts.scheme}: needs a host and a prefix, as in {parts.scheme}://HOST/fleetcast.")
    user, password = _credentials(parts, kind, secrets)
    return Address(
        kind, prefix, parts.hostname, _port(parts), bool(tls), Path(ca) if ca else None, user, password, levels
    )


def _options(parts: SplitResult) -> dict[str, str]:
    """What stands after the question mark; what is given twice is joined by commas."""
    return {name: ",".join(values) for name, values in parse_qs(parts.query, keep_blank_values=True).items()}


def _refuse(parts: SplitResult, options: Mapping[str, str]) -> None:
    if options:
        raise ConfigError(f"--sink {parts.scheme}: knows no option {', '.join(options)}; see docs/sinks.md.")


def _levels(parts: SplitResult, told: str) -> tuple[str, ...]:
    levels = tuple(told.split(",")) if told else ()
    unknown = [level for level in levels if level not in LEVELS]
    if unknown:
        raise ConfigError(f"--sink {parts.scheme}: no level {', '.join(unknown)}; there are {', '.join(LEVELS)}.")
    return levels


def _days(told: str | None) -> int | None:
    if told is None:
        return None
    if not told.isdecimal() or int(told) < 1:
        raise ConfigError(f"--sink parquet: days={told} is no whole number of days from 1 on.")
    return int(told)


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise ConfigError(f"--sink {parts.scheme}: the port is none; choose one up to 65535.") from error


def _credentials(parts: SplitResult, kind: str, secrets: Mapping[str, str]) -> tuple[str | None, str | None]:
    variable = f"FLEETCAST_{kind.upper()}_PASSWORD"
    if parts.password is not None:
        raise ConfigError(f"--sink {kind}: everybody on this machine reads a password there; put it into {variable}.")
    if not parts.username:
        return None, None
    if variable not in secrets:
        raise ConfigError(f"--sink {kind}: user {parts.username} needs a password in {variable}.")
    return unquote(parts.username), secrets[variable]
