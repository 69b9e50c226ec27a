"""Which unit a fleet's values fit, all of it and each of its halls, day by day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from forecast.contracts.errors import DataError
from forecast.contracts.signals import SIGNALS
from forecast.contracts.topology import Topology
from forecast.features.gridded import Gridded
from forecast.features.units import CHECKED, Medians, check_units, limits_of, median_of, middle
from forecast.quality.quality import Elsewhere, Unit

#: A median needs no more cells than this.
_CELLS = 20_000
#: Collectors and exporters go wrong by hall; where a fleet names none, by site.
_TOGETHER = "hall"


@dataclass(frozen=True, eq=False)
class Groups:
    """Halls, else sites, and the places of the entities in each."""

    members: Mapping[str, NDArray[np.intp]]

    @classmethod
    def of(cls, topology: Topology) -> "Groups":
        columns = ("entity_id", "parent_id", "level", "site")
        rows = {row[0]: row[1:] for row in topology.table.select(columns).iter_rows()}
        names = []
        for entity in topology.entities:
            at: str | None = entity
            while at is not None and rows[at][1] != _TOGETHER:
                at = rows[at][0]
            names.append(at or rows[entity][2])
        labels = np.array(names, dtype=object)
        return cls({name: np.flatnonzero(labels == name) for name in dict.fromkeys(names)})


def medians_by_group(day: Gridded, topology: Topology, groups: Groups) -> dict[tuple[str, str], float]:
    """Median of each judged signal relative to its limit by (signal, group), where there is one."""
    found = {}
    for signal, limit in limits_of(topology).items():
        if signal not in day.signals:
            continue
        values = day.values[day.signals.index(signal)]
        for name, places in groups.members.items():
            mine = places[~np.isnan(limit[places])]
            if mine.size and (typical := median_of(signal, values[mine], limit[mine], _CELLS)) is not None:
                found[signal, name] = typical
    return found


def raw_medians(day: Gridded, relative: Medians) -> dict[str, float]:
    """Median of each judged signal in its own unit, where it was observed and none relative to a limit is known."""
    found = {}
    for signal, typical in relative.items():
        if typical is not None:
            continue
        middle_one = median_of(signal, day.values[day.signals.index(signal)], None, _CELLS)
        if middle_one is not None:
            found[signal] = middle_one
    return found


def units(
    signals: Sequence[str],
    medians: Sequence[Medians],
    raw: Sequence[Mapping[str, float]],
    groups: Sequence[Mapping[tuple[str, str], float]],
    days: Sequence[date],
) -> tuple[Unit, ...]:
    """What the typical values tell of the units.

    Args:
        signals: those looked at; of other kinds than power and temperature nothing can be told.
        medians, raw, groups: of each of the `days`.
    """
    return tuple(_unit(signal, medians, raw, groups, days) for signal in CHECKED if signal in signals)


def _unit(
    signal: str,
    medians: Sequence[Medians],
    raw: Sequence[Mapping[str, float]],
    groups: Sequence[Mapping[tuple[str, str], float]],
    days: Sequence[date],
) -> Unit:
    typical = middle(day.get(signal) for day in medians)
    fits = None if typical is None else fitting(signal, typical)
    elsewhere: dict[tuple[str, str], list[date]] = {}
    for day, by_group in zip(days, groups, strict=True):
        for (of, group), value in by_group.items():
            if of == signal and (other := fitting(signal, value)) != fits:
                elsewhere.setdefault((group, other), []).append(day)
    return Unit(
        signal,
        SIGNALS[signal].unit,
        typical,
        middle(day.get(signal) for day in raw) if typical is None else None,
        fits,
        tuple(Elsewhere(group, unit, tuple(on)) for (group, unit), on in elsewhere.items()),
    )


def fitting(signal: str, typical: float) -> str:
    """The unit that a median relative to the limit fits, by the rule that training keeps to."""
    try:
        check_units({signal: typical}, "")
    except DataError:
        if signal == "power_w":
            return "kW" if typical < 1 else "mW"
        return "°F"
    return SIGNALS[signal].unit
