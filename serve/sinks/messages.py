"""A cycle as messages: one for each entity, an event of CloudEvents 1.0 whose data are the entity's rows in columns.

`polars.DataFrame(data)` makes rows of it again: what is true of all steps is told once. Numbers are those of the
forecast, neither rounded nor in another unit.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import orjson

from serve.engine.issued import RUNGS, Issued
from serve.sinks.sink import chosen

#: The content of a structured event.
STRUCTURED = "application/cloudevents+json"

#: What the events are about.
_TYPE = "fleetcast.forecast.issued.v1"

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z


@dataclass(frozen=True)
class Message:
    """The forecast of one entity.

    Attributes:
        entity_id: as it is.
        data: JSON.
        attributes: of CloudEvents 1.0, ASCII; `id` tells each forecast of an entity from every other, and is the same
            whenever the same one is written.
    """

    entity_id: str
    data: bytes
    attributes: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @cached_property
    def structured(self) -> bytes:
        """The event as one JSON object."""
        return orjson.dumps({**self.attributes, "data": orjson.Fragment(self.data)})


def token(name: str) -> str:
    """A name as one level of a topic or subject: ASCII without separators or wildcards; `unquote` undoes it."""
    return quote(name, safe="").replace(".", "%2E")


def route(separator: str, prefix: str, *names: str) -> str:
    """A topic, or subject: the levels of the prefix (as in a path), then the names."""
    return separator.join(token(level) for level in (*prefix.split("/"), *names))


def messages(issued: Issued, levels: tuple[str, ...] = ()) -> Iterator[Message]:
    """The messages of a cycle, of the entities of these levels (all, where there are none)."""
    part = chosen(issued, levels)
    forecast = part.forecast
    attributes, steps = _attributes(part), _steps(part)
    numbers = list(forecast.columns())
    start, step = part.time, timedelta(seconds=forecast.spec.step_s)
    valid_time = _json([start + step * at for at in range(forecast.spec.horizon_steps)])
    entities = part.topology.table.select("entity_id", "level").iter_rows()
    for place, (entity_id, level) in enumerate(entities):
        told = {
            "forecast_time": start,
            "entity_id": entity_id,
            "level": level,
            "data_time": forecast.data_time[place],
            "status": forecast.status[place],
            "valid_time": valid_time,
            **{name: values[place] for name, values in numbers},
            **steps(part.rung[place].tobytes(), part.made_by[place]),
        }
        data = orjson.dumps(told, option=_OPTIONS)
        yield Message(entity_id, data, attributes(entity_id, data))


def _json(values: list[Any]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(values, option=_OPTIONS))


def _steps(issued: Issued) -> Callable[[bytes, str], dict[str, orjson.Fragment]]:
    """What tells who speaks for the steps of an entity, by its rungs and the bundle of its last good forecast.

    Nearly all entities have the same.
    """

    @cache
    def told(rungs: bytes, made_by: str) -> dict[str, orjson.Fragment]:
        source = [RUNGS[rung] for rung in rungs]
        bundle = [made_by if one == "last_good" else issued.forecast.bundle_id for one in source]
        return {"bundle_id": _json(bundle), "source": _json(source)}

    return told


def _attributes(issued: Issued) -> Callable[[str, bytes], dict[str, str]]:
    """What makes the attributes of an event of its entity and data."""
    made_at = issued.issued_at.isoformat().replace("+00:00", "Z")
    cycle = f"{issued.name}/{issued.time:%Y%m%dT%H%M%SZ}"

    def of(entity_id: str, data: bytes) -> dict[str, str]:
        subject = token(entity_id)
        digest = blake2b(data, digest_size=8).hexdigest()
        return {
            "specversion": "1.0",
            "type": _TYPE,
            "source": f"/v1/forecasts/{issued.name}",
            "subject": subject,
            "id": f"{cycle}/{subject}/{issued.forecast.bundle_id}/{digest}",
            "time": made_at,
            "datacontenttype": "application/json",
        }

    return of
