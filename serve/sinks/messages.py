"""A cycle as messages: one for each entity, an event of CloudEvents 1.0 whose data are the entity's rows in columns.

`polars.DataFrame(data)` makes rows of it again: what is true of all steps is told once. Numbers are those of the
forecast, neither rounded nor in another unit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import polars as pl

from serve.engine.issued import Issued, Places
from serve.sinks.sink import chosen

#: The content of a structured event.
STRUCTURED = "application/cloudevents+json"

#: What the events are about.
_TYPE = "fleetcast.forecast.issued.v1"

#: Columns of the forecast contract that are the same in each step of an entity; `valid_time` is that of all entities.
_ONCE = ("forecast_time", "entity_id", "level", "data_time", "status")

#: Entities whose messages are made at once, so that those of a fleet never lie in memory together.
_TOGETHER = 500

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
    for begin in range(0, len(part.rung), _TOGETHER):
        yield from _of(part, np.arange(begin, min(begin + _TOGETHER, len(part.rung))))


def _of(issued: Issued, places: Places) -> Iterator[Message]:
    rows = issued.table(places)
    steps = issued.forecast.spec.horizon_steps
    once = rows.select(_ONCE)[::steps]
    each = {name: _by_entity(rows[name], steps) for name in rows.columns if name not in _ONCE}
    each["valid_time"] = [orjson.Fragment(orjson.dumps(rows["valid_time"][:steps].to_list(), option=_OPTIONS))] * len(
        once
    )
    for place, fixed in enumerate(once.iter_rows(named=True)):
        data = orjson.dumps({**fixed, **{name: values[place] for name, values in each.items()}}, option=_OPTIONS)
        yield Message(fixed["entity_id"], data, _attributes(issued, fixed["entity_id"], data))


def _by_entity(column: pl.Series, steps: int) -> Any:
    """The values of each entity: an array where they are numbers, or else a list."""
    if column.dtype.is_float():
        return column.to_numpy().reshape(-1, steps)
    values = column.to_list()
    return [values[at : at + steps] for at in range(0, len(values), steps)]


def _attributes(issued: Issued, entity_id: str, data: bytes) -> dict[str, str]:
    subject = token(entity_id)
    digest = blake2b(data, digest_size=8).hexdigest()
    return {
        "specversion": "1.0",
        "type": _TYPE,
        "source": f"/v1/forecasts/{issued.name}",
        "subject": subject,
        "id": f"{issued.name}/{issued.time:%Y%m%dT%H%M%SZ}/{subject}/{issued.forecast.bundle_id}/{digest}",
        "time": issued.issued_at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
    }
